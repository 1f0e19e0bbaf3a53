"""Rows of JSONL, JSON, CSV and TSV, and what is said of files that are broken."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.data.errors import DataError
from controller.data.readers import csv_table, jsonl, parse_line, read_rows
from controller.data.sources.source_file import CHUNK, SourceFile
from tests.controller.data.sources.source_files import PACK, source_file


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
        ("a.csv", '"never closed\nq,a\n1,2\n', [(1, "not a CSV record: unexpected end of data")]),
        ("a.jsonl", '{"a":1}\n \n{"a":2}', [(1, {"a": 1}), (3, {"a": 2})]),
        ("a.jsonl", '\ufeff\n{"a":1}', [(2, {"a": 1})]),
        ("a.jsonl", '\ufeff{"a":1}\n\n\ufeff{"a":2}', [
            (1, {"a": 1}),
            (3, "not valid JSON: Expecting value (column 1)"),
        ]),
        ("a.jsonl", '{"a":"\u2028\x85"}\r\n{"a":2}\r\n', [(1, {"a": "\u2028\x85"}), (2, {"a": 2})]),
        ("a.jsonl", '{"a" 1}\n[]\n{"a":NaN}\n3\n{}', [
            (1, "not valid JSON: Expecting ':' delimiter (column 6)"),
            (2, "a JSON object is expected, not an array"),
            (3, "not valid JSON: NaN is not a JSON number"),
            (4, "a JSON object is expected, not a number"),
            (5, {}),
        ]),
        ("a.jsonl", "[" * 100_000, [(1, "not valid JSON: nested too deeply; some hundred levels are read")]),
        ("a.jsonl", '{"a":' * 10_000, [(1, "not valid JSON: nested too deeply; some hundred levels are read")]),
        ("a.jsonl", '{"a":' + "9" * 5_000 + "}", [(1, "not valid JSON: a number has too many digits")]),
        ("a.json", '\n[\n{"a":1},\n\n {"a":\n2} ,{"a":3}]\n', [(1, {"a": 1}), (2, {"a": 2}), (3, {"a": 3})]),
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
        ("a.json", "[\n" + '{"a":[' * 10_000, [(2, "not valid JSON: nested too deeply; some hundred levels are read")]),
    ],
)  # fmt: skip
def test_rows_and_their_lines(read, name, content, rows):
    assert read(name, content) == rows


@pytest.mark.parametrize(
    ("content", "said", "rows"),
    [
        ("q,a\n1;1,2\n", {}, [{"q": "1;1", "a": "2"}]),
        ("q;a\n1,5;2\n", {}, [{"q": "1,5", "a": "2"}]),
        ("q\ta\n1,5\t2\n", {}, [{"q": "1,5", "a": "2"}]),
        ("q|a\n1,5|2\n", {}, [{"q": "1,5", "a": "2"}]),
        # What stands in quotes parts nothing; the comma wins where both are equally often.
        ('"one, two, ""three""";a\n1;2\n', {}, [{'one, two, "three"': "1", "a": "2"}]),
        ('\n"q\n,,";a\n1;2\n', {}, [{"q\n,,": "1", "a": "2"}]),
        ("q;x,a\n1;2,3\n", {}, [{"q;x": "1;2", "a": "3"}]),
        ("q;x;y,a\n1;2,3\n", {"delimiter": ","}, [{"q;x;y": "1;2", "a": "3"}]),
        ("q^a\n1^2\n", {"delimiter": "^"}, [{"q": "1", "a": "2"}]),
        ("q\n1,2\n", {"delimiter": ";"}, [{"q": "1,2"}]),
    ],
)
def test_the_delimiter_is_recognised_or_given(read, content, said, rows):
    assert [row for _, row in read("a.csv", content, **said)] == rows


def test_a_field_that_swallows_the_file_is_said_where_it_began(read, monkeypatch):
    monkeypatch.setattr(csv_table, "MAX_FIELD", 100)
    assert read("a.csv", 'q\nfine\n"open\n' + "x\n" * 200) == [
        (2, {"q": "fine"}),
        (3, "a field is longer than 100 characters"),
    ]


