"""One suggestion for a misspelled name, in every message of ftctl. Pure.

A wrong suggestion is worse than none: a rule that fits several names suggests none of them.
"""

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from backends.excerpt import SHOWN, excerpt, printable

Words: TypeAlias = tuple[str, ...]

_WORD: Final = re.compile(r"[A-Z]?[^\W_A-Z]+|[A-Z]+(?![^\W_A-Z])")
"""A word of `snake_case`, `kebab-case`, `camelCase` or `two words`."""
_SURE: Final = 0.85
"""Similarity of two spellings, from 0 to 1, from which no other rule is tried."""
_LEAST: Final = 0.7
"""Least similarity of two spellings."""
_LEAST_SHORT: Final = 0.75
"""The same for a name of fewer than five letters, in which one letter is much."""
_SHORT: Final = 3
"""Names below this number of letters are similar to everything: no spelling is compared."""
_ALIASES: Final = {
    "lr": ("learning_rate", "learning_rate_multiplier"),
    "bs": ("batch_size", "per_device_train_batch_size"),
    "batch": ("batch_size", "per_device_train_batch_size"),
    "n_epoch": ("num_train_epochs",),
    "num_train_epoch": ("n_epochs",),
    "warmup_ratio": ("warmup_steps",),
    "wd": ("weight_decay",),
    "hparam": ("hyperparameters",),
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
"""Names in other tools, with our names for the same thing, the likeliest first."""


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
    words = _words(name[:SHOWN])
    if len(name) > SHOWN or not known:
        return None

    def only(fits: Callable[[str], bool]) -> str | None:
        found = [one for one in known if fits(one)]
        return found[0] if len(found) == 1 else None

    aliases = [one for one in _ALIASES.get("_".join(words), ()) if one in known]
    return (
        # `learningRate` is `learning_rate`.
        only(lambda one: bool(words) and _words(one) == words)
        # `lr` is `learning_rate`.
        or next(iter(aliases), None)
        # `gas` is `gradient_accumulation_steps`.
        or only(lambda one: len(name) > 1 and _initials(one) == name.casefold())
        # `learning_rte` is `learning_rate`.
        or _similar(name, known, _SURE)
        # `fqa` is `faq`.
        or only(lambda one: len(name) >= _SHORT and sorted(_letters(one)) == sorted(_letters(name)))
        # `acc` is `accuracy`, and not `preference_accuracy`.
        or only(lambda one: len(name) >= _SHORT and _letters(one).startswith(_letters(name)))
        # `epochs` and `num_epoch` are `num_train_epochs`.
        or only(lambda one: _is_within(words, _words(one)))
        # `max_seq_length` is `max_length`.
        or only(lambda one: len(_letters(one)) > _SHORT and _is_within(_words(one), words))
        or _similar(name, known, _LEAST_SHORT if len(_letters(name)) < _SHORT + 2 else _LEAST)
    )


def is_misspelled(name: str, names: Iterable[str]) -> bool:
    """Return whether a name looks like another, and not like a word of its own."""
    return len(name) <= SHOWN and _similar(name, names, _LEAST) is not None


def _similar(name: str, known: Iterable[str], least: float) -> str | None:
    """Return the name with the most similar spelling; Korean is compared letter by letter.

    Of names that are equally similar, the one with the same first letter is meant.
    """
    letters = {_letters(one): one for one in known if len(_letters(one)) >= _SHORT}
    given = _letters(name)
    near = difflib.get_close_matches(given, letters, n=2, cutoff=least)
    if not near or len(given) < _SHORT:
        return None
    best, other = near[0], near[-1]
    is_even = _ratio(best, given) == _ratio(other, given)
    return letters[other if is_even and other[:1] == given[:1] != best[:1] else best]


def _ratio(name: str, given: str) -> float:
    return difflib.SequenceMatcher(None, name, given).ratio()


def _words(name: str) -> Words:
    """Return the words of a name, in one case and one form, without a plural's s."""
    text = unicodedata.normalize("NFC", name)
    return tuple(_singular(word.casefold()) for word in _WORD.findall(text))


def _singular(word: str) -> str:
    return word.removesuffix("s") if len(word) > _SHORT else word


def _initials(name: str) -> str:
    return "".join(word[0] for word in _words(name))


def _is_within(words: Words, others: Words) -> bool:
    """Return whether each word is one of the others, or begins one, in the same order."""
    rest = iter(others)
    return bool(words) and all(
        any(other == word or _begins(word, other) for other in rest) for word in words
    )


def _begins(word: str, other: str) -> bool:
    return len(_letters(word)) >= _SHORT and other.startswith(word)


def _letters(name: str) -> str:
    return unicodedata.normalize("NFD", name).casefold()
