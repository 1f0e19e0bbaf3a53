"""The login at the hub of everything that this backend asks it."""

from backends.contract.errors import BaseModelMissing
from backends.hub_token import REMEDY, UNUSABLE, hub_token, is_token


def token() -> str | None:
    """Return the token of HF_TOKEN; None without one.

    Raises:
        BaseModelMissing: It holds characters that no token has.
    """
    found = hub_token()
    if found is not None and not is_token(found):
        raise BaseModelMissing(UNUSABLE, f"{REMEDY} Or unset it.")
    return found
