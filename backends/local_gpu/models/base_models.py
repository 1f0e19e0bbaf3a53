"""The identity of a spec's `base_model`: a folder's contents, or a hub model's exact commit.

Needs no network and no training package. A model's bytes are hashed once; the digests are stored by
path, size and time of change.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from backends.atomic_files import append_line
from backends.contract.errors import BaseModelMissing, BaseModelUnknown
from backends.contract.jobs import BaseModel
from backends.local_gpu.json_files import read_json, read_lines

TRAINED_IDENTITY: Final = "trained:"
"""Start of the identity of a trained model that a spec names by its ID."""
_OFFLINE: Final = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Environment variables by which the hub's own client stays offline; the first that is set counts."""
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_BRANCH: Final = re.compile(r"[\w.-][\w./-]*")
_HUB_ID: Final = re.compile(r"[\w.-]+(/[\w.-]+)?")
_FILES: Final = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
    "*.safetensors",
)
"""Files that decide how a model computes, reads and writes."""


def resolve_base_model(
    base_model: str, revision: str | None, folder: Path, state: Path
) -> BaseModel:
    """Resolve a `base_model`.

    Args:
        base_model: A folder (`./…`, `../…`, absolute) or a hub ID, as in the spec.
        revision: Branch, tag or commit of a hub model.
        folder: Folder that relative folders start from.
        state: Folder of the stored digests.

    Raises:
        BaseModelMissing: It is not on this machine, not a model, or its commit is not known.
    """
    if _is_folder(base_model):
        path = (folder / base_model).resolve()
        return BaseModel(reference=str(path), revision=None, identity=_digest(path, state))
    if not _HUB_ID.fullmatch(base_model):
        raise BaseModelMissing(
            f"{base_model!r} is neither a hub ID nor a folder",
            "Write ORGANISATION/NAME, or a folder that starts with ./ or ../.",
        )
    return hub_model(base_model, _commit(base_model, revision))


def hub_model(hub_id: str, commit: str, download_bytes: int | None = None) -> BaseModel:
    """Return a model of the hub at a commit.

    Args:
        hub_id: ORGANISATION/NAME.
        commit: Its 40 digits.
        download_bytes: Bytes that are not on this machine, if they were counted.
    """
    return BaseModel(
        reference=hub_id,
        revision=commit,
        identity=f"hub:{hub_id}@{commit}",
        download_bytes=download_bytes,
    )


def is_hub_id(base_model: str) -> bool:
    """Return True if a `base_model` names a model of the hub."""
    return not _is_folder(base_model) and _HUB_ID.fullmatch(base_model) is not None


def _is_folder(base_model: str) -> bool:
    return base_model.startswith(("./", "../", "/"))


def verify_unchanged(base_model: BaseModel, state: Path) -> None:
    """Require that a base model's folder is as it was when the job was planned.

    Raises:
        BaseModelMissing: The folder is gone, or its contents have changed.
    """
    if base_model.identity.startswith(TRAINED_IDENTITY):
        return  # a trained model is written once
    if (
        base_model.revision is None
        and _digest(model_folder(base_model), state) != base_model.identity
    ):
        raise BaseModelMissing(
            f"the base model in {base_model.reference} has changed since this job was planned",
            "Plan again: another base model is another fine-tune.",
        )


def local_folder(base_model: BaseModel) -> Path | None:
    """Return the folder of a model whose every file is on this machine, else None."""
    folder = model_folder(base_model)
    if base_model.revision is None:
        return folder if folder.is_dir() else None
    index = folder / "model.safetensors.index.json"
    if index.exists():
        named = set(re.findall(r'"([^"/]+\.safetensors)"', index.read_text()))
        complete = all((folder / name).exists() for name in named)
    else:
        complete = any(folder.glob("*.safetensors"))
    return folder if complete and (folder / "config.json").exists() else None


def require_obtainable(base_model: BaseModel) -> None:
    """Require that a model is on this machine, or may be downloaded when it is needed.

    Raises:
        BaseModelMissing: The model is not here, and this machine is set to stay offline.
    """
    if local_folder(base_model) is None and (is_offline() or base_model.revision is None):
        raise not_here(base_model)


def is_offline() -> bool:
    """Return True if this machine is set to stay away from the hub."""
    set_ = next((value for name in _OFFLINE if (value := os.environ.get(name))), "")
    return set_.lower() in {"1", "on", "yes", "true"}


def not_here(base_model: BaseModel) -> BaseModelMissing:
    """Return the error for a model that is not here, with the command that downloads it."""
    if base_model.revision is None:
        return BaseModelMissing(f"{base_model.reference} is gone", "Check the path.")
    return BaseModelMissing(
        f"{base_model.reference} at {base_model.revision} is not on this machine",
        f"hf download {base_model.reference} --revision {base_model.revision}",
    )


