"""The kind of a byte-level tokenizer, in the words of llama.cpp, read from `tokenizer.json`."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

UNKNOWN: Final = 3
"""Exit status of a conversion where llama.cpp has no such tokenizer."""
_QWEN2: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_KINDS: Final[Mapping[tuple[str, ...], str]] = {
    ("ByteLevel",): "gpt-2",
    ("Digits", "ByteLevel"): "smollm",
    (_QWEN2, "bytes"): "qwen2",
    (_QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|"), "bytes"): "llama-bpe",
}
"""Kinds by their steps: a regular expression, or the name of a step."""


def pre_tokenizer_of(tokenizer: Mapping[str, Any]) -> str | None:
    """Return the kind of a tokenizer; None if llama.cpp is not known to have it.

    Args:
        tokenizer: Content of `tokenizer.json`.
    """
    step = tokenizer.get("pre_tokenizer")
    steps = step.get("pretokenizers", [step]) if isinstance(step, dict) else []
    return _KINDS.get(tuple(_words(steps)))


def _words(steps: list[Mapping[str, Any]]) -> Iterator[str]:
    for step in steps:
        kind = str(step.get("type"))
        if kind == "Split":
            yield str((step.get("pattern") or {}).get("Regex"))
        elif kind == "ByteLevel" and step.get("use_regex") is False:
            yield "bytes"
        elif kind == "Digits" and not step.get("individual_digits"):
            yield "other"
        else:
            yield kind
