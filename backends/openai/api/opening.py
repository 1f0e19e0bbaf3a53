"""The client of a server: of the protocol, or of a service with paths of its own."""

import importlib
from typing import TYPE_CHECKING, Final

from backends.contract.errors import BackendError
from backends.installation import install_command
from backends.openai.api.endpoints import EXTRA, Settings
from backends.openai.api.waiting import Waiting
from backends.openai.profiles.profile import profile_of

if TYPE_CHECKING:
    from backends.openai.api.client import Client

_PLAIN: Final = ("client", "Client")
"""Module and class of the client of the protocol."""
_OWN_PATHS: Final = ("resource_client", "ResourceClient")


def open_client(settings: Settings, waiting: Waiting) -> "Client":
    """Return a client that speaks to a server as its kind wants.

    Raises:
        BackendError: The SDK is not installed.
    """
    module, made = _PLAIN if profile_of(settings.kind).api is None else _OWN_PATHS
    try:
        # The only import of the SDK.
        door = importlib.import_module(f"backends.openai.api.{module}")
    except ImportError as error:
        message = f"the openai backend needs the package {error.name}"
        raise BackendError(message, install_command(EXTRA)) from error
    client: Client = getattr(door, made)(settings, waiting)
    return client
