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


def build(order: BuildRequest, given: list[ResolvedFile], folder: Path) -> BuildResult:
    """Write a dataset's files into an empty folder.

    Args:
        order: What is to be built.
        given: The files of its sources, in the spec's order.
        folder: Empty, and only ours.

    Raises:
        InvalidInput: With every problem of every source.
    """
    data, called = order.data, [one.file.called for one in given]
    conditions = [_conditions(order, one) for one in given]
    spooled = folder / "spool"
    with (
        closing(ExampleStore(spooled)) as spool,
        closing(ReportBuilder(folder / REASONS, called)) as books,
    ):
        size = sum(one.file.path.stat().st_size for one in given)
        if is_worthwhile(size):
            spool.share()
        with process_pool(size) as run:
            problems = list(_prepare(order, given, conditions, spool, books, run))
        problems += _of_reading(order, given, conditions, books)
        if problems:
            raise InvalidInput(problems)
        verdicts = _decided(order, given, spool, books)
        weights = [one.source.weight for one in given]
        parts = write_splits(spool, verdicts, called=called, weights=weights, to=folder)
        problems = [*_too_few(order, parts, books), *_too_large(order, parts)]
        if problems:
            raise InvalidInput(problems)
        reasons = books.finish()
    if spooled.exists():
        shutil.rmtree(spooled)
    counted = order.inspector is not None and data.prepare.max_tokens is not None
    return BuildResult(
        files={**parts.files, REASONS: reasons},
        tokens=parts.tokens if counted else None,
        sources=tuple(
            _report(order, number, one, books, parts) for number, one in enumerate(given)
        ),
        features=tuple(sorted(books.features)),
        steps=tuple(books.steps(data)),
        recipe_matters=books.recipe_matters,
    )


def _decided(
    order: BuildRequest, given: list[ResolvedFile], spool: ExampleStore, books: ReportBuilder
) -> bytearray:
    files = [
        SourceSelection(part=one.part, field=one.field, called=one.file.called, source=one.source)
        for one in given
    ]

    def note(number: int, step: StepName, effect: Effect, reason: str) -> None:
        books.note(spool.place(number), step, effect, reason)

    try:
        return select_examples(spool, order.data, files, note, order.recipe)
    except DataError as error:
        field = f"data.{error.field}"
        raise InvalidInput([error.problem(file=order.file, field=field)]) from None


def _prepare(
    order: BuildRequest,
    given: list[ResolvedFile],
    conditions: list[Conditions],
    spool: ExampleStore,
    books: ReportBuilder,
    run: MapOrdered,
) -> Iterator[Problem]:
    """Prepare every row of every source into the spool; yield what is wrong with them."""
    for number, one in enumerate(given):
        problems = Problems(one.file.called)
        try:
            preparation = _preparation(order, one, spool.shared)
            limit = _rest_of_limit(given, number, books)
            chosen = conditions[number]
            for prepared in run(preparation, read_batches(one.file, limit, chosen)):
                books.take(number, prepared)
                chosen.add(prepared.tally)
                for page in prepared.pages:
                    spool.add(number, page)
                for line, error in prepared.problems:
                    problems.add(line, error)
                problems.add_alike(prepared.unlisted)
                if prepared.source_error is not None:
                    raise prepared.source_error
        except DataError as error:
            yield _of_spec(order.file, one, error)
        else:
            if not books.rows(number) and limit != 0:
                problems.add(None, DataError("has no rows", "Add rows, or name another file."))
        yield from problems.all()


def _conditions(order: BuildRequest, one: ResolvedFile) -> Conditions:
    return Conditions(
        one.source.where, kind=one.file.kind, is_table=one.is_table, recipe=order.recipe
    )


def _of_reading(
    order: BuildRequest,
    given: list[ResolvedFile],
    conditions: list[Conditions],
    books: ReportBuilder,
) -> Iterator[Problem]:
    """Report doubtful encodings, and the number of rows without a value for a condition.

    A condition without a value in any row is a problem.
    """
    for number, one in enumerate(given):
        if one.file.look.doubt:
            books.note((number, 1), "read", "noted", one.file.look.doubt)
    for field in dict.fromkeys(one.field for one in given if one.source.where):
        numbers = [at for at, one in enumerate(given) if one.field == field]
        first = given[numbers[0]]
        whole = conditions[numbers[0]].new_tally()
        for number in numbers:
            tally = conditions[number].tally
            whole.add(tally)
            for line, remark in remarks(first.source.where, tally):
                books.note((number, line), "where", "noted", remark)
        limit = first.source.limit
        if limit is not None and sum(map(books.rows, numbers)) >= limit:
            # The rows that were not read may have the missing keys.
            continue
        try:
            refuse_unknown(first.source.where, whole)
        except DataError as error:
            yield _of_spec(order.file, first, error)


