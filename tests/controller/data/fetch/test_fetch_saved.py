"""Folders that `datasets` saved, as sources."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import ipc

from controller.data.errors import DataError
from controller.data.fetch import fetch_saved

ROWS = [{"q": "주말에도 문 여나요?", "n": 1}, {"q": "주차?", "n": None}]


def save(folder: Path, *tables: pa.Table, state: dict | None = None) -> Path:
    """Write what `save_to_disk` does, as its format says."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05}.arrow" for number in range(len(tables))]
    for name, table in zip(names, tables, strict=True):
        with ipc.new_stream(folder / name, table.schema) as stream:
            stream.write_table(table)
    files = {"_data_files": [{"filename": name} for name in names], "_split": None}
    (folder / "state.json").write_text(json.dumps({**files, **(state or {})}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


@pytest.fixture
def read(tmp_path: Path):
    def read_rows(folder: Path, split: str | None = None) -> list[dict]:
        fetched = fetch_saved(folder, "data/saved", split, tmp_path / "snapshots")
        assert fetched.display_path == "data/saved"
        assert fetched.format == "jsonl"
        return [json.loads(line) for line in fetched.path.read_bytes().splitlines()]

    return read_rows


def bytes_read() -> int:
    """Return how much this process read until now."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_what_the_library_itself_saves_is_read(tmp_path, read):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    whole = datasets.Dataset.from_list(ROWS * 1_000)
    whole.save_to_disk(tmp_path / "one", num_shards=3)
    assert read(tmp_path / "one") == ROWS * 1_000
    whole.select([1, 0]).save_to_disk(tmp_path / "chosen")
    assert read(tmp_path / "chosen") == ROWS[::-1]
    splits = datasets.DatasetDict({"train": whole, "test": whole.select([1])})
    splits.save_to_disk(tmp_path / "many")
    assert read(tmp_path / "many") == ROWS * 1_000
    assert read(tmp_path / "many", "test") == ROWS[1:]


def test_every_file_is_read_in_its_order(tmp_path, read):
    tables = [pa.Table.from_pylist([{"n": n}, {"n": -n}]) for n in range(1, 12)]
    rows = read(save(tmp_path / "saved", *tables))
    assert rows == [{"n": sign * n} for n in range(1, 12) for sign in (1, -1)]


def test_a_large_batch_is_written_a_few_rows_at_once(tmp_path, read):
    table = pa.table({"q": ["한" * 100_000] * 50, "n": range(50)})
    rows = read(save(tmp_path / "saved", table))
    assert [row["n"] for row in rows] == list(range(50))


def test_a_dataset_is_read_again_only_when_a_file_of_it_changed(tmp_path, read, monkeypatch):
    monkeypatch.setattr("controller.data.fetch.saved_dataset._TICK_NS", 0)
    folder, snapshots = tmp_path / "saved", tmp_path / "snapshots"
    save(folder, pa.table({"q": ["주차?" * 1_000] * 1_000}))
    before = bytes_read()
    first = fetch_saved(folder, "data/saved", None, snapshots)
    assert bytes_read() - before > 5_000_000
    before = bytes_read()
    assert fetch_saved(folder, "data/saved", None, snapshots) == first
    assert bytes_read() - before < 100_000
    shutil.rmtree(folder)
    save(folder, pa.Table.from_pylist(ROWS[:1]))
    assert read(folder) == ROWS[:1]
    (tmp_path / "snapshots" / "memos").rename(tmp_path / "gone")
    assert read(folder) == ROWS[:1]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"_data_files": [{"filename": "../secret.arrow"}]}, "data/saved: '../secret.arrow' is not a file name"),
        ({"_data_files": [{"filename": "/etc/passwd"}]}, "data/saved: '/etc/passwd' is not a file name"),
        ({"_data_files": [{"filename": ".."}]}, "data/saved: '..' is not a file name"),
        ({"_data_files": [{"filename": "link.arrow"}]}, "data/saved: 'link.arrow' leaves the folder"),
        ({"_data_files": [{"filename": "none.arrow"}]}, "data/saved: there is no 'none.arrow'"),
        ({"_data_files": [{"filename": "text.arrow"}]}, "data/saved: text.arrow is not an Arrow stream"),
        ({"_data_files": [{"filename": "half.arrow"}]}, "data/saved: half.arrow is not an Arrow stream"),
        ({"_data_files": [3]}, "data/saved: state.json names no data files"),
        ({"_data_files": None}, "data/saved: state.json names no data files"),
        ({"_indices_data_files": [{"filename": "i"}]}, "data/saved was saved by an old release of datasets"),
        ({"_split": "test"}, "data/saved holds the split 'test', not 'train'"),
    ],
)  # fmt: skip
def test_a_folder_that_is_not_as_it_should_be_is_said(tmp_path, read, state, message):
    table = pa.Table.from_pylist(ROWS * 5_000)
    save(tmp_path / "secret", table)
    folder = save(tmp_path / "saved", table, state=state)
    (folder / "link.arrow").symlink_to(tmp_path / "secret" / "data-00000.arrow")
    (folder / "text.arrow").write_text("no Arrow at all" * 100)
    whole = (folder / "data-00000.arrow").read_bytes()
    (folder / "half.arrow").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError) as caught:
        read(folder, "train")
    assert caught.value.message.startswith(message)
    assert caught.value.remedy
    left = [path for path in (tmp_path / "snapshots").glob("*") if path.is_file()]
    assert left == []


@pytest.mark.parametrize(
    ("content", "split", "message", "remedy"),
    [
        ('{"splits": ["train", "test"]}', "tests", "data/saved has no split 'tests'", "Did you mean `test`? Use one of: train, test."),
        ('{"splits": ["test"]}', None, "data/saved has no split 'train'", "Use one of: test."),
        ('{"splits": ["../x"]}', "../x", "data/saved: '../x' is not a file name", "Save the dataset again"),
        ('{"splits": ["gone"]}', "gone", "data/saved: there is no 'gone'", "Save the dataset again"),
        ("[" * 100_000, None, "data/saved: dataset_dict.json is not valid JSON", "Save the dataset again"),
        ("[]", None, "data/saved: dataset_dict.json is not a JSON object", "Save the dataset again"),
    ],
)  # fmt: skip
def test_a_split_that_is_not_there_is_said(tmp_path, read, content, split, message, remedy):
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "dataset_dict.json").write_text(content)
    with pytest.raises(DataError) as caught:
        read(folder, split)
    assert caught.value.message == message
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("table", "message", "line"),
    [
        (pa.table({"score": [0.5, float("nan")]}), "column 'score' holds nan", 2),
        (pa.table([["a"], ["b"]], names=["q", "q"]), "two columns are named 'q'", None),
        (pa.table({"q": pa.array([], pa.string())}), "data/saved has no rows", None),
    ],
)  # fmt: skip
def test_what_json_has_not_is_refused_with_its_row(tmp_path, read, table, message, line):
    with pytest.raises(DataError) as caught:
        read(save(tmp_path / "saved", table))
    assert caught.value.message.startswith(message)
    assert caught.value.line == line
