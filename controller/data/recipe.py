"""What a worker does: the rows of a batch become prepared, spelt, measured examples.

In: a `Recipe` and a batch. Out: a `Prepared`, compact enough to be handed back. Nothing is decided
here that needs to know other batches: duplicates, samples and the split are the builder's.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from backends.base import BackendError, Encoder, Json
from backends.encoder import Limits
from controller.canonical import canonical_json
from controller.data.batches import Batch, Lines, meets
from controller.data.example import Example, Spelt, map_texts, spell, texts_of
from controller.data.files import Row
from controller.data.nearest import did_you_mean, listing
from controller.data.optional import load
from controller.data.page import HELD_OUT, NO_KEY, TRAIN, Column, Draft
from controller.data.personal import PersonalData
from controller.data.plain import spell_plain
from controller.data.prepare import (
    check,
    collapse_whitespace,
    normal_text,
    normalise,
    with_system,
)
from controller.data.prepared import Note, Prepared
from controller.data.readers import parse_line
from controller.data.report import Effect, StepName
from controller.data.shapes import converter
from controller.data.split import seeded_hash, share
from controller.data.truncate import truncate
from controller.data.unusable import Empty, Unusable
from controller.spec.data import Fraction, Prepare, Source
from controller.spec.where import parse_where

Fields: TypeAlias = Mapping[str, Json]
"""What a row holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the rows of one source become examples. Picklable."""

    source: Source
    is_table: bool
    """Whether its columns are the same for every row, so that a missing one is said once."""
    method: str
    system: str | None
    """As it is put into examples: normalised."""
    prepare: Prepare
    verdict: int
    """Where its examples go unless a split decides: `TRAIN` or `HELD_OUT`."""
    split: Fraction | None
    columns: frozenset[Column]
    """What is wanted to be known of each example, besides its size and line."""
    encoder: Encoder | None
    """Checks each example, and counts its tokens where `max_tokens` is set."""

    def open(self) -> Callable[[Batch], Prepared]:
        """Get everything ready that every batch needs.

        Raises:
            Unusable: A package of an extra is missing, or the shape does not fit the method.
        """
        return _Preparer(self).run


class _Taken(NamedTuple):
    """An example that is to be written."""

    line: int
    json: Mapping[str, Json]
    spelt: Spelt
    example: Example | None = None
    """Where it is more than a plain conversation, or was treated."""
    group: bytes | None = None
    stratum: bytes | None = None

    @property
    def whole(self) -> Example:
        """The example, made of its JSON where it is a plain conversation."""
        messages: Any = self.json.get("messages")
        return self.example or Example(messages)


class _Preparer:
    """A recipe, opened."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._convert = converter(recipe.source.columns, recipe.source.shape, recipe.method)
        self._where = [parse_where(text) for text in recipe.source.where]
        self._hash = seeded_hash(recipe.split.seed if recipe.split else 0)
        self._steps = list(self._chosen_steps())
        prepare, split = recipe.prepare, recipe.split
        self._split = split if split and (split.group_by or split.stratify_by) else None
        # An example that is normal and can be learnt from stays as it is.
        is_supervised = recipe.method == "supervised"
        self._changes_nothing = is_supervised and len(self._steps) == 1 and prepare.pii == "off"
        is_chat = recipe.source.columns is None and recipe.source.shape in (None, "chat")
        self._columns = recipe.columns
        self._in_shards = prepare.deduplicate != "off"
        self._hashes = split is not None or "question" in recipe.columns
        # Below it an example is held out. Strata are parted later, when all of them are known.
        self._held_out = share(split.fraction) if split and split.stratify_by is None else 0
        self._most = None if recipe.encoder is None else prepare.max_tokens
        self._limits = Limits() if recipe.encoder is None else recipe.encoder.limits
        self._takes_chat = self._changes_nothing and is_chat
        self._personal = None if prepare.pii == "off" else PersonalData(prepare)
        self._near: Any = None
        if prepare.deduplicate == "near":
            self._near = load("controller.data.near", extra="data", what="deduplicate: near")

    def run(self, batch: Batch) -> Prepared:
        """Prepare every row of a batch."""
        out, drafts = Prepared(), {TRAIN: Draft(), HELD_OUT: Draft()}
        waiting: list[_Taken] = []
        for line, row in _rows(batch):
            out.rows += 1
            try:
                if isinstance(row, Unusable):
                    raise row
                if self._where and not meets(row, self._where, is_table=self._recipe.is_table):
                    out.counts["where", "dropped"] += 1
                    continue
                one = self._prepared(row, line, out)
                if one is not None and self._most is None:
                    self._put(one, 0, drafts)
                elif one is not None:
                    waiting.append(one)
            except Unusable as error:
                if error.field and self._recipe.is_table:
                    out.blamed = error
                    break
                out.refuse(line, error)
            except (ValueError, RecursionError):
                out.refuse(line, _NOT_SPELT)
        for one, tokens in self._measured(waiting, out):
            self._put(one, tokens, drafts)
        out.pages = [
            draft.finish(verdict, self._recipe.columns, in_shards=self._in_shards)
            for verdict, draft in drafts.items()
            if draft.lines
        ]
        return out

    def _chosen_steps(self) -> Iterator[tuple[StepName, Callable[[Example], Example], str]]:
        prepare, system = self._recipe.prepare, self._recipe.system
        yield "normalise", normalise, "spelt in Unicode NFC with \\n as line end"
        if prepare.strip_html:
            html = load("controller.data.html_text", extra="data", what="strip_html")
            strip = html.html_to_text
            yield "strip_html", lambda example: map_texts(example, strip), "HTML became text"
        if prepare.collapse_whitespace:
            yield "collapse_whitespace", collapse_whitespace, "blanks taken away"
        if system is not None:
            yield "system", lambda example: with_system(example, system), ""

    def _prepared(self, row: Fields, line: int, out: Prepared) -> _Taken | None:
        json, example = row, None
        spelt = spell_plain(row) if self._takes_chat else None
        if spelt is None:
            example = self._convert(row)
            json = example.as_json()
            spelt = spell_plain(json) if self._changes_nothing else None
        if spelt is None:
            example = self._treated(self._convert(row) if example is None else example, line, out)
            if example is None:
                return None
            json, spelt = example.as_json(), spell(example)
        if self._recipe.encoder is not None:
            try:
                self._recipe.encoder.check(json)
            except BackendError as error:
                raise Unusable(error.message, error.remedy) from None
            if self._most is None:
                self._check_length(self._recipe.encoder, json, len(spelt.line), line, out)
        one = _Taken(line, json, spelt, example)
        return one if self._split is None else self._with_keys(one, row, self._split)

    def _check_length(
        self, encoder: Encoder, json: Fields, size: int, line: int, out: Prepared
    ) -> None:
        """Look whether the model can read an example, where nobody said how long one may be."""
        longest = self._limits.max_tokens
        # No token is shorter than a byte, and a canonical line is longer than what a template
        # makes of it, so that few examples need counting.
        if longest is None or size <= longest:
            return
        try:
            tokens = encoder.count([json])[0]
        except BackendError:
            # Not countable here; whoever trains it counts it.
            return
        if tokens > longest:
            self._say_too_long(tokens, line, out)

    def _say_too_long(self, tokens: int, line: int, out: Prepared) -> None:
        longest = self._limits.max_tokens
        message = f"{tokens} tokens, and the base model reads at most {longest}"
        if not self._limits.cuts:
            raise Unusable(
                message,
                f"Set data.prepare: {{max_tokens: {longest}, over_length: drop}}, or truncate.",
            )
        out.counts["max_tokens", "noted"] += 1
        out.notes.append(Note(line, "max_tokens", "noted", f"{message}: it is cut there"))

    def _treated(self, example: Example, line: int, out: Prepared) -> Example | None:
        """Do every step; None for an example that is dropped."""
        for step, change, reason in self._steps:
            new = change(example)
            if new is not example:
                out.counts[step, "changed"] += 1
                if reason:
                    out.notes.append(Note(line, step, "changed", reason))
                example = new
        try:
            check(example)
        except Empty as error:
            if not self._recipe.prepare.drop_empty:
                raise
            _drop(out, line, "drop_empty", error.message)
            return None
        if self._personal is not None:
            example, found = self._personal.treat(example)
            if found:
                effect: Effect = "changed" if self._recipe.prepare.pii == "mask" else "noted"
                out.counts["pii", effect] += 1
                out.notes.append(Note(line, "pii", effect, found))
        return example

    def _with_keys(self, one: _Taken, row: Fields, split: Fraction) -> _Taken:
        group = stratum = None
        if split.group_by is not None:
            group = _value(row, split.group_by, "group_by")
        if split.stratify_by == "assistant" and "assistant" not in row:
            said = one.whole.messages
            stratum = canonical_json(said[-1]["content"]) if said else b""
        elif split.stratify_by is not None:
            stratum = _value(row, split.stratify_by, "stratify_by")
        return one._replace(group=group, stratum=stratum)

    def _put(self, one: _Taken, tokens: int, drafts: Mapping[int, Draft]) -> None:
        text, question = one.spelt
        verdict, asked, side = self._recipe.verdict, 0, 0
        if self._hashes:
            asked = self._hash(question)
            side = asked if one.group is None else self._hash(one.group)
            if side < self._held_out:
                verdict = HELD_OUT
        draft = drafts[verdict]
        draft.lines.append(text)
        draft.line.append(one.line)
        if not self._columns:
            return
        draft.tokens.append(tokens)
        draft.question.append(asked)
        draft.side.append(side)
        draft.stratum.append(one.stratum or b"")
        if self._near is not None:
            draft.bands += self._bands(one)

    def _bands(self, one: _Taken) -> list[bytes]:
        said, similarity = "\n".join(texts_of(one.whole)), self._recipe.prepare.similarity
        keys: list[bytes] = self._near.band_keys(said, similarity)
        # A text of nothing but marks has none, and a column has as many for each example.
        return keys or [NO_KEY] * self._near.key_count(similarity)

    def _measured(self, waiting: list[_Taken], out: Prepared) -> Iterator[tuple[_Taken, int]]:
        """Yield the examples that are short enough, cut where the spec says so, and lengths."""
        encoder, most = self._recipe.encoder, self._most
        if encoder is None or most is None or not waiting:
            return
        for one, count in zip(waiting, _counts(encoder, waiting), strict=True):
            if isinstance(count, Unusable):
                out.refuse(one.line, count)
            elif count <= most:
                longest = self._limits.max_tokens
                try:
                    if longest is not None and count > longest:
                        self._say_too_long(count, one.line, out)
                except Unusable as error:
                    out.refuse(one.line, error)
                else:
                    yield one, count
            elif (cut := self._shortened(one, count, most, out)) is not None:
                yield cut

    def _shortened(
        self, one: _Taken, count: int, most: int, out: Prepared
    ) -> tuple[_Taken, int] | None:
        """Do what the spec says of an example that is too long; None when it is not used."""
        encoder, what = self._recipe.encoder, self._recipe.prepare.over_length
        over = f"{count} tokens, more than {most}"
        if what == "error" or encoder is None:
            out.refuse(one.line, _too_long(count, most))
            return None
        cut = None
        if what == "truncate":
            cut = truncate(one.whole, most, lambda part: encoder.count([part.as_json()])[0])
            over += "" if cut else ", and no answer would be left"
        if cut is None:
            _drop(out, one.line, "max_tokens", over)
            return None
        out.counts["max_tokens", "changed"] += 1
        out.notes.append(Note(one.line, "max_tokens", "changed", f"{over}: {cut.reason}"))
        spelt, json = spell(cut.example), cut.example.as_json()
        return one._replace(example=cut.example, json=json, spelt=spelt), cut.tokens


