"""A plan as text, in Terraform's style. Pure."""

from collections.abc import Iterator, Mapping

from rich.cells import cell_len

from controller.plan.actions import Action
from controller.plan.desired import Desired
from controller.plan.plan import Plan
from controller.render.summary import corrected, cost, no_changes, notes_of, summary
from controller.render.text import escape_control, one_line, pad

_BASE_WIDTH = 60


def plan_text(plan: Plan, desired: Mapping[str, Desired]) -> str:
    """Return the plan for a terminal."""
    if not plan.actions:
        return "\n".join([no_changes(plan), *notes_of(plan)])
    blocks = [action_block(action, desired.get(action.name)) for action in plan.actions]
    head = "ftctl will perform these actions:"
    if not any(action.acts for action in plan.actions):
        head = "Nothing to do now:"
    return "\n\n".join([head, *blocks, _closing(plan)])


def action_block(action: Action, desired: Desired | None) -> str:
    """Return one action with its reason and details, for a terminal."""
    style, name = action.style, escape_control(action.name)
    # Lines of a job's log may be part of a reason; none of them may pass for a line of the plan.
    reason = "\n  #      ".join(escape_control(action.reason).splitlines())
    lines = [
        f"  # {name} {style.sentence}",
        f"  # ({reason})",
        f'{style.symbol} finetune "{name}"{_where(desired)}',
    ]
    return "\n".join([*lines, *(f"      {line}" for line in _details(action, desired))])


def _where(desired: Desired | None) -> str:
    if desired is None:
        return ""
    return f" ({desired.spec.place}, base {one_line(desired.spec.base_name, _BASE_WIDTH)})"


def _details(action: Action, desired: Desired | None) -> Iterator[str]:
    rows = [(escape_control(label), escape_control(value)) for label, value in action.rows()]
    if desired is not None and desired.spec.aliases and action.acts:
        rows.append(("aliases", escape_control(", ".join(desired.spec.aliases))))
    width = max((cell_len(label) for label, _ in rows), default=0)
    for label, value in rows:
        yield f"{pad(label, width)} = {value}"
    for remark in action.remarks():
        yield from escape_control(remark).splitlines()


def _closing(plan: Plan) -> str:
    notes = [f"Not asked: {place}: {escape_control(why)}" for place, why in plan.skipped.items()]
    if notes:
        notes.append("For these, the plan relies on the specs and the lockfile alone.")
    lines = [summary(plan), cost(plan), corrected(plan), *notes, *notes_of(plan)]
    lines.append(f"Plan ID: {plan.id}")
    return "\n".join(line for line in lines if line)
