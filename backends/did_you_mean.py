"""One suggestion for a misspelled name, in every message of ftctl. Pure.

A wrong suggestion is worse than none: a rule that fits several names suggests none of them.
"""

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from backends.excerpt import SHOWN, excerpt, printable

Words: TypeAlias = tuple[str, ...]

_WORD: Final = re.compile(r"[A-Z]?[^\W_A-Z]+|[A-Z]+(?![^\W_A-Z])")
"""A word of `snake_case`, `kebab-case`, `camelCase` or `two words`."""
_LEAST: Final = 0.6
"""Least similarity of two spellings, from 0 to 1."""
_LEAST_SHORT: Final = 0.75
"""The same for a name of fewer than five letters, in which one letter is much."""
_SHORT: Final = 3
"""Names below this number of letters are similar to everything: no spelling is compared."""
_ALIASES: Final = {
    "lr": ("learning_rate", "learning_rate_multiplier"),
    "bs": ("batch_size", "per_device_train_batch_size"),
    "batch": ("batch_size", "per_device_train_batch_size"),
    "wd": ("weight_decay",),
    "model_name": ("base_model",),
    "model_name_or_path": ("base_model",),
    "rank": ("r",),
    "lora_rank": ("r",),
    "lora_r": ("r",),
    "clip": ("max_grad_norm",),
    "grad_clip": ("max_grad_norm",),
    "gradient_clipping": ("max_grad_norm",),
    "per_device_train_batch_size": ("batch_size",),
    "seq_len": ("max_length", "max_tokens"),
    "max_seq_len": ("max_length", "max_tokens"),
    "validation": ("held_out",),
    "valid": ("held_out",),
    "val": ("held_out",),
    "eval": ("evaluation", "held_out"),
    "test": ("held_out",),
}
"""What other tools call the same thing, and our names for it, the likeliest first."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return ``Did you mean `x`?``, or nothing if no name is surely meant."""
    near = nearest(name, names)
    if near is None:
        return ""
    return f"Did you mean `{near}`?" if near.isprintable() else f"Did you mean {excerpt(near)}?"


def use_one_of(names: Iterable[str]) -> str:
    """Return the remedy that lists the names that exist."""
    listed = ", ".join(map(printable, names))
    return f"Use one of: {listed}." if listed else ""


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the name that is meant by another spelling, abbreviation or common alias.

    Args:
        name: The name as written.
        names: The names that exist. Long names are left out: comparing them is slow.
    """
    known = [one for one in dict.fromkeys(names) if one != name and len(one) <= SHOWN]
    if not name or len(name) > SHOWN:
        return None
    words = _words(name)
    for rule in _RULES:
        found = rule(name, words, known)
        if found is not None:
            return found
    return None


def is_misspelled(name: str, names: Iterable[str]) -> bool:
    """Return whether a name looks like a misspelling of another, and not like a word of its own."""
    known = [one for one in names if len(one) <= SHOWN]
    words = _words(name)
    return len(name) <= SHOWN and any(rule(name, words, known) for rule in (_is_same, _by_spelling))


def _is_same(name: str, words: Words, known: Sequence[str]) -> str | None:
    """`learningRate` is `learning_rate`."""
    del name
    return _only(one for one in known if words and _words(one) == words)


def _by_alias(name: str, words: Words, known: Sequence[str]) -> str | None:
    """`lr` is `learning_rate`."""
    del name
    meant = _ALIASES.get("_".join(words), ())
    return next((one for one in meant if one in known), None)


def _by_initials(name: str, words: Words, known: Sequence[str]) -> str | None:
    """`gas` is `gradient_accumulation_steps`."""
    del words
    return _only(one for one in known if len(name) > 1 and _initials(one) == name.casefold())


def _by_words(name: str, words: Words, known: Sequence[str]) -> str | None:
    """`epochs` and `num_epoch` are `num_train_epochs`."""
    del name
    return _only(one for one in known if _is_within(words, _words(one)))


def _by_fewer_words(name: str, words: Words, known: Sequence[str]) -> str | None:
    """`max_seq_length` is `max_length`."""
    del name
    return _only(one for one in known if len(one) > _SHORT and _is_within(_words(one), words))


def _by_spelling(name: str, words: Words, known: Sequence[str]) -> str | None:
    """`learning_rte` is `learning_rate`; Korean syllables are compared letter by letter."""
    del words
    spelled = {_letters(one): one for one in known if len(_letters(one)) >= _SHORT}
    given = _letters(name)
    if len(given) < _SHORT:
        return None
    least = _LEAST_SHORT if len(given) < _SHORT + 2 else _LEAST
    near = difflib.get_close_matches(given, spelled, n=1, cutoff=least)
    return spelled[near[0]] if near else None


_RULES: Final[tuple[Callable[[str, Words, Sequence[str]], str | None], ...]] = (
    _is_same,
    _by_alias,
    _by_initials,
    _by_words,
    _by_fewer_words,
    _by_spelling,
)


def _only(found: Iterable[str]) -> str | None:
    every = list(found)
    return every[0] if len(every) == 1 else None


def _words(name: str) -> Words:
    """Return the words of a name, in one case and one form, without a plural's s."""
    text = unicodedata.normalize("NFC", name)
    return tuple(_singular(word.casefold()) for word in _WORD.findall(text))


def _singular(word: str) -> str:
    return word.removesuffix("s") if len(word) > _SHORT else word


def _initials(name: str) -> str:
    words = _words(name)
    return "".join(word[0] for word in words) if len(words) > 1 else ""


def _is_within(words: Words, others: Words) -> bool:
    """Return whether each word begins, or is, one of the others, in the same order."""

    def is_telling(word: str) -> bool:
        return len(_letters(word)) >= _SHORT

    rest = iter(others)
    return bool(words) and all(
        any(other == word or (is_telling(word) and other.startswith(word)) for other in rest)
        for word in words
    )


def _letters(name: str) -> str:
    return unicodedata.normalize("NFD", name).casefold()
