import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.local_gpu.json_files import json_bytes, last_line, read_json, read_lines

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=4)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("json") / "file.json"


@given(value=OBJECTS)
def test_an_object_survives_its_file(path, value):
    path.write_bytes(json_bytes(value))
    assert read_json(path) == value


def test_a_file_is_sorted_and_has_one_value_a_line():
    assert json_bytes({"b": [1, "카페"], "a": None}).decode() == (
        '{\n "a": null,\n "b": [\n  1,\n  "카페"\n ]\n}\n'
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"a": 1', "{} {}"])
def test_a_file_without_an_object_reads_as_absent(path, text):
    path.write_text(text)
    assert read_json(path) is None


@pytest.mark.parametrize("content", [b"[" * 200_000, b'{"a":' * 200_000, b"\xff\xfe{}", b"\x00"])
def test_what_no_reader_can_take_apart_reads_as_absent(path, content):
    path.write_bytes(content)
    assert read_json(path) is None
    path.write_bytes(b'{"step": 1}\n' + content + b"\n")
    assert list(read_lines(path)) == [{"step": 1}]
    # Only the end of a long file is searched.
    found = last_line(path, "step")
    assert found == (None if len(content) > 65_536 else {"step": 1})


@pytest.mark.parametrize("marks", ["\ufeff", "", "\n\n", " "])
def test_marks_and_blanks_around_an_object_do_no_harm(path, marks):
    path.write_text(f'{marks}{{"이름": "카페"}}\n', encoding="utf-8")
    assert read_json(path) == {"이름": "카페"}


@pytest.mark.parametrize(
    ("lines", "key", "found"),
    [
        ([{"step": 1, "loss": 2.0}, {"step": 2}], "step", {"step": 2}),
        ([{"step": 1, "loss": 2.0}, {"step": 2}], "loss", {"step": 1, "loss": 2.0}),
        ([{"step": None}], "step", {"step": None}),
        ([{"message": "step"}], "step", None),
        ([["step"], "step", {"a": {"step": 1}}], "step", None),
    ],
)
def test_the_last_object_with_a_key_counts_whatever_its_value(path, lines, key, found):
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert last_line(path, key) == found


def test_lone_surrogates_are_written_as_something(path):
    path.write_bytes(json_bytes({"a": "\ud800카"}))
    assert read_json(path) == {"a": "?카"}


def test_an_absent_file_reads_as_absent(path):
    nowhere = path.with_name("nowhere")
    assert read_json(nowhere) is None
    assert list(read_lines(nowhere)) == []
    assert last_line(nowhere, "step") is None


@given(values=st.lists(OBJECTS, max_size=6), cut=st.integers(min_value=0, max_value=30))
def test_whole_lines_are_read_whatever_the_last_write_left(path, values, cut):
    lines = [json.dumps(value).encode() + b"\n" for value in values]
    torn = json.dumps({"step": 1, "text": "x" * 40}).encode()[: cut + 1]
    path.write_bytes(b"".join(lines) + torn)
    assert list(read_lines(path)) == values
    steps = [value for value in values if "step" in value]
    assert last_line(path, "step") == (steps[-1] if steps else None)


@pytest.mark.parametrize("line", ["[1]", "7", "broken", "", '{"a": 1} rest'])
def test_lines_that_are_not_objects_are_skipped(path, line):
    path.write_text(f'{{"step": 1}}\n{line}\n{{"step": 2}}\n{line}\n')
    assert list(read_lines(path)) == [{"step": 1}, {"step": 2}]
    assert last_line(path, "step") == {"step": 2}


def test_the_last_line_of_a_long_file_is_found_from_its_end(path):
    path.write_text("".join(f'{{"step": {step}}}\n' for step in range(20_000)))
    assert last_line(path, "step") == {"step": 19_999}
    assert last_line(path, "loss") is None
