"""Objects in stores that fsspec opens, each with a package of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import fsspec

from backends.installation import package_command
from controller.data.errors import DataError, SourceUnavailable
from controller.data.fetch.object_url import STORES, ObjectUrl
from controller.data.fetch.snapshot import Memo, new_snapshot

_CHUNK = 4 << 20
_CREDENTIALS = "Set the store's credentials, as its own tools want them, and check the network."


def read_store(place: ObjectUrl, snapshots: Path, memo: Memo | None) -> Memo:
    """Return the snapshot of an object, the known one when the store says that it is unchanged.

    Args:
        place: The object.
        snapshots: Folder of all snapshots.
        memo: What was read there last.

    Raises:
        SourceUnavailable: No package, no credentials, no network, or the object changed meanwhile.
        DataError: There is no such object.
    """
    with _explained(place):
        # Nothing that an earlier look found is believed.
        store, path = fsspec.url_to_fs(
            place.url, skip_instance_cache=True, use_listings_cache=False
        )
        version = str(store.ukey(path))
    if memo is not None and memo.version == version:
        return memo
    with _explained(place):
        file = store.open(path, "rb")
    with file, new_snapshot(snapshots) as new:
        for chunk in _chunks(file, place):
            new.write(chunk)
        with _explained(place):
            store.invalidate_cache()
            changed = str(store.ukey(path)) != version
        if changed:
            raise SourceUnavailable(
                f"{place.display_path} changed while it was read", "Run the command again."
            )
        return Memo(path=new.publish(place.endings), version=version)


def _chunks(file: BinaryIO, place: ObjectUrl) -> Iterator[bytes]:
    while True:
        # Around the reading alone: a disk that is full is not the store's fault.
        with _explained(place):
            chunk = file.read(_CHUNK)
        if not chunk:
            return
        yield chunk


@contextmanager
def _explained(place: ObjectUrl) -> Iterator[None]:
    """Say of any error of a store's package, which has its own kinds, what it means here."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(
            f"there is no object {place.display_path}", "Check the address.", field="url"
        ) from None
    except ImportError:
        package = STORES[place.scheme]
        raise SourceUnavailable(
            f"{place.scheme}:// needs the package {package}", package_command(package)
        ) from None
    except Exception as error:
        raise SourceUnavailable(
            f"{place.display_path} cannot be read: {place.redact(error)}", _CREDENTIALS
        ) from error
