"""Opening the store that `ftctl.yaml` declares."""

from pathlib import Path
from typing import Final

from controller.errors import FtctlError
from controller.extras import import_extra
from controller.spec.settings import FILE, Settings, StoreSettings
from controller.store.objects import ObjectStore
from controller.store.stores.folder import FolderStore

DECLARE: Final = f"Declare a `store` in {FILE}: `ftctl help store`."


def require_store(settings: Settings) -> StoreSettings:
    """Return the store that the settings declare.

    Raises:
        FtctlError: They declare none.
    """
    if settings.store is None:
        raise FtctlError("no store is declared", DECLARE, file=FILE, field="store")
    return settings.store


def open_store(settings: StoreSettings, root: Path) -> ObjectStore:
    """Open a store; nothing is asked of it yet, but of a hub.

    Args:
        settings: As `ftctl.yaml` declares it.
        root: The repository's folder, which a path is relative to.

    Raises:
        FtctlError: A package is missing, or the store refuses.
    """
    scheme, separator, _ = settings.url.partition("://")
    if not separator:
        return FolderStore((root / Path(settings.url).expanduser()).resolve())
    what = f"a store at {scheme}://"
    if scheme == "hf":
        hub = import_extra("controller.store.stores.hub", extra="store", what=what)
        store: ObjectStore = hub.open_hub(settings.url, private=settings.private)
        return store
    bucket = import_extra("controller.store.stores.bucket", extra="store", what=what)
    opened: ObjectStore = bucket.BucketStore(settings.url)
    return opened
