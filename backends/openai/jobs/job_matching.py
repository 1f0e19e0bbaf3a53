"""Marks in a server's job, and its comparison with the job that a request expects. Pure.

A job carries its key (fingerprint and attempt) in its metadata. For servers without metadata, a tag
of the key ends the suffix, and file, model and seed are compared too. A job that was made from
another file, model or other hyperparameters never matches, whatever it claims.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from backends.contract.inspector import Json
from backends.contract.jobs import TrainRequest
from backends.openai.api.protocol import Body, clean, mapping_in, text_of
from backends.openai.limits import PUBLISHED
from backends.openai.profiles.profile import profile_of

FINGERPRINT: Final = "ftctl_fingerprint"
ATTEMPT: Final = "ftctl_attempt"
NAME: Final = "ftctl_name"
ORIGIN: Final = "ftctl_origin_"
"""Start of the keys that hold pieces of the job's origin, as compact JSON."""
_MOST_PIECES: Final = 12
"""Pieces of one origin: the protocol allows 16 pairs, and three are the job's key and name."""
_PIECE: Final = 512
"""Characters of a piece."""
_TAG: Final = 10
_SEEDS: Final = 2**31
_FILE: Final = re.compile(r"ftctl-[0-9a-f]{64}\.jsonl")
_SNAPSHOT: Final = re.compile(r"-\d{4}(-?\d{2}-?\d{2})?")
_ATTEMPT: Final = re.compile(r"[0-9]{1,9}")
"""Anybody may write metadata, and Python reads no number of thousands of digits."""
_NEAR: Final = 1e-9
_FRUITLESS: Final = frozenset({"failed", "cancelled", "canceled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """A file to find at the server, or to upload."""

    path: Path
    name: str
    """Name made from the digest, so that equal bytes are uploaded once."""
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedJob:
    """The job that a request expects."""

    request: TrainRequest
    train: LocalFile
    held_out: LocalFile | None
    suffix: str
    tag: str
    method: Mapping[str, Any]
    """The `method` object of the create call."""

    @property
    def model(self) -> str:
        """The base model's name at the server."""
        return self.request.base_model.reference

    @property
    def seed(self) -> int:
        """The seed, in the range that the protocol allows."""
        return self.request.seed % _SEEDS


def key_tag(fingerprint: str, attempt: int) -> str:
    """Return a key in the short form that fits a suffix."""
    return hashlib.sha256(f"{fingerprint} {attempt}".encode()).hexdigest()[:_TAG]


def make_suffix(name: str, tag: str, kind: str) -> str:
    """Return the part of the model's name that we choose: the fine-tune's name, then the tag.

    At a service with paths of its own it is the ID of the job, too.
    """
    room = PUBLISHED[kind].suffix - len(tag) - 1
    api = profile_of(kind).api
    text = name if api is None else api.ids.of(name)
    return f"{text[:room].rstrip('-')}-{tag}"


def metadata_of(job: Body) -> Mapping[str, Any]:
    """Return a job's metadata; empty if the server keeps no metadata."""
    return mapping_in(job, "metadata")


def key_of(job: Body) -> tuple[str, int] | None:
    """Return the key in a job's metadata; None if the job is not ours."""
    metadata = metadata_of(job)
    fingerprint, attempt = metadata.get(FINGERPRINT), str(metadata.get(ATTEMPT, ""))
    if not isinstance(fingerprint, str) or not _ATTEMPT.fullmatch(attempt):
        return None
    return fingerprint, int(attempt)


def to_metadata(origin: Mapping[str, Json]) -> dict[str, str]:
    """Return the pairs that hold an origin; no pairs if it is empty or does not fit."""
    if not origin:
        return {}
    text = json.dumps(origin, separators=(",", ":"), sort_keys=True)
    # ASCII, so that a limit may count bytes; no blanks, so that a server may strip values.
    text = text.replace(" ", "\\u0020")
    pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
    if len(pieces) > _MOST_PIECES:
        return {}
    return {f"{ORIGIN}{number}": piece for number, piece in enumerate(pieces)}


def origin_of(job: Body) -> dict[str, Json]:
    """Return the origin in a job's metadata; empty if it is missing or incomplete."""
    metadata = metadata_of(job)
    text = ""
    for number in count():
        piece = metadata.get(f"{ORIGIN}{number}")
        if not isinstance(piece, str):
            break
        text += piece
    try:
        origin = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return origin if isinstance(origin, dict) else {}


def tag_of(job: Body) -> str | None:
    """Return the tag in a job's suffix or model name; None without a tag."""
    suffix = text_of(job.get("user_provided_suffix") or job.get("suffix"))
    if suffix:
        return suffix.rpartition("-")[2]
    model = str(job.get("fine_tuned_model"))
    found = re.search(rf"-([0-9a-f]{{{_TAG}}})(?![0-9a-f])", model)
    return found.group(1) if found else None


def is_claimed(job: Body, expected: ExpectedJob) -> bool:
    """Return whether a job's metadata has the expected key."""
    return key_of(job) == (expected.request.fingerprint, expected.request.attempt)


def is_likely_match(job: Body, expected: ExpectedJob, file_ids: Collection[str]) -> bool:
    """Return whether a job without metadata has the expected file, model, seed and tag.

    Args:
        job: A job as the server lists it.
        expected: The expected job.
        file_ids: The server's IDs of the training file.
    """
    if metadata_of(job) or str(job.get("training_file")) not in file_ids:
        return False
    if not _same_model(str(job.get("model")), expected.model):
        return False
    if str(job.get("seed")) not in {"None", str(expected.seed)} or _other_method(job, expected):
        return False
    tag = tag_of(job)
    if tag is not None:
        return tag == expected.tag
    # Without a tag, attempts look the same: a job that failed belongs to an earlier attempt.
    return expected.request.attempt == 1 or str(job.get("status")).lower() not in _FRUITLESS


def mismatch(job: Body, expected: ExpectedJob, file: Body | None) -> str | None:
    """Return the first difference between a job that claims the key and the expected job, or None.

    Args:
        job: The job.
        expected: The expected job.
        file: The job's training file at the server; None if the file was deleted.
    """
    model = str(job.get("model"))
    if not _same_model(model, expected.model):
        return f"its base model is {clean(model)}, not {expected.model}"
    if file is not None:
        name, size = str(file.get("filename")), file.get("bytes")
        renamed = not _FILE.fullmatch(name)
        if name != expected.train.name and not (renamed and size == expected.train.size):
            return f"its training file is {clean(name)}, not {expected.train.name}"
        if isinstance(size, int) and size != expected.train.size:
            return f"its training file has {size} bytes, not {expected.train.size}"
    return _other_method(job, expected)


def _same_model(found: str, expected: str) -> bool:
    """Compare names; a server may answer an alias with its dated snapshot."""
    if found == expected:
        return True
    rest = found.removeprefix(expected)
    return rest != found and _SNAPSHOT.fullmatch(rest) is not None


def _other_method(job: Body, expected: ExpectedJob) -> str | None:
    kind = str(expected.method["type"])
    method = mapping_in(job, "method")
    if str(method.get("type")) not in {"None", kind}:
        return f"its method is {clean(method['type'])}, not {kind}"
    nested = mapping_in(method, kind, "hyperparameters")
    found = nested or mapping_in(job, "hyperparameters")
    for name, value in expected.method[kind]["hyperparameters"].items():
        used = found.get(name)
        if value == "auto" or used in (None, "auto", value):
            continue
        if not (_is_number(used) and _is_number(value) and abs(used - value) <= _NEAR):
            return f"its {name} is {clean(used)}, not {value}"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
