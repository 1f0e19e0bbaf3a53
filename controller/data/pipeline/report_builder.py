"""The report while it grows: counts of all steps, and every reason in a file."""

from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from backends.contract.inspector import Feature
from controller.data.pipeline.batch_result import BatchResult, RowCounts
from controller.data.report import REASONS_KEPT, STEPS, Effect, StepName, StepReport
from controller.data.sources.source_file import SourceLabel
from controller.data.storage.hashing_writer import HashingWriter, WrittenFile
from controller.spec.data import Data


class ReportBuilder:
    """Counts and reasons of all steps."""

    def __init__(self, reasons: Path, labels: Sequence[SourceLabel]) -> None:
        """Open the file of reasons.

        Args:
            reasons: File for every reason.
            labels: Label of each source's file.
        """
        self._labels = labels
        self._writer = HashingWriter(reasons)
        self.sources = [RowCounts() for _ in labels]
        self.features: set[Feature] = set()
        self.recipe_matters = False
        self._first: dict[StepName, list[tuple[int, int, str]]] = {}

    def close(self) -> None:
        """Close the file of reasons."""
        self._writer.close()

    def finish(self) -> WrittenFile:
        """Complete the file of reasons."""
        return self._writer.finish()

    def add_batch(self, source: int, result: BatchResult) -> None:
        """Add the result of a batch of the source with a number."""
        self.sources[source].add(result)
        self.recipe_matters |= result.recipe_matters
        for block in result.blocks:
            self.features |= block.features
        for note in result.notes:
            self._write(source, note.line, note.step, note.reason)

    def add(self, origin: tuple[int, int], step: StepName, effect: Effect, reason: str) -> None:
        """Add what a step did to the example of a source and line."""
        self.sources[origin[0]].counts[step, effect] += 1
        self._write(*origin, step, reason)

    def totals(self) -> RowCounts:
        """Return the counts of all sources."""
        totals = RowCounts()
        for source in self.sources:
            totals.add(source)
        return totals

    def dropped_by(self) -> str:
        """Return the number of rows that are not in the dataset, and why: `12 dropped by near`."""
        totals = self.totals()
        steps = ", ".join(name for name in STEPS if totals.counts[name, "dropped"])
        why = ""
        # If all rows were set aside, the user must see the reasons.
        for source, line, reason in self._first.get("unusable", ())[:1]:
            why = f"; the first is {self._label(source, line)}: {reason}"
        return f"{totals.dropped} dropped{' by ' if steps else ''}{steps}{why}"

    def steps(self, data: Data) -> Iterator[StepReport]:
        """Yield the report of each step that the spec asks for or that had an effect, in order."""
        totals, requested = self.totals(), _requested(data)
        kept = totals.rows
        for name in STEPS:
            dropped, changed, noted = (
                totals.counts[name, effect] for effect in ("dropped", "changed", "noted")
            )
            kept -= dropped
            if name in requested or dropped or changed or noted:
                reasons = (
                    f"{self._label(source, line)}: {reason}"
                    for source, line, reason in self._first.get(name, ())
                )
                yield StepReport(
                    name=name,
                    kept=kept,
                    dropped=dropped,
                    changed=changed,
                    noted=noted,
                    reasons=tuple(reasons),
                )

    def _label(self, source: int, line: int) -> str:
        return self._labels[source].of_row(line)

    def _write(self, source: int, line: int, step: StepName, reason: str) -> None:
        self._writer.add(f"{self._label(source, line)}: {step}: {reason}\n".encode())
        first = self._first.setdefault(step, [])
        if len(first) < REASONS_KEPT or (source, line) < first[-1][:2]:
            insort(first, (source, line, reason))
            del first[REASONS_KEPT:]


def _requested(data: Data) -> set[StepName]:
    prepare, fraction, sources = data.prepare, data.fraction, data.sources
    requested: Mapping[StepName, bool] = {
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
    return {name for name, is_requested in requested.items() if is_requested}
