"""Opening a store by its address."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

from backends.installation import install_command
from backends.stores.folder import FolderStore
from backends.stores.objects import ObjectStore, StoreError


def open_store(url: str, root: Path, *, private: bool) -> ObjectStore:
    """Open a store; nothing is asked of it yet, but of a hub.

    Args:
        url: Its address, or a folder.
        root: Folder that a relative path starts from.
        private: True to require of a hub that only members of the organisation can read it.

    Raises:
        StoreError: A package is missing, or the store refuses.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        return FolderStore((root / Path(url).expanduser()).resolve())
    if scheme == "hf":
        hub: ObjectStore = _module("hub", scheme).open_hub(url, private=private)
        return hub
    bucket: ObjectStore = _module("bucket", scheme).BucketStore(url)
    return bucket


def _module(name: str, scheme: str) -> ModuleType:
    try:
        return import_module(f"backends.stores.{name}")
    except ModuleNotFoundError as missing:
        message = f"a store at {scheme}:// needs the package {missing.name}"
        raise StoreError(message, install_command("store")) from None
