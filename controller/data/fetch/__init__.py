"""Sources that are no files of the repository, fetched once to a snapshot file.

In: a `Source` with `sql`, `hub` or `url`, or the folder of a saved Hugging Face dataset. Out: a
`Fetched` file in the state folder, named by its content, which is read from then on like any other
file. Nothing outside the folder of the snapshots is written, and nothing in the source ever is.

Each place is one module, loaded when it is needed, since each stands on the packages of an extra:
`sql` on SQLAlchemy, `hub` on datasets, `url` on httpx and fsspec, `saved` on pyarrow.
"""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from controller.data.errors import DataError, SourceUnavailable
from controller.data.extras import import_extra
from controller.data.fetch.snapshot import Fetched, FetchRequest
from controller.spec.data import Source

_READERS = {
    "sql": ("controller.data.fetch.sql", "sql", "reading a database"),
    "hub": ("controller.data.fetch.hub", "hub", "reading a Hugging Face dataset"),
    "url": ("controller.data.fetch.url", "data", "reading a URL"),
    "saved": (
        "controller.data.fetch.saved_dataset",
        "data",
        "reading a saved Hugging Face dataset",
    ),
}
"""Module, extra, and what the message says needs it, for each place."""


def fetch(
    source: Source, *, folder: Path, root: Path, snapshots: Path, environment: Mapping[str, str]
) -> Fetched:
    """Return the snapshot of what a source holds now.

    Args:
        source: With `sql`, `hub` or `url`.
        folder: The spec's folder.
        root: The repository; a relative SQLite file starts here.
        snapshots: Folder of all snapshots; created when absent.
        environment: The variables that hold the databases' URLs and the hub's token.

    Raises:
        SourceUnavailable: It cannot be read here: no credentials, no network, no package.
        DataError: The spec asks for what is not there, or for what is not allowed.
        OSError: The snapshot cannot be written.
    """
    asked = FetchRequest(
        source=source, folder=folder, root=root, snapshots=snapshots, environment=environment
    )
    fetched: Fetched = _reader(source.place).fetch(asked)
    return fetched


def fetch_saved(path: Path, display_path: str, split: str | None, snapshots: Path) -> Fetched:
    """Return the snapshot of a dataset that was saved with `save_to_disk`.

    Args:
        path: The folder, resolved.
        display_path: How to show it.
        split: Which split to take when it holds several; `train` when None.
        snapshots: Folder of all snapshots; created when absent.

    Raises:
        SourceUnavailable: pyarrow is not installed.
        DataError: It is no saved dataset, has no such split, or holds what is no JSON value.
        OSError: A file cannot be read, or the snapshot cannot be written.
    """
    fetched: Fetched = _reader("saved").fetch_saved(path, display_path, split, snapshots)
    return fetched


def _reader(place: str) -> ModuleType:
    module, extra, what = _READERS[place]
    try:
        loaded: ModuleType = import_extra(module, extra=extra, what=what)
    except DataError as error:
        raise SourceUnavailable(error.message, error.remedy) from None
    return loaded
