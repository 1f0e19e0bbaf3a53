"""Errors of the hub as people read them. Needs huggingface_hub.

`BaseModelUnknown` is for what may pass by itself: no network, too many requests, a broken server.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx2
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from backends.contract.errors import BaseModelMissing, BaseModelUnknown
from backends.local_gpu.hub.login import token

AGAIN: Final = "Type the command again: what was downloaded stays, and the rest follows."
_DENIED: Final = frozenset({401, 403})
_MISSING: Final = 404
_TOO_MANY: Final = 429
_LONGEST: Final = 200


@contextmanager
def hub_errors(hub_id: str, revision: str | None) -> Iterator[None]:
    """Turn the errors of the hub's client into errors with a remedy.

    Raises:
        BaseModelUnknown: The hub does not answer now.
        BaseModelMissing: The hub refuses, or does not have it.
    """
    try:
        yield
    except GatedRepoError as error:
        raise _gated(hub_id) from error
    except RevisionNotFoundError as error:
        raise BaseModelMissing(
            f"{hub_id} has no revision {revision!r} at the hub",
            "Name a branch, a tag or the 40 digits of a commit, or remove `revision`.",
        ) from error
    except RepositoryNotFoundError as error:
        raise _no_model(hub_id, error.response.status_code) from error
    except EntryNotFoundError as error:
        raise BaseModelMissing(
            f"a file of {hub_id} at {revision} is gone from the hub: {_first_line(error)}",
            "Name another `revision`.",
        ) from error
    except HFValidationError as error:
        raise BaseModelMissing(_first_line(error), "Write ORGANISATION/NAME.") from error
    except HfHubHTTPError as error:
        raise _refused(hub_id, error) from error
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        raise BaseModelUnknown(
            f"HF_ENDPOINT is not the address of a hub: {_first_line(error)}",
            "Set HF_ENDPOINT to an address such as https://huggingface.co, or unset it.",
        ) from error
    except (httpx2.HTTPError, OfflineModeIsEnabled, ConnectionError, TimeoutError) as error:
        raise BaseModelUnknown(
            f"the hub does not answer about {hub_id}: {_first_line(error)}",
            f"Check the network. {AGAIN}",
        ) from error


def _gated(hub_id: str) -> BaseModelMissing:
    who = " to the account of HF_TOKEN" if token() else ""
    return BaseModelMissing(
        f"{hub_id} is gated: access{who} has to be granted first",
        f"Ask for access at {_page(hub_id)}, then type: export HF_TOKEN=hf_…",
    )


def _no_model(hub_id: str, status: int) -> BaseModelMissing:
    remedy = "Check the name; for a private model: export HF_TOKEN=hf_…"
    if status == _MISSING:
        return BaseModelMissing(f"the hub has no model {hub_id}", remedy)
    # Without a login, the hub answers 401 for a private and for a missing model.
    return BaseModelMissing(
        f"the hub has no model {hub_id}, or shows it only after a login ({status})", remedy
    )


def _refused(hub_id: str, error: HfHubHTTPError) -> BaseModelMissing:
    status = error.response.status_code
    if status in _DENIED:
        return BaseModelMissing(
            f"the hub refuses {hub_id} to this login ({status}): {_first_line(error)}",
            "Set HF_TOKEN to a valid token that may read the model, or unset it for a public one.",
        )
    if status == _TOO_MANY:
        return BaseModelUnknown(
            f"the hub has had too many requests from here (429), and {hub_id} was among them",
            f"Wait a few minutes. {AGAIN} With HF_TOKEN set, the hub allows more.",
        )
    return BaseModelUnknown(
        f"the hub fails for {hub_id} ({status}): {_first_line(error)}", f"Wait a little. {AGAIN}"
    )


def _page(hub_id: str) -> str:
    return f"https://huggingface.co/{hub_id}"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:_LONGEST] if lines else type(error).__name__
