"""The text a small base model is made from: written for this project, shipped with it.

Prose, dialogue and a small sentence grammar go in as text files; documents come out, the same
ones for the same seed. Needs nothing but the standard library.
"""

import random
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Final, TypeAlias

Conversation: TypeAlias = "list[dict[str, str]]"
Document: TypeAlias = "str | Conversation"
"""A text to continue, or the messages of a conversation."""

_CHATS: Final = 16_000
_SENTENCES: Final = 600
_PARAGRAPH: Final = 3
"""Grammar sentences that make one document."""
_REPEATS: Final = 3
"""Repetitions of hand-written text, against one of text from the grammar."""
_CARELESS: Final = 0.3
"""Shares of questions with each kind of carelessness."""
_KEPT: Final = 0.8
"""Share of the words that stay when some are left out."""
_PARTICLES: Final = {
    "은": "는",
    "이": "가",
    "을": "를",
    "과": "와",
    "으로": "로",
    "이랑": "랑",
}
"""The particle after a consonant, and the same one after a vowel."""
_RIEUL: Final = 8
"""Number of the final consonant ㄹ, which takes `로` like a vowel does."""
_AGAIN: Final = re.compile(r"\{!([a-z0-9.]+)")
_SLOT: Final = re.compile(r"\{(!?)([a-z0-9.]+)(?:\+(\w+))?\}")


def documents(seed: int = 0) -> list[Document]:
    """Return the corpus in the order it is read in.

    Args:
        seed: Another number makes other sentences and another order.
    """
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    written: list[Document] = [*_paragraphs("prose.txt"), *_paragraphs("english.txt")]
    written += [_conversation(block) for block in _paragraphs("dialogue.txt")]
    found = written * _REPEATS + _from_grammar(chance)
    chance.shuffle(found)
    return found


def _read(name: str) -> str:
    return (resources.files(__name__) / name).read_text(encoding="utf-8")


def _paragraphs(name: str) -> list[str]:
    return [block.strip() for block in _read(name).split("\n\n") if block.strip()]


def _conversation(block: str) -> Conversation:
    """Read one conversation: a line that starts with `>` is the user's."""
    return [
        _message("user", line[1:].strip()) if line.startswith(">") else _message("assistant", line)
        for line in block.splitlines()
    ]


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _from_grammar(chance: random.Random) -> list[Document]:
    rules = _rules()
    found: list[Document] = []
    for _ in range(_CHATS):
        question, answer = chance.choice(rules["chat"]).split(" | ")
        said: dict[str, str] = {}
        asked = _hastily(_expand(f"{{{question}}}", rules, chance, said), rules, chance)
        user = _message("user", asked)
        found.append([user, _message("assistant", _expand(f"{{{answer}}}", rules, chance, said))])
    found += [
        " ".join(_expand("{prose}", rules, chance, {}) for _ in range(_PARAGRAPH))
        for _ in range(_SENTENCES // _PARAGRAPH)
    ]
    return found


def _hastily(question: str, rules: Mapping[str, Sequence[str]], chance: random.Random) -> str:
    """Ask as people type: with something before or after, words left out or moved.

    A model that has only seen whole sentences of the grammar trips over everything else.
    """
    words = question.split()
    if chance.random() < _CARELESS:
        words = [word for word in words if chance.random() < _KEPT] or words
    if chance.random() < _CARELESS:
        place = chance.randrange(len(words))
        words = words[place:] + words[:place]
    asked = " ".join(words)
    if chance.random() < _CARELESS:
        asked = f"{_expand('{before}', rules, chance, {})} {asked}"
    if chance.random() < _CARELESS:
        asked = f"{asked} {_expand('{after}', rules, chance, {})}"
    return asked


def _rules() -> dict[str, list[str]]:
    rules: dict[str, list[str]] = {}
    name = ""
    for line in _read("grammar.txt").splitlines():
        if line.startswith("["):
            name = line.strip("[]")
            rules[name] = []
        elif line and not line.startswith("#"):
            rules[name].append("" if line == "~" else line)
    return rules


def _expand(
    text: str, rules: Mapping[str, Sequence[str]], chance: random.Random, said: dict[str, str]
) -> str:
    """Fill every slot of a text.

    Args:
        text: A line of the grammar.
        rules: The grammar.
        chance: Chooses.
        said: What each rule said first; `{!name}` says it again.
    """

    def fill(slot: re.Match[str]) -> str:
        again, name, particle = slot.groups()
        if again:
            word = said[name]
        else:
            lines = [line for line in rules[name] if said.keys() >= set(_AGAIN.findall(line))]
            word = _expand(chance.choice(lines), rules, chance, said)
            said.setdefault(name, word)
        return word + _particle(word, particle) if particle else word

    return " ".join(_SLOT.sub(fill, text).split())


def _particle(word: str, particle: str) -> str:
    """Return the form of a particle that follows a word: 책은, but 차는."""
    final = (ord(word[-1]) - ord("가")) % 28 if "가" <= word[-1] <= "힣" else 0
    if final == 0 or (particle == "으로" and final == _RIEUL):
        return _PARTICLES[particle]
    return particle
