"""Inspect a file's bytes before its rows are read: digest, encoding, compression.

In: a path. Out: a `FileInfo`, or a problem. Results are remembered in memos, so that an unchanged
file is not read again: by path and stamp, and by git blob.
"""

import codecs
import hashlib
import os
import re
from dataclasses import asdict, replace
from pathlib import Path

from controller.data.errors import DataError
from controller.data.sources.compression import compression_of, digest_of, file_changed_error
from controller.data.sources.encoding import codec_name, detect_encoding
from controller.data.sources.source_file import BINARY, UTF_8, FileInfo, GitBlob, SourceFile
from controller.data.storage.memo_file import (
    Stamp,
    changed_ns,
    file_stamp,
    read_json_memo,
    stamp_of,
    write_json_memo,
)
from controller.spec.data import FileFormat
from controller.state_folder import writing_to

VERSION = 4
"""Version of the inspection; memos of another version are ignored."""

_LFS = b"version https://git-lfs.github.com/spec/"
_NOT_PLAIN = (_LFS, b"\x1f\x8b", b"\x28\xb5\x2f\xfd", codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""First bytes of a pointer, of compressed data and of UTF-16."""
_SMALL = 64 << 10
"""Size in bytes from which reading a memo is faster than reading the file."""
_BLOB = re.compile(r"[0-9a-f]{40,64}")
_TICK_NS = 10_000_000
"""Maximum delay of a file's times behind the clock: Linux takes them from its last tick."""


def inspect_file(
    path: Path,
    memos: Path | None = None,
    *,
    file_format: FileFormat,
    encoding: str | None = None,
    blob: GitBlob | None = None,
    in_part: bool = False,
) -> FileInfo:
    """Return the facts about a file, from a memo if the file is certainly unchanged.

    Args:
        path: The file, resolved.
        memos: Folder of the memos, created when absent; None to read the file in any case.
        file_format: Its format; for a binary format only the digest is computed.
        encoding: The encoding that the spec names, if any.
        blob: The file as git knows it, if git knows it as committed: then a memo of any checkout
            fits, unless the file changed after the request to git.
        in_part: True to decode only the beginning of large JSONL: the reader of its lines notices
            bytes that are not UTF-8.

    Raises:
        DataError: The file is empty or was not fetched by Git LFS, is not in its encoding or in no
            known one, has NUL bytes, or its compressed data is damaged.
        OSError: It cannot be read.
    """
    stamp = file_stamp(path)
    in_part = in_part and file_format == "jsonl"
    if memos is None:
        return replace(_inspect(path, file_format, encoding, in_part=in_part), stamp=stamp)
    how = (
        "binary" if file_format in BINARY else "text" if encoding is None else codec_name(encoding)
    )
    place = hashlib.sha256(b"%s\0%s" % (os.fsencode(path), how.encode())).hexdigest()[:32]
    by_path, by_blob = memos / f"{place}.json", None
    if blob is not None and _BLOB.fullmatch(blob.id) and _is_before(stamp, blob.asked_ns):
        by_blob = memos / f"blob-{blob.id}-{stamp[2]}-{how}.json"
        known = _remembered(by_blob, None, in_part=in_part)
        if known is not None:
            return replace(known, stamp=stamp)
    info = _remembered(by_path, stamp, in_part=in_part)
    if info is None:
        info = _inspect(path, file_format, encoding, in_part=in_part)
        _remember(by_path, stamp, info)
    if by_blob is not None and file_stamp(path) == stamp:
        _remember(by_blob, stamp, info)
    return replace(info, stamp=stamp)


def inspect_small_file(path: Path) -> FileInfo | None:
    """Return the facts about a small UTF-8 text file; reading it is faster than reading a memo.

    For any other file, return None: `inspect_file` inspects it.
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
    if not first:
        return None
    sha256 = hashlib.sha256(data).hexdigest()
    return FileInfo(sha256=sha256, encoding=UTF_8, first=first, stamp=stamp_of(status))


def changed_since(file: SourceFile) -> DataError | None:
    """Return the error for a file that changed after its inspection; None if it is unchanged.

    The file is read only if its stamp differs.
    """
    if file.info.stamp in ((), file_stamp(file.path)):
        return None
    return None if digest_of(file.path) == file.info.sha256 else file_changed_error()


def _inspect(
    path: Path, file_format: FileFormat, encoding: str | None, *, in_part: bool
) -> FileInfo:
    with path.open("rb") as file:
        start = file.read(len(_LFS))
    if start == _LFS:
        raise DataError("only a pointer of Git LFS is here, not the file", "git lfs pull")
    if file_format not in BINARY:
        return detect_encoding(path, compression_of(path), encoding, in_part=in_part)
    if not start:
        raise DataError("the file is empty", "Name another file.")
    return FileInfo(sha256=digest_of(path), encoding="", first="")


def _is_before(stamp: Stamp, moment_ns: int) -> bool:
    return changed_ns(stamp) + _TICK_NS < moment_ns


def _remembered(memo: Path, stamp: Stamp | None, *, in_part: bool) -> FileInfo | None:
    """Return the facts in a memo, if they are of a file with this stamp; None for any stamp."""
    try:
        written_ns = memo.stat().st_mtime_ns
        content = read_json_memo(memo)
        if content["version"] != VERSION:
            return None
        info = FileInfo(**content["look"])
        # As git does: a file changed in the very tick of the memo may have changed after it.
        if stamp is None or (tuple(content["stamp"]) == stamp and changed_ns(stamp) < written_ns):
            return info if info.decoded or in_part else None
    except (OSError, KeyError, TypeError):
        return None
    return None


def _remember(memo: Path, stamp: Stamp, info: FileInfo) -> None:
    facts = asdict(replace(info, stamp=()))
    # A folder that cannot be written is not the fault of the inspected file.
    with writing_to(memo.parent):
        # A lost or torn memo costs one more reading, nothing else.
        write_json_memo(memo, {"version": VERSION, "stamp": list(stamp), "look": facts})
