"""What is known of a source's file before its rows are read, and what a row is. Records only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, TypeAlias

from backends.contract.inspector import Json
from controller.data.errors import DataError
from controller.spec.data import FileFormat, Source

CHUNK = 1 << 20
"""Bytes read at once: large enough that the calls do not count, small enough to be bounded."""

UTF_8 = "utf-8-sig"
"""The codec of UTF-8 with or without its mark."""

BINARY: frozenset[FileFormat] = frozenset({"parquet", "excel", "arrow"})
"""Formats that are no text."""

NumberedRow: TypeAlias = tuple[int, Mapping[str, Json] | DataError]
"""The line of the row (or its number from 1, if lines do not identify rows), and the row."""


class SourceLabel(NamedTuple):
    """A file's name in messages, and how messages refer to its rows."""

    display_path: str
    is_indexed: bool = False
    """True if messages refer to rows by index, as in `a.json[0]`, and not by line."""

    def of_row(self, number: int) -> str:
        """Return the place of a row, from the line or number that the reader gave it."""
        return (
            f"{self.display_path}[{number - 1}]"
            if self.is_indexed
            else f"{self.display_path}:{number}"
        )

    def of_rows(self, numbers: Iterable[int]) -> str:
        """Return the places of many rows, one per line; fast even for a million rows."""
        if self.is_indexed:
            return "".join([f"{self.display_path}[{number - 1}]\n" for number in numbers])
        joined = f"\n{self.display_path}:".join(map(str, numbers))
        return f"{self.display_path}:{joined}\n"


class Noted(dict[str, Json]):
    """A usable row, with a remark on how it was read."""

    def __init__(self, row: Mapping[str, Json], note: str) -> None:
        super().__init__(row)
        self.note = note

    def __reduce__(self) -> tuple[type["Noted"], tuple[dict[str, Json], str]]:
        """Return the arguments from which a worker process rebuilds the row."""
        return Noted, (dict(self), self.note)


Compression: TypeAlias = Literal["", "gzip", "zstd"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GitBlob:
    """What git says that a file is."""

    id: str
    """Of its contents."""
    asked_ns: int
    """When git was asked, since the epoch: a file touched since then may be another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo:
    """What the bytes of a file are."""

    sha256: str
    """Of the bytes as they are on the disk."""
    encoding: str
    """The codec's name in Python; nothing for a format that is no text."""
    first: str
    """First character that is not blank; nothing for a format that is no text."""
    compression: Compression = ""
    decoded: bool = True
    """Whether all of it was decoded, not only the beginning."""
    doubt: str = ""
    """Other possible readings of the text; empty if its encoding is certain."""
    stamp: tuple[int, ...] = ()
    """Device, inode, size and times when it was looked at; nothing when they say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file that rows can be read from."""

    MAX_ROW: ClassVar[int] = 64 << 20
    """Most bytes or characters of one line, row or document. A file without line ends, or one
    that unpacks to nothing but blanks, would have to be held whole otherwise."""

    path: Path
    """Resolved: no link is followed any more when it is opened."""
    display_path: str
    """Relative to the repository, as a person would type it."""
    format: FileFormat
    info: FileInfo
    source: Source
    """The spec's source, for what it says about reading: `delimiter`, `sheet`, `chunk`."""

    @property
    def label(self) -> SourceLabel:
        """Name of the file and its rows in messages; an array may have all rows on one line."""
        is_array = self.info.first == "[" or self.source.root is not None
        return SourceLabel(self.display_path, is_indexed=self.format == "json" and is_array)

    @property
    def is_plain_jsonl(self) -> bool:
        """Say whether it is JSONL whose bytes can be parted at line ends as they are."""
        return (
            self.format == "jsonl" and self.info.encoding == UTF_8 and self.info.compression == ""
        )

    def too_long(self, what: str = "the line") -> DataError:
        """Return what is said of a row beyond `MAX_ROW`."""
        return DataError(
            f"{what} is longer than {self.MAX_ROW >> 20} MiB",
            "Split it into several rows, or leave it out.",
        )
