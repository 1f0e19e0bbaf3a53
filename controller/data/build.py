"""Build a dataset: read all rows, prepare them, select examples, write the splits.

In: the sources' files and an empty folder. Out: the dataset's files in that folder and a report, or
every problem found. Rows are prepared on all cores, and examples are on the disk until the
selection, so that memory does not grow with them.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from backends.contract.inspector import Json
from backends.contract.methods import METHODS
from controller.data.cache import Manifest
from controller.data.errors import DataError
from controller.data.pipeline.batches import read_batches
from controller.data.pipeline.build_request import REASONS, BuildRequest
from controller.data.pipeline.held_out_columns import (
    COLUMNS,
    ColumnsWriter,
    ColumnTally,
    may_be_held_out,
    refuse_columns,
    remarks_on_personal_data,
)
from controller.data.pipeline.prepare_rows import RowPreparation
from controller.data.pipeline.problems import Problems
from controller.data.pipeline.process_pool import MapOrdered, is_worthwhile, process_pool
from controller.data.pipeline.report_builder import ReportBuilder
from controller.data.pipeline.row_conditions import refuse_unknown, remarks
from controller.data.pipeline.write_splits import WrittenSplits, write_splits
from controller.data.report import Effect, SourceReport, StepName
from controller.data.select.misses import LeakedMiss, leaked_misses, numbers_of
from controller.data.select.select import select_examples
from controller.data.sources.source_file import SourceFile
from controller.data.storage.example_store import ExampleStore
from controller.errors import InvalidInput, Problem

_ENCODINGS = {"utf-8-sig": "UTF-8", "utf-16": "UTF-16", "cp949": "CP949"}


def build(request: BuildRequest, files: Sequence[SourceFile], folder: Path) -> Manifest | None:
    """Write a dataset's files into an empty folder, and return its manifest.

    Returns:
        None if a file whose beginning is UTF-8 has a line that is not: its encoding must be
        detected again.

    Raises:
        InvalidInput: With every problem of every source.
    """
    data, labels = request.data, [file.label for file in files]
    scratch = folder / "scratch"
    with (
        closing(ExampleStore(scratch)) as store,
        closing(ReportBuilder(folder / REASONS, labels)) as report,
    ):
        reading = _Reading(request, files, store, report)
        problems = reading.run()
        if reading.is_misdecoded:
            return None
        if problems:
            raise InvalidInput(problems)
        splits = _select(request, files, store, report, reading.misses)
        written, columns = _write(request, files, store, splits, report, folder)
        reasons = report.finish()
    if scratch.exists():
        shutil.rmtree(scratch)
    counted = request.inspector is not None and data.prepare.max_tokens is not None
    written_files = {**written.files, REASONS: reasons}
    of_columns: Manifest = {} if columns is None else {"columns": dict(columns)}
    return {
        **of_columns,
        "files": {name: file.as_json() for name, file in written_files.items()},
        "tokens": dict[str, Json](written.tokens.items()) if counted else None,
        "sources": [
            source.as_json() for source in _source_reports(request, files, report, written)
        ],
        "features": sorted(report.features),
        "steps": [step.as_json() for step in report.steps(data)],
        "recipe_matters": report.recipe_matters,
    }


class _Reading:
    """Reads and prepares every row of every source."""

    def __init__(
        self,
        request: BuildRequest,
        files: Sequence[SourceFile],
        store: ExampleStore,
        report: ReportBuilder,
    ) -> None:
        self._request = request
        self._files = files
        self._store = store
        self._report = report
        self._conditions = [RowPreparation(request=request, file=file).conditions for file in files]
        self.is_misdecoded = False
        """True if a file whose beginning is UTF-8 has a line that is not."""
        self.misses: list[tuple[int, int]] = []
        """Source and line of each row that comes from a file of misses."""
        self._columns = [ColumnTally() for _ in files]

    def run(self) -> list[Problem]:
        """Put the examples into the store; return the problems."""
        size = sum(file.path.stat().st_size for file in self._files)
        if is_worthwhile(size):
            self._store.share()
        problems: list[Problem] = []
        with process_pool(size) as map_ordered:
            for number in range(len(self._files)):
                problems += self._read(number, map_ordered)
        return [*problems, *self._check_conditions(), *self._check_columns()]

    def _read(self, number: int, map_ordered: MapOrdered) -> Iterator[Problem]:
        file, conditions = self._files[number], self._conditions[number]
        problems = Problems(file.label)
        limit = self._rest_of_limit(number)
        try:
            preparation = RowPreparation(
                request=self._request, file=file, lines_folder=self._store.shared
            )
            batches = read_batches(file, limit, conditions)
            for result in map_ordered(preparation, batches):
                self._report.add_batch(number, result)
                if result.tally is not None:
                    conditions.tally.add(result.tally)
                if result.columns is not None:
                    self._columns[number].add(result.columns)
                self.misses += [(number, line) for line in result.misses]
                for block in result.blocks:
                    self._store.add(number, block)
                problems.add_batch(result)
                self.is_misdecoded |= result.is_misdecoded and not file.info.decoded
                if result.source_error is not None:
                    raise result.source_error
        except DataError as error:
            yield _problem_of_spec(self._request.file, file, error)
        else:
            if not self._report.sources[number].rows and limit != 0:
                problems.add(None, DataError("has no rows", "Add rows, or name another file."))
        yield from problems.all()

    def _rest_of_limit(self, number: int) -> int | None:
        """Return how many rows a file may still give of its source's limit, None without one."""
        file = self._files[number]
        if file.source.limit is None:
            return None
        earlier = (at for at in range(number) if self._files[at].field == file.field)
        read = sum(self._report.sources[at].rows for at in earlier)
        return max(file.source.limit - read, 0)

    def _check_conditions(self) -> Iterator[Problem]:
        """Report doubtful encodings, and the number of rows without a value for a condition.

        A condition without a value in any row is a problem.
        """
        for number, file in enumerate(self._files):
            if file.info.doubt:
                self._report.add((number, 1), "read", "noted", file.info.doubt)
        for field in dict.fromkeys(file.field for file in self._files if file.source.where):
            numbers = [at for at, file in enumerate(self._files) if file.field == field]
            first = self._files[numbers[0]]
            whole = self._conditions[numbers[0]].new_tally()
            for number in numbers:
                tally = self._conditions[number].tally
                whole.add(tally)
                for line, remark in remarks(first.source.where, tally):
                    self._report.add((number, line), "where", "noted", remark)
            limit = first.source.limit
            if limit is not None and sum(self._report.sources[at].rows for at in numbers) >= limit:
                # The rows that were not read may have the missing keys.
                continue
            try:
                refuse_unknown(first.source.where, whole)
            except DataError as error:
                yield _problem_of_spec(self._request.file, first, error)

    def _check_columns(self) -> Iterator[Problem]:
        """Report personal data in the wanted columns; yield a problem for an unusable column."""
        request, columns = self._request, self._request.columns
        numbers = [at for at, file in enumerate(self._files) if may_be_held_out(file, request.data)]
        tallies = [self._columns[at] for at in numbers]
        for error in refuse_columns(columns, [self._files[at] for at in numbers], tallies):
            yield error.problem(file=request.file)
        for remark in remarks_on_personal_data(tallies):
            self._report.add((numbers[0], 1), "columns", "noted", remark)