def tokenizer_folder(base_model: BaseModel) -> Path:
    """Return the folder with the tokenizer, which may be here without the weights.

    Raises:
        BaseModelMissing: The tokenizer is not here.
    """
    folder = model_folder(base_model)
    if (folder / "tokenizer.json").exists():
        return folder
    if base_model.revision is None:
        raise _no_tokenizer(folder)
    raise not_here(base_model)


def longest_context(base_model: BaseModel) -> int | None:
    """Return the longest text that a model reads, in tokens; None if its files do not name it."""
    config = read_json(model_folder(base_model) / "config.json") or {}
    # A model with vision has separate settings for its language part.
    inner = config.get("text_config")
    text = inner if isinstance(inner, dict) else config
    length = text.get("max_position_embeddings")
    return length if isinstance(length, int) else None


def model_folder(base_model: BaseModel) -> Path:
    """Return the folder of a model, whether it exists or not."""
    if base_model.revision is None:
        return Path(base_model.reference)
    return hub_folder(base_model.reference) / "snapshots" / base_model.revision


def merge_note(merged: Path) -> Path:
    """Return the file that names the run of which a folder is to be the merged model."""
    return merged.with_name(f"{merged.name}.json")


def hub_folder(hub_id: str) -> Path:
    """Return the folder in which the hub's client stores a model, without importing the client."""
    home = os.environ.get("HF_HOME") or os.path.join(  # noqa: PTH118 - may contain `~` and variables
        os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"
    )
    cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    root = Path(os.path.expandvars(Path(cache or Path(home) / "hub").expanduser()))
    return root / ("models--" + hub_id.replace("/", "--"))


def commit_here(hub_id: str, revision: str | None) -> str | None:
    """Return the commit that a revision of a hub model stands for, as far as this machine knows."""
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    file = reference_file(hub_id, revision)
    try:
        commit = file.read_text().strip() if file is not None else ""
    except OSError:
        return None
    return commit if _COMMIT.fullmatch(commit) else None


def reference_file(hub_id: str, revision: str | None) -> Path | None:
    """Return the file of the cache that holds the commit of a branch or tag."""
    name = revision or "main"
    # A branch may contain slashes, but must not lead out of the folder of references.
    if ".." in name or not _BRANCH.fullmatch(name):
        return None
    return hub_folder(hub_id) / "refs" / name


def _commit(hub_id: str, revision: str | None) -> str:
    commit = commit_here(hub_id, revision)
    if commit is not None:
        return commit
    flag = f" --revision {revision}" if revision else ""
    kind = BaseModelMissing if is_offline() else BaseModelUnknown
    raise kind(
        f"{hub_id} ({revision or 'main'}) is not on this machine, so its exact commit is not known",
        f"hf download {hub_id}{flag}\nOr pin it: write the commit's 40 digits as `revision`.",
    )


def _digest(folder: Path, state: Path) -> str:
    if not (folder / "config.json").is_file():
        raise BaseModelMissing(
            f"there is no model in {folder}: config.json is missing",
            f"Check the path, or make the small one: "
            f"python -m backends.local_gpu.models.small_base {folder}.",
        )
    if not any(folder.glob("*.safetensors")):
        raise BaseModelMissing(
            f"{folder} has no *.safetensors; other weight files can run code and are never loaded",
            "Convert the weights to safetensors first.",
        )
    if not (folder / "tokenizer.json").is_file():
        raise _no_tokenizer(folder)
    return files_digest(folder, state)


def files_digest(folder: Path, state: Path) -> str:
    """Return the digest of the files that decide how a model computes, reads and writes."""
    memory = state / "digests.jsonl"
    known = {str(line.get("file")): str(line.get("sha256")) for line in read_lines(memory)}
    whole = hashlib.sha256()
    for path in sorted(_identity_files(folder)):
        whole.update(f"{path.name} {_file_digest(path, known, memory)}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def _no_tokenizer(folder: Path) -> BaseModelMissing:
    return BaseModelMissing(
        f"{folder} has no tokenizer.json",
        "Save the model's tokenizer there once with transformers: "
        "AutoTokenizer.from_pretrained(…).save_pretrained(…)",
    )


def _identity_files(folder: Path) -> Iterator[Path]:
    for pattern in _FILES:
        yield from folder.glob(pattern)


def _file_digest(path: Path, known: dict[str, str], memory: Path) -> str:
    stat = path.stat()
    key = f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ino} {path}"
    if key in known:
        return known[key]
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    # Reading a small file is faster than storing its digest.
    if stat.st_size > 1 << 20:
        append_line(memory, json.dumps({"file": key, "sha256": found}).encode())
    return found
