"""Import modules that need a package of an extra. Errors say what to install."""

from importlib import import_module
from typing import Any

from backends.installation import install_command
from controller.errors import FtctlError


def import_extra(
    module: str, *, extra: str, what: str, error: type[FtctlError] = FtctlError
) -> Any:  # noqa: ANN401 - a module
    """Import a module of ours that needs packages of an extra.

    Args:
        module: `controller.data.transforms.pii.detect`.
        extra: Name of the extra: `data`.
        what: What the message names: `reading Parquet`.
        error: Kind of error to raise.

    Raises:
        FtctlError: A package is not installed; the remedy says what to type.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        message = f"{what} needs the package {missing.name}"
        raise error(message, install_command(extra)) from None
