"""A plan as text in Terraform's look, and as JSON."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import assert_never

from backends.base import Estimate, Json, Progress
from controller.plan.actions import (
    Action,
    Adopt,
    Blocked,
    DataChange,
    Deferred,
    Desired,
    Evaluate,
    Judge,
    Promote,
    Protect,
    Record,
    Resume,
    Retire,
    Reuse,
    Shutdown,
    Train,
    Wait,
)
from controller.plan.fingerprint import Change, short
from controller.plan.plan import Plan
from controller.render.text import cells, duration, number, one_line, pad, safe

PLAN_FORMAT = 1
_VALUE_CELLS = 60
_VERBS = (
    "to train",
    "to retrain",
    "to reuse",
    "to adopt",
    "to resume",
    "to record",
    "to evaluate",
    "to judge",
    "to promote",
    "to update",
    "to retire",
    "in progress",
    "known at apply",
    "blocked",
)
"""The order in which the summary counts them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How an action is shown."""

    symbol: str
    sentence: str
    """Follows the fine-tune's name."""
    verb: str
    """In the summary: `1 to train`."""


def look(action: Action) -> Look:  # noqa: C901, PLR0912 - a table, closed by mypy
    """Return how an action is shown."""
    match action:
        case Train(retrain=True):
            return Look(symbol="±", sentence="will be retrained", verb="to retrain")
        case Train():
            return Look(symbol="+", sentence="will be trained", verb="to train")
        case Reuse(promote=True):
            return Look(symbol="=", sentence="goes back to a recorded build", verb="to reuse")
        case Reuse():
            return Look(symbol="=", sentence="will judge a recorded build", verb="to reuse")
        case Adopt():
            return Look(symbol="=", sentence="takes over an existing job", verb="to adopt")
        case Record():
            return Look(symbol="~", sentence="has a finished job to record", verb="to record")
        case Evaluate():
            return Look(symbol="~", sentence="will be evaluated", verb="to evaluate")
        case Judge():
            return Look(symbol="~", sentence="will be judged again", verb="to judge")
        case Promote():
            return Look(symbol="~", sentence="will be promoted", verb="to promote")
        case Protect():
            return Look(symbol="~", sentence="changes its protection", verb="to update")
        case Wait():
            return Look(symbol="»", sentence="is in progress", verb="in progress")
        case Resume():
            return Look(symbol="»", sentence="will be resumed", verb="to resume")
        case Retire():
            return Look(symbol=".", sentence="will be forgotten", verb="to retire")
        case Deferred():
            return Look(symbol="?", sentence="is known at apply", verb="known at apply")
        case Blocked():
            return Look(symbol="!", sentence="is blocked", verb="blocked")
        case _:
            assert_never(action)


def plan_text(plan: Plan, desired: Mapping[str, Desired]) -> str:
    """Return the plan for a terminal."""
    if not plan.actions:
        return no_changes(plan)
    blocks = [_block(action, desired.get(action.name)) for action in plan.actions]
    head = "ftctl will perform these actions:"
    if all(isinstance(action, Blocked | Deferred | Wait) for action in plan.actions):
        head = "Nothing to do now:"
    return "\n\n".join([head, *blocks, _closing(plan)])


def no_changes(plan: Plan) -> str:
    """Return the sentence for a plan without actions."""
    if plan.specs == 0:
        return "No changes. No fine-tune is declared yet: add finetunes/NAME.yaml."
    if plan.specs == 1:
        return "No changes. The one fine-tune matches its spec."
    return f"No changes. All {plan.specs} fine-tunes match their specs."


def summary(plan: Plan) -> str:
    """Return the plan in one line, such as `Plan: 1 to train, 2 to reuse`, with a full stop."""
    counts = Counter(look(action).verb for action in plan.actions)
    said = sorted(counts.items(), key=lambda item: _VERBS.index(item[0]))
    return f"Plan: {', '.join(f'{count} {verb}' for verb, count in said)}."


