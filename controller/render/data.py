"""What became of a team's rows: a build, a row's fate, and a difference, as text and as JSON.

Everything that came from data is made safe for a terminal, and cut where it is long.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.cells import cell_len

from backends.contract.inspector import Json
from controller.data.dataset import Dataset
from controller.data.examples.conversation_view import text_of, view_example
from controller.data.pipeline.write_splits import NAMES
from controller.data.report import REASONS_KEPT, SourceReport, SplitName, StepReport
from controller.data.reports.diff import ChangedExample, Counts, Difference, DiffSamples
from controller.data.reports.provenance import RowOutcome
from controller.render.text import escape_control, one_line, pad, table

PART_WORDS: Mapping[SplitName, str] = {"train": "train", "held_out": "held out"}
_VALUE_CELLS = 100
_REASON_CELLS = 160
_FEWEST_SHOWN = 3
"""Reasons of each step that are shown, however many steps have some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSummary:
    """A built dataset, and what is said of it."""

    name: str
    dataset: Dataset
    tokens: Mapping[SplitName, int] | None
    """None where nothing can count them."""
    note: str = ""
    """Why not, and what to type."""
    epochs: int | str | None = None
    """How often the training examples are gone through; a word where the service decides."""
    warnings: Sequence[str] = ()


def build_text(summary: BuildSummary) -> str:
    """Return what became of every row, for a terminal."""
    report = summary.dataset.report
    parts = [_sources(summary), unread_text(report.sources), _steps(report.steps)]
    parts += _reasons(summary)
    parts.append(_halves(summary))
    parts.append(
        "\n".join([_trained(summary), *(f"! {escape_control(one)}" for one in summary.warnings)])
    )
    return "\n\n".join(part for part in parts if part)


def build_json(summary: BuildSummary) -> Json:
    """Return what became of every row, for programs."""
    dataset, billable = summary.dataset, None
    if summary.tokens is not None and isinstance(summary.epochs, int):
        billable = summary.tokens["train"] * summary.epochs

    def part(name: SplitName) -> Json:
        half = getattr(dataset, name)
        tokens = None if summary.tokens is None else summary.tokens[name]
        return {"digest": half.digest, "examples": half.examples, "tokens": tokens}

    return {
        "name": summary.name,
        "train": part("train"),
        "held_out": part("held_out"),
        "epochs": summary.epochs,
        "billable_tokens": billable,
        "tokens_note": summary.note or None,
        "sources": [asdict(source) for source in dataset.report.sources],
        "steps": [asdict(step) for step in dataset.report.steps],
        "warnings": list(summary.warnings),
        "reasons": str(dataset.report.reasons),
    }


def _sources(summary: BuildSummary) -> str:
    rows = [["SOURCE", "FOR", "ROWS", "DROPPED", "EXAMPLES", "ENCODING", "LICENCE"]]
    rows += [
        [
            one_line(source.path, _VALUE_CELLS),
            PART_WORDS[source.part],
            f"{source.rows:,}",
            f"{source.dropped:,}",
            f"{source.examples:,}",
            source.encoding or "-",
            one_line(source.license or "-", _VALUE_CELLS),
        ]
        for source in summary.dataset.report.sources
    ]
    return table(rows, right={2, 3, 4})


def unread_text(sources: Sequence[SourceReport]) -> str:
    """Return unread keys and undefined functions of rows, by source."""
    lines = []
    for source in sources:
        if source.unread:
            keys = ", ".join(f"{key} ({count:,})" for key, count in source.unread.items())
            lines.append(f"Not used of {source.path}: {keys}")
        if source.undefined:
            names = ", ".join(f"{name}: {count:,}" for name, count in source.undefined.items())
            lines.append(f"Called in {source.path}, and not among its tools: {names}")
    return "\n".join(one_line(line, _REASON_CELLS) for line in lines)


