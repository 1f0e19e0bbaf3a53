"""Find a source's file and look at its bytes: digest, encoding, first character.

In: paths as the spec has them. Out: `SourceFile` records, or problems. What was seen of a file is
remembered in a memo per file, so that an unchanged file is not read again. Rows are not read here.
"""

import codecs
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from controller.data.nearest import did_you_mean, listing
from controller.data.unusable import Unusable

Kind: TypeAlias = Literal["jsonl", "json", "csv", "tsv"]
KINDS: tuple[Kind, ...] = get_args(Kind)

CHUNK = 1 << 20
"""Bytes read at once: large enough that the calls do not count, small enough to be bounded."""

# Three bytes that are one character of UTF-8 (Hangul among them). CP949 text has them only where a
# rare hanja meets a syllable of the first quarter, and then rarely before its first other syllable.
_UTF8_CHARACTER = re.compile(rb"[\xe1-\xec\xee\xef][\x80-\xbf]{2}")
# Both bytes of its characters are from here on; CP949 adds those with a lower one.
_KS_X_1001 = 0xA1
_NAMES_LOOKED_AT = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the bytes of a file are."""

    sha256: str
    encoding: str
    """The codec's name in Python."""
    first: str
    """First character that is not blank; nothing when there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file that rows can be read from."""

    path: Path
    """Resolved: no link is followed any more when it is opened."""
    shown: str
    """Relative to the repository, as a person would type it."""
    kind: Kind
    look: Look


def find_file(written: str, *, folder: Path, root: Path) -> tuple[Path, str, Kind]:
    """Return where a path of the spec leads to, how to show it, and its format.

    Args:
        written: The path as written in the spec.
        folder: The spec's folder.
        root: The repository, which no path may leave, not even through a link.

    Raises:
        Unusable: There is no such file, or it may not or cannot be read.
    """
    if Path(written).is_absolute() or not written.isprintable():
        raise Unusable(
            f"{written!r} is not a relative path",
            "Write it relative to the spec's folder: data/questions.csv",
        )
    root = root.resolve()
    place = Path(os.path.normpath(folder.absolute() / written))
    shown = os.path.relpath(place, root if place.is_relative_to(root) else root.absolute())
    resolved = place.resolve()
    if not resolved.is_relative_to(root):
        raise Unusable(
            f"{written!r} leaves the repository",
            "Copy the file into the repository, beside the spec.",
        )
    kind = _kind(written)
    try:
        mode = resolved.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise Unusable(f"there is no file {shown!r}", _names_beside(place)) from None
    if not stat.S_ISREG(mode):
        raise Unusable(f"{shown!r} is not a file", "Name the files in it one by one.")
    return resolved, shown, kind


def look_at(path: Path, memos: Path) -> Look:
    """Return what a file's bytes are, from its memo when the file is surely unchanged.

    Args:
        path: The file, resolved.
        memos: Folder of the memos; created when absent.

    Raises:
        Unusable: The file is empty, in no known encoding, or has NUL bytes.
        OSError: It cannot be read.
    """
    memo = memos / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"
    stamp = _stamp(path.stat())
    known = _remembered(memo, stamp)
    if known is not None:
        return known
    look = _look(path)
    _remember(memo, stamp, look)
    return look


def _kind(written: str) -> Kind:
    suffix = Path(written).suffix.lower()
    for kind in KINDS:
        if suffix == f".{kind}":
            return kind
    raise Unusable(
        f"{written!r} has no known ending",
        f"These are read: {', '.join(_dotted())}",
    )


def _dotted() -> list[str]:
    return [f".{kind}" for kind in KINDS]


def _names_beside(place: Path) -> str:
    try:
        with os.scandir(place.parent) as entries:
            names = sorted(entry.name for entry, _ in zip(entries, range(_NAMES_LOOKED_AT)))  # noqa: B905 - cut on purpose
    except OSError:
        return f"There is no folder {place.parent.name!r} either."
    nearest = did_you_mean(place.name, names)
    files = [name for name in names if name.endswith(tuple(_dotted()))]
    return nearest + (
        f"There are: {listing(files)}" if files else "No data file is in that folder."
    )


