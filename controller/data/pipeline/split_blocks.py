"""Distribute the examples of a batch over blocks of the train and the held-out split.

A split by a fraction is decided here, by the hash of the question or of the group, except for
strata: all examples must be known for these.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec.json import Encoder

from backends.contract.inspector import Json
from controller.canonical import canonical_json
from controller.data.errors import DataError
from controller.data.examples.compared_parts import rest_of, texts_of
from controller.data.extras import import_extra
from controller.data.lookup import find_value
from controller.data.pipeline.batch_result import PreparedExample
from controller.data.select.split import Hash, hash_threshold, seeded_hash
from controller.data.storage.columns import (
    HELD_OUT,
    NO_KEY,
    TRAIN,
    BlockBuilder,
    Column,
    ExampleBlock,
)
from controller.data.suggestions import choice, quote
from controller.data.transforms.normalise import normal_text
from controller.spec.data import Fraction, Prepare

_encode = Encoder().encode


class SplitRule:
    """Decides the split of an example by its row."""

    def __init__(self, default: int, fraction: Fraction | None, *, hashes_questions: bool) -> None:
        """Prepare the rule.

        Args:
            default: Split of an example that the fraction does not hold out.
            fraction: Held-out fraction of the training sources, if the spec has one.
            hashes_questions: True if hashes of questions are needed without a fraction, too.
        """
        self.default = default
        self.hash: Hash = lambda _: 0
        if fraction is not None or hashes_questions:
            self.hash = seeded_hash(fraction.seed if fraction else 0)
        self.group_by = fraction.group_by if fraction else None
        self.stratify_by = fraction.stratify_by if fraction else None
        self.held_out_below = 0
        """Smaller hashes are held out."""
        if fraction is not None and fraction.stratify_by is None:
            self.held_out_below = hash_threshold(fraction.fraction)

    @property
    def names(self) -> list[str]:
        """Columns that decide the split, besides the question."""
        return [name for name in (self.group_by, self.stratify_by) if name is not None]

    def with_keys(self, example: PreparedExample, row: Mapping[str, Json]) -> PreparedExample:
        """Return an example with the group and the stratum of its row."""
        group = stratum = None
        if self.group_by is not None:
            group = _value(row, self.group_by, "group_by")
        if self.stratify_by == "assistant" and "assistant" not in row:
            messages = example.whole.messages
            stratum = canonical_json(messages[-1]["content"]) if messages else b""
        elif self.stratify_by is not None:
            stratum = _value(row, self.stratify_by, "stratify_by")
        return example._replace(group=group, stratum=stratum)


class NearKeys:
    """Computes the keys that near duplicates share."""

    def __init__(self, similarity: float, recipe: int) -> None:
        """Load the package.

        Raises:
            DataError: It is not installed.
        """
        minhash = import_extra(
            "controller.data.select.minhash", extra="data", what="deduplicate: near"
        )
        self._keys: Callable[[str, float, bytes], list[bytes]] = minhash.lsh_keys
        # A text of only marks has no keys, but a column has equally many for each example.
        self._no_keys = [NO_KEY] * minhash.key_count(similarity)
        self._similarity = similarity
        self._recipe = recipe

    def __call__(self, prepared: PreparedExample) -> list[bytes]:
        """Return the keys of an example."""
        example = prepared.whole
        text = "\n".join(texts_of(example, self._recipe))
        return self._keys(text, self._similarity, rest_of(example, self._recipe)) or self._no_keys


class SplitBlocks:
    """Blocks of one batch that are being filled, one for each split."""

    def __init__(self, rule: SplitRule, near_keys: NearKeys | None) -> None:
        self._rule = rule
        self._near_keys = near_keys
        self._builders = {TRAIN: BlockBuilder(), HELD_OUT: BlockBuilder()}

    def put(self, example: PreparedExample, tokens: int = 0) -> None:
        """Add an example to the block of its split."""
        rule = self._rule
        json_line, question = example.canonical
        hashed = rule.hash(question)
        split_hash = hashed if example.group is None else rule.hash(example.group)
        split = HELD_OUT if split_hash < rule.held_out_below else rule.default
        builder = self._builders[split]
        builder.add(example.line, json_line, hashed)
        builder.is_plain = False
        builder.tokens.append(tokens)
        builder.split_hash.append(split_hash)
        builder.stratum.append(example.stratum or b"")
        if self._near_keys is not None:
            builder.bands += self._near_keys(example)
        # Strata are held out later.
        if example.columns is not None and (split == HELD_OUT or rule.stratify_by is not None):
            builder.row_columns.append(_encode(example.columns) + b"\n")

    def move_plain(self, plain: BlockBuilder) -> int:
        """Move plain examples to the blocks of their splits; return their number."""
        count = len(plain.json_lines)
        is_held_out = [hashed < self._rule.held_out_below for hashed in plain.question]
        self._builders[HELD_OUT].extend(plain, is_held_out)
        self._builders[self._rule.default].extend(plain, [not held_out for held_out in is_held_out])
        plain.clear()
        return count

    def json_lines(self) -> dict[int, bytes]:
        """Return the canonical lines of each split that has some."""
        return {
            split: b"".join(builder.json_lines)
            for split, builder in self._builders.items()
            if builder.json_lines
        }

    def finish(
        self,
        json_lines: Mapping[int, bytes],
        folder: Path | None,
        columns: frozenset[Column],
        prepare: Prepare,
    ) -> list[ExampleBlock]:
        """Return the blocks; see `BlockBuilder.finish`."""
        in_shards = prepare.deduplicate != "off"
        return [
            self._builders[split].finish(split, lines, folder, columns, in_shards=in_shards)
            for split, lines in json_lines.items()
        ]


def _value(row: Mapping[str, Json], column: str, key: str) -> bytes:
    found, value = find_value(row, column)
    if not found:
        raise DataError(
            f"there is no {quote(column)}, which data.held_out.{key} names",
            choice(column, row),
        )
    return normal_text(value).encode() if isinstance(value, str) else canonical_json(value)