def _counts(encoder: Encoder, waiting: list[_Taken]) -> list[int] | list[int | Unusable]:
    """Count all at once; one by one only to find out which of them cannot be counted."""
    try:
        return encoder.count([one.json for one in waiting])
    except BackendError:
        return [_count(encoder, one.json) for one in waiting]


def _count(encoder: Encoder, json: Mapping[str, Json]) -> int | Unusable:
    try:
        return encoder.count([json])[0]
    except BackendError as error:
        return Unusable(error.message, error.remedy)


def _rows(batch: Batch) -> Iterator[Row]:
    if not isinstance(batch, Lines):
        yield from batch.rows
        return
    for line, data in enumerate(batch.data.split(b"\n"), start=batch.first):
        if data and not data.isspace():
            yield line, parse_line(data)


def _drop(out: Prepared, line: int, step: StepName, reason: str) -> None:
    out.counts[step, "dropped"] += 1
    out.notes.append(Note(line, step, "dropped", reason))


def _value(row: Fields, column: str, key: str) -> bytes:
    if column not in row:
        raise Unusable(
            f"there is no {column!r}, which data.held_out.{key} names",
            f"{did_you_mean(column, row)}There are: {listing(row)}",
        )
    value = row[column]
    return normal_text(value).encode() if isinstance(value, str) else canonical_json(value)


def _too_long(tokens: int, most: int) -> Unusable:
    return Unusable(
        f"{tokens} tokens; at most {most} are allowed",
        "Shorten it, raise data.prepare.max_tokens, or set over_length: drop or truncate",
    )


_NOT_SPELT = Unusable(
    "a number is not finite, or a value is nested too deeply", "Write a plain value in its place."
)
