"""Encodings of files: found, given, or refused with the line."""

import sys

import pytest

from controller.data.errors import DataError
from controller.data.sources.inspect_file import inspect_file
from tests.controller.data.sources.source_files import PACK


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949"])
def test_every_encoding_across_the_ends_of_chunks(read, encoding):
    # An odd number of bytes before them, so that characters straddle the ends of chunks.
    text = "q\nx" + "가나다라마바사\n" * 120_000
    rows = read("a.csv", text.encode(encoding))
    assert rows[0] == (2, {"q": "x가나다라마바사"})
    assert rows[-1] == (120_001, {"q": "가나다라마바사"})


@pytest.mark.parametrize("encoding", ["shift_jis", "utf-16-le", "UTF8", "cp1252", "utf-32"])
def test_the_encoding_that_is_given_is_used(read, encoding):
    text = "q\nとても\n" if encoding == "shift_jis" else "q\ncafé\n"
    assert read("a.csv", text.encode(encoding), encoding=encoding) == [(2, {"q": text[2:-1]})]
    assert read("a.csv", ("\ufeff" + text).encode("utf-16-le"), encoding="utf-16-le") == [
        (2, {"q": text[2:-1]})
    ]


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", None, "the file is empty"),
        (b"\xef\xbb\xbf \n\n", None, "the file is empty"),
        (b"q\nab\0c\n", 2, "a NUL byte"),
        ("q\n한글\n".encode("utf-16-le"), 1, "a NUL byte"),
        ("q\n한글\n".encode() + b"\xff\n", 3, "byte 0xff is neither UTF-8 nor CP949"),
        ("q\n한글\n한글\n".encode("cp949") + b"\xff\xff\n", 4, "byte 0xff is neither UTF-8 nor CP949"),
        ("q\n한글\n카페 ".encode() + "한글".encode("cp949"), 3, "byte 0xc7 is neither UTF-8 nor CP949"),
        # Korean in UTF-8 that is also CP949, though not Korean: the file is broken, not CP949.
        ("q\n갇것\n".encode() + b"don\x92t\n", 3, "byte 0x92 is not UTF-8"),
        # Windows' English is CP949 too, with letters that hardly any Korean word has.
        (b"q\ndon\x92t we\x92ll\n", 2, "byte 0x92 is not UTF-8"),
        (b"\xff\xfe" + "q\n한".encode("utf-16-le") + b"\xd8", 2, "invalid UTF-16"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("pack", ["", "gz", "zst"])
def test_unreadable_bytes_are_said_with_their_line(tmp_path, content, line, message, pack):
    path = tmp_path / "a.csv"
    path.write_bytes(PACK[pack](content) if pack else content)
    with pytest.raises(DataError) as caught:
        inspect_file(path, tmp_path / "looks", file_format="csv")
    assert (caught.value.line, caught.value.message) == (line, message)


IDNA = "the text is not idna" if sys.version_info < (3, 13) else "byte 0x78 is not idna"


@pytest.mark.parametrize(
    ("content", "encoding", "line", "message"),
    [
        ("q\n한글\n".encode("cp949"), "utf-8", 2, "byte 0xc7 is not utf-8"),
        ("q\n한글\n".encode(), "euc-kr", 2, "byte 0xed is not euc-kr"),
        (b"q\n\x81\n", "cp1252", 2, "byte 0x81 is not cp1252"),
        (b"q\na\0\n", "latin-1", 2, "a NUL byte"),
        # Since Python 3.13, its codec says where.
        (b"xn--abc-.\n", "idna", 1, IDNA),
        (b"q\na\n", "utf-9", None, "there is no encoding 'utf-9'"),
        (b"q\na\n", "rot13", None, "there is no encoding 'rot13'"),
        (b"q\na\n", "base64", None, "there is no encoding 'base64'"),
    ],
)
def test_what_is_not_in_the_given_encoding_is_said(tmp_path, content, encoding, line, message):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        inspect_file(path, tmp_path / "looks", file_format="csv", encoding=encoding)
    assert (caught.value.line, caught.value.message) == (line, message)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_an_encoding_whose_mark_is_not_there_says_which_need_none(tmp_path, encoding):
    path = tmp_path / "a.csv"
    path.write_text("q\n한글\n", encoding=f"{encoding}-le")
    with pytest.raises(DataError, match="does not begin with a byte order mark") as caught:
        inspect_file(path, tmp_path / "looks", file_format="csv", encoding=encoding)
    assert f"encoding: {encoding}-le" in caught.value.remedy
    assert (
        inspect_file(path, tmp_path / "looks", file_format="csv", encoding=f"{encoding}-le").first
        == "q"
    )


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"plain", "utf-8-sig"),
        ("한글".encode(), "utf-8-sig"),
        ("한글".encode("utf-8-sig"), "utf-8-sig"),
        ("한글".encode("utf-16"), "utf-16"),
        ("한글".encode("utf-16-be").join([b"\xfe\xff", b""]), "utf-16"),
        ("치약, 똠방각하".encode("cp949"), "cp949"),
    ],
)
def test_the_encoding_is_found(tmp_path, content, encoding):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    assert inspect_file(path, tmp_path / "looks", file_format="csv").encoding == encoding
