"""Tables and arrays as found in the wild: quote marks, headers, roots, data named as text."""

import json

import pytest

from controller.data.errors import DataError
from controller.data.readers import read_rows
from controller.data.sources.inspect_file import inspect_file
from controller.data.sources.source_file import Noted, SourceFile
from controller.spec.data import Source

KINDS = {"txt": "text", "md": "markdown", "jsonlines": "jsonl"}


@pytest.fixture
def read(tmp_path):
    def read_text(name: str, content: str, **said) -> list:
        path = tmp_path / name
        path.write_bytes(content.encode())
        ending = name.rpartition(".")[2]
        file_format = said.get("format") or KINDS.get(ending, ending)
        source = Source.model_validate({"path": name, **said})
        info = inspect_file(path, tmp_path / "looks", file_format=file_format)
        file = SourceFile(
            path=path, display_path=name, format=file_format, info=info, source=source
        )
        return [row for _, row in read_rows(file)]

    return read_text


def problems(rows: list) -> list[str]:
    return [f"{row.message}\n{row.remedy}" for row in rows if isinstance(row, DataError)]


def notes(rows: list) -> list[str]:
    return [row.note for row in rows if isinstance(row, Noted)]


SWALLOWED = {
    "in the first field": 'q{d}a\n"완전 재미없음{d}0\n그저 그래요{d}0\n다시 볼래요"{d}1\n또{d}1\n',
    "in the last field": 'q{d}a\n0{d}"완전 재미없음\n1{d}그저 그래요"\n1{d}또\n',
    "in the middle": 'q{d}a{d}b\n0{d}"재미없음{d}x\n1{d}그저"{d}y\n1{d}또{d}z\n',
    "with Windows' line ends": 'q{d}a\r\n"없음{d}0\r\n볼래요"{d}1\r\n또{d}1\r\n',
}


@pytest.mark.parametrize("content", SWALLOWED.values(), ids=SWALLOWED)
@pytest.mark.parametrize("delimiter", ["\t", "|", ";", "^"])
def test_rows_that_a_quote_mark_swallowed_are_refused_with_both_ways_out(read, delimiter, content):
    name = "d.tsv" if delimiter == "\t" else "d.csv"
    said = {} if delimiter in "\t|;" else {"delimiter": delimiter}
    rows = read(name, content.format(d=delimiter), **said)
    (problem,) = problems(rows)
    assert "begins with a quote mark, goes over" in problem
    assert "quote: none" in problem
    assert "quote: double" in problem
    # The rows after it are read.
    assert not isinstance(rows[-1], DataError)


@pytest.mark.parametrize("content", SWALLOWED.values(), ids=SWALLOWED)
def test_rows_that_may_be_a_text_with_commas_are_reported(read, content):
    rows = read("d.csv", content.format(d=","))
    (note,) = notes(rows)
    assert not problems(rows)
    assert "holds commas, as rows do; if these are rows, write quote: none" in note


def test_a_field_over_lines_that_cannot_be_rows_is_not_spoken_of(read):
    text = 'q,a\n"안녕, 반가워요,\n잘 가","a,\nb"\n'
    assert read("d.csv", text) == [{"q": "안녕, 반가워요,\n잘 가", "a": "a,\nb"}]
    assert not notes(read("d.csv", text))
    assert not problems(read("d.csv", 'q;a\n"한 줄; 또;\n한 줄";1\n'))


def test_a_field_that_is_confirmed_is_read_and_reported(read):
    rows = read("d.tsv", 'q\ta\n"한\t0\n두"\t1\n', quote="double")
    assert rows == [{"q": "한\t0\n두", "a": "1"}]
    assert len(notes(rows)) == 1


def test_quote_none_reads_quote_marks_as_text(read):
    content = 'q\ta\n"완전 재미없음\t0\n"명작" 이다\t1\n다시 "볼래요"\t1\n'
    assert [row["q"] for row in read("d.tsv", content, quote="none")] == [
        '"완전 재미없음',
        '"명작" 이다',
        '다시 "볼래요"',
    ]
    assert read("d.csv", 'q,a\n"a,1\n', quote="none") == [{"q": '"a', "a": "1"}]


def test_a_quote_mark_within_a_field_leads_to_quote_none(read):
    (problem,) = problems(read("d.tsv", 'q\ta\n"명작" 이다\t1\n'))
    assert "quote: none" in problem


def test_single_quotes_enclose_fields_where_the_spec_says_so(read):
    rows = read("d.csv", "q;a\n'so; und ''so''';\"1\"\n", quote="single")
    assert rows == [{"q": "so; und 'so'", "a": '"1"'}]


@pytest.mark.parametrize(
    ("content", "header", "rows"),
    [
        ("0\t가\n1\t나\n", "none", [{"1": "0", "2": "가"}, {"1": "1", "2": "나"}]),
        ("제목\n\nq\ta\n가\t0\n", 3, [{"q": "가", "a": "0"}]),
        ('한 "줄\nq\ta\n가\t0\n', 2, [{"q": "가", "a": "0"}]),
        ("q\t\t\n가\tx\ty\n", 1, [{"q": "가", "column 2": "x", "column 3": "y"}]),
    ],
)
def test_the_header_is_where_the_spec_says(read, content, header, rows):
    assert read("d.tsv", content, header=header) == rows


def test_a_header_that_the_table_does_not_reach_is_refused(read):
    for header in (3, 300):
        (problem,) = problems(read("d.csv", "q,a\n가,0\n", header=header))
        assert f"there is no row {header}" in problem


@pytest.mark.parametrize("first", ["0\t영업시간이 어떻게 되나요?", "3.5\tb", f"{'글' * 61}\ta"])
def test_a_first_row_that_looks_like_data_is_reported(read, first):
    (note,) = notes(read("d.tsv", f"{first}\n1\t나\n2\t다\n"))
    assert "header: none" in note


