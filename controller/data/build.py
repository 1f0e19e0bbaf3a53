"""The walk over all rows: read, convert, prepare, deduplicate, split, write.

In: the sources' files and an empty folder. Out: the dataset's files in that folder, and what to
say of them; or every problem found. Memory: 16 bytes for each example, and bounded buffers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from backends.base import Json
from controller.canonical import canonical_json
from controller.data.example import Example, spell_line, spell_message
from controller.data.files import SourceFile
from controller.data.prepare import (
    check,
    collapse_whitespace,
    collapsed_text,
    normal_text,
    normalise,
    with_system,
)
from controller.data.problems import Problems
from controller.data.report import REASONS_KEPT, PartName, SourceReport, StepReport
from controller.data.seen import Seen
from controller.data.shapes import converter
from controller.data.sources import read_rows
from controller.data.split import Side, by_fraction
from controller.data.unusable import Unusable
from controller.data.writer import Writer, Written
from controller.errors import InvalidInput, Problem
from controller.spec.data import Data, Fraction, Source

MIN_TRAIN = 10
"""The hosted service refuses fewer, and a model learns nothing from them anywhere."""

REASONS = "reasons.txt"
"""Name of the file with every reason."""

CountTokens = Callable[[Mapping[str, Json]], int]

_LINE_BITS = 32
_ENCODINGS = {"utf-8-sig": "UTF-8", "utf-16": "UTF-16", "cp949": "CP949"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A source of the spec whose file was found."""

    part: PartName
    field: str
    """Where it stands in the spec: `data.train[0]`."""
    source: Source
    file: SourceFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What `build` left in its folder."""

    files: dict[str, Written]
    """`train.jsonl`, `train.origins`, `held_out.jsonl`, `held_out.origins` and `reasons.txt`."""
    tokens: dict[PartName, int] | None
    sources: tuple[SourceReport, ...]
    steps: tuple[StepReport, ...]


def build(
    data: Data,
    given: list[Given],
    *,
    file: str,
    folder: Path,
    count_tokens: CountTokens | None,
    method: str = "supervised",
) -> Built:
    """Write a dataset's files into an empty folder.

    Args:
        data: The section of the spec.
        given: Its sources, in the spec's order.
        file: The spec, as shown in errors.
        folder: Empty, and only ours.
        count_tokens: Counts an example's tokens; needed for `max_tokens`.
        method: What is learned from: answers, preference pairs, or prompts that are graded.

    Raises:
        InvalidInput: With every problem of every source.
    """
    with _Walk(data, given, folder, count_tokens, method) as walk:
        # The held-out examples are remembered first: where both lists have one, training loses it.
        for number, one in sorted(enumerate(given), key=lambda item: item[1].part != "held_out"):
            walk.feed(number, one, file)
        problems = walk.problems or _too_few(walk, file)
        if problems:
            raise InvalidInput(problems)
        return walk.finish()


def _too_few(walk: "_Walk", file: str) -> list[Problem]:
    train, held_out = walk.count("train"), walk.count("held_out")
    dropped = sum(step.dropped for step in walk.steps)
    besides = f" ({held_out} held out, {dropped} dropped)" if held_out or dropped else ""
    problems = []
    if train < MIN_TRAIN:
        problems.append(
            Problem(
                file=file,
                field="data.train",
                message=f"has {train} example{'s'[: train != 1]}{besides};"
                f" at least {MIN_TRAIN} are needed",
                remedy="Add rows, or another source.",
            )
        )
    if not held_out:
        fraction = isinstance(walk.data.held_out, Fraction)
        problems.append(
            Problem(
                file=file,
                field="data.held_out",
                message=f"has no example ({train} to train on, {dropped} dropped)",
                remedy="Raise the fraction: held_out: {fraction: 0.2}, or add rows."
                if fraction
                else "Add rows, or another source.",
            )
        )
    return problems


@dataclass(slots=True, kw_only=True)
class _Step:
    """Counts of one step, while they grow."""

    name: str
    dropped: int = 0
    changed: int = 0
    reasons: list[str] = field(default_factory=list)


class _Walk:
    """The dataset as it grows: open files, what was seen, what was noted."""

    def __init__(
        self,
        data: Data,
        given: list[Given],
        folder: Path,
        count_tokens: CountTokens | None,
        method: str,
    ) -> None:
        self.data = data
        self._method = method
        self.problems: list[Problem] = []
        self.normalise = _Step(name="normalise")
        self.collapse = _Step(name="collapse_whitespace")
        self.system = _Step(name="system")
        self.deduplicate = _Step(name="deduplicate")
        self.max_tokens = _Step(name="max_tokens")
        self._given = given
        self._count_tokens = count_tokens
        self._system = None if data.system is None else normal_text(data.system)
        if self._system is not None and data.prepare.collapse_whitespace:
            self._system = collapsed_text(self._system)
        self._tokens: dict[PartName, int] = {"train": 0, "held_out": 0}
        self._sources: list[SourceReport] = []
        self._seen = Seen() if data.prepare.deduplicate == "exact" else None
        self._side: Side | None = None
        if isinstance(data.held_out, Fraction):
            self._side = by_fraction(data.held_out.fraction, data.held_out.seed)
        self._lines: dict[PartName, Writer] = {
            "train": Writer(folder / "train.jsonl"),
            "held_out": Writer(folder / "held_out.jsonl"),
        }
        self._origins: dict[PartName, Writer] = {
            "train": Writer(folder / "train.origins"),
            "held_out": Writer(folder / "held_out.origins"),
        }
        self._reasons = Writer(folder / REASONS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for writer in self._files.values():
            writer.close()

    @property
    def _files(self) -> dict[str, Writer]:
        files = {f"{part}.jsonl": writer for part, writer in self._lines.items()}
        files |= {f"{part}.origins": writer for part, writer in self._origins.items()}
        return files | {REASONS: self._reasons}

    @property
    def steps(self) -> list[_Step]:
        """The steps that this spec asks for, in the order in which they are done."""
        prepare = self.data.prepare
        asked = [
            (self.normalise, True),
            (self.collapse, prepare.collapse_whitespace),
            (self.system, self._system is not None),
            (self.deduplicate, self._seen is not None),
            (self.max_tokens, self._count_tokens is not None and prepare.max_tokens is not None),
        ]
        return [step for step, wanted in asked if wanted]

    def count(self, part: PartName) -> int:
        """How many examples a part has."""
        return self._lines[part].lines

    def feed(self, number: int, given: Given, file: str) -> None:
        """Take in every row of one source."""
        convert = converter(given.source.columns, given.source.shape, self._method)
        is_table = given.file.kind in ("csv", "tsv")
        before = self.count("train") + self.count("held_out")
        rows, problems = 0, Problems(given.file.shown)
        line = 0
        for line, row in read_rows(given.file, given.source.limit):
            rows += 1
            try:
                if isinstance(row, Unusable):
                    raise row
                self._take(convert(row), number, line)
            except Unusable as error:
                if error.field and is_table:
                    # Said once, of the spec: it is the same for every row of a table.
                    self.problems.append(_of_spec(file, given, error))
                    break
                problems.add(line, error)
            except (ValueError, RecursionError):
                problems.add(line, _NOT_SPELT)
        if not rows:
            problems.add(None, Unusable("has no rows", "Add rows, or name another file."))
        self.problems += problems.all()
        self._sources.append(
            SourceReport(
                part=given.part,
                path=given.file.shown,
                encoding=_ENCODINGS[given.file.look.encoding],
                rows=rows,
                examples=self.count("train") + self.count("held_out") - before,
            )
        )

    def finish(self) -> Built:
        """Close the books: every file on the disk, every step's numbers."""
        examples = self.count("train") + self.count("held_out")
        reports: list[StepReport] = []
        kept = examples + sum(step.dropped for step in self.steps)
        for step in self.steps:
            kept -= step.dropped
            reports.append(
                StepReport(
                    name=step.name,
                    kept=kept,
                    dropped=step.dropped,
                    changed=step.changed,
                    reasons=tuple(step.reasons),
                )
            )
        return Built(
            files={name: writer.finish() for name, writer in self._files.items()},
            tokens=None if self._count_tokens is None else self._tokens,
            sources=tuple(sorted(self._sources, key=lambda source: source.part == "held_out")),
            steps=tuple(reports),
        )

    def _take(self, example: Example, number: int, line: int) -> None:
        """Prepare one example and write it to its side, or note why not."""
        example = self._prepared(example, number, line)
        check(example)
        spelt = [spell_message(message) for message in example.messages]
        if example.is_plain:
            text = spell_line(spelt, example.tools)
        else:
            text = canonical_json(example.as_json()) + b"\n"
        part = self._given[number].part
        # The side follows from what is asked; a prompt for reinforcement has no answer to leave out.
        asked = example.messages if example.graded is None else [*example.messages, {}]
        if self._side is not None and self._side(asked, spelt):
            part = "held_out"
        if self._seen is not None:
            first = self._seen.add(text, number << _LINE_BITS | line)
            if first is not None:
                self.deduplicate.dropped += 1
                self._note(
                    self.deduplicate, number, line, f"the same as {self._where(first, part)}"
                )
                return
        if self._count_tokens is not None:
            tokens = self._count_tokens(example.as_json())
            if self._is_too_long(tokens, number, line):
                return
            self._tokens[part] += tokens
        self._lines[part].add(text)
        self._origins[part].add(f"{self._given[number].file.shown}:{line}\n".encode())

    def _prepared(self, example: Example, number: int, line: int) -> Example:
        new = normalise(example)
        if new is not example:
            self.normalise.changed += 1
            self._note(self.normalise, number, line, "spelt in Unicode NFC with \\n as line end")
        if self.data.prepare.collapse_whitespace:
            example, new = new, collapse_whitespace(new)
            if new is not example:
                self.collapse.changed += 1
                self._note(self.collapse, number, line, "blanks taken away")
        if self._system is not None:
            example, new = new, with_system(new, self._system)
            self.system.changed += new is not example
        return new

    def _is_too_long(self, tokens: int, number: int, line: int) -> bool:
        most = self.data.prepare.max_tokens
        if most is None or tokens <= most:
            return False
        if self.data.prepare.over_length == "error":
            raise Unusable(
                f"{tokens} tokens; at most {most} are allowed",
                "Shorten it, raise data.prepare.max_tokens, or set over_length: drop",
            )
        self.max_tokens.dropped += 1
        self._note(self.max_tokens, number, line, f"{tokens} tokens, more than {most}")
        return True

    def _where(self, place: int, part: PartName) -> str:
        first = self._given[place >> _LINE_BITS]
        line = place & (1 << _LINE_BITS) - 1
        # With a fraction, equal examples are on the same side.
        other = first.part != part and self._side is None
        return f"{'the held-out ' if other else ''}{first.file.shown}:{line}"

    def _note(self, step: _Step, number: int, line: int, reason: str) -> None:
        place = f"{self._given[number].file.shown}:{line}"
        if len(step.reasons) < REASONS_KEPT:
            step.reasons.append(f"{place}: {reason}")
        self._reasons.add(f"{place}: {step.name}: {reason}\n".encode())


_NOT_SPELT = Unusable(
    "a number is not finite, or a value is nested too deeply", "Write a plain value in its place."
)


def _of_spec(file: str, given: Given, error: Unusable) -> Problem:
    return Problem(
        file=file,
        field=f"{given.field}.{error.field}",
        message=f"{given.file.shown}: {error.message}",
        remedy=error.remedy,
    )
