import json
from pathlib import Path

import pytest

from controller.data import sources
from controller.data.files import CHUNK, SourceFile, look_at
from controller.data.sources import read_rows
from controller.data.unusable import Unusable


@pytest.fixture
def read(tmp_path: Path):
    def read_text(name: str, content: str | bytes, limit: int | None = None) -> list:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        kind = path.suffix[1:]
        look = look_at(path, tmp_path / "looks")
        source = SourceFile(path=path, shown=name, kind=kind, look=look)
        return [
            (line, row.message if isinstance(row, Unusable) else row)
            for line, row in read_rows(source, limit)
        ]

    return read_text


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("a.csv", "q,a\n1,2\n\n3,4", [(2, {"q": "1", "a": "2"}), (4, {"q": "3", "a": "4"})]),
        ("a.csv", '\n q ,a\n"1\n1",2\n3,4\n', [(3, {"q": "1\n1", "a": "2"}), (5, {"q": "3", "a": "4"})]),
        ("a.csv", 'q\r\n"say ""hi"""\r\n', [(2, {"q": 'say "hi"'})]),
        ("a.tsv", "q\ta\n1,5\t2\n", [(2, {"q": "1,5", "a": "2"})]),
        ("a.csv", "q,a\n1\n1,2,3\n1,2\n", [
            (2, "has 1 field; the header has 2"),
            (3, "has 3 fields; the header has 2"),
            (4, {"q": "1", "a": "2"}),
        ]),
        ("a.csv", "q,a,q\n1,2,3\n", [(1, "the header names 'q' more than once")]),
        ("a.csv", 'q\nfine\n"open\nnever closed', [(2, {"q": "fine"}), (3, "not a CSV record: unexpected end of data")]),
        ("a.csv", 'q\n"a"b\n', [(2, "not a CSV record: ',' expected after '\"'")]),
        ("a.jsonl", '{"a":1}\n \n{"a":2}', [(1, {"a": 1}), (3, {"a": 2})]),
        ("a.jsonl", '{"a":"\u2028\x85"}\r\n{"a":2}\r\n', [(1, {"a": "\u2028\x85"}), (2, {"a": 2})]),
        ("a.jsonl", '{"a" 1}\n[]\n{"a":NaN}\n3\n{}', [
            (1, "not valid JSON: Expecting ':' delimiter (column 6)"),
            (2, "a JSON object is expected, not an array"),
            (3, "not valid JSON: NaN is not a JSON number"),
            (4, "a JSON object is expected, not a number"),
            (5, {}),
        ]),
        ("a.jsonl", "[" * 100_000, [(1, "not valid JSON: nested too deeply")]),
        ("a.jsonl", '{"a":' + "9" * 5_000 + "}", [(1, "not valid JSON: a number has too many digits")]),
        ("a.json", '\n[\n{"a":1},\n\n {"a":\n2} ,{"a":3}]\n', [(3, {"a": 1}), (5, {"a": 2}), (6, {"a": 3})]),
        ("a.json", '{"a":1}\n{"a":2}\n', [(1, {"a": 1}), (2, {"a": 2})]),
        ("a.json", "[]", []),
        ("a.json", '[{"a":1}\n{"a":2}]', [(1, {"a": 1}), (2, "not valid JSON: a comma or ] is missing before this")]),
        ("a.json", '[{"a":1},\n]', [(1, {"a": 1}), (2, "not valid JSON: Expecting value at ']'")]),
        ("a.json", '[{"a":1}\n', [(1, {"a": 1}), (2, "not valid JSON: ] is missing")]),
        ("a.json", '[{"a":1}]\n{}', [(1, {"a": 1}), (2, "not valid JSON: text after the array")]),
        ("a.json", '[1,{"a":\n"b}]', [
            (1, "a JSON object is expected, not a number"),
            (2, "not valid JSON: Unterminated string at '\"b}]'"),
        ]),
        ("a.json", '[{"a":1},\n  {"a":tru}]', [(1, {"a": 1}), (2, "not valid JSON: Expecting value at 'tru}]'")]),
    ],
)  # fmt: skip
def test_rows_and_their_lines(read, name, content, rows):
    assert read(name, content) == rows


def test_the_limit_counts_rows(read):
    assert len(read("a.jsonl", '{"a":1}\n\n' * 9, limit=4)) == 4


def test_a_field_that_swallows_the_file_is_said_where_it_began(read, monkeypatch):
    monkeypatch.setattr(sources, "MAX_FIELD", 100)
    assert read("a.csv", 'q\nfine\n"open\n' + "x\n" * 200) == [
        (2, {"q": "fine"}),
        (3, "a field is longer than 100 characters"),
    ]


@pytest.mark.parametrize("size", [10, CHUNK - 12, CHUNK - 3, CHUNK, 3 * CHUNK])
def test_an_array_is_read_across_the_ends_of_its_chunks(read, size):
    rows = [{"a": "x" * size}, {"b": ["한" * 5, {"c": -1.5}]}, {"d": "\n"}] * 2
    text = json.dumps(rows, ensure_ascii=False)
    assert [row for _, row in read("a.json", text)] == rows


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949"])
def test_every_encoding_across_the_ends_of_chunks(read, encoding):
    # An odd number of bytes before them, so that characters straddle the ends of chunks.
    text = "q\nx" + "가나다라마바사\n" * 120_000
    rows = read("a.csv", text.encode(encoding))
    assert rows[0] == (2, {"q": "x가나다라마바사"})
    assert rows[-1] == (120_001, {"q": "가나다라마바사"})


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
def test_unreadable_bytes_are_said_with_their_line(tmp_path, content, line, message):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(Unusable) as caught:
        look_at(path, tmp_path / "looks")
    assert (caught.value.line, caught.value.message) == (line, message)


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
    assert look_at(path, tmp_path / "looks").encoding == encoding


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a":1}\n' * 10)
    look = look_at(path, tmp_path / "looks")
    path.write_text('{"a":2}\n' * 10)
    source = SourceFile(path=path, shown="a.jsonl", kind="jsonl", look=look)
    rows = list(read_rows(source, 3))
    assert len(rows) == 4
    assert isinstance(rows[-1][1], Unusable)
    assert rows[-1][1].message == "the file changed while it was read"
