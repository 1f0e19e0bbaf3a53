"""The report while it grows: what every step did, to how many, and every reason in a file."""

from bisect import insort
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from backends.contract.inspector import Feature
from controller.data.pipeline.batch_result import BatchResult
from controller.data.report import (
    REASONS_KEPT,
    STEPS,
    Effect,
    StepName,
    StepReport,
)
from controller.data.sources.source_file import SourceLabel
from controller.data.storage.hashing_writer import HashingWriter, WrittenFile
from controller.spec.data import Data, Fraction

_ENCODINGS = {"utf-8-sig": "UTF-8", "utf-16": "UTF-16", "cp949": "CP949"}


class ReportBuilder:
    """Counts and reasons of all steps."""

    def __init__(self, reasons: Path, labels: Sequence[SourceLabel]) -> None:
        """Open the file of reasons.

        Args:
            reasons: File for every reason.
            labels: Each source's file.
        """
        self._labels = labels
        self._writer = HashingWriter(reasons)
        self._counts: Counter[tuple[StepName, Effect]] = Counter()
        self._rows = Counter[int]()
        self._dropped = Counter[int]()
        self._unread: dict[int, Counter[str]] = {}
        self._undefined: dict[int, Counter[str]] = {}
        self.features: set[Feature] = set()
        self.recipe_matters = False
        self._first: dict[StepName, list[tuple[int, int, str]]] = {}

    def close(self) -> None:
        """Close the file of reasons."""
        self._writer.close()

    def finish(self) -> WrittenFile:
        """Force the reasons to the disk."""
        return self._writer.finish()

    def take(self, source: int, prepared: BatchResult) -> None:
        """Note what became of a batch."""
        self._rows[source] += prepared.rows
        self._counts += prepared.counts
        self._dropped[source] += sum(
            count for (_, effect), count in prepared.counts.items() if effect == "dropped"
        )
        self.recipe_matters |= prepared.recipe_matters
        if prepared.unread:
            self._unread.setdefault(source, Counter()).update(prepared.unread)
        if prepared.undefined:
            self._undefined.setdefault(source, Counter()).update(prepared.undefined)
        for block in prepared.blocks:
            self.features |= block.features
        for note in prepared.notes:
            self._write(source, note.line, note.step, note.reason)

    def note(self, place: tuple[int, int], step: StepName, effect: Effect, reason: str) -> None:
        """Note what happened to one example of a source and line."""
        self._counts[step, effect] += 1
        self._dropped[place[0]] += effect == "dropped"
        self._write(*place, step, reason)

    def place(self, source: int, line: int) -> str:
        """Return how a line of a source is called."""
        return self._labels[source].of_row(line)

    def rows(self, source: int) -> int:
        """Return how many rows of a source were read."""
        return self._rows[source]

    @property
    def dropped(self) -> int:
        """How many rows are not in the dataset."""
        return self._dropped.total()

    def dropped_by(self) -> str:
        """Return how many rows are not in the dataset, and why: `12 dropped by max_tokens`."""
        steps = ", ".join(name for name in STEPS if self._counts[name, "dropped"])
        why = ""
        # If all rows were set aside, the user must see the reasons.
        for source, line, reason in self._first.get("unusable", ())[:1]:
            why = f"; the first is {self.place(source, line)}: {reason}"
        return f"{self.dropped} dropped{' by ' if steps else ''}{steps}{why}"

    def dropped_of(self, source: int) -> int:
        """Return how many rows of a source are not in the dataset."""
        return self._dropped[source]

    def unread_of(self, source: int) -> dict[str, int]:
        """Return the number of rows of a source by unread key, the most frequent first."""
        return _most_first(self._unread.get(source))

    def undefined_of(self, source: int) -> dict[str, int]:
        """Return the number of rows of a source by undefined function, the most frequent first."""
        return _most_first(self._undefined.get(source))

    def steps(self, data: Data) -> Iterator[StepReport]:
        """Yield the report of each step that a spec asks for, in order."""
        kept, asked = self._rows.total(), _asked(data)
        for name in STEPS:
            dropped = self._counts[name, "dropped"]
            kept -= dropped
            noticed = self._counts[name, "changed"] or self._counts[name, "noted"]
            if name in asked or dropped or noticed:
                yield StepReport(
                    name=name,
                    kept=kept,
                    dropped=dropped,
                    changed=self._counts[name, "changed"],
                    noted=self._counts[name, "noted"],
                    reasons=tuple(
                        f"{self.place(source, line)}: {reason}"
                        for source, line, reason in self._first.get(name, ())
                    ),
                )

    def _write(self, source: int, line: int, step: StepName, reason: str) -> None:
        self._writer.add(f"{self.place(source, line)}: {step}: {reason}\n".encode())
        first = self._first.setdefault(step, [])
        if len(first) < REASONS_KEPT or (source, line) < first[-1][:2]:
            insort(first, (source, line, reason))
            del first[REASONS_KEPT:]


def _most_first(counts: Counter[str] | None) -> dict[str, int]:
    return dict(sorted((counts or {}).items(), key=lambda one: (-one[1], one[0])))


def _asked(data: Data) -> set[StepName]:
    prepare, sources = data.prepare, data.train
    fraction = data.held_out if isinstance(data.held_out, Fraction) else None
    if not isinstance(data.held_out, Fraction):
        sources = [*sources, *data.held_out]
    asked: Mapping[StepName, bool] = {
        "normalise": True,
        "where": any(source.where and source.limit is None for source in sources),
        "strip_end": any(source.strip_end for source in sources),
        "strip_html": prepare.strip_html,
        "collapse_whitespace": prepare.collapse_whitespace,
        "drop_empty": prepare.drop_empty,
        "unusable": any(source.unusable == "drop" for source in sources),
        "pii": prepare.pii != "off",
        "system": data.system is not None,
        "max_tokens": prepare.max_tokens is not None,
        "deduplicate": prepare.deduplicate != "off",
        "near": prepare.deduplicate == "near",
        "sample": any(source.sample for source in sources),
        "weight": any(source.weight < 1 for source in sources),
        "leak": fraction is None or bool(fraction.group_by or fraction.stratify_by),
    }
    return {name for name, wanted in asked.items() if wanted}
