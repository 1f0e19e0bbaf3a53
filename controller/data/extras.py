"""Import modules that need a package of an extra."""

from importlib import import_module
from typing import Any

from backends.installation import install_command
from controller.data.errors import DataError


def import_extra(module: str, *, extra: str, what: str) -> Any:  # noqa: ANN401 - a module
    """Import a module of ours that needs packages of an extra.

    Args:
        module: `controller.data.transforms.pii.detect`.
        extra: Name of the extra: `data`.
        what: What the message names: `reading Parquet`.

    Raises:
        DataError: A package is not installed; the remedy says what to type.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise DataError(f"{what} needs the package {error.name}", install_command(extra)) from None
