"""Detect the encoding of a text file by decoding it: UTF-8, UTF-16 or CP949, or the named one.

UTF-8 is tried first, so that most files are read once. Only a file that is not UTF-8 is read again,
and a third time to find the line of an error.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from controller.data.errors import DataError
from controller.data.sources.compression import HashingReader, decompressed
from controller.data.sources.legacy_encodings import judge, readings, spelled
from controller.data.sources.source_file import CHUNK, UTF_8, Compression, FileInfo
from controller.data.suggestions import quote

# Three bytes that are one character of UTF-8 (Hangul among them). CP949 text has them only where a
# rare hanja meets a syllable of the first quarter, and then rarely before its first other syllable.
_UTF8_CHARACTER = re.compile(rb"[\xe1-\xec\xee\xef][\x80-\xbf]{2}")
# Both bytes of its characters are from here on; CP949 adds those with a lower one.
_KS_X_1001 = 0xA1
_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Bytes of lines that are not ASCII: about ten thousand letters.
_SAMPLE = 32 << 10
# Codecs that need a byte order mark, and the beginnings of their marks; with -le or -be after the
# name, they need none.
_MARKED = {
    "utf-16": _UTF_16_MARKS,
    "utf-32": (codecs.BOM_UTF32_LE[:2], codecs.BOM_UTF32_BE[:2]),
}
_NOT_OF_FILES = frozenset({"punycode", "unicode_escape", "raw_unicode_escape", "undefined"})
# Encodings in which a zero byte is always a zero character.
_KEEP_ASCII = (UTF_8, "cp949")


def codec_name(encoding: str) -> str:
    """Return Python's name of the codec for an encoding that a spec names.

    Raises:
        DataError: There is no such encoding of text.
    """
    try:
        name = codecs.lookup(encoding).name
        # Fails for codecs from bytes to bytes, which are not encodings of text.
        "a".encode(encoding)
        codecs.getincrementaldecoder(encoding)
    except (LookupError, ValueError):
        name = ""
    # No file has these encodings, and some of their errors are not Unicode errors.
    if not name or name.replace("-", "_") in _NOT_OF_FILES:
        raise DataError(
            f"there is no encoding {quote(encoding)}",
            "Write one like utf-8, utf-16, cp949, shift_jis or cp1252.",
        )
    return UTF_8 if name == "utf-8" else name


def detect_encoding(
    path: Path, compression: Compression, encoding: str | None, *, in_part: bool = False
) -> FileInfo:
    """Return the facts about a text file.

    Raises:
        DataError: The file is empty, in no known or not in the named encoding, has NUL bytes, or
            its compressed data is damaged.
        OSError: It cannot be read.
    """
    start = _start(path, compression)
    if encoding is not None:
        return _in_named(path, compression, encoding, start)
    if start in _UTF_16_MARKS:
        try:
            return _decode(path, compression, "utf-16")
        except _Undecodable as error:
            raise DataError("invalid UTF-16", "Save the file as UTF-8.", line=error.line) from None
    if in_part and not compression and (info := _by_beginning(path)) is not None:
        return info
    try:
        return _decode(path, compression, UTF_8)
    except _Undecodable as error:
        return _not_utf8(path, compression, error)


def _not_utf8(path: Path, compression: Compression, as_utf8: "_Undecodable") -> FileInfo:
    """Return the facts about a file in CP949, or raise the error with the likely encodings."""
    sample = _sample(path, compression)
    letters: set[str] = set()
    try:
        info = _decode(path, compression, "cp949", letters)
    except _Undecodable as as_cp949:
        # The decoder that got further is the right one, and it stopped where the file is broken.
        broken = max(as_utf8, as_cp949, key=lambda error: error.at)
        raise DataError(
            f"byte 0x{broken.byte:02x} is neither UTF-8 nor CP949",
            _remedy(sample, is_utf8=as_utf8.multibyte),
            line=broken.line,
        ) from None
    judgement = judge(sample.decode("cp949", "replace"))
    if as_utf8.multibyte or judgement == "other" or not _are_korean(letters):
        raise DataError(
            f"byte 0x{as_utf8.byte:02x} is not UTF-8",
            _remedy(sample, is_utf8=as_utf8.multibyte),
            line=as_utf8.line,
        ) from None
    others = readings(sample)
    as_cp949_text = others.pop("cp949", "")
    if judgement == "doubtful" and others:
        doubt = f"read as CP949: {as_cp949_text!r}; if that is wrong: {spelled(others)}"
        return replace(info, doubt=doubt)
    return info


def _sample(path: Path, compression: Compression) -> bytes:
    """Return the first lines that are not ASCII, enough to recognise a language."""
    lines, size, rest = list[bytes](), 0, b""
    for chunk in _chunks(HashingReader(path), compression):
        if isinstance(chunk, DataError) or size > _SAMPLE:
            break
        whole, end, after = (rest + chunk).rpartition(b"\n")
        # The end of the text ends its last line; a line without an end is used as it is.
        if not chunk or len(after) > CHUNK:
            whole, end, after = rest + chunk, b"", b""
        rest = after
        for line in (whole + end).splitlines(keepends=True):
            if not line.isascii() and size <= _SAMPLE:
                lines.append(line)
                size += len(line)
    return b"".join(lines)


def _remedy(sample: bytes, *, is_utf8: bool) -> str:
    """Return the remedy, with each encoding in which the sample is valid and its text in it."""
    if is_utf8:
        return "Correct that line, or save the whole file as UTF-8."
    ways = spelled(readings(sample))
    if not ways:
        return "Correct that line, or save the file as UTF-8."
    return f"Save the file as UTF-8, or name its encoding: {ways}"


def _by_beginning(path: Path) -> FileInfo | None:
    """Return the facts about a large file that begins as UTF-8; None if more must be decoded."""
    with HashingReader(path) as file:
        start = file.read(CHUNK) or b""
        try:
            text = codecs.getincrementaldecoder(UTF_8)().decode(start)
        except UnicodeDecodeError:
            return None
        first = text.lstrip()[:1]
        if len(start) < CHUNK or not first or "\0" in text:
            return None
        file.read_rest()
        return FileInfo(sha256=file.hexdigest(), encoding=UTF_8, first=first, decoded=False)


def _start(path: Path, compression: Compression) -> bytes:
    first = next(_chunks(HashingReader(path), compression))
    if isinstance(first, DataError):
        first.line = 1
        raise first
    return first[: len(codecs.BOM_UTF16_LE)]


def _in_named(path: Path, compression: Compression, encoding: str, start: bytes) -> FileInfo:
    name = codec_name(encoding)
    if name in ("utf-16-le", "utf-16-be") and start in _UTF_16_MARKS:
        # With the byte order in its name, the codec would read the mark as a character.
        name = "utf-16"
    if start and name in _MARKED and start not in _MARKED[name]:
        # Versions of Python differ in what their codecs say to this.
        raise _codec_error(name, 1)
    try:
        return _decode(path, compression, name)
    except _Undecodable as error:
        raise DataError(
            f"byte 0x{error.byte:02x} is not {encoding}",
            "Correct that line, or name another encoding.",
            line=error.line,
        ) from None


class _Undecodable(Exception):
    def __init__(self, *, at: int, line: int, byte: int, multibyte: bool) -> None:
        super().__init__(at)
        self.at = at
        self.line = line
        self.byte = byte
        self.multibyte = multibyte


def _decode(
    path: Path, compression: Compression, encoding: str, letters: set[str] | None = None
) -> FileInfo:
    """Decode a whole file; add its characters to `letters`, if given."""
    decoder = codecs.getincrementaldecoder(encoding)()
    file, first, at, multibyte = HashingReader(path), "", 0, False

    def line_of(byte: int) -> int:
        return _line_of(path, compression, encoding, byte)

    for chunk in _chunks(file, compression):
        if isinstance(chunk, DataError):
            chunk.line = line_of(at)
            raise chunk
        if encoding in _KEEP_ASCII and b"\0" in chunk:
            raise _nul_error(line_of(at + chunk.index(b"\0")))
        pending = decoder.getstate()[0]
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            broken = at - len(pending) + error.start
            raise _Undecodable(
                at=broken,
                line=line_of(broken),
                byte=error.object[error.start],
                multibyte=multibyte or _has_utf8(error.object[: error.start]),
            ) from None
        except UnicodeError:
            raise _codec_error(encoding, line_of(at)) from None
        if encoding not in _KEEP_ASCII and "\0" in text:
            raise _nul_error(line_of(at) + text.count("\n", 0, text.index("\0")))
        first = first or text.lstrip()[:1]
        multibyte = multibyte or (not text.isascii() and _has_utf8(chunk))
        if letters is not None:
            letters.update(text)
        at += len(chunk)
    if not first:
        raise DataError("the file is empty", "Put rows into it, or name another file.")
    return FileInfo(
        sha256=file.hexdigest(), encoding=encoding, first=first, compression=compression
    )


def _has_utf8(data: bytes) -> bool:
    return _UTF8_CHARACTER.search(data) is not None


def _line_of(path: Path, compression: Compression, encoding: str, byte: int) -> int:
    """Return the line number of a byte offset. The bytes before it must be decodable."""
    decoder, line = codecs.getincrementaldecoder(encoding)(), 1
    for chunk in _chunks(HashingReader(path), compression):
        if isinstance(chunk, DataError) or byte <= 0:
            break
        before, byte = chunk[:byte], byte - len(chunk)
        # Bytes are searched several times as fast as text.
        is_ascii = encoding in _KEEP_ASCII
        line += before.count(b"\n") if is_ascii else decoder.decode(before).count("\n")
    return line


def _are_korean(letters: set[str]) -> bool:
    r"""Return whether letters of a text that can be CP949 are likely to be.

    English from Windows can be: `don\x92t` is three letters and a syllable that no word has. The
    2,350 syllables of KS X 1001 write all but a few words of Korean.
    """
    foreign = [letter.encode("cp949") for letter in letters if not letter.isascii()]
    return sum(min(two) < _KS_X_1001 for two in foreign) * 2 <= len(foreign)


def _codec_error(encoding: str, line: int) -> DataError:
    """Return the error for a decoding failure without a position: mostly a missing mark."""
    if encoding in _MARKED:
        return DataError(
            f"the file does not begin with a byte order mark, which {encoding} needs",
            f"Name the order: encoding: {encoding}-le, or {encoding}-be; "
            "a file that is UTF-8 needs no encoding.",
            line=1,
        )
    return DataError(f"the text is not {encoding}", "Name another encoding: utf-8.", line=line)


def _nul_error(line: int) -> DataError:
    return DataError(
        "a NUL byte",
        "Remove it. UTF-16 without its mark looks like this too: encoding: utf-16-le",
        line=line,
    )


def _chunks(file: HashingReader, compression: Compression) -> Iterator[bytes | DataError]:
    """Yield the file's bytes and, last, an empty chunk that ends the text, or the damage."""
    try:
        with decompressed(file, compression) as stream:
            # Small reads: the number of bytes before damaged data gives its line.
            while chunk := stream.read1(CHUNK):
                yield chunk
            # Bytes after the compressed data are part of the digest.
            file.read_rest()
    except DataError as error:
        yield error
        return
    yield b""
