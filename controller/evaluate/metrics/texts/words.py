"""Texts as tokens, and their n-grams. Pure.

Chinese and Japanese have no blanks between words, and a Korean word changes with its particles
(카페가, 카페를). So these scripts are compared character by character unless a spec asks otherwise.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from pydantic import Field

from controller.evaluate.metric import MetricSettings

Tokens: TypeAlias = Literal["auto", "words", "characters"]

_EAST_ASIAN = re.compile(
    "(["
    "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"  # Hangul
    "\u3040-\u30ff\u31f0-\u31ff"  # kana
    "\u2e80-\u2fdf\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Han
    "\u3000-\u303f\u3100-\u312f\u31a0-\u31ef\u3200-\u33ff\ufe30-\ufe4f\uff00-\uffef"  # marks
    "])"
)
_SYMBOLS_13A: Final = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
_ENTITIES_13A: Final = (
    ("<skipped>", ""),
    ("-\n", ""),
    ("\n", " "),
    ("&quot;", '"'),
    ("&amp;", "&"),
    ("&lt;", "<"),
    ("&gt;", ">"),
)
_WORD = re.compile(r"[^\W_]+")


class TokenSettings(MetricSettings):
    """Settings of a metric that compares tokens."""

    tokenize: Tokens = Field(default="auto")
    """What is compared: `words`; `characters`; or by default words, but every character of Korean,
    Chinese and Japanese by itself."""


def tokens_of(text: str, tokenize: Tokens) -> list[str]:
    """Return the tokens of a text as BLEU counts them; words are those of mteval-v13a."""
    text = text.rstrip()
    if tokenize == "characters":
        return list("".join(text.split()))
    if tokenize == "auto":
        text = _EAST_ASIAN.sub(r" \1 ", text)
    for written, meant in _ENTITIES_13A:
        text = text.replace(written, meant)
    text = f" {text} "
    for pattern, spaced in _SYMBOLS_13A:
        text = pattern.sub(spaced, text)
    return text.split()


def plain_tokens_of(text: str, tokenize: Tokens) -> list[str]:
    """Return the tokens of a text as ROUGE counts them: letters and digits, without case."""
    text = text.lower()
    if tokenize == "characters":
        return [one for one in text if one.isalnum()]
    if tokenize == "auto":
        text = _EAST_ASIAN.sub(r" \1 ", text)
    return _WORD.findall(text)


def ngrams(tokens: Sequence[str], length: int) -> Counter[tuple[str, ...]]:
    """Return how often each run of tokens of a length occurs."""
    return Counter(zip(*(tokens[start:] for start in range(length)), strict=False))
