"""Objects in stores that fsspec opens, each with its own package."""

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
_CREDENTIALS = "Set the store's credentials as for its own tools, and check the network."


def fetch_object(url: ObjectUrl, snapshots: Path, memo: Memo | None) -> Memo:
    """Return the snapshot of an object, the known one if the store reports no change.

    Raises:
        SourceUnavailable: No package, no credentials, no network, or the object changed meanwhile.
        DataError: There is no such object.
    """
    with _translated(url):
        # Caches of earlier requests may be outdated.
        store, path = fsspec.url_to_fs(url.url, skip_instance_cache=True, use_listings_cache=False)
        version = str(store.ukey(path))
    if memo is not None and memo.version == version:
        return memo
    with _translated(url):
        file = store.open(path, "rb")
    with file, new_snapshot(snapshots) as new:
        for chunk in _chunks(file, url):
            new.write(chunk)
        with _translated(url):
            store.invalidate_cache()
            changed = str(store.ukey(path)) != version
        if changed:
            raise SourceUnavailable(
                f"{url.display_path} changed while it was read", "Run the command again."
            )
        return Memo(path=new.publish(url.endings), version=version)


def _chunks(file: BinaryIO, url: ObjectUrl) -> Iterator[bytes]:
    while True:
        # Only errors of reading are the store's: writing may fill the disk.
        with _translated(url):
            chunk = file.read(_CHUNK)
        if not chunk:
            return
        yield chunk


@contextmanager
def _translated(url: ObjectUrl) -> Iterator[None]:
    """Translate errors of a store's package, which has its own classes."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(
            f"there is no object {url.display_path}", "Check the address.", field="url"
        ) from None
    except ImportError:
        package = STORES[url.scheme]
        raise SourceUnavailable(
            f"{url.scheme}:// needs the package {package}", package_command(package)
        ) from None
    except Exception as error:
        raise SourceUnavailable(
            f"{url.display_path} cannot be read: {url.redact(error)}", _CREDENTIALS
        ) from error
