"""Sources outside the repository, fetched once to a snapshot file.

In: a `Source` with `sql`, `hub` or `url`, or the folder of a saved Hugging Face dataset. Out: a
file in the state folder, named by its content, which is then read like any other file.
Only the folder of the snapshots is written.

Each place is one module, imported when it is needed, since each needs the packages of an extra.
"""

from pathlib import Path
from types import ModuleType

from controller.data.errors import DataError, SourceUnavailable
from controller.data.extras import import_extra
from controller.data.fetch.snapshot import FetchRequest
from controller.data.sources.source_file import LocatedFile

_READERS = {
    "sql": ("sql", "sql", "reading a database"),
    "hub": ("hub", "hub", "reading a Hugging Face dataset"),
    "url": ("url", "data", "reading a URL"),
    "saved": ("saved_dataset", "data", "reading a saved Hugging Face dataset"),
}
"""Module, extra, and what needs it in a message, for each place."""


def fetch(request: FetchRequest) -> LocatedFile:
    """Return the snapshot of a source's present content.

    Raises:
        SourceUnavailable: It cannot be read here: no credentials, no network, no package.
        DataError: The spec names something that does not exist, or that is not allowed.
        OSError: The snapshot cannot be written.
    """
    fetched: LocatedFile = _reader(request.source.place).fetch(request)
    return fetched


def fetch_saved(path: Path, display_path: str, split: str | None, snapshots: Path) -> LocatedFile:
    """Return the snapshot of a dataset that was saved with `save_to_disk`.

    Raises:
        SourceUnavailable: pyarrow is not installed.
        DataError: See `saved_dataset.fetch_saved`.
        OSError: A file cannot be read, or the snapshot cannot be written.
    """
    fetched: LocatedFile = _reader("saved").fetch_saved(path, display_path, split, snapshots)
    return fetched


def _reader(place: str) -> ModuleType:
    module, extra, what = _READERS[place]
    try:
        loaded: ModuleType = import_extra(f"controller.data.fetch.{module}", extra=extra, what=what)
    except DataError as error:
        raise SourceUnavailable(error.message, error.remedy) from None
    return loaded