def _look(path: Path) -> Look:
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return _decoded(path, "utf-16")
        except _Undecodable as error:
            raise Unusable("invalid UTF-16", "Save the file as UTF-8.", line=error.line) from None
    try:
        return _decoded(path, "utf-8-sig")
    except _Undecodable as error:
        as_utf8 = error
    try:
        look = _decoded(path, "cp949")
    except _Undecodable as as_cp949:
        # The decoder that got further is the right one, and stands where the file is broken.
        broken = max(as_utf8, as_cp949, key=lambda error: error.at)
        raise Unusable(
            f"byte 0x{broken.byte:02x} is neither UTF-8 nor CP949",
            "Save the file as UTF-8.",
            line=broken.line,
        ) from None
    if as_utf8.multibyte or not _is_korean(path):
        raise Unusable(
            f"byte 0x{as_utf8.byte:02x} is not UTF-8",
            "Mend that line, or save the whole file as UTF-8.",
            line=as_utf8.line,
        ) from None
    return look


class _Undecodable(Exception):
    def __init__(self, *, at: int, line: int, byte: int, multibyte: bool) -> None:
        super().__init__(at)
        self.at = at
        self.line = line
        self.byte = byte
        self.multibyte = multibyte


def _decoded(path: Path, encoding: str) -> Look:
    decoder = codecs.getincrementaldecoder(encoding)()
    sha256, first, lines, at, multibyte = hashlib.sha256(), "", 1, 0, False
    for chunk in _chunks(path):
        if encoding != "utf-16" and b"\0" in chunk:
            raise _has_nul(lines + chunk.count(b"\n", 0, chunk.index(b"\0")))
        pending = decoder.getstate()[0]
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            good = error.object[: error.start]
            raise _Undecodable(
                at=at - len(pending) + error.start,
                line=lines + good.count(b"\n"),
                byte=error.object[error.start],
                multibyte=multibyte or _UTF8_CHARACTER.search(good) is not None,
            ) from None
        if "\0" in text:
            raise _has_nul(lines + text.count("\n", 0, text.index("\0")))
        sha256.update(chunk)
        first = first or text.lstrip()[:1]
        multibyte = multibyte or (not text.isascii() and _UTF8_CHARACTER.search(chunk) is not None)
        lines += text.count("\n")
        at += len(chunk)
    if not first:
        raise Unusable("the file is empty", "Put rows into it, or name another file.")
    return Look(sha256=sha256.hexdigest(), encoding=encoding, first=first)


def _is_korean(path: Path) -> bool:
    r"""Say whether text that can be CP949 is likely to be.

    English from Windows can be: `don\x92t` is three letters and a syllable that no word has. The
    2,350 syllables of KS X 1001 write all but a few words of Korean.
    """
    decoder = codecs.getincrementaldecoder("cp949")()
    letters: set[str] = set()
    for chunk in _chunks(path):
        letters.update(decoder.decode(chunk))
    foreign = [letter.encode("cp949") for letter in letters if not letter.isascii()]
    return sum(min(two) < _KS_X_1001 for two in foreign) * 2 <= len(foreign)


def _has_nul(line: int) -> Unusable:
    return Unusable(
        "a NUL byte",
        "Save the file as UTF-8 text; UTF-16 without its mark looks like this too.",
        line=line,
    )


def _chunks(path: Path) -> Iterator[bytes]:
    """Yield the file's bytes and, last, an empty chunk that ends the text."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
    yield b""


def _stamp(status: os.stat_result) -> list[int]:
    return [
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    ]


def _remembered(memo: Path, stamp: list[int]) -> Look | None:
    try:
        written_ns = memo.stat().st_mtime_ns
        content = json.loads(memo.read_bytes())
        # As git does: a file touched in the very tick of the memo may have changed after it.
        if content["stamp"] == stamp and max(stamp[3:]) < written_ns:
            return Look(**content["look"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None


def _remember(memo: Path, stamp: list[int], look: Look) -> None:
    memo.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=memo.parent, suffix=".tmp")
    with os.fdopen(handle, "wb") as file:
        file.write(json.dumps({"stamp": stamp, "look": asdict(look)}).encode())
    # Not forced to the disk: a lost or torn memo costs one more reading, nothing else.
    Path(temporary).replace(memo)