def _select(
    request: BuildRequest,
    files: Sequence[SourceFile],
    store: ExampleStore,
    report: ReportBuilder,
    misses: Sequence[tuple[int, int]],
) -> bytearray:
    trained = set(numbers_of(store, misses))

    def note(number: int, step: StepName, effect: Effect, reason: str) -> None:
        report.add(store.origin(number), step, effect, reason)
        if step == "sample":
            trained.discard(number)

    try:
        splits = select_examples(store, request.data, files, note, request.recipe)
        leaked = list(leaked_misses(store, splits, trained, request.data.prepare.similarity))
    except DataError as error:
        field = f"data.{error.field or 'train'}"
        raise InvalidInput([error.problem(file=request.file, field=field)]) from None
    if leaked:
        raise InvalidInput(list(_problems_of_misses(files, store, leaked)))
    return splits


def _problems_of_misses(
    files: Sequence[SourceFile], store: ExampleStore, leaked: Sequence[LeakedMiss]
) -> Iterator[Problem]:
    by_source: dict[int, Problems] = {}
    for miss in leaked:
        source, line = store.origin(miss.number)
        of, held_out = store.origin(miss.held_out)
        place = files[of].label.of_row(held_out)
        problems = by_source.setdefault(source, Problems(files[source].label))
        error = DataError(
            f"a miss that asks what the held-out {place} asks: the model would be graded on what "
            "it learned",
            "Write another example of what the model should learn, or remove the row here or there.",
        )
        problems.add(line, error)
    for problems in by_source.values():
        yield from problems.all()