@pytest.mark.parametrize("pack", ["", ".gz", ".zst"])
@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("a.jsonl", '{"a":1}\n{"a":"%s"}\n{"a":2}\n', [1, "the line is longer than 1 MiB", 2]),
        ("a.csv", "a\n1\n%s\n2\n", ["1", "the line is longer than 1 MiB"]),
        ("a.json", '[{"a":1},\n{"a":"%s"}]', [1, "a value is longer than 1 MiB"]),
        ("a.txt", "%s", ["the document is longer than 1 MiB"]),
    ],
)
def test_a_row_that_is_too_long_is_said_and_not_held(
    tmp_path, monkeypatch, pack, name, content, rows
):
    monkeypatch.setattr(SourceFile, "MAX_ROW", 1 << 20)
    path = tmp_path / (name + pack)
    written = (content % ("x" * (5 << 20))).encode()
    path.write_bytes(PACK[pack[1:]](written) if pack else written)
    file_format = "text" if name == "a.txt" else ""
    read = list(read_rows(source_file(path, file_format)))
    assert [row.message if isinstance(row, DataError) else row["a"] for _, row in read] == rows
    assert [line for line, _ in read][: len(rows)] == [
        (number if name == "a.jsonl" else number + (name == "a.csv"))
        for number in range(1, len(rows) + 1)
    ]


@pytest.mark.parametrize("size", [10, CHUNK - 12, CHUNK - 3, CHUNK, 3 * CHUNK])
def test_an_array_is_read_across_the_ends_of_its_chunks(read, size):
    rows = [{"a": "x" * size}, {"b": ["한" * 5, {"c": -1.5}]}, {"d": "\n"}] * 2
    text = json.dumps(rows, ensure_ascii=False)
    assert [row for _, row in read("a.json", text)] == rows


ROWS = [{"질문": f"어때요, {n}번?", "답": f'"좋아요"\n{n}'} for n in range(50)]


def as_text(file_format: str, end: str) -> str:
    if file_format == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + end for row in ROWS)
    if file_format == "json":
        return json.dumps(ROWS, ensure_ascii=False, indent=1).replace("\n", end)
    cells = [list(ROWS[0]), *(list(row.values()) for row in ROWS)]
    tab = "\t" if file_format == "tsv" else ","
    return "".join(
        tab.join('"' + cell.replace('"', '""') + '"' for cell in row) + end for row in cells
    )


@pytest.mark.parametrize("pack", ["", ".gz", ".zst"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949"])
@pytest.mark.parametrize("file_format", ["jsonl", "json", "csv", "tsv"])
def test_the_same_rows_come_from_every_form_of_a_file(read, file_format, encoding, pack):
    for end in ("\n", "\r\n"):
        content = as_text(file_format, end).encode(encoding)
        packed = PACK[pack[1:]](content) if pack else content
        assert [row for _, row in read(f"a.{file_format}{pack}", packed)] == ROWS


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(row=st.dictionaries(st.text(), values), escaped=st.booleans())
def test_a_line_is_parsed_as_the_standard_library_does(row, escaped):
    text = json.dumps(row, ensure_ascii=escaped)
    assert parse_line(text) == json.loads(text) == row
    if text.isascii() or text.isprintable():
        assert parse_line(text.encode() + b"\r\n") == row


ALPHABET = st.sampled_from(
    ["{", "}", "[", "]", ":", ",", '"a"', '"', "\\", "u", "d83d", "n", " ", "\t", "\x00", "\x1f",
     "\x7f", "\x85", "\u2028", "한", "1", "0", "-", "+", ".", "e", "E9", "999", "true", "null", "NaN",
     "Infinity", "-Infinity", '{"a":', "'", "/", "\ufeff", "\x0b"]
)  # fmt: skip


@given(st.lists(ALPHABET, max_size=12).map("".join), st.booleans())
def test_nothing_is_parsed_that_the_standard_library_refuses(text, wrapped):
    text = f'{{"a":{text}}}' if wrapped else text
    try:
        value = jsonl.decoder().decode(text)
    except (ValueError, RecursionError):
        value = None
    for written in (text, text.encode()):
        parsed = parse_line(written)
        if isinstance(value, dict):
            assert repr(parsed) == repr(value)
        else:
            assert isinstance(parsed, DataError)
