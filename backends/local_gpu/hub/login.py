"""The login at the hub, from HF_TOKEN."""

import os
import re
from typing import Final

from backends.contract.errors import BaseModelMissing

_TOKEN: Final = re.compile(r"[!-~]+")


def token() -> str | None:
    """Return the token of HF_TOKEN; None without one.

    A CI sets it to an empty text where a secret is missing, and a secret may end with a line break.

    Raises:
        BaseModelMissing: It holds characters that no token has. The message does not show them.
    """
    text = os.environ.get("HF_TOKEN", "").strip()
    if not text:
        return None
    if not _TOKEN.fullmatch(text):
        raise BaseModelMissing(
            "HF_TOKEN is not a token: it holds blanks or characters that no token has",
            "Set HF_TOKEN to a token from https://huggingface.co/settings/tokens, or unset it.",
        )
    return text
