"""A build, the outcome of a row, and a difference of datasets, as text and as JSON.

Everything that came from data is made safe for a terminal, and cut if it is long.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.cells import cell_len

from backends.contract.inspector import Json
from controller.data.dataset import Dataset
from controller.data.examples.conversation_view import answer_of, is_answered, text_of
from controller.data.examples.example import parse
from controller.data.report import REASONS_KEPT, SourceReport, StepReport
from controller.data.reports.diff import ChangedExample, Counts, Difference, DiffSamples
from controller.data.reports.provenance import RowOutcome
from controller.render.text import escape_control, one_line, pad, table
from controller.spec.data import SplitName

SPLIT_WORDS: Mapping[SplitName, str] = {"train": "train", "held_out": "held out"}
_KEY_CELLS = 30
VALUE_CELLS = 100
"""Width of a value in terminal cells."""
_REASON_CELLS = 160
_FEWEST_SHOWN = 3
"""Minimum number of shown reasons of each step, however many steps have some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSummary:
    """A built dataset, with its tokens and warnings."""

    name: str
    dataset: Dataset
    tokens: Mapping[SplitName, int] | None
    """None if nothing can count them."""
    note: str = ""
    """Reason for missing tokens, and the command to type."""
    trains: bool = True
    """False if the base model itself answers, and nothing is trained."""
    epochs: int | str | None = None
    """Number of passes over the training examples; a word if the service decides."""
    warnings: Sequence[str] = ()


def build_text(summary: BuildSummary) -> str:
    """Return the report of a build, for a terminal."""
    report = summary.dataset.report
    parts = [_sources(summary), unread_text(report.sources), _steps(report.steps)]
    parts += _reasons(summary)
    parts.append(_splits(summary))
    parts.append(
        "\n".join([_trained(summary), *(f"! {escape_control(text)}" for text in summary.warnings)])
    )
    return "\n\n".join(part for part in parts if part)


def build_json(summary: BuildSummary) -> Json:
    """Return the report of a build, for programs."""
    dataset, billable = summary.dataset, None
    if summary.tokens is not None and isinstance(summary.epochs, int):
        billable = summary.tokens["train"] * summary.epochs

    def split(name: SplitName) -> Json:
        counts, tokens = dataset.splits[name], summary.tokens
        return {
            "digest": counts.digest,
            "examples": counts.examples,
            "tokens": None if tokens is None else tokens[name],
        }

    return {
        "name": summary.name,
        "train": split("train"),
        "held_out": split("held_out"),
        "epochs": summary.epochs,
        "billable_tokens": billable,
        "tokens_note": summary.note or None,
        "sources": [source.as_json() for source in dataset.report.sources],
        "steps": [step.as_json() for step in dataset.report.steps],
        "warnings": list(summary.warnings),
        "reasons": str(dataset.report.reasons),
    }


