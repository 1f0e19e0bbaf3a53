"""The `data` section of a spec, as pydantic models. Every key's text below is also its help."""

import codecs
import re
from collections.abc import Iterator
from typing import Annotated, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from backends.excerpt import excerpt
from controller.spec.base import MOST, NonEmpty, Strict
from controller.spec.where import parse_where

OverLength: TypeAlias = Literal["error", "drop", "truncate"]
"""Action for an example with more than `max_tokens`."""
SplitName: TypeAlias = Literal["train", "held_out"]
"""Splits of a dataset, as the `data` section names them."""
FileFormat: TypeAlias = Literal[
    "jsonl", "json", "csv", "tsv", "parquet", "excel", "html", "markdown", "text", "arrow"
]
Shape: TypeAlias = Literal[
    "chat", "prompt-completion", "alpaca", "sharegpt", "preference", "marked", "graded", "text"
]

_NOT_OF_TEXT = frozenset(
    {"punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"}
)
"""Python codecs that encode names or source code, or that differ between machines."""
_PLACES = ("path", "url", "sql", "hub")
_ONLY_FOR = {
    "connection": ("sql",),
    "config": ("hub",),
    "revision": ("hub",),
    "split": ("hub", "path"),
    "format": ("path", "url"),
    "encoding": ("path", "url"),
    "delimiter": ("path", "url"),
    "quote": ("path", "url"),
    "header": ("path", "url"),
    "root": ("path", "url"),
    "sheet": ("path", "url"),
    "extract": ("path", "url"),
    "chunk": ("path", "url"),
}
"""Keys that mean something for some places only."""

_TABLES: tuple[FileFormat, ...] = ("csv", "tsv")
_TEXTS: tuple[FileFormat, ...] = ("html", "markdown", "text")
_OF_KINDS: dict[str, tuple[FileFormat, ...]] = {
    "encoding": ("jsonl", "json", *_TABLES, *_TEXTS),
    "delimiter": _TABLES,
    "quote": _TABLES,
    "header": (*_TABLES, "excel"),
    "root": ("json",),
    "sheet": ("excel",),
    "extract": ("html",),
    "chunk": _TEXTS,
}
"""Keys that apply only to some formats."""


JOINED = re.compile(r"\{([^{}\n]{1,200})\}")
"""A column's name within a text that joins several columns."""


def joined_columns(written: str) -> list[str]:
    """Return the columns that a text like `"{context}: {question}"` joins; none if plain."""
    return JOINED.findall(written)


def formats_with(key: str) -> tuple[FileFormat, ...]:
    """Return the formats that a key of a source applies to."""
    return _OF_KINDS[key]


class Columns(Strict):
    """Columns or keys of a row that hold the parts of an example.

    A name may be a path into objects (`meta.question`) or join columns: `"{context}: {question}"`.
    """

    user: NonEmpty | None = None
    """Column with the question."""
    assistant: NonEmpty | None = None
    """Column with the answer."""
    system: NonEmpty | None = None
    """Column with the system prompt."""
    chosen: NonEmpty | None = None
    """For `method: dpo`: column with the preferred answer."""
    rejected: NonEmpty | None = None
    """For `method: dpo`: column with the answer that is not preferred."""
    text: NonEmpty | None = None
    """For `method: continued-pretraining`: column with the text."""
    label: NonEmpty | None = None
    """For `method: kto`: column that marks the answer as good or bad."""

    def names(self) -> Iterator[str]:
        """Yield the names of all columns, including those in joined texts."""
        for part in type(self).model_fields:
            written = getattr(self, part)
            if written is not None:
                yield from joined_columns(written) or [written]

    @model_validator(mode="after")
    def _is_one_form(self) -> "Columns":
        named = {name for name in type(self).model_fields if getattr(self, name) is not None}
        forms = (
            {"user", "assistant"},
            {"user", "assistant", "label"},
            {"user", "chosen", "rejected"},
            {"text"},
        )
        if named - {"system"} not in forms or ("system" in named and "text" in named):
            raise ValueError(
                "must name user and assistant, and label for kto; or user, chosen and rejected; "
                "or text alone"
            )
        return self


class Sample(Strict):
    """A part of a source's rows, chosen by their contents and not by their place."""

    examples: int | None = Field(default=None, ge=1, le=MOST)
    """Number of examples, or all if there are fewer; drawn before duplicates are dropped."""
    fraction: float | None = Field(default=None, gt=0, lt=1)
    """Share of the examples; a chosen example stays chosen when others are added."""
    seed: int = 0
    """Seed of the draw; another seed draws other examples."""

    @model_validator(mode="after")
    def _says_how_many(self) -> "Sample":
        if (self.examples is None) == (self.fraction is None):
            raise ValueError("must have examples or fraction, and not both")
        return self


