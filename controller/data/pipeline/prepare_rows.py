"""Work of a worker process: rows of a batch become prepared, serialized, measured examples.

In: a `RowPreparation` and a batch. Out: a `BatchResult`, compact enough to send back. The builder
makes all decisions that involve other batches: duplicates, samples and the split.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from xxhash import xxh3_128_digest

from backends.contract.inspector import ExampleInspector, Json
from backends.contract.methods import METHODS
from controller.canonical import canonical_json
from controller.data.errors import DataError, EmptyExample, PersonalDataFound
from controller.data.examples.compared_parts import rest_of, texts_of
from controller.data.examples.example import Example, map_texts, to_canonical
from controller.data.examples.fast_path import (
    PLAIN_SHAPES,
    canonical_line,
    canonical_line_of,
    canonical_line_of_example,
)
from controller.data.examples.row_formats import row_converter
from controller.data.examples.validate_calls import answers_are_equal, remarks_on_calls
from controller.data.extras import import_extra
from controller.data.lookup import find_value, without_nulls
from controller.data.pipeline.batch_result import BatchResult, Note, PreparedExample
from controller.data.pipeline.batches import Batch, LineBatch
from controller.data.pipeline.row_conditions import Conditions
from controller.data.pipeline.token_limits import TokenLimits
from controller.data.readers import parse_line
from controller.data.recipes import FIRST, NEWEST, is_the_same_by_all
from controller.data.report import Effect, StepName
from controller.data.select.split import Hash, hash_threshold, seeded_hash
from controller.data.sources.source_file import Noted, NumberedRow
from controller.data.storage.columns import HELD_OUT, NO_KEY, TRAIN, BlockBuilder, Column
from controller.data.suggestions import choice, join_names, quote
from controller.data.transforms.normalise import (
    check,
    collapse_whitespace,
    is_opened_by_assistant,
    normal_text,
    normalise,
    with_system,
    without_end,
)
from controller.data.transforms.pii.apply import PiiPolicy
from controller.spec.data import FileFormat, Fraction, Prepare, Source

Row: TypeAlias = Mapping[str, Json]
"""Values of a row, by key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPreparation:
    """Settings that turn the rows of one source into examples. Picklable."""

    source: Source
    format: FileFormat
    is_table: bool
    """True if all rows have the same columns, so that a missing column is reported once."""
    from_arrow: bool
    """True if Arrow wrote the rows, with a null for each nested key that another row has."""
    method: str
    system: str | None
    """System prompt as put into examples: normalised."""
    prepare: Prepare
    split: int
    """Destination of its examples unless a split decides: `TRAIN` or `HELD_OUT`."""
    fraction: Fraction | None
    columns: frozenset[Column]
    """Data to collect about each example, besides its size and line."""
    lines_folder: Path | None
    """Folder where worker processes write the lines; None to send them back."""
    inspector: ExampleInspector | None
    """Checks each example, and counts its tokens where `max_tokens` is set."""
    recipe: int = NEWEST
    """Version of what a row becomes; see `recipes`."""

    def open(self) -> Callable[[Batch], BatchResult]:
        """Load everything that every batch needs.

        Raises:
            DataError: A package of an extra is missing, or the shape does not fit the method.
        """
        return RowPreparer(self).run


