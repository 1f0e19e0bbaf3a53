"""Whatever a row says is read, refused, or named in the report: for any table, array and line."""

import csv
import hashlib
import io
import json
import os
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from controller.data.errors import DataError
from controller.data.readers import read_rows
from controller.data.sources.source_file import UTF_8, FileInfo, Noted, SourceFile
from controller.spec.data import Source

QUOTES = {"double": '"', "single": "'"}
DELIMITERS = {"csv": ",", "tsv": "\t"}
CELL = st.text(alphabet="가나a0 .,;\t\"'\n|", max_size=8)
PLAIN = st.text(alphabet="가나a0 .;\"'|", max_size=8)
NAMES = ("q", "a", "b")


def read(file_format: str, text: str, **said) -> list[tuple]:
    data = text.encode()
    handle, name = tempfile.mkstemp()
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        digest = hashlib.sha256(data).hexdigest()
        info = FileInfo(sha256=digest, encoding=UTF_8, first=text.lstrip()[:1])
        source = Source.model_validate({"path": "d", **said})
        file = SourceFile(
            path=Path(name), display_path="d", format=file_format, info=info, source=source
        )
        return list(read_rows(file))
    finally:
        Path(name).unlink()


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("quote", ["double", "single"])
@pytest.mark.parametrize("file_format", ["csv", "tsv"])
@given(rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=5))
def test_every_cell_that_was_written_with_quotes_is_read(file_format, quote, quoting, rows):
    written = io.StringIO()
    writer = csv.writer(
        written, delimiter=DELIMITERS[file_format], quotechar=QUOTES[quote], quoting=quoting
    )
    writer.writerows([NAMES, *rows])
    found = read(file_format, written.getvalue(), quote=quote, delimiter=DELIMITERS[file_format])
    assert [tuple(row.values()) for _, row in found] == rows


@pytest.mark.parametrize("file_format", ["csv", "tsv"])
@given(rows=st.lists(st.tuples(PLAIN, PLAIN, PLAIN), min_size=1, max_size=5))
def test_every_cell_is_read_as_it_is_without_quotes(file_format, rows):
    assume(all("".join(row) for row in rows))
    lines = [DELIMITERS[file_format].join(row) for row in [NAMES, *rows]]
    found = read(file_format, "\n".join(lines), quote="none", delimiter=DELIMITERS[file_format])
    assert [tuple(row.values()) for _, row in found] == rows
    assert [line for line, _ in found] == list(range(2, len(rows) + 2))


@pytest.mark.parametrize("file_format", ["csv", "tsv"])
@pytest.mark.parametrize("said", [{}, {"quote": "none"}, {"quote": "single"}])
@given(text=st.text(alphabet="가나\"',\t\n", max_size=40))
def test_of_any_text_each_line_is_read_refused_or_named(file_format, said, text):
    table = DELIMITERS[file_format].join(NAMES[:2]) + "\n" + text
    found = read(file_format, table, delimiter=DELIMITERS[file_format], **said)
    rows = [row for _, row in found if not isinstance(row, DataError)]
    for row in rows:
        over = [cell for cell in row.values() if "\n" in cell and DELIMITERS[file_format] in cell]
        # Rows that may have been merged are never read in silence.
        if file_format == "tsv" and over:
            assert isinstance(row, Noted)
    if len(rows) == len(found):
        marks = "\"'" + DELIMITERS[file_format] + "\n"
        read_letters = Counter("".join(cell for row in rows for cell in row.values()))
        assert {one: n for one, n in read_letters.items() if one not in marks} == {
            one: n for one, n in Counter(text).items() if one not in marks
        }


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
OBJECTS = st.lists(st.dictionaries(st.text(max_size=4), VALUE, max_size=4), max_size=6)
BESIDE = st.dictionaries(st.sampled_from(["a", "b", "z"]), VALUE, max_size=3)


@settings(max_examples=30)
@given(rows=OBJECTS, indent=st.sampled_from([None, 0, 2]), is_ascii=st.booleans())
def test_every_object_of_an_array_is_read_and_numbered(rows, indent, is_ascii):
    text = json.dumps(rows, indent=indent, ensure_ascii=is_ascii)
    assert read("json", text) == list(enumerate(rows, start=1))


@settings(max_examples=30)
@given(rows=OBJECTS, before=BESIDE, after=BESIDE, indent=st.sampled_from([None, 1]))
def test_every_object_at_a_root_is_read_whatever_stands_beside_it(rows, before, after, indent):
    beside = {key: value for key, value in after.items() if key not in before}
    whole = {**before, "data": {"rows": rows, **beside}, **beside}
    text = json.dumps(whole, indent=indent, ensure_ascii=False)
    assert read("json", text, root="data.rows") == list(enumerate(rows, start=1))


@settings(max_examples=30)
@given(rows=OBJECTS, is_ascii=st.booleans(), end=st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_every_line_of_jsonl_is_read(rows, is_ascii, end):
    assume(rows)
    text = "".join(json.dumps(row, ensure_ascii=is_ascii) + end for row in rows)
    found = read("jsonl", text)
    assert [row for _, row in found] == rows
    step = end.count("\n")
    assert [line for line, _ in found] == list(range(1, step * len(rows) + 1, step))


@given(text=st.text(alphabet='[]{}":,\n a1', max_size=30))
def test_any_text_as_json_is_read_or_refused(text):
    for said in ({}, {"root": "a"}):
        for _, row in read("json", f"[{text}", **said):
            assert isinstance(row, DataError | dict)
