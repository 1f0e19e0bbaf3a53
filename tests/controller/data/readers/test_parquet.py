"""Parquet: its values as JSON, and what is said of files that are none. And missing packages."""

import datetime as dt
import json
import math
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from backends.installation import install_command
from controller.data.errors import DataError
from controller.data.readers import READERS, read_rows
from controller.data.sources.inspect_file import inspect_file
from controller.data.sources.source_file import SourceFile
from controller.spec.data import Source

SEOUL = dt.timezone(dt.timedelta(hours=9))


def source_file(path: Path, **said) -> SourceFile:
    return SourceFile(
        path=path,
        display_path=path.name,
        format="parquet",
        info=inspect_file(path, path.parent / "looks", file_format="parquet"),
        source=Source.model_validate({"path": path.name, **said}),
    )


def read(path: Path, **said) -> list:
    return [
        (line, row.message if isinstance(row, DataError) else row)
        for line, row in read_rows(source_file(path, **said))
    ]


def test_values_of_parquet_become_json(tmp_path):
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=SEOUL)
    columns = {
        "text": pa.array(["한글", None]),
        "large": pa.array(["a", "b"], pa.large_string()),
        "whole": pa.array([1, None], pa.int64()),
        "float": pa.array([1.5, 2.0]),
        "truth": pa.array([True, False]),
        "word": pa.array(["x", "x"]).dictionary_encode(),
        "day": pa.array([dt.date(2026, 1, 2), None]),
        "moment": pa.array([moment, None], pa.timestamp("ns", "Asia/Seoul")),
        "local": pa.array([1_700_000_000_123_456_789, None], pa.timestamp("ns")),
        "time": pa.array([1_123_456_789, None], pa.time64("ns")),
        "lasts": pa.array([90_000_000_001, None], pa.duration("ns")),
        "price": pa.array([Decimal("12.50"), None]),
        "count": pa.array([Decimal(12), None], pa.decimal128(9, 0)),
        "bytes": pa.array(["한".encode(), b"\xff"], pa.binary()),
        "messages": pa.array([[{"role": "user", "at": dt.date(2026, 1, 2)}], []]),
        "moments": pa.array([[1_001], None], pa.list_(pa.timestamp("ns"))),
        "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        "nothing": pa.nulls(2),
    }
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table(columns), path)
    first, second = read(path)
    assert first == (
        1,
        {
            "text": "한글", "large": "a", "whole": 1, "float": 1.5, "truth": True, "word": "x",
            "day": "2026-01-02", "moment": "2026-01-01T18:04:05.000600+00:00",
            "local": "2023-11-14T22:13:20.123456", "time": "00:00:01.123456", "lasts": 90.0,
            "price": "12.50", "count": 12, "bytes": "한",
            "messages": [{"role": "user", "at": "2026-01-02"}],
            "moments": ["1970-01-01T00:00:00.000001"], "map": {"k": 1}, "nothing": None,
        },
    )  # fmt: skip
    assert second[1] | {"messages": []} == {
        **dict.fromkeys(columns),
        "large": "b", "float": 2.0, "truth": False, "word": "x", "bytes": "/w==", "messages": [],
    }  # fmt: skip
    json.dumps([first, second], allow_nan=False)


def test_parquet_rows_are_numbered_across_row_groups(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"a": list(range(20_000))}), path, row_group_size=777)
    assert read(path) == [(number + 1, {"a": number}) for number in range(20_000)]


def test_parquet_without_rows_has_none(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"a": pa.array([], pa.string())}), path)
    assert read(path) == []


def test_parquet_columns_have_names_of_their_own(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), path)
    assert read(path) == [(1, "the header names 'a' more than once")]


@pytest.mark.parametrize(
    "content",
    [b"no Parquet at all", b"PAR1" + b"\0" * 100 + b"PAR1", b"PAR1", b"x" * 5],
)
def test_a_parquet_file_that_is_none_is_said(tmp_path, content):
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    assert read(path) == [(1, "not a Parquet file")]


def test_a_parquet_file_that_is_cut_or_damaged_is_said(tmp_path):
    path = tmp_path / "a.parquet"
    texts = [f"row {n} {math.sin(n)}" for n in range(50_000)]
    parquet.write_table(pa.table({"a": texts}), path, row_group_size=10_000)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert read(path) == [(1, "not a Parquet file")]
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + b"\xff" * 5_000 + whole[middle + 5_000 :])
    rows = read(path)
    assert rows[-1] == (len(rows), "the Parquet data cannot be read")
    assert len(rows) > 10_000


def test_dates_that_no_calendar_has_are_said(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"a": pa.array([10**15], pa.timestamp("s"))}), path)
    assert read(path) == [(1, "the Parquet data cannot be read")]


def test_a_binary_file_that_changes_while_it_is_read_is_noticed(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"a": list(range(50_000))}), path)
    rows = read_rows(source_file(path))
    next(rows)
    path.write_bytes(path.read_bytes().replace(b"PAR1", b"PAR1"))
    *_, (_, row) = rows
    assert not isinstance(row, DataError)
    rows = read_rows(source_file(path))
    next(rows)
    with path.open("ab") as file:
        file.write(b"\0")
    *_, (_, row) = rows
    assert row.message == "the file changed while it was read"


@pytest.mark.parametrize(
    ("name", "module", "message"),
    [
        ("a.parquet", "pyarrow", "reading Parquet needs the package pyarrow"),
        ("a.xlsx", "python_calamine", "reading workbooks needs the package python_calamine"),
        ("a.html", "trafilatura", "reading HTML needs the package trafilatura"),
        ("a.jsonl.zst", "pyarrow", "reading zstd needs the package pyarrow"),
    ],
)
def test_a_package_that_is_not_installed_is_named(tmp_path, name, module, message):
    (tmp_path / name).write_bytes(b"\x28\xb5\x2f\xfd" if name.endswith("zst") else b"<p>x")
    program = f"""
import sys
from pathlib import Path
sys.modules[{module!r}] = None
from controller.data.sources.locate import detect_format
from controller.data.sources.source_file import SourceFile
from controller.data.sources.inspect_file import inspect_file
from controller.data.readers import read_rows
from controller.data.errors import DataError
from controller.spec.data import Source
path = Path({str(tmp_path / name)!r})
try:
    info = inspect_file(path, path.parent / "looks", file_format=detect_format(path.name))
    source = SourceFile(path=path, display_path="a", format=detect_format(path.name), info=info, source=Source(path="a"))
    ((_, error),) = read_rows(source)
except DataError as raised:
    error = raised
print(error.message, "|", error.remedy)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    assert done.stdout.strip() == f"{message} | {install_command('data')}"


def test_every_format_of_a_file_has_a_reader():
    assert {*READERS, "arrow"} == {
        "jsonl", "json", "csv", "tsv", "parquet", "excel", "html", "markdown", "text", "arrow"
    }  # fmt: skip
