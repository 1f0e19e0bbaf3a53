"""Files of a model at one commit, as the hub lists them: a question without a download.

Needs huggingface_hub.
"""

import fnmatch
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from huggingface_hub import HfApi, ModelInfo
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import RepoSibling

from backends.contract.errors import BaseModelMissing
from backends.local_gpu.hub.contents import require_contents
from backends.local_gpu.hub.login import token
from backends.local_gpu.hub.refusals import hub_errors

TIMEOUT_S: Final = 10.0
_TRIES: Final = 4
_LONGEST_WAIT_S: Final = 20.0
_BUSY: Final = frozenset({429, 500, 502, 503, 504})
SETTINGS: Final = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "model.safetensors.index.json",
    "LICENSE*",
    "NOTICE*",
)
"""Files besides the weights that ftctl opens. Nothing else of a repository is downloaded."""
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_DIGEST: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ONE: Final = "model.safetensors"
_SHARD: Final = re.compile(r"(?!consolidated)[^/]+-\d+-of-\d+\.safetensors")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file at the hub."""

    name: str
    size: int
    digest: str
    """SHA-256 of a large file, git's SHA-1 of a small one: its name in the hub's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubModel:
    """A model at the hub, at one commit."""

    id: str
    commit: str
    settings: tuple[HubFile, ...]
    weights: tuple[HubFile, ...]

    @property
    def files(self) -> tuple[HubFile, ...]:
        """Every file that a training needs, weights last."""
        return (*self.settings, *self.weights)


def list_files(hub_id: str, revision: str | None) -> HubModel:
    """Ask the hub for a model's commit and files.

    Args:
        hub_id: ORGANISATION/NAME.
        revision: Branch, tag or commit; None for `main`.

    Raises:
        BaseModelUnknown: The hub does not answer now.
        BaseModelMissing: The hub does not have or give the model, or it holds nothing to train.
    """
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token())
    with hub_errors(hub_id, revision):
        info = _patiently(
            lambda: api.model_info(
                hub_id, revision=revision, files_metadata=True, timeout=TIMEOUT_S
            )
        )
    if not _COMMIT.fullmatch(str(info.sha)):
        raise BaseModelMissing(
            f"the hub names no commit of {hub_id}", "Use another hub (HF_ENDPOINT)."
        )
    found = {one.rfilename: one for one in info.siblings or ()}
    weights = [_ONE] if _ONE in found else sorted(filter(_SHARD.fullmatch, found))
    require_contents(hub_id, found.keys(), weights, _original(info))
    settings = [
        name
        for name in sorted(found)
        if "/" not in name and any(fnmatch.fnmatchcase(name, one) for one in SETTINGS)
    ]
    if weights == [_ONE] and f"{_ONE}.index.json" in settings:
        settings.remove(f"{_ONE}.index.json")  # of another form of the same weights
    return HubModel(
        id=hub_id,
        commit=str(info.sha),
        settings=tuple(_file(found[name]) for name in settings),
        weights=tuple(_file(found[name]) for name in weights),
    )


def _file(found: RepoSibling) -> HubFile:
    size, digest = found.size, found.blob_id
    if found.lfs is not None:
        size, digest = found.lfs.size, found.lfs.sha256
    # Commit and digest become names of files here.
    if size is None or not _DIGEST.fullmatch(str(digest)):
        raise BaseModelMissing(
            f"the hub lists {found.rfilename!r} without its size and checksum",
            "Download the model with `hf download`, or use another hub (HF_ENDPOINT).",
        )
    return HubFile(name=found.rfilename, size=size, digest=str(digest))


def _original(info: ModelInfo) -> str | None:
    """Return the model from which this one was made, as its card tells; None without one."""
    told = info.card_data.get("base_model") if info.card_data is not None else None
    if isinstance(told, list):
        told = told[0] if len(told) == 1 else None
    return told if isinstance(told, str) else None


def _patiently(ask: Callable[[], Answer]) -> Answer:
    """Ask again where the hub has too much to do, as long as it says, a few times."""
    for tried in range(_TRIES - 1):
        try:
            return ask()
        except HfHubHTTPError as error:
            if error.response.status_code not in _BUSY:
                raise
            told = error.response.headers.get("Retry-After", "")
            wait_s = float(told) if told.isdecimal() else 2.0**tried
            if wait_s > _LONGEST_WAIT_S:
                raise
            time.sleep(wait_s)
    return ask()
