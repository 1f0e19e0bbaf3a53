"""Encodings of models. Pure."""

from typing import Final

from backends.openai.prices import base_name

_OLD: Final = ("gpt-3.5", "gpt-4-", "babbage", "davinci")


def encoding_name(model: str) -> str:
    """Return the encoding of a model; unknown ones are counted with the newest."""
    base = base_name(model)
    return "cl100k_base" if base == "gpt-4" or base.startswith(_OLD) else "o200k_base"