class RowPreparer:
    """A preparation that is ready to run."""

    def __init__(self, preparation: RowPreparation) -> None:
        self._preparation = preparation
        source = preparation.source
        self._recipe = preparation.recipe
        self._where = Conditions(
            source.where,
            file_format=preparation.format,
            is_table=preparation.is_table,
            recipe=preparation.recipe,
        )
        self._convert = row_converter(
            source.columns,
            source.shape,
            preparation.method,
            preparation.recipe,
            self._named_by_spec(),
        )
        self._from_arrow = preparation.from_arrow and preparation.recipe > FIRST
        self._steps = list(self._chosen_steps())
        prepare, fraction = preparation.prepare, preparation.fraction
        self._fraction = (
            fraction if fraction and (fraction.group_by or fraction.stratify_by) else None
        )
        # An example that is already normal and learnable stays the same object.
        is_of_conversations = METHODS[preparation.method].is_of_conversations
        self._changes_nothing = (
            is_of_conversations and len(self._steps) == 1 and prepare.pii == "off"
        )
        is_chat = preparation.source.columns is None and preparation.source.shape in (None, "chat")
        self._columns = preparation.columns
        self._in_shards = prepare.deduplicate != "off"
        self._hash: Hash = lambda _: 0
        if fraction is not None or "question" in preparation.columns:
            self._hash = seeded_hash(fraction.seed if fraction else 0)
        # Hashes below this value are held out. Strata are split later, when all of them are known.
        self._held_out = (
            hash_threshold(fraction.fraction) if fraction and fraction.stratify_by is None else 0
        )
        self._measure = None
        if preparation.inspector is not None:
            self._measure = TokenLimits(
                inspector=preparation.inspector,
                most=prepare.max_tokens,
                over_length=prepare.over_length,
                recipe=self._recipe,
            )
        self._counts = self._measure is not None and self._measure.most is not None
        self._takes_chat = self._changes_nothing and is_chat
        self._personal = None if prepare.pii == "off" else PiiPolicy(prepare, self._recipe)
        self._near: Any = None
        if prepare.deduplicate == "near":
            self._near = import_extra(
                "controller.data.select.minhash", extra="data", what="deduplicate: near"
            )
        # If only the canonical line of a plain conversation is needed, build nothing else.
        needs_example = self._where or self._fraction or self._near or self._counts
        is_known = preparation.source.columns is None and preparation.source.shape in PLAIN_SHAPES
        # Settings that recipes treat differently for any row.
        self._matters = bool(self._where or self._near or self._personal) or not is_of_conversations
        self._spells_lines = self._changes_nothing and is_known and not needs_example

    def run(self, batch: Batch) -> BatchResult:
        """Prepare every row of a batch."""
        if isinstance(batch, LineBatch):
            out = self._prepare_lines(batch) if self._spells_lines else None
            return out or self._prepare_rows(batch.rows())
        return self._prepare_rows(batch.rows)

    def _prepare_lines(self, batch: LineBatch) -> BatchResult | None:
        """Prepare lines that are mostly plain; None if the inspector must check each example."""
        out, builders, plain = BatchResult(), _drafts(), BlockBuilder()
        shape, measure = self._preparation.source.shape, self._measure
        longest = sys.maxsize if measure is None else measure.surely_short
        # Hot loop: bind attributes to locals first.
        hash_of, digest_of = self._hash, xxh3_128_digest
        texts, numbers, asked, digests = plain.lines, plain.line, plain.question, plain.digests
        for line, written in enumerate(batch.read(), start=batch.first):
            spelt = canonical_line(written, shape)
            if spelt is not None and len(spelt[0]) <= longest:
                text, question = spelt
                texts.append(text)
                numbers.append(line)
                asked.append(hash_of(question))
                digests.append(digest_of(text))
            elif not written.isspace():
                self._put_plain(plain, out, builders)
                self._prepare_row(line, parse_line(written), out, builders)
        self._put_plain(plain, out, builders)
        return out if self._finish(out, builders, measure) else None

    def _prepare_rows(self, rows: Iterable[NumberedRow]) -> BatchResult:
        out, builders = BatchResult(recipe_matters=self._matters), _drafts()
        waiting: list[PreparedExample] = []
        for line, row in rows:
            one = self._prepare_row(line, row, out, builders)
            if one is not None:
                waiting.append(one)
            if out.source_error is not None:
                break
        if self._measure is not None:
            for one, tokens in self._measure.apply(waiting, out, self._refuse):
                self._put(one, builders, tokens)
        self._finish(out, builders)
        return out

    def _prepare_row(
        self,
        line: int,
        row: Row | DataError,
        out: BatchResult,
        builders: Mapping[int, BlockBuilder],
    ) -> PreparedExample | None:
        """Add a row's example to its draft; return it if it must be measured first."""
        out.rows += 1
        try:
            if isinstance(row, DataError):
                raise row
            if isinstance(row, Noted):
                out.counts["read", "noted"] += 1
                out.notes.append(Note(line, "read", "noted", row.note))
                row = dict(row)
            if self._from_arrow:
                row = without_nulls(row)
            if self._where and not self._where.meet(row, line):
                out.counts["where", "dropped"] += 1
                return None
            one = self._prepared(row, line, out)
            if one is None or self._counts:
                return one
            self._put(one, builders)
        except DataError as error:
            if error.field and self._preparation.is_table:
                out.source_error = error
            else:
                self._refuse(line, error, out)
        except (ValueError, RecursionError):
            self._refuse(line, _NOT_SPELT, out)
        return None

    def _refuse(self, line: int, error: DataError, out: BatchResult) -> None:
        """Record a problem, or set the row aside if its source says so."""
        is_whole = error.whole or isinstance(error, PersonalDataFound)
        if self._preparation.source.unusable == "drop" and not is_whole:
            out.drop(line, "unusable", error.message)
        else:
            out.refuse(line, error)

    def _finish(
        self,
        out: BatchResult,
        builders: Mapping[int, BlockBuilder],
        measure: TokenLimits | None = None,
    ) -> bool:
        """Make pages of the drafts; return False if plain examples in them need measuring."""
        # With a limit, the rows were already chosen and counted.
        if self._where and self._preparation.source.limit is None:
            out.tally = self._where.take_tally()
        texts = {split: b"".join(one.lines) for split, one in builders.items() if one.lines}
        if measure is not None and not all(map(measure.all_pass, texts.values())):
            return False
        out.blocks = [
            builders[split].finish(
                split,
                text,
                self._preparation.lines_folder,
                self._columns,
                in_shards=self._in_shards,
            )
            for split, text in texts.items()
        ]
        return True

    def _chosen_steps(self) -> Iterator[tuple[StepName, Callable[[Example], Example], str]]:
        prepare, system = self._preparation.prepare, self._preparation.system
        yield "normalise", normalise, "spelt in Unicode NFC with \\n as line end"
        marks = tuple(self._preparation.source.strip_end)
        if marks:
            end = f"end mark taken off: {join_names(marks)}"
            yield "strip_end", lambda example: map_texts(example, without_end(marks)), end
        if prepare.strip_html:
            html = import_extra(
                "controller.data.transforms.html_to_text", extra="data", what="strip_html"
            )
            strip = html.html_to_text
            yield (
                "strip_html",
                lambda example: map_texts(example, strip, self._recipe),
                "HTML became text",
            )
        if prepare.collapse_whitespace:
            collapse = partial(collapse_whitespace, recipe=self._recipe)
            yield "collapse_whitespace", collapse, "blanks taken away"
        if system is not None:
            yield "system", lambda example: with_system(example, system), ""

    def _prepared(self, row: Row, line: int, out: BatchResult) -> PreparedExample | None:
        json, example = row, None
        # A row with other keys is not plain, and an exception is slow.
        spelt = canonical_line_of(row) if self._takes_chat and len(row) == 1 else None
        if spelt is None:
            out.recipe_matters = out.recipe_matters or not is_the_same_by_all(row)
            example = self._convert(row)
            for key in example.unread:
                out.unread[key] += 1
            json = {"messages": example.messages}
            spelt = canonical_line_of_example(example) if self._changes_nothing else None
            if spelt is None:
                example = self._treated(example, line, out)
                if example is None:
                    return None
                json, spelt = example.as_json(), to_canonical(example, self._recipe)
        one = PreparedExample(line, json, spelt, example)
        if self._measure is not None:
            self._measure.check(one, out)
        return one if self._fraction is None else self._with_keys(one, row, self._fraction)

    def _treated(self, example: Example, line: int, out: BatchResult) -> Example | None:
        """Apply every step; return None for a dropped example."""
        for step, change, reason in self._steps:
            new = change(example)
            if new is not example:
                out.counts[step, "changed"] += 1
                if reason:
                    out.notes.append(Note(line, step, "changed", reason))
                example = new
        try:
            check(example)
        except EmptyExample as error:
            if not self._preparation.prepare.drop_empty:
                raise
            out.drop(line, "drop_empty", error.message)
            return None
        self._note_calls(example, line, out)
        if self._personal is not None:
            example, found = self._personal.apply(example)
            if found:
                effect: Effect = "changed" if self._preparation.prepare.pii == "mask" else "noted"
                out.counts["pii", effect] += 1
                out.notes.append(Note(line, "pii", effect, found))
        if self._recipe > FIRST and answers_are_equal(example):
            out.drop(line, "pairs", "both answers are the same: nothing is preferred")
            return None
        return example

    def _note_calls(self, example: Example, line: int, out: BatchResult) -> None:
        """Record remarks on calls, and on an assistant that speaks first."""
        undefined, incomplete = remarks_on_calls(example)
        if undefined:
            out.undefined.update(undefined)
            out.note(line, "tools", f"{', '.join(undefined)} called, and not among the row's tools")
        if incomplete:
            out.note(line, "calls", incomplete)
        if is_opened_by_assistant(example.messages):
            out.note(
                line, "greeting", "the assistant speaks first: it learns to, without a question"
            )

    def _named_by_spec(self) -> frozenset[str]:
        """Return the keys that the spec mentions, so that they are not reported as unread."""
        source, fraction = self._preparation.source, self._preparation.fraction
        named = {*source.ignore, *self._where.names}
        if fraction is not None:
            named |= {one for one in (fraction.group_by, fraction.stratify_by) if one is not None}
        return frozenset(named)

    def _with_keys(self, one: PreparedExample, row: Row, fraction: Fraction) -> PreparedExample:
        group = stratum = None
        if fraction.group_by is not None:
            group = _value(row, fraction.group_by, "group_by")
        if fraction.stratify_by == "assistant" and "assistant" not in row:
            said = one.whole.messages
            stratum = canonical_json(said[-1]["content"]) if said else b""
        elif fraction.stratify_by is not None:
            stratum = _value(row, fraction.stratify_by, "stratify_by")
        return one._replace(group=group, stratum=stratum)

    def _put_plain(
        self, plain: BlockBuilder, out: BatchResult, builders: Mapping[int, BlockBuilder]
    ) -> None:
        """Move plain examples to the train or held-out draft."""
        out.rows += len(plain.lines)
        is_held_out = [one < self._held_out for one in plain.question]
        is_other = [not one for one in is_held_out]
        builders[HELD_OUT].extend(plain, is_held_out)
        builders[self._preparation.split].extend(plain, is_other)
        plain.clear()

    def _put(
        self, one: PreparedExample, builders: Mapping[int, BlockBuilder], tokens: int = 0
    ) -> None:
        """Add an example to the train or held-out draft."""
        text, question = one.spelt
        asked = self._hash(question)
        side = asked if one.group is None else self._hash(one.group)
        builder = builders[HELD_OUT if side < self._held_out else self._preparation.split]
        builder.add(one.line, text, asked)
        builder.is_plain = False
        builder.tokens.append(tokens)
        builder.side.append(side)
        builder.stratum.append(one.stratum or b"")
        if self._near is not None:
            builder.bands += self._bands(one)

    def _bands(self, one: PreparedExample) -> list[bytes]:
        said = "\n".join(texts_of(one.whole, self._recipe))
        similarity = self._preparation.prepare.similarity
        keys: list[bytes] = self._near.band_keys(said, similarity, rest_of(one.whole, self._recipe))
        # A text of only marks has no keys, but the column needs the same number for each example.
        return keys or [NO_KEY] * self._near.key_count(similarity)


def _drafts() -> dict[int, BlockBuilder]:
    return {TRAIN: BlockBuilder(), HELD_OUT: BlockBuilder()}


def _value(row: Row, column: str, key: str) -> bytes:
    found, value = find_value(row, column)
    if not found:
        raise DataError(
            f"there is no {quote(column)}, which data.held_out.{key} names",
            choice(column, row),
        )
    return normal_text(value).encode() if isinstance(value, str) else canonical_json(value)


_NOT_SPELT = DataError(
    "a number is not finite, or a value is nested too deeply", "Write a plain value in its place."
)
