"""Base models that a server can be asked for, looked up once."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from backends.contract.errors import BackendError
from backends.openai.api.protocol import OutcomeUnknown, Rejected

if TYPE_CHECKING:
    from backends.openai.api.client import Client

_ANSWERING: Final[dict[tuple[str, str], bool]] = {}
"""True for base models that a server has, False for those it lacks; kept for one process."""


def may_answer(open_client: Callable[[], "Client"], server: str, model: str) -> bool:
    """Return False only if a server is sure that it does not have a model.

    Args:
        open_client: Opens the server.
        server: Its name and address.
        model: The model.
    """
    key = (server, model)
    if key not in _ANSWERING:
        try:
            open_client().retrieve_model(model)
        except Rejected as error:
            if not error.is_missing:
                return True
            _ANSWERING[key] = False
        except (OutcomeUnknown, BackendError):
            return True
        else:
            _ANSWERING[key] = True
    return _ANSWERING[key]