def _sources(summary: BuildSummary) -> str:
    rows = [["SOURCE", "FOR", "ROWS", "DROPPED", "EXAMPLES", "ENCODING", "LICENCE"]]
    rows += [
        [
            one_line(source.path, VALUE_CELLS),
            SPLIT_WORDS[source.split],
            f"{source.rows:,}",
            f"{source.dropped:,}",
            f"{source.examples:,}",
            source.encoding or "-",
            one_line(source.license or "-", VALUE_CELLS),
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
    steps = [step for step in report.steps if step.reasons]
    if not steps:
        return
    each = max(_FEWEST_SHOWN, REASONS_KEPT // len(steps))
    for step in steps:
        shown = [one_line(reason, _REASON_CELLS) for reason in step.reasons[:each]]
        more = step.dropped + step.changed + step.noted - len(shown)
        rest = [f"and {more:,} more"] if more > 0 else []
        yield "\n".join([f"{step.name}: {_effects(step)}", *(f"  {line}" for line in shown + rest)])
    yield f"Every reason: {escape_control(str(report.reasons))}"


def _effects(step: StepReport) -> str:
    counts = {"dropped": step.dropped, "changed": step.changed, "noted": step.noted}
    return ", ".join(f"{count:,} {effect}" for effect, count in counts.items() if count)


def _splits(summary: BuildSummary) -> str:
    rows = [["", "EXAMPLES", "TOKENS", "DIGEST"]]
    for name, split in summary.dataset.splits.items():
        tokens = "-" if summary.tokens is None else f"{summary.tokens[name]:,}"
        digest = split.digest[: len("sha256:") + 12]
        rows.append([SPLIT_WORDS[name], f"{split.examples:,}", tokens, digest])
    return table(rows, right={1, 2})


def _trained(summary: BuildSummary) -> str:
    if summary.tokens is None:
        return f"Tokens were not counted: {escape_control(summary.note)}"
    if not summary.trains:
        return "Nothing is trained."
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
    signs = _signs(difference.total)
    if not signs:
        return f"no example differs{_moved(difference)}"
    splits: dict[SplitName, Counts] = {"train": difference.train, "held_out": difference.held_out}
    parts = [
        f"{_signs(counts)} {SPLIT_WORDS[name]}" for name, counts in splits.items() if _signs(counts)
    ]
    return f"{signs} ({', '.join(parts)}){_moved(difference)}"


def _signs(counts: Counts) -> str:
    signs = {"+": counts.added, "-": counts.removed, "~": counts.changed}
    return " ".join(f"{sign}{count:,}" for sign, count in signs.items() if count)


def _moved(difference: Difference) -> str:
    if not difference.moved:
        return ""
    examples = "example is" if difference.moved == 1 else "examples are"
    return f"; {difference.moved:,} {examples} in the other split"


def difference_text(name: str, against: str, difference: Difference, samples: DiffSamples) -> str:
    """Return the difference of a dataset and an earlier one, for a terminal.

    Args:
        name: The fine-tune.
        against: Name of the earlier dataset: `revision 0123abcd`.
        difference: The counts.
        samples: The first examples of each kind.
    """
    parts = [f"{escape_control(name)} against {escape_control(against)}: {counted(difference)}"]
    kinds = (
        ("+", samples.added, difference.total.added),
        ("-", samples.removed, difference.total.removed),
        ("~", samples.changed, difference.total.changed),
    )
    for sign, examples, count in kinds:
        if examples:
            lines = [line for example in examples for line in _changed(sign, example)]
            more = count - len(examples)
            rest = [f"{sign} and {more:,} more"] if more > 0 else []
            parts.append("\n".join(lines + rest))
    return "\n\n".join(parts)


def difference_json(name: str, against: str, difference: Difference, samples: DiffSamples) -> Json:
    """Return the difference of a dataset and an earlier one, for programs."""

    def as_json(example: ChangedExample) -> Json:
        value: dict[str, Json] = {
            "part": example.split,
            "origin": example.origin,
            "example": json.loads(example.line),
        }
        if example.before is not None:
            value["before"] = json.loads(example.before)
        return value

    return {
        "name": name,
        "against": against,
        **asdict(difference.total),
        "moved": difference.moved,
        "train": asdict(difference.train),
        "held_out": asdict(difference.held_out),
        "examples": {
            "added": [as_json(example) for example in samples.added],
            "removed": [as_json(example) for example in samples.removed],
            "changed": [as_json(example) for example in samples.changed],
        },
    }


def _changed(sign: str, example: ChangedExample) -> Iterator[str]:
    question, answer = gist(example.line)
    origin = one_line(example.origin, VALUE_CELLS)
    yield f"{sign} {origin} ({SPLIT_WORDS[example.split]})"
    yield f"    {question}"
    if example.before is None:
        if answer:
            yield f"    → {answer}"
        return
    _, before = gist(example.before)
    if before == answer:
        yield "    another system prompt, other tools or other marks"
        return
    yield f"    - {before}"
    yield f"    + {answer}"


def gist(line: bytes) -> tuple[str, str]:
    """Return the last question of an example and its answer, each on one line."""
    example = parse(line)
    if example.text is not None:
        return one_line(example.text, VALUE_CELLS), ""
    users = [text_of(message) for message in example.messages if message["role"] == "user"]
    answer = ""
    if is_answered(example):
        calls: Any = example.messages[-1].get("tool_calls") or []
        answer = answer_of(example) or json.dumps(calls, ensure_ascii=False)
    return one_line(users[-1] if users else "", VALUE_CELLS), one_line(answer, VALUE_CELLS)


def outcome_text(outcome: RowOutcome) -> str:
    """Return the outcome of a row, for a terminal."""
    lines, values = [escape_control(str(outcome.origin))], outcome.row.values
    if values is None:
        lines.append(f"  cannot be read: {escape_control(outcome.row.problem)}")
    else:
        keys = {key: one_line(key, _KEY_CELLS) for key in values}
        width = max(map(cell_len, keys.values()), default=0)
        for key, value in values.items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            lines.append(f"  {pad(keys[key], width)}  {one_line(text, VALUE_CELLS)}")
    lines.append("")
    lines += [f"{step}: {escape_control(reason)}" for step, reason in outcome.reasons]
    return "\n".join([*lines, _end(outcome)])


def outcome_json(outcome: RowOutcome) -> Json:
    """Return the outcome of a row, for programs."""
    return {
        "origin": str(outcome.origin),
        "row": outcome.row.values,
        "problem": outcome.row.problem or None,
        "reasons": [{"step": step, "reason": reason} for step, reason in outcome.reasons],
        "places": [{"part": at.split, "number": at.number} for at in outcome.positions],
    }


def _end(outcome: RowOutcome) -> str:
    if outcome.positions:
        first, *others = outcome.positions
        text = f"In {SPLIT_WORDS[first.split]} as example {first.number:,}"
        if others:
            also = (f"{SPLIT_WORDS[at.split]} {at.number:,}" for at in others[:_FEWEST_SHOWN])
            text += f", also as {', '.join(also)}"
        more = len(others) - _FEWEST_SHOWN
        return f"{text} and {more} more." if more > 0 else f"{text}."
    if outcome.reasons:
        return f"Not in the dataset: dropped by {outcome.reasons[-1][0]}."
    return "Not in the dataset."