def _steps(steps: Sequence[StepReport]) -> str:
    rows = [["STEP", "KEPT", "DROPPED", "CHANGED", "NOTED"]]
    for step in steps:
        counts = (step.kept, step.dropped, step.changed, step.noted)
        rows.append([step.name, *(f"{count:,}" for count in counts)])
    return table(rows, right={1, 2, 3, 4})


def _reasons(summary: BuildSummary) -> Iterator[str]:
    report = summary.dataset.report
    telling = [step for step in report.steps if step.reasons]
    if not telling:
        return
    each = max(_FEWEST_SHOWN, REASONS_KEPT // len(telling))
    for step in telling:
        shown = [one_line(reason, _REASON_CELLS) for reason in step.reasons[:each]]
        more = step.dropped + step.changed + step.noted - len(shown)
        rest = [f"and {more:,} more"] if more > 0 else []
        yield "\n".join([f"{step.name}: {_effects(step)}", *(f"  {one}" for one in shown + rest)])
    yield f"Every reason: {escape_control(str(report.reasons))}"


def _effects(step: StepReport) -> str:
    counts = {"dropped": step.dropped, "changed": step.changed, "noted": step.noted}
    return ", ".join(f"{count:,} {effect}" for effect, count in counts.items() if count)


def _halves(summary: BuildSummary) -> str:
    rows = [["", "EXAMPLES", "TOKENS", "DIGEST"]]
    for name in NAMES:
        half = getattr(summary.dataset, name)
        tokens = "-" if summary.tokens is None else f"{summary.tokens[name]:,}"
        rows.append([PART_WORDS[name], f"{half.examples:,}", tokens, _digest(half.digest)])
    return table(rows, right={1, 2})


def _digest(digest: str) -> str:
    return digest[: len("sha256:") + 12]


def _trained(summary: BuildSummary) -> str:
    if summary.tokens is None:
        return f"Tokens were not counted: {escape_control(summary.note)}"
    tokens = summary.tokens["train"]
    match summary.epochs:
        case None:
            return f"Trained on: {tokens:,} tokens."
        case int():
            times = f"{summary.epochs} epoch{'s'[: summary.epochs != 1]}"
            return f"Trained on: {tokens:,} tokens x {times} = {tokens * summary.epochs:,}."
        case _:
            return f"Trained on: {tokens:,} tokens x epochs ({escape_control(summary.epochs)})."


def counted(difference: Difference) -> str:
    """Return a difference in one line: `+200 -3 ~12 (+183 -3 ~12 train, +17 held out)`."""
    if not (difference.added or difference.removed or difference.changed):
        return f"no example differs{_moved(difference)}"
    parts: dict[SplitName, Counts] = {"train": difference.train, "held_out": difference.held_out}
    sides = [
        f"{_signs(counts)} {PART_WORDS[name]}" for name, counts in parts.items() if _signs(counts)
    ]
    total = Counts(added=difference.added, removed=difference.removed, changed=difference.changed)
    return f"{_signs(total)} ({', '.join(sides)}){_moved(difference)}"


def _signs(counts: Counts) -> str:
    signs = {"+": counts.added, "-": counts.removed, "~": counts.changed}
    return " ".join(f"{sign}{count:,}" for sign, count in signs.items() if count)


def _moved(difference: Difference) -> str:
    if not difference.moved:
        return ""
    some = "example is" if difference.moved == 1 else "examples are"
    return f"; {difference.moved:,} {some} on the other side of the split"


def difference_text(name: str, against: str, difference: Difference, shown: DiffSamples) -> str:
    """Return how a dataset differs from an earlier one, for a terminal.

    Args:
        name: The fine-tune.
        against: What it is compared with: `revision 0123abcd`.
        difference: The counts.
        shown: The first examples of each kind.
    """
    parts = [f"{escape_control(name)} against {escape_control(against)}: {counted(difference)}"]
    kinds = (
        ("+", shown.added, difference.added),
        ("-", shown.removed, difference.removed),
        ("~", shown.changed, difference.changed),
    )
    for sign, found, count in kinds:
        if found:
            lines = [line for one in found for line in _found(sign, one)]
            more = count - len(found)
            rest = [f"{sign} and {more:,} more"] if more > 0 else []
            parts.append("\n".join(lines + rest))
    return "\n\n".join(parts)


def difference_json(name: str, against: str, difference: Difference, shown: DiffSamples) -> Json:
    """Return how a dataset differs from an earlier one, for programs."""

    def example(found: ChangedExample) -> Json:
        value: dict[str, Json] = {
            "part": found.part,
            "origin": found.origin,
            "example": json.loads(found.line),
        }
        if found.before is not None:
            value["before"] = json.loads(found.before)
        return value

    return {
        "name": name,
        "against": against,
        "added": difference.added,
        "removed": difference.removed,
        "changed": difference.changed,
        "moved": difference.moved,
        "train": asdict(difference.train),
        "held_out": asdict(difference.held_out),
        "examples": {
            "added": [example(one) for one in shown.added],
            "removed": [example(one) for one in shown.removed],
            "changed": [example(one) for one in shown.changed],
        },
    }


def _found(sign: str, found: ChangedExample) -> Iterator[str]:
    asked, answered = _gist(found.line)
    where = one_line(found.origin, _VALUE_CELLS)
    yield f"{sign} {where} ({PART_WORDS[found.part]})"
    if found.before is None:
        yield f"    {asked}"
        if answered:
            yield f"    → {answered}"
        return
    yield f"    {asked}"
    _, before = _gist(found.before)
    if before == answered:
        yield "    another system prompt, other tools or other marks"
        return
    yield f"    - {before}"
    yield f"    + {answered}"


def _gist(line: bytes) -> tuple[str, str]:
    """Return what is asked last in an example, and what is answered, on a line each."""
    seen = view_example(line)
    if seen.text is not None:
        return one_line(seen.text, _VALUE_CELLS), ""
    users = [text_of(message) for message in seen.messages if message["role"] == "user"]
    answer = ""
    if seen.answered:
        calls: Any = seen.messages[-1].get("tool_calls") or []
        answer = seen.answer or json.dumps(calls, ensure_ascii=False)
    return one_line(users[-1] if users else "", _VALUE_CELLS), one_line(answer, _VALUE_CELLS)


def fate_text(fate: RowOutcome) -> str:
    """Return what became of a row, for a terminal."""
    lines = [escape_control(str(fate.origin))]
    if fate.row.values is None:
        lines.append(f"  cannot be read: {escape_control(fate.row.problem)}")
    else:
        width = max((cell_len(one_line(key, 30)) for key in fate.row.values), default=0)
        for key, value in fate.row.values.items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            lines.append(f"  {pad(one_line(key, 30), width)}  {one_line(text, _VALUE_CELLS)}")
    lines.append("")
    lines += [f"{step}: {escape_control(reason)}" for step, reason in fate.reasons]
    return "\n".join([*lines, _end(fate)])


def fate_json(fate: RowOutcome) -> Json:
    """Return what became of a row, for programs."""
    return {
        "origin": str(fate.origin),
        "row": fate.row.values,
        "problem": fate.row.problem or None,
        "reasons": [{"step": step, "reason": reason} for step, reason in fate.reasons],
        "places": [asdict(place) for place in fate.places],
    }


def _end(fate: RowOutcome) -> str:
    if fate.places:
        first, *others = fate.places
        known = f"In {PART_WORDS[first.part]} as example {first.number:,}"
        also = ", ".join(f"{PART_WORDS[one.part]} {one.number:,}" for one in others[:_FEWEST_SHOWN])
        more = len(others) - _FEWEST_SHOWN
        return (
            known + (f", also as {also}" if also else "") + (f" and {more} more" * (more > 0)) + "."
        )
    if fate.reasons:
        return f"Not in the dataset: dropped by {fate.reasons[-1][0]}."
    return "Not in the dataset."
