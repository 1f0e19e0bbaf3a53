"""Names of fine-tunes for models that were named elsewhere. Pure."""

import re
import unicodedata
from collections.abc import Collection, Iterable
from itertools import count
from typing import Final

from controller.spec.load import NAME

LONGEST: Final = 63
"""Maximum characters of a fine-tune's name."""
_LONGEST_END: Final = 40
"""Maximum characters of what tells apart two models of one name."""
_OTHER: Final = re.compile(r"[^a-z0-9]+")
_HOSTED: Final = re.compile(r"ft:(?P<base>[^:]+):(?P<owner>[^:]*):(?P<suffix>[^:]*):(?P<id>[^:]+)")
"""A model ID of OpenAI: `ft:gpt-4o-mini-2024-07-18:acme:triage:AbC`."""


def is_name(text: str) -> bool:
    """Return whether a text is a valid name of a fine-tune."""
    return NAME.fullmatch(text) is not None


def slug(text: str) -> str:
    """Return the valid name nearest to a text; empty if the text has no Latin letter or digit."""
    decomposed = unicodedata.normalize("NFKD", text).lower()
    plain = "".join(char for char in decomposed if not unicodedata.combining(char))
    return _OTHER.sub("-", plain).strip("-")[:LONGEST].strip("-")


def propose_name(texts: Iterable[str], taken: Collection[str], distinct: str = "") -> str:
    """Return a valid name that no other fine-tune has.

    Args:
        texts: Texts to make a name from, the best first: a suffix, then a model ID, a file's name.
        taken: Names of other fine-tunes.
        distinct: Text that tells apart two models of one name, such as the end of a model ID.
    """
    stem = next((name for name in map(slug, texts) if name), "model")
    if stem not in taken:
        return stem
    # A longer one would leave no room for the number behind it, and none of the names would be free.
    end = slug(distinct)[:_LONGEST_END].strip("-")
    ends = [end] if end else []
    if ends and (name := _joined(stem, ends[0])) not in taken:
        return name
    return next(name for n in count(2) if (name := _joined(stem, *ends, str(n))) not in taken)


def hosted_name(
    model_id: str, suffix: str | None, taken: Collection[str], base_model: str | None = None
) -> str:
    """Return the name for a fine-tune of a hosted model.

    Args:
        model_id: Its model ID; `ft:BASE:OWNER:SUFFIX:ID`, or any other text.
        suffix: Its suffix, where the service tells it.
        taken: Names of other fine-tunes.
        base_model: Its base model, where the service tells it.
    """
    parts = _HOSTED.fullmatch(model_id)
    if parts is None:
        return propose_name([suffix or "", model_id], taken, model_id[-8:])
    nameless = f"{base_model or parts['base']}-{parts['id']}"
    return propose_name([suffix or parts["suffix"], nameless], taken, parts["id"])


def _joined(stem: str, *ends: str) -> str:
    end = "-".join(ends)[: LONGEST - 2]
    return f"{stem[: LONGEST - len(end) - 1].strip('-')}-{end}"
