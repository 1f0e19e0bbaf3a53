"""Hugging Face datasets that `save_to_disk` wrote: Arrow streams, read by pyarrow alone.

One folder per split with `state.json`, which names its files; several splits are below a
`dataset_dict.json`. Nothing is unpickled, and no file outside the folder is opened.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import ipc

from backends.contract.inspector import Json
from controller.data.errors import DataError
from controller.data.fetch.arrow_rows import Table, TableWriter
from controller.data.fetch.snapshot import Memo, find_memo, new_snapshot, save_memo
from controller.data.sources.source_file import LocatedFile
from controller.data.storage.memo_file import changed_ns, file_stamp
from controller.data.suggestions import choice, quote

_SPLITS = "dataset_dict.json"
_STATE = "state.json"
_TICK_NS = 2_000_000_000
"""Resolution of the coarsest clock of a file system in use."""

_SAVE_AGAIN = "Save the dataset again: dataset.save_to_disk(…)"


def fetch_saved(path: Path, display_path: str, split: str | None, snapshots: Path) -> LocatedFile:
    """Return the snapshot of a saved dataset, the known one if no file of it changed.

    Raises:
        DataError: It is not a saved dataset, has no such split, or holds a value without a form in
            JSON.
        OSError: A file cannot be read, or the snapshot cannot be written.
    """
    folder = _folder(path, display_path, split)
    files = _files(folder, display_path)
    key: Json = ["saved", str(folder)]
    # Before the files are read: a file that changes meanwhile is read again next time.
    began_ns = time.time_ns()
    stamps = [file_stamp(file) for file in (folder / _STATE, *files)]
    version: Json = [list(stamp) for stamp in stamps]
    memo = find_memo(snapshots, key)
    if memo is None or memo.version != version:
        with new_snapshot(snapshots) as snapshot:
            writer = TableWriter(snapshot, field="path")
            for table in _tables(files, display_path):
                writer.add(table)
            memo = Memo(path=writer.finish(display_path), version=version)
        # As git does: a file that changed a moment ago may change again within the clock's tick.
        if began_ns - max(map(changed_ns, stamps)) > _TICK_NS:
            save_memo(snapshots, key, memo)
    return LocatedFile(path=memo.path, display_path=display_path, format="jsonl", from_arrow=True)


def _folder(path: Path, display_path: str, split: str | None) -> Path:
    if not (path / _SPLITS).is_file():
        only = _json(path / _STATE, display_path).get("_split")
        if split is not None and only is not None and split != only:
            raise DataError(
                f"{display_path} holds the split {quote(only)}, not {quote(split)}",
                "Name that split, or none.",
                field="split",
            )
        return path
    splits = _json(path / _SPLITS, display_path).get("splits")
    names = [name for name in splits if isinstance(name, str)] if isinstance(splits, list) else []
    name = split or "train"
    if name not in names:
        raise DataError(
            f"{display_path} has no split {quote(name)}",
            choice(name, names),
            field="split",
        )
    return _inside(path, name, display_path)


def _files(folder: Path, display_path: str) -> list[Path]:
    state = _json(folder / _STATE, display_path)
    if state.get("_indices_data_files"):
        raise DataError(f"{display_path} was saved by an old release of datasets", _SAVE_AGAIN)
    named = state.get("_data_files")
    entries = named if isinstance(named, list) else []
    names = [entry.get("filename") for entry in entries if isinstance(entry, dict)]
    if not names or len(names) != len(entries):
        raise DataError(f"{display_path}: {_STATE} names no data files", _SAVE_AGAIN)
    return [_inside(folder, name, display_path) for name in names]


def _inside(folder: Path, name: object, display_path: str) -> Path:
    """Return a path in a folder, which neither its name nor a link may leave."""
    if not isinstance(name, str) or name in ("", ".", "..") or Path(name).name != name:
        raise DataError(f"{display_path}: {quote(name)} is not a file name", _SAVE_AGAIN)
    path = folder / name
    if path.resolve() != folder.resolve() / name:
        raise DataError(
            f"{display_path}: {quote(name)} leaves the folder", "Copy it into the folder."
        )
    if not path.exists():
        raise DataError(f"{display_path}: there is no {quote(name)}", _SAVE_AGAIN)
    return path


def _json(path: Path, display_path: str) -> dict[str, Json]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(
            f"{display_path} is not a saved dataset: it has no {path.name}", _SAVE_AGAIN
        ) from None
    except (ValueError, RecursionError):
        raise DataError(f"{display_path}: {path.name} is not valid JSON", _SAVE_AGAIN) from None
    if not isinstance(content, dict):
        raise DataError(f"{display_path}: {path.name} is not a JSON object", _SAVE_AGAIN)
    return content


def _tables(files: list[Path], display_path: str) -> Iterator[Table]:
    for file in files:
        try:
            # Not mapped, though that is faster: mapped pages count as memory of this process.
            with pa.OSFile(str(file)) as opened, ipc.open_stream(opened) as stream:
                yield from stream
        except (pa.ArrowInvalid, OSError) as error:
            if getattr(error, "errno", None) is not None:
                raise  # An error of the disk, not of a file that ends too early.
            first_line = str(error).partition("\n")[0]
            raise DataError(
                f"{display_path}: {file.name} is not an Arrow stream: {first_line}", _SAVE_AGAIN
            ) from None