class Source(Strict):
    """A source of rows: `path`, `url`, `sql` or `hub`."""

    path: NonEmpty | None = None
    """File, saved Hugging Face dataset, or glob of files, relative to the spec's folder."""
    url: NonEmpty | None = None
    """Object in a store: s3://, gs://, az://, https:// and other schemes that fsspec opens."""
    sql: NonEmpty | None = None
    """Query that returns the rows, in their order. It may only read."""
    connection: NonEmpty | None = None
    """For `sql`: name of the environment variable with the database's SQLAlchemy URL."""
    hub: NonEmpty | None = None
    """Hugging Face dataset: `owner/name`."""
    config: NonEmpty | None = None
    """For `hub`: the configuration, if the dataset has several."""
    revision: NonEmpty | None = None
    """For `hub`: the commit. Without it, every plan resolves the newest commit."""
    split: NonEmpty | None = None
    """For Hugging Face datasets: `train` when absent."""
    format: FileFormat | None = None
    """Format of the file; recognised from its ending when absent."""
    encoding: NonEmpty | None = None
    """Encoding of a text file; UTF-8, UTF-16 and CP949 are recognised."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Delimiter between the fields of a .csv; comma, semicolon, tab and bar are recognised."""
    quote: Literal["double", "single", "none"] = "double"
    """Quote marks around a field of a .csv or .tsv; `none` reads every quote mark as text."""
    header: Literal["none"] | Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Line of a .csv or .tsv, or row of a sheet, with the column names. `none`: there is no
    such line, and the columns are named 1, 2, 3."""
    root: NonEmpty | None = None
    """For .json: the key of the array that holds the rows, such as `data` or `result.rows`."""
    sheet: NonEmpty | None = None
    """For workbooks: the sheet's name; the first when absent."""
    extract: Literal["text", "tables"] = "text"
    """For .html: the page's main text, or the rows of its tables."""
    chunk: Literal["document", "paragraph", "line"] | Annotated[int, Field(ge=100, le=MOST)] = (
        "document"
    )
    """For .txt, .md and .html text: the part that becomes one row, or its maximum of characters."""
    columns: Columns | None = None
    """Columns with question and answer."""
    shape: Shape | None = None
    """Layout of a row; recognised from its keys when absent."""
    ignore: list[NonEmpty] = Field(default_factory=list)
    """Keys of a row that are unused on purpose: [label, score]. Other unused keys appear in the
    report; a key that changes the meaning is an error."""
    unusable: Literal["error", "drop"] = "error"
    """Action for a row that cannot be used. `drop` sets it aside, counts it and reports the reason,
    for sources that you cannot edit. Personal data that `pii: reject` refuses stays an error."""
    strip_end: list[NonEmpty] = Field(default_factory=list)
    """End marks to remove from the file's texts, which no model learns: `[" END", "</s>"]`."""
    where: list[NonEmpty] = Field(default_factory=list)
    """Only rows that meet every condition: `score >= 4`, `meta.status in [approved, edited]`."""
    limit: int | None = Field(default=None, ge=1, le=MOST)
    """Number of rows to read: the first that meet `where`, over all files of a glob."""
    sample: Sample | None = None
    """Only a part of the examples, chosen by seed, over all files of a glob."""
    weight: float = Field(default=1, gt=0, le=100)
    """Uses of each training example per epoch: 2 is twice, 0.5 is every second example."""
    license: NonEmpty | None = None
    """The source's licence, as an SPDX identifier."""
    sensitivity: Literal["public", "internal", "private"] | None = None
    """Sensitivity of this source, if it differs from `data.sensitivity`."""

    @property
    def place(self) -> str:
        """Key that names the place of the rows: `path`, `url`, `sql` or `hub`."""
        return next(key for key in ("path", "url", "sql", "hub") if getattr(self, key) is not None)

    def misplaced(self, file_format: FileFormat) -> list[str]:
        """Return the keys of this source that do not apply to a format."""
        given = [key for key, formats in _OF_KINDS.items() if file_format not in formats]
        if "chunk" not in given and self.extract == "tables":
            given.append("chunk")
        return [key for key in given if key in self.model_fields_set]

    @field_validator("encoding")
    @classmethod
    def _is_of_text(cls, encoding: str | None) -> str | None:
        try:
            codec = codecs.lookup(encoding or "utf-8")
        except (LookupError, ValueError):
            # Files are read elsewhere; that code knows the available encodings.
            return encoding
        if codec.name.replace("-", "_") in _NOT_OF_TEXT:
            raise ValueError(
                f"{excerpt(codec.name)} is not the encoding of a text file; "
                "write one like utf-8, utf-16, cp949, shift_jis or cp1252"
            )
        return encoding

    @field_validator("where")
    @classmethod
    def _parses(cls, where: list[str]) -> list[str]:
        for condition in where:
            parse_where(condition)
        return where

    @model_validator(mode="after")
    def _is_one_place(self) -> "Source":
        places = [key for key in _PLACES if getattr(self, key) is not None]
        if len(places) != 1:
            raise ValueError(
                f"must have one of path, url, sql and hub, not {' and '.join(places) or 'none'}"
            )
        for key, fitting in _ONLY_FOR.items():
            if key in self.model_fields_set and places[0] not in fitting:
                raise ValueError(f"`{key}` does not go with `{places[0]}`")
        if places == ["sql"] and self.connection is None:
            raise ValueError("`sql` needs `connection: NAME_OF_AN_ENVIRONMENT_VARIABLE`")
        if self.columns is not None and self.shape is not None:
            raise ValueError("must not have both columns and shape; remove one")
        return self


