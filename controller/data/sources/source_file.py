"""Facts about a source's file before its rows are read, and the types of rows. Records only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, TypeAlias

from backends.contract.inspector import Json
from controller.data.errors import DataError
from controller.data.storage.memo_file import Stamp
from controller.spec.data import FileFormat, Source, SplitName

CHUNK = 1 << 20
"""Bytes to read at once."""

UTF_8 = "utf-8-sig"
"""Codec of UTF-8 with or without a byte order mark."""

UTF_8_MARK = b"\xef\xbb\xbf"

BINARY: frozenset[FileFormat] = frozenset({"parquet", "excel", "arrow"})
"""Formats that are not text."""

_TABLES: frozenset[FileFormat] = frozenset({"csv", "tsv", "parquet", "excel"})

NumberedRow: TypeAlias = tuple[int, Mapping[str, Json] | DataError]
"""The line of the row (or its number from 1, if lines do not identify rows), and the row."""

Compression: TypeAlias = Literal["", "gzip", "zstd"]


class SourceLabel(NamedTuple):
    """A file's name in messages, and how messages refer to its rows."""

    display_path: str
    is_indexed: bool = False
    """True if messages refer to rows by index, as in `a.json[0]`, and not by line."""

    def of_row(self, number: int) -> str:
        """Return the name of a row, from the line or number that the reader gave it."""
        if self.is_indexed:
            return f"{self.display_path}[{number - 1}]"
        return f"{self.display_path}:{number}"

    def of_rows(self, numbers: Iterable[int]) -> str:
        """Return the names of many rows, one per line; fast even for a million rows."""
        if self.is_indexed:
            return "".join([f"{self.display_path}[{number - 1}]\n" for number in numbers])
        joined = f"\n{self.display_path}:".join(map(str, numbers))
        return f"{self.display_path}:{joined}\n" if joined else ""


class Noted(dict[str, Json]):
    """A usable row, with a remark on how it was read."""

    def __init__(self, row: Mapping[str, Json], note: str) -> None:
        super().__init__(row)
        self.note = note

    def __reduce__(self) -> tuple[type["Noted"], tuple[dict[str, Json], str]]:
        """Return the arguments from which a worker process rebuilds the row."""
        return Noted, (dict(self), self.note)


@dataclass(frozen=True, slots=True, kw_only=True)
class GitBlob:
    """A file as git knows it."""

    id: str
    """Git's ID of its contents."""
    asked_ns: int
    """Time of the request to git, since the epoch: a later change makes it another file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo:
    """Facts about the bytes of a file."""

    sha256: str
    """Digest of the bytes on the disk, before decompression."""
    encoding: str
    """Python's name of the codec; empty for a format that is not text."""
    first: str
    """First character that is not blank; empty for a format that is not text."""
    compression: Compression = ""
    decoded: bool = True
    """True if the whole file was decoded, and not only its beginning."""
    doubt: str = ""
    """Other possible readings of the text; empty if its encoding is certain."""
    stamp: Stamp = ()
    """Stamp from before the file was read; empty if it proves nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedFile:
    """A file of the repository, a snapshot of something elsewhere, or a saved dataset's folder."""

    path: Path
    """Resolved: opening it follows no link."""
    display_path: str
    """Path relative to the repository as a person would type it, or a name without any secret."""
    format: FileFormat
    from_arrow: bool = False
    """True if Arrow wrote the rows: Parquet, and saved and hub datasets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile(LocatedFile):
    """A file that rows can be read from, of a source of the spec."""

    MAX_ROW: ClassVar[int] = 64 << 20
    """Maximum bytes or characters of a line, row or document, which is held in memory."""

    info: FileInfo
    source: Source
    """The spec's source, which may have several files."""
    split: SplitName = "train"
    field: str = ""
    """Field of the source in the spec: `data.train[0]`."""

    @property
    def is_table(self) -> bool:
        """True if all rows have the same columns, so that a missing column is reported once."""
        return self.format in _TABLES or self.source.place in {"sql", "hub"}

    @property
    def label(self) -> SourceLabel:
        """Name of the file and its rows in messages; an array may have all rows on one line."""
        is_array = self.info.first == "[" or self.source.root is not None
        return SourceLabel(self.display_path, is_indexed=self.format == "json" and is_array)

    @property
    def is_plain_jsonl(self) -> bool:
        """True for JSONL whose bytes can be split at line ends as they are."""
        return self.format == "jsonl" and self.info.encoding == UTF_8 and not self.info.compression

    def too_long(self, what: str = "the line") -> DataError:
        """Return the error for a row that exceeds `MAX_ROW`."""
        return DataError(
            f"{what} is longer than {self.MAX_ROW >> 20} MiB",
            "Split it into several rows, or leave it out.",
        )
