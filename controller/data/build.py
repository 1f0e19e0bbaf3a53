"""The walk over all rows: read, prepare, decide, write.

In: the sources' files and an empty folder. Out: the dataset's files in that folder, and what to
say of them; or every problem found. Many rows are prepared on all cores and lie on the disk until
it is decided which stay, so that memory does not grow with them.
"""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from backends.contract.inspector import Limits
from backends.contract.methods import METHODS
from controller.data.errors import DataError
from controller.data.pipeline.batches import read_batches
from controller.data.pipeline.build_request import REASONS, BuildRequest, BuildResult
from controller.data.pipeline.prepare_rows import RowPreparation
from controller.data.pipeline.problems import Problems
from controller.data.pipeline.process_pool import MapOrdered, is_worthwhile, process_pool
from controller.data.pipeline.report_builder import ReportBuilder
from controller.data.pipeline.row_conditions import Conditions, refuse_unknown, remarks
from controller.data.pipeline.write_splits import WrittenSplits, write_splits
from controller.data.report import Effect, SourceReport, StepName
from controller.data.resolve_sources import ResolvedFile
from controller.data.select.select import SourceSelection, columns_for, select_examples
from controller.data.storage.columns import HELD_OUT, TRAIN
from controller.data.storage.example_store import ExampleStore
from controller.data.transforms.normalise import collapsed_text, normal_text
from controller.errors import InvalidInput, Problem
from controller.spec.data import Fraction

MIN_TRAIN = 10
"""A model learns nothing from fewer conversations, and the hosted service refuses them."""


_ENCODINGS = {"utf-8-sig": "UTF-8", "utf-16": "UTF-16", "cp949": "CP949"}


def build(request: BuildRequest, given: list[ResolvedFile], folder: Path) -> BuildResult:
    """Write a dataset's files into an empty folder.

    Args:
        request: What is to be built.
        given: The files of its sources, in the spec's order.
        folder: Empty, and only ours.

    Raises:
        InvalidInput: With every problem of every source.
    """
    data, labels = request.data, [one.file.label for one in given]
    conditions = [_conditions(request, one) for one in given]
    spooled = folder / "spool"
    with (
        closing(ExampleStore(spooled)) as store,
        closing(ReportBuilder(folder / REASONS, labels)) as report,
    ):
        size = sum(one.file.path.stat().st_size for one in given)
        if is_worthwhile(size):
            store.share()
        with process_pool(size) as run:
            problems = list(_prepare(request, given, conditions, store, report, run))
        problems += _of_reading(request, given, conditions, report)
        if problems:
            raise InvalidInput(problems)
        splits = _decided(request, given, store, report)
        weights = [one.source.weight for one in given]
        parts = write_splits(store, splits, labels=labels, weights=weights, to=folder)
        problems = [*_too_few(request, parts, report), *_too_large(request, parts)]
        if problems:
            raise InvalidInput(problems)
        reasons = report.finish()
    if spooled.exists():
        shutil.rmtree(spooled)
    counted = request.inspector is not None and data.prepare.max_tokens is not None
    return BuildResult(
        files={**parts.files, REASONS: reasons},
        tokens=parts.tokens if counted else None,
        sources=tuple(
            _report(request, number, one, report, parts) for number, one in enumerate(given)
        ),
        features=tuple(sorted(report.features)),
        steps=tuple(report.steps(data)),
        recipe_matters=report.recipe_matters,
    )


def _decided(
    request: BuildRequest, given: list[ResolvedFile], store: ExampleStore, report: ReportBuilder
) -> bytearray:
    files = [
        SourceSelection(part=one.part, field=one.field, label=one.file.label, source=one.source)
        for one in given
    ]

    def note(number: int, step: StepName, effect: Effect, reason: str) -> None:
        report.note(store.place(number), step, effect, reason)

    try:
        return select_examples(store, request.data, files, note, request.recipe)
    except DataError as error:
        field = f"data.{error.field}"
        raise InvalidInput([error.problem(file=request.file, field=field)]) from None


def _prepare(
    request: BuildRequest,
    given: list[ResolvedFile],
    conditions: list[Conditions],
    store: ExampleStore,
    report: ReportBuilder,
    run: MapOrdered,
) -> Iterator[Problem]:
    """Prepare every row of every source into the spool; yield what is wrong with them."""
    for number, one in enumerate(given):
        problems = Problems(one.file.label)
        try:
            preparation = _preparation(request, one, store.shared)
            limit = _rest_of_limit(given, number, report)
            chosen = conditions[number]
            for prepared in run(preparation, read_batches(one.file, limit, chosen)):
                report.take(number, prepared)
                chosen.add(prepared.tally)
                for block in prepared.blocks:
                    store.add(number, block)
                for line, error in prepared.problems:
                    problems.add(line, error)
                problems.add_alike(prepared.unlisted)
                if prepared.source_error is not None:
                    raise prepared.source_error
        except DataError as error:
            yield _of_spec(request.file, one, error)
        else:
            if not report.rows(number) and limit != 0:
                problems.add(None, DataError("has no rows", "Add rows, or name another file."))
        yield from problems.all()


def _conditions(request: BuildRequest, one: ResolvedFile) -> Conditions:
    return Conditions(
        one.source.where, file_format=one.file.format, is_table=one.is_table, recipe=request.recipe
    )