ROWS = [{"q": f"질문 {n}", "a": {"b": [n]}} for n in range(5)]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    ("wrapped", "root"),
    [
        ({"version": "1", "data": ROWS}, "data"),
        ({"data": {"rows": ROWS}, "after": [{"x": 1}]}, "data.rows"),
        ({"data.rows": ROWS, "data": 3}, "data.rows"),
        ({"a": {"b.c": ROWS}}, "a.b.c"),
    ],
)
def test_rows_are_read_from_the_array_at_a_root(read, wrapped, root, indent):
    text = json.dumps(wrapped, indent=indent, ensure_ascii=False)
    assert read("d.json", text, root=root) == ROWS


@pytest.mark.parametrize("indent", [None, 2])
def test_an_object_that_holds_rows_leads_to_its_root(read, indent):
    for wrapped, root in ({"v": 1, "data": ROWS}, "data"), ({"a": {"rows": ROWS}}, "a.rows"):
        (problem,) = problems(read("d.json", json.dumps(wrapped, indent=indent)))
        assert f"root: {root}" in problem


def test_an_object_that_is_a_row_stays_one(read):
    row = {"messages": [{"role": "user", "content": "q"}], "tools": [{"name": "f"}]}
    assert read("d.json", json.dumps(row)) == [row]
    row = {"lines": [{"text": "a"}], "label": "b"}
    columns = {"user": "label", "assistant": "label"}
    assert read("d.json", json.dumps(row), columns=columns) == [row]


@pytest.mark.parametrize(
    ("content", "root", "message"),
    [
        ({"data": ROWS}, "rows", "there is no key 'rows'"),
        ({"data": {"x": 1}}, "data.rows", "there is no key 'data.rows'"),
        ({"data": 3}, "data.rows", "'data' is not an object with the key 'rows'"),
        ({"data": {"rows": ROWS}}, "data", "'data' is not an array"),
        (ROWS, "data", "the file is not an object with the key 'data'"),
        ('{"data": [{"a": 1}], "data": []}', "data", "the key 'data' leads to rows twice"),
        ('{"data": [{"a": 1}] "b": 1}', "data", "not valid JSON: a comma or } is missing"),
        ('{"data": [{"a": 1}]} {}', "data", "not valid JSON: text after the array"),
        ('{"data": [{"a": 1}', "data", "not valid JSON: ] is missing"),
        ('{"data" [', "data", "not valid JSON: a colon is missing"),
        ("{3: 4}", "data", "not valid JSON: a key is not a text"),
    ],
)
def test_a_root_that_leads_to_no_rows_is_refused(read, content, root, message):
    text = content if isinstance(content, str) else json.dumps(content)
    (problem,) = problems(read("d.json", text, root=root))
    assert message in problem


LINES = "".join(json.dumps({"q": n, "a": n}) + "\n" for n in range(3))
DISGUISED = {
    "JSONL": (LINES, "jsonl"),
    "one object": ('{"q": 1}', "jsonl"),
    "an array": (json.dumps(ROWS, indent=1), "json"),
    "an object": (json.dumps({"data": ROWS}, indent=1), "json"),
    "a table": ("q,a\n가,0\n나,1\n", "csv"),
    "a table of Excel's": ("q;a\n가;0\n나;1\n", "csv"),
    "a table with tabs": ("q\ta\n가\t0\n나\t1\n", "tsv"),
}


@pytest.mark.parametrize(("content", "file_format"), DISGUISED.values(), ids=DISGUISED)
@pytest.mark.parametrize("name", ["d.txt", "d.md"])
def test_data_that_is_named_as_text_leads_to_its_format(read, name, content, file_format):
    (problem,) = problems(read(name, content))
    assert f"format: {file_format}" in problem
    as_said = read(name, content, format=KINDS[name[2:]])
    assert as_said == [{"text": content.strip()}]
    assert len(read(name, content, format=file_format)) >= 1


def test_json_that_is_named_as_a_table_leads_to_its_format(read):
    for name in ("d.csv", "d.tsv"):
        assert "format: jsonl" in problems(read(name, LINES))[0]


@pytest.mark.parametrize(
    "text",
    [
        "안녕하세요, 반갑습니다.\n잘 지내셨어요, 오늘은?\n또 만나요, 내일.\n",
        "첫째, 하나\n둘째, 둘\n셋째, 셋\n",
        "# 제목\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
        "[링크](https://example.com)와 {중괄호}\n",
        "{{ 변수 }}\n",
        "한 줄\n",
    ],
)
def test_prose_is_read_as_prose(read, text):
    for name in ("d.txt", "d.md"):
        assert read(name, text) == [{"text": text.strip()}]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("d.csv", "상담 기록 2026\n\n"),
        ("d.csv", "상담 기록,\n,\n"),
        ("d.tsv", "상담 기록, 2026\n\n"),
        ("d.csv", "﻿상담 기록;2026\r\n\r\n"),
    ],
)
def test_a_title_above_a_table_leads_to_the_row_with_the_names(read, name, title):
    mark = "\t" if name == "d.tsv" else ","
    content = f'{title}번호{mark}"q"{mark}a\n' + f"1{mark}질문{mark}답\n" * 3
    columns = {"user": "q", "assistant": "a"}
    (said,) = problems(read(name, content, columns=columns))
    assert said == (
        "row 1 is read as the names of the columns, which are in row 3\nWrite header: 3"
    )
    assert len(read(name, content, columns=columns, header=3)) == 3
    # Where they are nowhere, or in the first row, nothing is said here.
    columns = {"user": "{q}: {번호}", "assistant": "a"}
    assert not problems(read(name, content.removeprefix(title), columns=columns))