def _rest_of_limit(given: list[ResolvedFile], number: int, books: ReportBuilder) -> int | None:
    """Return how many rows a file may still give of its source's limit, None without one."""
    limit = given[number].source.limit
    if limit is None:
        return None
    earlier = (at for at in range(number) if given[at].field == given[number].field)
    return max(limit - sum(books.rows(at) for at in earlier), 0)


def _preparation(order: BuildRequest, one: ResolvedFile, spool: Path | None) -> RowPreparation:
    data, system = order.data, order.data.system
    if system is not None:
        system = normal_text(system)
        if data.prepare.collapse_whitespace:
            system = collapsed_text(system)
    return RowPreparation(
        source=one.source,
        kind=one.file.kind,
        is_table=one.is_table,
        from_arrow=one.from_arrow,
        method=order.method,
        system=system,
        prepare=data.prepare,
        verdict=HELD_OUT if one.part == "held_out" else TRAIN,
        split=data.held_out if isinstance(data.held_out, Fraction) else None,
        columns=columns_for(data),
        spool=spool,
        inspector=order.inspector,
        recipe=order.recipe,
    )


def _report(
    order: BuildRequest, number: int, one: ResolvedFile, books: ReportBuilder, parts: WrittenSplits
) -> SourceReport:
    return SourceReport(
        part=one.part,
        path=one.file.shown,
        encoding=_ENCODINGS.get(one.file.look.encoding, one.file.look.encoding),
        license=one.source.license or order.data.license,
        rows=books.rows(number),
        dropped=books.dropped_of(number),
        unread=books.unread_of(number),
        undefined=books.undefined_of(number),
        examples=parts.examples[number],
    )


def _too_few(order: BuildRequest, parts: WrittenSplits, books: ReportBuilder) -> Iterator[Problem]:
    train = parts.files["train.jsonl"].lines
    held_out = parts.files["held_out.jsonl"].lines
    dropped = books.dropped_by()
    besides = f" ({held_out} held out, {dropped})" if held_out or books.dropped else ""
    fewest = METHODS[order.method].min_examples
    if order.inspector is not None:
        fewest = max(fewest, order.inspector.limits.min_examples)
    if train < fewest:
        yield Problem(
            file=order.file,
            field="data.train",
            message=f"has {train} example{'s'[: train != 1]}{besides};"
            f" at least {fewest} are needed",
            remedy=_more(order),
        )
    if not held_out:
        fraction = isinstance(order.data.held_out, Fraction)
        yield Problem(
            file=order.file,
            field="data.held_out",
            message=f"has no example ({train} to train on, {dropped})",
            remedy="Raise the fraction: held_out: {fraction: 0.2}, or add rows."
            if fraction and not METHODS[order.method].is_of_texts
            else _more(order),
        )


def _more(order: BuildRequest) -> str:
    if METHODS[order.method].is_of_texts:
        return "Add texts, or make more of one: chunk: paragraph, or chunk: 4000 (characters)."
    return "Add rows, or another source."


def _too_large(order: BuildRequest, parts: WrittenSplits) -> Iterator[Problem]:
    limits = Limits() if order.inspector is None else order.inspector.limits
    most = limits.max_bytes
    for name, fewer in (("train", limits.max_examples), ("held_out", limits.max_held_out)):
        examples = parts.files[f"{name}.jsonl"].lines
        if fewer is not None and examples > fewer:
            yield Problem(
                file=order.file,
                field=f"data.{name}",
                message=f"has {examples:,} examples; at most {fewer:,} are taken",
                remedy=f"Take a part of it: sample: {{examples: {fewer}}}",
            )
        size = parts.files[f"{name}.jsonl"].size
        if most is not None and size > most:
            yield Problem(
                file=order.file,
                field=f"data.{name}",
                message=f"is {size:,} bytes; at most {most:,} can be uploaded",
                remedy="Take a part of it: sample: {fraction: 0.5}",
            )


def _of_spec(file: str, given: ResolvedFile, error: DataError) -> Problem:
    return Problem(
        file=file,
        field=f"{given.field}.{error.field}" if error.field else given.field,
        message=f"{given.file.shown}: {error.message}",
        remedy=error.remedy,
    )
