"""The origin of a job, in its metadata: compact JSON in pieces, within what the protocol allows. Pure.

A job has at most 16 pairs, a value at most 512 characters; three pairs are the job's key and name.
"""

import json
from collections.abc import Mapping
from itertools import count
from typing import Final

from backends.contract.inspector import Json
from backends.openai.api.protocol import Body
from backends.openai.jobs.job_matching import metadata_of

PREFIX: Final = "ftctl_origin_"
_MOST: Final = 12
"""Pieces of one origin."""
_PIECE: Final = 512
"""Characters of a piece."""


def to_metadata(origin: Mapping[str, Json]) -> dict[str, str]:
    """Return the pairs that hold an origin; no pairs if it is empty or does not fit."""
    if not origin:
        return {}
    text = json.dumps(origin, separators=(",", ":"), sort_keys=True)
    # ASCII, so that a limit may count bytes; no blanks, so that a server may strip values.
    text = text.replace(" ", "\\u0020")
    pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
    if len(pieces) > _MOST:
        return {}
    return {f"{PREFIX}{number}": piece for number, piece in enumerate(pieces)}


def origin_of(job: Body) -> dict[str, Json]:
    """Return the origin in a job's metadata; empty if it is missing or incomplete."""
    metadata = metadata_of(job)
    text = ""
    for number in count():
        piece = metadata.get(f"{PREFIX}{number}")
        if not isinstance(piece, str):
            break
        text += piece
    try:
        origin = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return origin if isinstance(origin, dict) else {}
