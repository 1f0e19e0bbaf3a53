"""Counting tokens as the service bills them, offline. Needs the package `bpe-openai`."""

import importlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from backends.openai.prices import base_name

with warnings.catch_warnings():
    # The package reads its tables in a way that some versions of Python call outdated.
    warnings.simplefilter("ignore", DeprecationWarning)
    _bpe: Final[Any] = importlib.import_module("bpe_openai")

_PER_MESSAGE: Final = 3
_PER_EXAMPLE: Final = 3
_PER_NAME: Final = 1
_AT_ONCE: Final = 200_000
"""Characters; the tokenizer refuses a million."""
_OLD: Final = ("gpt-3.5", "gpt-4-", "babbage", "davinci")
_OUTPUTS: Final = ("preferred_output", "non_preferred_output")


def encoding_name(model: str) -> str:
    """Return the encoding of a model; unknown ones are counted with the newest."""
    base = base_name(model)
    return "cl100k_base" if base == "gpt-4" or base.startswith(_OLD) else "o200k_base"


def counter(model: str) -> Callable[[Mapping[str, Any]], int]:
    """Return a function that counts one example: every text, and a frame around each message."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        encode: Callable[[str], list[int]] = _bpe.get_encoding(encoding_name(model)).encode_ordinary

    def count_text(text: str) -> int:
        pieces = range(0, len(text), _AT_ONCE)
        return sum(len(encode(text[start : start + _AT_ONCE])) for start in pieces)

    def count(example: Mapping[str, Any]) -> int:
        source = example.get("input", example)
        messages = [*source.get("messages", ())]
        for key in _OUTPUTS:
            messages += example.get(key, ())
        total = _PER_EXAMPLE + sum(_count_message(one, count_text) for one in messages)
        if source.get("tools"):
            total += count_text(_compact(source["tools"]))
        return total

    return count


def count_file(path: Path, model: str, most: int) -> int:
    """Count a file of examples; each counts no more than the service reads of it."""
    count = counter(model)
    return sum(min(count(example), most) for example in _examples(path))


def _count_message(message: Mapping[str, Any], count_text: Callable[[str], int]) -> int:
    total = _PER_MESSAGE
    for key, value in message.items():
        if key == "weight" or value is None:
            continue
        if key == "name":
            total += _PER_NAME
        total += count_text(value if isinstance(value, str) else _compact(value))
    return total


def _examples(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
