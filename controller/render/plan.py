"""A plan as text, in Terraform's look. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence

from backends.contract.inspector import Json
from backends.contract.jobs import Estimate, Progress
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
    Restore,
    Resume,
    Retire,
    Reuse,
    Shutdown,
    Train,
    Wait,
)
from controller.plan.fingerprint import Change, short
from controller.plan.plan import Plan
from controller.render.actions import (
    cancels_text,
    corrected,
    cost,
    dollars,
    look,
    no_changes,
    notes_of,
    summary,
)
from controller.render.text import cells, duration, number, one_line, pad, safe

_VALUE_CELLS = 60


def plan_text(plan: Plan, desired: Mapping[str, Desired]) -> str:
    """Return the plan for a terminal."""
    if not plan.actions:
        return "\n".join([no_changes(plan), *notes_of(plan)])
    blocks = [_block(action, desired.get(action.name)) for action in plan.actions]
    head = "ftctl will perform these actions:"
    if all(isinstance(action, Blocked | Deferred | Wait) for action in plan.actions):
        head = "Nothing to do now:"
    return "\n\n".join([head, *blocks, _closing(plan)])


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
            yield from _rows([("build", short(action.fingerprint)), *_effects(action)])
        case Adopt() | Retire():
            yield from _rows(list(_effects(action)))
        case Restore():
            yield from _rows(list(_restored(action)))
        case Evaluate() | Judge() | Promote():
            yield from _rows(list(_judged(action)))
            if isinstance(action, Evaluate) and action.asks:
                yield from _rows([("asks", action.asks)])
            if isinstance(action, Evaluate) and action.without_base is not None:
                yield f"! {safe(action.without_base)}; `base` is left out of the comparison"
        case Wait() | Resume() if action.job.progress is not None:
            yield progress_text(action.job.progress)
        case Blocked() | Deferred():
            yield from _obstacles(action)
        case _:
            pass


def _judged(action: Evaluate | Judge | Promote) -> Iterator[tuple[str, str]]:
    """Yield which build is judged, and which one it replaces if it passes."""
    yield "build", short(action.fingerprint)
    if action.replaces is not None and action.replaces != action.fingerprint:
        yield "production", f"build {short(action.replaces)}, replaced if this one passes"


def _effects(action: Reuse | Adopt | Retire) -> Iterator[tuple[str, str]]:
    """Yield what an action cancels, replaces and costs."""
    if action.cancels is not None:
        yield "cancels", f"{cancels_text(action.cancels)}: no spec asks for its inputs any more"
    if action.replaces is not None and isinstance(action, Retire):
        yield "production", f"build {short(action.replaces)}, which is forgotten"
    elif isinstance(action, Reuse) and action.promote and action.replaces != action.fingerprint:
        replaced = f"build {short(action.replaces)}" if action.replaces else "none"
        yield "production", f"{replaced} -> build {short(action.fingerprint)}"
    if not isinstance(action, Retire):
        yield "cost", "$0.00"


def _restored(action: Restore) -> Iterator[tuple[str, str]]:
    entry = action.entry
    yield "builds", ", ".join(short(key) for key in entry.builds) or "none"
    if entry.production is not None:
        yield "production", f"build {short(entry.production)}, as recorded then"
    elif entry.builds:
        yield "production", "the newest of these that passes the gate, or the pinned one"
    if entry.job is not None:
        yield "open job", safe(entry.job.id)


def _obstacles(action: Blocked | Deferred) -> Iterator[str]:
    if isinstance(action, Blocked) and action.problems:
        for problem in action.problems:
            yield from safe(str(problem)).splitlines()
        return
    yield from safe(action.remedy).splitlines()


def _rows(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    width = max((cells(safe(field)) for field, _ in rows), default=0)
    for field, value in rows:
        yield f"{pad(safe(field), width)} = {value}"


def _train_details(action: Train) -> Iterator[str]:
    rows = [(change.field, _change(change, action)) for change in action.changes]
    train, held_out = action.data.train.examples, action.data.held_out.examples
    rows.append(("examples", f"{train:,}, {held_out:,} held out"))
    if action.cancels is not None:
        cancelled = cancels_text(action.cancels)
        rows.append(("cancels", f"{cancelled}: no spec asks for its inputs any more"))
    if action.judged_against is not None:
        rows.append(("production", safe(action.judged_against)))
    rows.append(("cost", _estimate(action.estimate)))
    yield from _rows(rows)
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
    parts = ["not known"] if estimate.usd is None else [dollars(*estimate.usd)]
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


def _closing(plan: Plan) -> str:
    notes = [f"Not asked: {place}: {safe(why)}" for place, why in plan.unasked.items()]
    if notes:
        notes.append("What is said of these comes from specs and lockfile alone.")
    lines = [summary(plan), cost(plan), corrected(plan), *notes, *notes_of(plan)]
    lines.append(f"Plan ID: {plan.id}")
    return "\n".join(line for line in lines if line)