def _write(
    request: BuildRequest,
    files: Sequence[SourceFile],
    store: ExampleStore,
    splits: bytearray,
    report: ReportBuilder,
    folder: Path,
) -> tuple[WrittenSplits, dict[str, str] | None]:
    """Write the splits; return their files, and a digest of each wanted column's values.

    Raises:
        InvalidInput: A split has too few examples, or is too large.
    """
    with ExitStack() as stack:
        columns: ColumnsWriter | None = None
        if request.columns:
            columns = ColumnsWriter(folder / COLUMNS, request.columns)
            stack.enter_context(closing(columns))
        written = write_splits(
            store,
            splits,
            labels=[file.label for file in files],
            weights=[file.source.weight for file in files],
            to=folder,
            columns=columns,
        )
        problems = [
            error.problem(file=request.file, field=error.field)
            for error in (
                *_too_few(request, written, report),
                *_too_large(request, written),
                *_one_sided(request, folder / "train.jsonl"),
            )
            if request.trains
        ]
        if problems:
            raise InvalidInput(problems)
        if columns is None:
            return written, None
        written.files[COLUMNS] = columns.finish()
        for origin, remark in columns.remarks():
            report.add(origin, "columns", "noted", remark)
        return written, columns.digests


def _source_reports(
    request: BuildRequest,
    files: Sequence[SourceFile],
    report: ReportBuilder,
    written: WrittenSplits,
) -> Iterator[SourceReport]:
    for number, file in enumerate(files):
        counts, encoding = report.sources[number], file.info.encoding
        yield SourceReport(
            split=file.split,
            path=file.display_path,
            encoding=_ENCODINGS.get(encoding, encoding),
            license=file.source.license or request.data.license,
            rows=counts.rows,
            dropped=counts.dropped,
            unread=_by_frequency(counts.unread),
            undefined=_by_frequency(counts.undefined),
            examples=written.examples[number],
        )


def _by_frequency(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _too_few(
    request: BuildRequest, written: WrittenSplits, report: ReportBuilder
) -> Iterator[DataError]:
    train = written.files["train.jsonl"].lines
    held_out = written.files["held_out.jsonl"].lines
    dropped = report.dropped_by()
    besides = f" ({held_out} held out, {dropped})" if held_out or report.totals().dropped else ""
    method = METHODS[request.method]
    least = method.min_examples
    if request.inspector is not None and method.trains:
        least = max(least, request.inspector.limits.min_examples)
    if method.is_of_texts:
        more = "Add texts, or make more of one: chunk: paragraph, or chunk: 4000 (characters)."
    else:
        more = "Add rows, or another source."
    if train < least:
        yield DataError(
            f"has {train} example{'s'[: train != 1]}{besides}; at least {least} are needed",
            more,
            field="data.train",
        )
    if not held_out and (method.trains or request.data.held_out):
        if request.data.fraction is not None and not method.is_of_texts:
            more = "Raise the fraction: held_out: {fraction: 0.2}, or add rows."
        yield DataError(
            f"has no example ({train} to train on, {dropped})", more, field="data.held_out"
        )


def _too_large(request: BuildRequest, written: WrittenSplits) -> Iterator[DataError]:
    if request.inspector is None or not METHODS[request.method].trains:
        return
    limits = request.inspector.limits
    for name, max_examples in (("train", limits.max_examples), ("held_out", limits.max_held_out)):
        file, field = written.files[f"{name}.jsonl"], f"data.{name}"
        if max_examples is not None and file.lines > max_examples:
            yield DataError(
                f"has {file.lines:,} examples; at most {max_examples:,} are accepted",
                f"Take a part of it: sample: {{examples: {max_examples}}}",
                field=field,
            )
        if limits.max_bytes is not None and file.size > limits.max_bytes:
            yield DataError(
                f"is {file.size:,} bytes; at most {limits.max_bytes:,} can be uploaded",
                "Take a part of it: sample: {fraction: 0.5}",
                field=field,
            )


def _one_sided(request: BuildRequest, train: Path) -> Iterator[DataError]:
    """Yield that a method needs good and bad answers, and the training set has only one kind."""
    if not METHODS[request.method].needs_both_marks:
        return
    with train.open("rb") as file:
        marks = Counter(json.loads(line)["label"] for line in file)
    if len(marks) != 1:
        return
    ((is_good, count),) = marks.items()
    have, lack = ("good", "bad") if is_good else ("bad", "good")
    remedy = f"Add rows whose label is {'false' if is_good else 'true'}"
    if is_good:
        remedy += ", or set `method: supervised`, which learns from good answers alone"
    yield DataError(
        f"has {count:,} {have} answer{'s'[: count != 1]} and no {lack} one; "
        f"{request.method} learns from both",
        f"{remedy}.",
        field="data.train",
    )


def _problem_of_spec(spec: str, file: SourceFile, error: DataError) -> Problem:
    return Problem(
        file=spec,
        field=f"{file.field}.{error.field}" if error.field else file.field,
        message=f"{file.display_path}: {error.message}",
        remedy=error.remedy,
    )
