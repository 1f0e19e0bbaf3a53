"""The store that `ftctl.yaml` declares."""

from pathlib import Path
from typing import Final

from backends.stores import open_store
from backends.stores.objects import ObjectStore
from controller.errors import FtctlError
from controller.spec.sections.store import StoreSettings
from controller.spec.settings import FILE, Settings

DECLARE: Final = f"Declare a `store` in {FILE}: `ftctl help store`."


def require_store(settings: Settings) -> StoreSettings:
    """Return the store that the settings declare.

    Raises:
        FtctlError: They declare none.
    """
    if settings.store is None:
        raise FtctlError("no store is declared", DECLARE, file=FILE, field="store")
    return settings.store


def open_declared(settings: StoreSettings, root: Path) -> ObjectStore:
    """Open a store; nothing is asked of it yet, but of a hub.

    Args:
        settings: As `ftctl.yaml` declares it.
        root: The repository's folder, which a path is relative to.

    Raises:
        FtctlError: A package is missing, or the store refuses.
    """
    return open_store.open_store(settings.url, root, private=settings.private)
