"""What is folded below the table of a comment: one block for each model. Pure."""

from collections.abc import Iterator

from controller.data.reports.diff import ChangedExample, DiffSamples
from controller.plan.actions import Action
from controller.plan.desired import Desired
from controller.render.comment.escape import fenced, html_code, prose
from controller.render.comment.facts import DataDiff, GateChange, Review
from controller.render.data import SPLIT_WORDS, VALUE_CELLS, counted, gist
from controller.render.plan import action_block
from controller.render.text import one_line

SHOWN = 3
"""Examples of each kind: added, removed, changed."""
_NAME_WIDTH = 80
_NOTE_WIDTH = 400
_RULE = "(no worse than its base model)"
_NO_RULE = "gate: [] (promoted even if it is worse than its base model)"
_LINES = 40
"""Lines of one action, which may list every problem of its spec."""


def model_details(action: Action, desired: Desired | None, review: Review) -> str:
    """Return everything about one action, folded under the model's name."""
    gate, data = review.gates.get(action.name), review.data.get(action.name)
    title = f"{html_code(action.name, _NAME_WIDTH)} {action.style.verb}{_headline(gate, data)}"
    parts = [
        f"<details><summary>{title}</summary>",
        fenced(_cut(action_block(action, desired)), "text"),
        *(_gate(gate) if gate is not None else ()),
        *(_data(data) if data is not None else ()),
        "</details>",
    ]
    return "\n\n".join(parts)


def _cut(block: str) -> str:
    lines = block.split("\n")
    more = len(lines) - _LINES
    return "\n".join([*lines[:_LINES], *([f"      … and {more} more lines"] if more > 0 else [])])


def _headline(gate: GateChange | None, data: DataDiff | None) -> str:
    changed = []
    if gate is not None and gate.is_changed:
        changed.append("another gate")
    if data is not None and data.difference is not None:
        changed.append("other examples")
    return f" ({', '.join(changed)})" if changed else ""


def _gate(gate: GateChange) -> Iterator[str]:
    if gate.is_changed and gate.old is not None:
        yield "Gate, before and after:"
        yield fenced("\n".join(_changed_lines(gate, gate.old)), "diff")
    if gate.foreseen:
        yield prose(gate.foreseen, _NOTE_WIDTH)


def _changed_lines(gate: GateChange, old: tuple[str, ...]) -> Iterator[str]:
    new = gate.new
    yield from (f"- {_line(text)}" for text in old if text not in new)
    yield from (f"  {_line(text)}" for text in new if text in old)
    yield from (f"+ {_line(text)}" for text in new if text not in old)
    if bool(old) != bool(new):
        yield f"{'+' if new else '-'} (no condition {'before' if new else 'any more'})"
    if gate.allowed_worse != gate.allows_worse:
        before, now = (_RULE, _NO_RULE) if gate.allows_worse else (_NO_RULE, _RULE)
        yield f"- {before}"
        yield f"+ {now}"


def _data(data: DataDiff) -> Iterator[str]:
    if data.difference is not None:
        yield prose(f"Examples against {data.against}: {counted(data.difference)}", _NOTE_WIDTH)
    if data.samples is not None and data.difference is not None:
        lines = list(_samples(data.samples, data))
        if lines:
            yield fenced("\n".join(lines), "diff")
    if data.note:
        yield prose(data.note, _NOTE_WIDTH)


def _samples(samples: DiffSamples, data: DataDiff) -> Iterator[str]:
    total = data.difference.total if data.difference is not None else None
    if total is None:
        return
    kinds = (
        ("+", samples.added, total.added),
        ("-", samples.removed, total.removed),
        ("~", samples.changed, total.changed),
    )
    for sign, examples, count in kinds:
        for example in examples[:SHOWN]:
            yield from _example("!" if sign == "~" else sign, example)
        more = count - min(len(examples), SHOWN)
        if more > 0:
            yield f"{'!' if sign == '~' else sign} and {more:,} more"


def _example(sign: str, example: ChangedExample) -> Iterator[str]:
    """Yield an example; GitHub colours a line by its first character."""
    question, answer = gist(example.line)
    yield f"{sign} {_line(example.origin)} ({SPLIT_WORDS[example.split]})"
    yield f"{sign}   {question}"
    if example.before is None:
        if answer:
            yield f"{sign}   → {answer}"
        return
    _, before = gist(example.before)
    if before == answer:
        yield "!   another system prompt, other tools or other marks"
        return
    yield f"-   → {before}"
    yield f"+   → {answer}"


def _line(text: str) -> str:
    return one_line(text, VALUE_CELLS)