def cost(plan: Plan) -> str:
    """Return what the plan costs in one line; empty when nothing in it has a price."""
    estimates = [action.estimate for action in plan.actions if isinstance(action, Train)]
    reused = sum(isinstance(action, Reuse) for action in plan.actions)
    ranges = [estimate.usd for estimate in estimates if estimate.usd is not None]
    unknown = len(estimates) - len(ranges)
    parts = []
    if ranges:
        parts.append(_dollars(sum(low for low, _ in ranges), sum(high for _, high in ranges)))
        if unknown:
            parts.append(f"{unknown} not known")
        elif all(range_ == (0.0, 0.0) for range_ in ranges):
            parts.append("on your own hardware")
    elif unknown:
        parts.append("not known")
    if reused:
        parts.append(f"{reused} reused at $0.00")
    return f"Cost: {', '.join(parts)}." if parts else ""


def plan_json(plan: Plan, desired: Mapping[str, Desired]) -> Json:
    """Return the plan for programs. Holds digests and prices, no secrets and no data."""
    return {
        "format": PLAN_FORMAT,
        "id": plan.id,
        "specs": plan.specs,
        "unasked": dict(plan.unasked),
        "summary": summary(plan) if plan.actions else no_changes(plan),
        "actions": [_action_json(action, desired.get(action.name)) for action in plan.actions],
    }


def progress_text(progress: Progress | None) -> str:
    """Return how far a job has come: `step 40/96, loss 2.31, 8,100 tokens/s, 12 s left`."""
    if progress is None:
        return ""
    of = f"/{progress.total_steps}" if progress.total_steps else ""
    parts = [f"step {progress.step}{of}"]
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.held_out_loss is not None:
        parts.append(f"held-out loss {progress.held_out_loss:.3f}")
    if progress.tokens_per_s is not None:
        parts.append(f"{progress.tokens_per_s:,.0f} tokens/s")
    if progress.eta_s is not None:
        parts.append(f"{duration(progress.eta_s)} left")
    return ", ".join(parts)


def _block(action: Action, desired: Desired | None) -> str:
    shown, name = look(action), safe(action.name)
    # Lines of a job's log may be part of a reason; none of them may pass for a line of the plan.
    reason = "\n  #      ".join(safe(action.reason).splitlines())
    lines = [
        f"  # {name} {shown.sentence}",
        f"  # ({reason})",
        f'{shown.symbol} finetune "{name}"{_where(desired)}',
    ]
    return "\n".join([*lines, *(f"      {line}" for line in _details(action))])


def _where(desired: Desired | None) -> str:
    if desired is None:
        return ""
    base = one_line(desired.spec.base_model, _VALUE_CELLS)
    return f" ({desired.spec.place}, base {base})"


def _details(action: Action) -> Iterator[str]:
    match action:
        case Train():
            yield from _train_details(action)
        case Reuse():
            yield f"build = {short(action.fingerprint)}"
            yield "cost  = $0.00"
        case Evaluate() | Judge() | Promote():
            yield f"build = {short(action.fingerprint)}"
        case Wait() | Resume() if action.job.progress is not None:
            yield progress_text(action.job.progress)
        case Blocked() | Deferred():
            yield from safe(action.remedy).splitlines()
        case _:
            pass


def _train_details(action: Train) -> Iterator[str]:
    rows = [(change.field, _change(change, action)) for change in action.changes]
    train, held_out = action.data.train.examples, action.data.held_out.examples
    rows.append(("examples", f"{train:,}, {held_out:,} held out"))
    if action.supersedes is not None:
        rows.append(
            ("cancels", f"job {safe(action.supersedes)}, whose inputs nobody wants any more")
        )
    if action.judged_against is not None:
        rows.append(("production", safe(action.judged_against)))
    rows.append(("cost", _estimate(action.estimate)))
    width = max(cells(safe(field)) for field, _ in rows)
    for field, value in rows:
        yield f"{pad(safe(field), width)} = {value}"
    if action.shutdown is not None:
        yield f"! {_shutdown(action.shutdown)}"
    for warning in action.warnings:
        yield f"! {safe(warning)}"