def _of_reading(
    request: BuildRequest,
    given: list[ResolvedFile],
    conditions: list[Conditions],
    report: ReportBuilder,
) -> Iterator[Problem]:
    """Report doubtful encodings, and the number of rows without a value for a condition.

    A condition without a value in any row is a problem.
    """
    for number, one in enumerate(given):
        if one.file.info.doubt:
            report.note((number, 1), "read", "noted", one.file.info.doubt)
    for field in dict.fromkeys(one.field for one in given if one.source.where):
        numbers = [at for at, one in enumerate(given) if one.field == field]
        first = given[numbers[0]]
        whole = conditions[numbers[0]].new_tally()
        for number in numbers:
            tally = conditions[number].tally
            whole.add(tally)
            for line, remark in remarks(first.source.where, tally):
                report.note((number, line), "where", "noted", remark)
        limit = first.source.limit
        if limit is not None and sum(map(report.rows, numbers)) >= limit:
            # The rows that were not read may have the missing keys.
            continue
        try:
            refuse_unknown(first.source.where, whole)
        except DataError as error:
            yield _of_spec(request.file, first, error)


def _rest_of_limit(given: list[ResolvedFile], number: int, report: ReportBuilder) -> int | None:
    """Return how many rows a file may still give of its source's limit, None without one."""
    limit = given[number].source.limit
    if limit is None:
        return None
    earlier = (at for at in range(number) if given[at].field == given[number].field)
    return max(limit - sum(report.rows(at) for at in earlier), 0)


def _preparation(request: BuildRequest, one: ResolvedFile, store: Path | None) -> RowPreparation:
    data, system = request.data, request.data.system
    if system is not None:
        system = normal_text(system)
        if data.prepare.collapse_whitespace:
            system = collapsed_text(system)
    return RowPreparation(
        source=one.source,
        format=one.file.format,
        is_table=one.is_table,
        from_arrow=one.from_arrow,
        method=request.method,
        system=system,
        prepare=data.prepare,
        split=HELD_OUT if one.part == "held_out" else TRAIN,
        fraction=data.held_out if isinstance(data.held_out, Fraction) else None,
        columns=columns_for(data),
        lines_folder=store,
        inspector=request.inspector,
        recipe=request.recipe,
    )


def _report(
    request: BuildRequest,
    number: int,
    one: ResolvedFile,
    report: ReportBuilder,
    parts: WrittenSplits,
) -> SourceReport:
    return SourceReport(
        part=one.part,
        path=one.file.display_path,
        encoding=_ENCODINGS.get(one.file.info.encoding, one.file.info.encoding),
        license=one.source.license or request.data.license,
        rows=report.rows(number),
        dropped=report.dropped_of(number),
        unread=report.unread_of(number),
        undefined=report.undefined_of(number),
        examples=parts.examples[number],
    )


def _too_few(
    request: BuildRequest, parts: WrittenSplits, report: ReportBuilder
) -> Iterator[Problem]:
    train = parts.files["train.jsonl"].lines
    held_out = parts.files["held_out.jsonl"].lines
    dropped = report.dropped_by()
    besides = f" ({held_out} held out, {dropped})" if held_out or report.dropped else ""
    fewest = METHODS[request.method].min_examples
    if request.inspector is not None:
        fewest = max(fewest, request.inspector.limits.min_examples)
    if train < fewest:
        yield Problem(
            file=request.file,
            field="data.train",
            message=f"has {train} example{'s'[: train != 1]}{besides};"
            f" at least {fewest} are needed",
            remedy=_more(request),
        )
    if not held_out:
        fraction = isinstance(request.data.held_out, Fraction)
        yield Problem(
            file=request.file,
            field="data.held_out",
            message=f"has no example ({train} to train on, {dropped})",
            remedy="Raise the fraction: held_out: {fraction: 0.2}, or add rows."
            if fraction and not METHODS[request.method].is_of_texts
            else _more(request),
        )


def _more(request: BuildRequest) -> str:
    if METHODS[request.method].is_of_texts:
        return "Add texts, or make more of one: chunk: paragraph, or chunk: 4000 (characters)."
    return "Add rows, or another source."


def _too_large(request: BuildRequest, parts: WrittenSplits) -> Iterator[Problem]:
    limits = Limits() if request.inspector is None else request.inspector.limits
    most = limits.max_bytes
    for name, fewer in (("train", limits.max_examples), ("held_out", limits.max_held_out)):
        examples = parts.files[f"{name}.jsonl"].lines
        if fewer is not None and examples > fewer:
            yield Problem(
                file=request.file,
                field=f"data.{name}",
                message=f"has {examples:,} examples; at most {fewer:,} are taken",
                remedy=f"Take a part of it: sample: {{examples: {fewer}}}",
            )
        size = parts.files[f"{name}.jsonl"].size
        if most is not None and size > most:
            yield Problem(
                file=request.file,
                field=f"data.{name}",
                message=f"is {size:,} bytes; at most {most:,} can be uploaded",
                remedy="Take a part of it: sample: {fraction: 0.5}",
            )


def _of_spec(file: str, given: ResolvedFile, error: DataError) -> Problem:
    return Problem(
        file=file,
        field=f"{given.field}.{error.field}" if error.field else given.field,
        message=f"{given.file.display_path}: {error.message}",
        remedy=error.remedy,
    )
