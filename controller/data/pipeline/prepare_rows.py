"""Work of a worker process: the rows of a batch become checked examples in canonical form.

In: a `RowPreparation` and a batch. Out: a `BatchResult`, compact enough to send back. `build` makes
all decisions that involve other batches: duplicates, samples and strata.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from xxhash import xxh3_128_digest

from backends.contract.inspector import Json
from backends.contract.methods import METHODS
from controller.data.errors import DataError, EmptyExample, PersonalDataFound
from controller.data.examples.example import Example, to_canonical
from controller.data.examples.fast_path import (
    PLAIN_SHAPES,
    canonical_line,
    canonical_line_of,
    canonical_line_of_example,
)
from controller.data.examples.row_formats import row_converter
from controller.data.examples.validate_calls import answers_are_equal, remarks_on_calls
from controller.data.examples.validate_example import is_opened_by_assistant, validate_example
from controller.data.lookup import without_nulls
from controller.data.pipeline.batch_result import BatchResult, PreparedExample
from controller.data.pipeline.batches import Batch, LineBatch
from controller.data.pipeline.build_request import BuildRequest
from controller.data.pipeline.example_steps import chosen_steps
from controller.data.pipeline.held_out_columns import RowColumns, may_be_held_out
from controller.data.pipeline.row_conditions import Conditions
from controller.data.pipeline.split_blocks import NearKeys, SplitBlocks, SplitRule
from controller.data.pipeline.token_limits import TokenLimits
from controller.data.readers import parse_line
from controller.data.recipes import FIRST, is_the_same_by_all
from controller.data.select.misses import MISS_OF
from controller.data.select.select import columns_for
from controller.data.sources.source_file import Noted, NumberedRow, SourceFile
from controller.data.storage.columns import HELD_OUT, TRAIN, BlockBuilder
from controller.data.transforms.pii.apply import PiiPolicy

_NOT_JSON = DataError(
    "a number is not finite, or a value is nested too deeply", "Write a plain value in its place."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPreparation:
    """Settings that turn the rows of one file into examples. Picklable."""

    request: BuildRequest
    file: SourceFile
    lines_folder: Path | None = None
    """Folder where worker processes write the lines; None to send them back."""

    @property
    def conditions(self) -> Conditions:
        """New conditions of the source, which have counted no row."""
        return Conditions(
            self.file.source.where,
            file_format=self.file.format,
            is_table=self.file.is_table,
            recipe=self.request.recipe,
        )

    def open(self) -> Callable[[Batch], BatchResult]:
        """Load everything that every batch needs.

        Raises:
            DataError: A package of an extra is missing, or the shape does not fit the method.
        """
        return RowPreparer(self).run


class RowPreparer:
    """A preparation that is ready to run."""

    def __init__(self, preparation: RowPreparation) -> None:
        request, self._lines_folder = preparation.request, preparation.lines_folder
        data, prepare, self._recipe = request.data, request.data.prepare, request.recipe
        self._file, self._source = preparation.file, preparation.file.source
        self._prepare = prepare
        self._columns = columns_for(data)
        self._conditions = preparation.conditions
        self._rule = SplitRule(
            HELD_OUT if self._file.split == "held_out" else TRAIN,
            data.fraction,
            hashes_questions="question" in self._columns,
        )
        self._pii = None if prepare.pii == "off" else PiiPolicy(prepare, self._recipe)
        self._row_columns = self._columns_to_read(request)
        wanted = () if self._row_columns is None else self._row_columns.names
        names = [*self._source.ignore, *self._conditions.names, *self._rule.names, *wanted]
        self._convert = row_converter(
            self._source.columns, self._source.shape, request.method, self._recipe, frozenset(names)
        )
        self._steps = list(chosen_steps(data, self._source.strip_end, self._recipe))
        self._limits = _limits(request)
        is_near = prepare.deduplicate == "near"
        self._near_keys = NearKeys(prepare.similarity, self._recipe) if is_near else None
        has_conversations = METHODS[request.method].is_of_conversations
        # An example that is already normal and valid stays the same object.
        self._changes_nothing = has_conversations and len(self._steps) == 1 and self._pii is None
        self._is_recipe_relevant = (
            bool(self._conditions or self._near_keys or self._pii) or not has_conversations
        )

    def _columns_to_read(self, request: BuildRequest) -> RowColumns | None:
        if not request.columns or not may_be_held_out(self._file, request.data):
            return None
        warns = self._prepare.pii == "warn"
        return RowColumns(request.columns, self._file, self._pii, warns=warns)

    def run(self, batch: Batch) -> BatchResult:
        """Prepare every row of a batch."""
        if isinstance(batch, LineBatch):
            result = self._prepare_lines(batch) if self._needs_only_lines() else None
            return result or self._prepare_rows(batch.rows())
        return self._prepare_rows(batch.rows)

    def _needs_only_lines(self) -> bool:
        """Return True if a plain conversation needs no more than its canonical line."""
        source = self._source
        needs_row = self._conditions or self._rule.names or self._row_columns is not None
        needs_example = needs_row or self._near_keys or self._counts()
        is_plain = source.columns is None and source.shape in PLAIN_SHAPES
        return self._changes_nothing and is_plain and not needs_example

    def _counts(self) -> bool:
        return self._limits is not None and self._limits.max_tokens is not None

    def _prepare_lines(self, batch: LineBatch) -> BatchResult | None:
        """Prepare lines that are mostly plain; None if the inspector must check each example."""
        result, blocks = BatchResult(), SplitBlocks(self._rule, None)
        plain = BlockBuilder()
        longest = sys.maxsize if self._limits is None else self._limits.surely_short
        # Hot loop: bind attributes to locals first.
        shape, hash_of, digest_of = self._source.shape, self._rule.hash, xxh3_128_digest
        json_lines, line_numbers = plain.json_lines, plain.line_numbers
        questions, digests = plain.question, plain.digests
        for number, line in enumerate(batch.read(), start=batch.first):
            canonical = canonical_line(line, shape)
            if canonical is not None and len(canonical[0]) <= longest:
                json_line, question = canonical
                json_lines.append(json_line)
                line_numbers.append(number)
                questions.append(hash_of(question))
                digests.append(digest_of(json_line))
            elif not line.isspace():
                result.rows += blocks.move_plain(plain)
                self._prepare_row(number, parse_line(line), result, blocks)
        result.rows += blocks.move_plain(plain)
        return result if self._finish(result, blocks, checks_all=self._limits is not None) else None

    def _prepare_rows(self, rows: Iterable[NumberedRow]) -> BatchResult:
        result = BatchResult(recipe_matters=self._is_recipe_relevant)
        blocks = SplitBlocks(self._rule, self._near_keys)
        uncounted: list[PreparedExample] = []
        for number, row in rows:
            example = self._prepare_row(number, row, result, blocks)
            if example is not None:
                uncounted.append(example)
            if result.source_error is not None:
                break
        if self._limits is not None:
            for example, tokens in self._limits.apply(uncounted, result, self._refuse):
                blocks.put(example, tokens)
        self._finish(result, blocks)
        return result

    def _prepare_row(
        self,
        number: int,
        row: Mapping[str, Json] | DataError,
        result: BatchResult,
        blocks: SplitBlocks,
    ) -> PreparedExample | None:
        """Add a row's example to its block; return it if its tokens must be counted first."""
        result.rows += 1
        try:
            if isinstance(row, DataError):
                raise row
            if isinstance(row, Noted):
                result.note(number, "read", row.note)
                row = dict(row)
            if self._file.from_arrow and self._recipe > FIRST:
                row = without_nulls(row)
            if self._conditions and not self._conditions.meet(row, number):
                result.counts["where", "dropped"] += 1
                return None
            if MISS_OF in row:
                row = self._without_miss(row, number, result)
            example = self._prepared(row, number, result)
            if example is None or self._counts():
                return example
            blocks.put(example)
        except DataError as error:
            if error.field and self._file.is_table:
                result.source_error = error
            else:
                self._refuse(number, error, result)
        except (ValueError, RecursionError):
            self._refuse(number, _NOT_JSON, result)
        return None

    def _without_miss(
        self, row: Mapping[str, Json], number: int, result: BatchResult
    ) -> Mapping[str, Json]:
        """Return a row without the key of a miss, which no example has."""
        row = dict(row)
        if row.pop(MISS_OF) and self._file.split == "train":
            result.misses.append(number)
        return row

    def _refuse(self, number: int, error: DataError, result: BatchResult) -> None:
        """Record a problem, or set the row aside if its source says so."""
        concerns_file = error.whole or isinstance(error, PersonalDataFound)
        if self._source.unusable == "drop" and not concerns_file:
            result.drop(number, "unusable", error.message)
        else:
            result.refuse(number, error)

    def _finish(
        self, result: BatchResult, blocks: SplitBlocks, *, checks_all: bool = False
    ) -> bool:
        """Finish the blocks; return False if the inspector must check each plain example."""
        # With a limit, the rows were already chosen and counted.
        if self._conditions and self._source.limit is None:
            result.tally = self._conditions.take_tally()
        if self._row_columns is not None:
            result.columns = self._row_columns.take_tally()
        json_lines = blocks.json_lines()
        limits = self._limits if checks_all else None
        if limits is not None and not all(map(limits.all_pass, json_lines.values())):
            return False
        result.blocks = blocks.finish(json_lines, self._lines_folder, self._columns, self._prepare)
        return True

    def _prepared(
        self, row: Mapping[str, Json], number: int, result: BatchResult
    ) -> PreparedExample | None:
        source = self._source
        json, example, canonical = row, None, None
        # A row with other keys is not plain, and an exception is slow.
        if self._changes_nothing and len(row) == 1 and source.columns is None:
            canonical = canonical_line_of(row) if source.shape in (None, "chat") else None
        if canonical is None:
            result.recipe_matters = result.recipe_matters or not is_the_same_by_all(row)
            example = self._convert(row)
            for key in example.unread:
                result.unread[key] += 1
            json = {"messages": example.messages}
            canonical = canonical_line_of_example(example) if self._changes_nothing else None
            if canonical is None:
                example = self._transformed(example, number, result)
                if example is None:
                    return None
                json = example.as_json()
                canonical = to_canonical(example, self._recipe)
        prepared = PreparedExample(number, json, canonical, example)
        if self._limits is not None:
            self._limits.check(prepared, result)
        if self._row_columns is not None:
            prepared = prepared._replace(columns=self._row_columns.values_of(row, number))
        return self._rule.with_keys(prepared, row) if self._rule.names else prepared

    def _transformed(self, example: Example, number: int, result: BatchResult) -> Example | None:
        """Apply every step; return None for a dropped example."""
        for step in self._steps:
            new = step.apply(example)
            if new is not example:
                result.change(number, step.name, step.reason)
                example = new
        try:
            validate_example(example)
        except EmptyExample as error:
            if not self._prepare.drop_empty:
                raise
            result.drop(number, "drop_empty", error.message)
            return None
        _note_calls(example, number, result)
        if self._pii is not None:
            example, found = self._pii.apply(example)
            if found and self._prepare.pii == "mask":
                result.change(number, "pii", found)
            elif found:
                result.note(number, "pii", found)
        if self._recipe > FIRST and answers_are_equal(example):
            result.drop(number, "pairs", "both answers are the same: nothing is preferred")
            return None
        return example


def _limits(request: BuildRequest) -> TokenLimits | None:
    if request.inspector is None:
        return None
    return TokenLimits(
        inspector=request.inspector,
        max_tokens=request.data.prepare.max_tokens,
        over_length=request.data.prepare.over_length,
        recipe=request.recipe,
    )


def _note_calls(example: Example, number: int, result: BatchResult) -> None:
    """Record remarks on calls, and on an assistant that speaks first."""
    undefined, incomplete = remarks_on_calls(example)
    if undefined:
        result.undefined.update(undefined)
        names = ", ".join(undefined)
        result.note(number, "tools", f"{names} called, and not among the row's tools")
    if incomplete:
        result.note(number, "calls", incomplete)
    if is_opened_by_assistant(example.messages):
        remark = "the assistant speaks first: it learns to, without a question"
        result.note(number, "greeting", remark)