def _change(change: Change, action: Train) -> str:
    data = action.data_change if change.field == "data" else None
    examples = f" ({_signs(data)} examples)" if data else ""
    return f"{_value(change.old)} -> {_value(change.new)}{examples}  # forces training"


def _signs(data: DataChange) -> str:
    signs = {"+": data.added, "-": data.removed, "~": data.changed}
    return " ".join(f"{sign}{count:,}" for sign, count in signs.items() if count) or "the same"


def _value(value: Json) -> str:
    match value:
        case None:
            return "(none)"
        case bool():
            return str(value).lower()
        case str() if value.startswith("sha256:"):
            return value[: len("sha256:") + 12]
        case str():
            return one_line(value, _VALUE_CELLS)
        case float():
            return f"{value:g}"
        case _:
            return one_line(json.dumps(value, ensure_ascii=False), _VALUE_CELLS)


def _estimate(estimate: Estimate) -> str:
    parts = ["not known"] if estimate.usd is None else [_dollars(*estimate.usd)]
    if estimate.gpu_hours is not None:
        low, high = estimate.gpu_hours
        parts.append(f"{number(low)} - {number(high)} GPU hours")
    if estimate.steps is not None:
        parts.append(f"{estimate.steps:,} steps")
    if estimate.basis:
        parts.append(estimate.basis)
    return ", ".join(parts)


def _shutdown(shutdown: Shutdown) -> str:
    when = f"{shutdown.date} ({shutdown.days_left} days left)"
    if shutdown.days_left <= 0:
        return f"the base model was switched off on {shutdown.date}"
    return f"the base model, and every model made from it, is switched off on {when}"


def _dollars(low: float, high: float) -> str:
    return f"${low:,.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"${low:,.2f} - ${high:,.2f}"


def _closing(plan: Plan) -> str:
    notes = [f"Not asked: {place}: {safe(why)}" for place, why in plan.unasked.items()]
    if notes:
        notes.append("What is said of these comes from specs and lockfile alone.")
    lines = [summary(plan), cost(plan), *notes, f"Plan ID: {plan.id}"]
    return "\n".join(line for line in lines if line)


def _action_json(action: Action, desired: Desired | None) -> Json:
    value: dict[str, Json] = {
        "name": action.name,
        "action": type(action).__name__.lower(),
        "reason": action.reason,
    }
    if desired is not None:
        value |= {"file": desired.file, "backend": desired.spec.place}
    match action:
        case Train():
            value |= {
                "fingerprint": action.fingerprint,
                "attempt": action.attempt,
                "retrain": action.retrain,
                "supersedes": action.supersedes,
                "changes": [
                    {"field": change.field, "old": change.old, "new": change.new}
                    for change in action.changes
                ],
                "cost": {
                    "usd": action.estimate.usd,
                    "gpu_hours": action.estimate.gpu_hours,
                    "steps": action.estimate.steps,
                    "basis": action.estimate.basis,
                },
                "shutdown_date": action.shutdown.date if action.shutdown else None,
                "warnings": action.warnings,
            }
            if action.data_change is not None:
                value["examples"] = asdict(action.data_change)
        case Evaluate() | Judge() | Promote() | Reuse():
            value["fingerprint"] = action.fingerprint
        case Wait() | Resume() | Record() | Adopt():
            value |= {"job": action.job.id, "state": action.job.state}
        case Deferred():
            value["remedy"] = action.remedy
        case Blocked():
            value |= {"remedy": action.remedy, "obstacle": action.obstacle}
        case Retire() | Protect():
            pass
        case _:
            assert_never(action)
    return value
