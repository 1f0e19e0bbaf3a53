"""Settings, tokenizer and digests of a model's files, without the packages of the extra."""

import hashlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from backends.contract.errors import BackendError
from backends.local_gpu.json_files import read_json

_TOKENIZER: Final = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "LICENSE",
    "NOTICE",
)
"""Copied from the base model as they are; ftctl adds no tokens."""
_SHIPPED: Final = Path(__file__).parent.parent / "templates" / "shipped"
_THINKS: Final = re.compile(r"think|<\|channel\|>", re.IGNORECASE)


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy the tokenizer and the licence of a model, as far as it has them."""
    for name in _TOKENIZER:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 of a model folder's weights."""
    whole = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            whole.update(
                f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode()
            )
    return f"sha256:{whole.hexdigest()}"


def special_text(settings: Mapping[str, Any], key: str) -> str | None:
    """Return a special token's text as `tokenizer_config.json` gives it."""
    token = settings.get(key)
    text = token.get("content") if isinstance(token, Mapping) else token
    return text if isinstance(text, str) and text else None


def special_of(folder: Path) -> dict[int, str]:
    """Return a tokenizer's control tokens, read from its file without the tokenizers package."""
    raw = read_json(folder / "tokenizer.json") or {}
    added = raw.get("added_tokens")
    return {
        token["id"]: str(token["content"])
        for token in (added if isinstance(added, list) else [])
        if isinstance(token, dict) and isinstance(token.get("id"), int)
        if token.get("special") and token.get("content")
    }


def template_sources(folder: Path, shipped: str | None, *, chatml: bool = False) -> dict[str, str]:
    """Return a model's chat templates by name, `default` among them, or one that ftctl ships.

    Args:
        folder: The model's folder.
        shipped: Name of a shipped template that replaces the model's own.
        chatml: True if the shipped template of this name suits the model, for the remedy.

    Raises:
        BackendError: The model has no chat template.
    """
    if shipped is not None:
        return {"default": (_SHIPPED / f"{shipped}.jinja").read_text(encoding="utf-8")}
    beside = folder / "chat_template.jinja"
    if beside.exists():
        return {"default": beside.read_text(encoding="utf-8")}
    settings = read_json(folder / "tokenizer_config.json") or {}
    inside = settings.get("chat_template")
    if isinstance(inside, str):
        return {"default": inside}
    if isinstance(inside, list):
        named = {
            str(entry["name"]): str(entry["template"])
            for entry in inside
            if isinstance(entry, dict) and entry.keys() >= {"name", "template"}
        }
        if "default" in named:
            return named
    raise BackendError(
        f"the base model in {folder} has no chat template", instead_of_none(chatml=chatml)
    )


def instead_of_none(*, chatml: bool) -> str:
    """Return the remedy for a model without a usable chat template."""
    if chatml:
        return "Set `chat_template: chatml`."
    return "Use a base model with a chat template, as those have whose name ends in -Instruct."


def text_recipe(folder: Path, shipped: str | None, *, thinking: bool) -> int | None:
    """Return the recipe by which a new training renders a model's examples.

    It is 2 where a template involves thinking or channels, which recipe 1 rendered differently.
    Elsewhere, both recipes render the examples that recipe 1 accepted alike.

    Args:
        folder: The model's folder.
        shipped: Name of a shipped template that replaces the model's own.
        thinking: True if the model is trained to think before it answers.

    Returns:
        None where the template is not on this machine, so that the recipe is not known yet.
    """
    if thinking:
        return 2
    try:
        sources = template_sources(folder, shipped)
    except BackendError:
        return None
    return 2 if any(_THINKS.search(source) for source in sources.values()) else 1
