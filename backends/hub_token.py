"""The token for the Hugging Face hub, from HF_TOKEN."""

import os
import re
from typing import Final

_TOKEN: Final = re.compile(r"[!-~]+")
UNUSABLE: Final = "HF_TOKEN is not a token: it holds blanks or characters that no token has"
"""Message that does not show the text: most of it may be a token."""
REMEDY: Final = "Set HF_TOKEN to a token from https://huggingface.co/settings/tokens."


def hub_token() -> str | None:
    """Return the text of HF_TOKEN without blanks around it; None without a text.

    A CI sets it to an empty text where a secret is missing, and a secret may end with a line break.
    """
    return os.environ.get("HF_TOKEN", "").strip() or None


def is_token(text: str) -> bool:
    """Return True if a text can be sent as a token."""
    return _TOKEN.fullmatch(text) is not None