class Fraction(Strict):
    """A held-out set taken from the training sources."""

    fraction: float = Field(gt=0, lt=1)
    """Share of the examples to hold out. An example keeps its split when others are added."""
    seed: int = 0
    """Seed of the choice; another seed holds out other examples."""
    group_by: NonEmpty | None = None
    """Column whose equal values stay in one split: a customer. The question when absent."""
    stratify_by: NonEmpty | None = None
    """Column whose values are all held out in the same share; `assistant` is the answer.
    A few examples near the threshold may change their split when others are added."""


class Prepare(Strict):
    """Preparation of every example before it is used."""

    strip_html: bool = False
    """Turn HTML in a message into text."""
    collapse_whitespace: bool = False
    """Turn each run of blanks into one blank and strip the ends of every message."""
    drop_empty: bool = False
    """Drop an example whose question or answer is empty, which is an error otherwise."""
    deduplicate: Literal["exact", "near", "off"] = "exact"
    """Drop an example that is equal to an earlier one, also of the other split; `near`: or nearly."""
    similarity: float = Field(default=0.8, ge=0.5, lt=1)
    """For `deduplicate: near`: least share of common runs of characters of near duplicates."""
    pii: Literal["mask", "reject", "warn", "off"] = "off"
    """Action for personal data and secrets (e-mail addresses, phone, identity and card numbers,
    IBANs, Korean bank accounts next to a word that names them, IP addresses, keys and tokens).
    `mask` replaces them with [EMAIL_1], `reject` refuses to build and names the rows, `warn` counts
    them and leaves them. The search covers all of an example, with arguments, tools and names.
    Images are refused, except with `warn`. Names, addresses and passports are not found."""
    pii_regions: list[Annotated[str, Field(pattern=r"^[A-Z]{2}$")]] = Field(default=["KR"])
    """Countries whose national phone and identity numbers to find: [KR, US]."""
    max_tokens: int | None = Field(default=None, ge=8, le=MOST)
    """Longest example, in tokens of the base model with its chat template."""
    over_length: OverLength = "error"
    """Action for a longer example."""


def _held_out_form(value: object) -> str:
    return "<sources>" if isinstance(value, list) else "<fraction>"


HeldOut: TypeAlias = Annotated[
    Annotated[Fraction, Tag("<fraction>")] | Annotated[list[Source], Tag("<sources>")],
    Discriminator(_held_out_form),
]


class Data(Strict):
    """Training and held-out examples of a model."""

    train: list[Source] = Field(min_length=1)
    """Sources of training examples, read one after the other."""
    held_out: HeldOut
    """Examples used only to evaluate: a fraction of the training sources, or sources of its own."""
    system: NonEmpty | None = None
    """System prompt for every example that has none."""
    prepare: Prepare = Prepare()
    """Preparation of every example before it is used."""
    license: NonEmpty | None = None
    """Licence of all sources, as an SPDX identifier."""
    sensitivity: Literal["public", "internal", "private"] = "internal"
    """`private` data never leaves the machine."""

    @property
    def fraction(self) -> Fraction | None:
        """The held-out fraction; None if the held-out set has sources of its own."""
        return self.held_out if isinstance(self.held_out, Fraction) else None

    @property
    def sources(self) -> list[Source]:
        """Sources of both splits, in the order as written."""
        return [source for _, _, source in self.numbered_sources()]

    @property
    def is_private(self) -> bool:
        """True if any source never leaves the machine."""
        kinds = {source.sensitivity or self.sensitivity for source in self.sources}
        return "private" in {self.sensitivity, *kinds}

    def numbered_sources(self) -> Iterator[tuple[SplitName, int, Source]]:
        """Yield each source with its split and its number in the list of the split."""
        for number, source in enumerate(self.train):
            yield "train", number, source
        if not isinstance(self.held_out, Fraction):
            for number, source in enumerate(self.held_out):
                yield "held_out", number, source
