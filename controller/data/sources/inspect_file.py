"""Look at a file's bytes before its rows are read: digest, encoding, first character.

In: a path. Out: a `FileInfo`, or a problem. What was seen of a file is remembered in memos, so that an
unchanged file is not read again: one by its place and times, one by its git blob.
"""

import codecs
import hashlib
import json
import os
import re
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeAlias

from backends.contract.inspector import Json
from controller.data.errors import DataError
from controller.data.sources.compression import HashingReader, compression_of, file_changed_error
from controller.data.sources.encoding import codec_name, detect_encoding
from controller.data.sources.source_file import BINARY, CHUNK, UTF_8, FileInfo, GitBlob, SourceFile
from controller.spec.data import FileFormat
from controller.state_folder import writing_to

VERSION = 4
"""Of how a file is looked at. Another one makes every memo worthless."""

_LFS = b"version https://git-lfs.github.com/spec/"
_NOT_PLAIN = (_LFS, b"\x1f\x8b", b"\x28\xb5\x2f\xfd", codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""How a file begins that is a pointer, packed or in UTF-16."""
_SMALL = 64 << 10
"""Bytes from which a file is remembered."""
_BLOB = re.compile(r"[0-9a-f]{40,64}")
_TICK_NS = 10_000_000
"""So far a file's times may lie behind the clock: Linux takes them from its last tick."""
Stamp: TypeAlias = tuple[int, ...]
"""Device, inode, size, times of change of the contents and of all that is said of a file."""


def inspect_file(
    path: Path,
    memos: Path,
    *,
    file_format: FileFormat,
    encoding: str | None = None,
    blob: GitBlob | None = None,
    in_part: bool = False,
) -> FileInfo:
    """Return what a file's bytes are, from a memo when the file is surely unchanged.

    Args:
        path: The file, resolved.
        memos: Folder of the memos; created when absent.
        file_format: The format; of one that is no text only the digest is taken.
        encoding: The one that the spec names, if it does.
        blob: Git's ID of its contents, if git says that the file is as committed: then it is known
            wherever it was checked out. One that was touched since git was asked is read.
        in_part: Whether it will do to decode the beginning of large JSONL: whoever parses every
            line of it notices bytes that are not UTF-8, and looks again.

    Raises:
        DataError: The file is empty or was not fetched by Git LFS, is not in its encoding or in no
            known one, has NUL bytes, or its packing is damaged.
        OSError: It cannot be read.
    """
    how = (
        "binary" if file_format in BINARY else "text" if encoding is None else codec_name(encoding)
    )
    place = hashlib.sha256(b"%s\0%s" % (os.fsencode(path), how.encode())).hexdigest()[:32]
    stamp = _stamp(path)
    memo = memos / f"{place}.json"
    by_blob = None
    if blob is not None and _BLOB.fullmatch(blob.id) and _is_before(stamp, blob.asked_ns):
        by_blob = memos / f"blob-{blob.id}-{stamp[2]}-{how}.json"
        known = _remembered(by_blob, None, in_part=in_part)
        if known is not None:
            return replace(known, stamp=stamp)
    info = _remembered(memo, stamp, in_part=in_part)
    if info is None:
        info = _look(path, file_format, encoding, in_part=in_part and file_format == "jsonl")
        _remember(memo, stamp, info)
    if by_blob is not None and _stamp(path) == stamp:
        _remember(by_blob, stamp, info)
    return replace(info, stamp=stamp)


def inspect_small_file(path: Path) -> FileInfo | None:
    """Return what a file is that is small and UTF-8: read in less time than a memo of it.

    Of any other file None is returned, and `inspect_file` says what it is.

    Args:
        path: The file, resolved, of a format that is text in no given encoding.

    Raises:
        OSError: It cannot be read.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        status = os.fstat(handle)
        data = os.read(handle, _SMALL) if status.st_size < _SMALL else b""
    finally:
        os.close(handle)
    if len(data) != status.st_size or data.startswith(_NOT_PLAIN) or b"\0" in data:
        return None
    try:
        first = data.decode(UTF_8).lstrip()[:1]
    except UnicodeDecodeError:
        return None
    sha256 = hashlib.sha256(data).hexdigest()
    return (
        FileInfo(sha256=sha256, encoding=UTF_8, first=first, stamp=stamp_of(status))
        if first
        else None
    )


def changed_since(source: SourceFile) -> DataError | None:
    """Say whether a file is not any more what it was when it was looked at.

    It is read only where its times or its size say that something happened to it.

    Raises:
        OSError: It cannot be read.
    """
    if source.info.stamp in ((), _stamp(source.path)):
        return None
    return None if _digest(source.path) == source.info.sha256 else file_changed_error()


def _look(path: Path, file_format: FileFormat, encoding: str | None, *, in_part: bool) -> FileInfo:
    with path.open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            raise DataError("only a pointer of Git LFS is here, not the file", "git lfs pull")
    if file_format not in BINARY:
        return detect_encoding(path, compression_of(path), encoding, in_part=in_part)
    if not path.stat().st_size:
        raise DataError("the file is empty", "Name another file.")
    return FileInfo(sha256=_digest(path), encoding="", first="")


def _digest(path: Path) -> str:
    with HashingReader(path) as file:
        while file.read(CHUNK):
            pass
        return file.hexdigest()


def _stamp(path: Path) -> Stamp:
    return stamp_of(path.stat())


def stamp_of(status: os.stat_result) -> Stamp:
    """Return what would be another for another file, or after a change."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _is_before(stamp: Stamp, moment_ns: int) -> bool:
    return max(stamp[3:]) + _TICK_NS < moment_ns


def _remembered(memo: Path, stamp: Stamp | None, *, in_part: bool) -> FileInfo | None:
    """Return what a memo says of the file with this stamp; of any file without one."""
    try:
        written_ns = memo.stat().st_mtime_ns
        content = json.loads(memo.read_bytes())
        if content["version"] != VERSION:
            return None
        info = FileInfo(**content["look"])
        # As git does: a file touched in the very tick of the memo may have changed after it.
        if stamp is None or (tuple(content["stamp"]) == stamp and max(stamp[3:]) < written_ns):
            return info if info.decoded or in_part else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None


def _remember(memo: Path, stamp: Stamp, info: FileInfo) -> None:
    said: Json = {"version": VERSION, "stamp": list(stamp), "look": asdict(replace(info, stamp=()))}
    # A folder that cannot be written is not the fault of the file that was looked at.
    with writing_to(memo.parent):
        memo.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=memo.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(json.dumps(said).encode())
            # Not forced to the disk: a lost or torn memo costs one more reading, nothing else.
            Path(temporary).replace(memo)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
