"""Packed files that are damaged, and files that change while they are read."""

import pytest

from controller.data.errors import DataError
from controller.data.readers import read_rows
from controller.data.sources.inspect_file import changed_since, inspect_file
from tests.controller.data.sources.source_files import PACK, source_file

LINES = "".join(f'{{"a":{n}}}\n' for n in range(50_000)).encode()


@pytest.mark.parametrize("pack", ["gz", "zst"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_packed_data_that_was_cut_off_is_said(tmp_path, pack, share):
    path = tmp_path / f"a.jsonl.{pack}"
    whole = PACK[pack](LINES)
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError) as caught:
        inspect_file(path, tmp_path / "looks", file_format="jsonl")
    name = {"gz": "gzip", "zst": "zstd"}[pack]
    assert caught.value.message == f"the {name} data ends too early: the file was cut off"
    # A part of zstd is unpacked whole or not at all.
    assert caught.value.line > 1000 * (pack == "gz")


@pytest.mark.parametrize("pack", ["gz", "zst"])
def test_packed_data_that_is_damaged_is_said(tmp_path, pack):
    path = tmp_path / f"a.jsonl.{pack}"
    whole = bytearray(PACK[pack](LINES))
    whole[len(whole) // 3 : len(whole) // 2] = b"\xff" * (len(whole) // 2 - len(whole) // 3)
    path.write_bytes(whole)
    with pytest.raises(DataError) as caught:
        inspect_file(path, tmp_path / "looks", file_format="jsonl")
    assert "data is damaged" in caught.value.message


@pytest.mark.parametrize("pack", ["gz", "zst"])
def test_packed_data_in_several_parts_is_read_whole(read, pack):
    content = PACK[pack](b'{"a":1}\n') + PACK[pack](b'{"a":2}\n')
    assert read(f"a.jsonl.{pack}", content) == [(1, {"a": 1}), (2, {"a": 2})]


def test_a_file_that_changed_is_noticed_at_its_end(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a":1}\n' * 10)
    source = source_file(path)
    path.write_text('{"a":2}\n' * 10)
    *rows, (line, problem) = read_rows(source)
    assert (len(rows), line) == (10, 10)
    assert problem.message == "the file changed while it was read"


@pytest.mark.parametrize(
    "content", ['{"a":1}\n' * 100_000, b"\xff\xfe\xff" * 300_000, "", '[{"a":']
)
def test_a_file_that_changes_between_two_rows_is_noticed(tmp_path, content):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a":1}\n' * 400_000)
    source = source_file(path)
    rows = read_rows(source)
    next(rows)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    (*_, (_, last)) = rows
    assert last.message == "the file changed while it was read"


def test_whoever_stops_reading_can_ask_whether_the_file_changed(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a":1}\n' * 10)
    source = source_file(path)
    next(read_rows(source))
    assert changed_since(source) is None
    path.touch()
    assert changed_since(source) is None
    path.write_text('{"a":2}\n' * 10)
    assert changed_since(source).message == "the file changed while it was read"


def test_a_file_that_went_away_is_said(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a":1}\n')
    source = source_file(path)
    path.unlink()
    ((_, problem),) = read_rows(source)
    assert problem.message == "cannot be read: No such file or directory"
