"""Messages of a bank's customers and what they are about, made from the sentences of a file.

Held-out messages come from sentences of their own, so that nobody can learn them by heart. The names
and numbers in them, the greetings and the spelling are drawn by a seed.
"""

import csv
import random
import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Final, NamedTuple

TRAIN: Final = 50
"""Messages of each label to train on."""
HELD_OUT: Final = 10
"""Messages of each label that are held out."""
_FILE: Final = Path(__file__).with_name("inquiries.txt")
_PLACES: Final[Mapping[str, Sequence[str]]] = {
    "card": ["card", "debit card", "credit card", "Visa card", "bank card", "Mastercard"],
    "city": ["Lisbon", "Busan", "Toronto", "Leeds", "Prague", "Austin", "Nairobi", "Osaka", "Lyon"],
    "shop": [
        "the bakery",
        "an online shoe shop",
        "the petrol station",
        "a book shop",
        "the chemist",
        "the supermarket",
        "a furniture store",
        "the airline",
        "the ticket office",
        "my gym",
    ],
    "day": [
        "yesterday",
        "last Monday",
        "on Friday",
        "this morning",
        "on 3 May",
        "two days ago",
        "last week",
        "on the 12th",
        "at the weekend",
    ],
    "amount": ["£20", "$149.90", "35 euros", "€1,200", "80 pounds", "$18", "€64.50", "950 dollars"],
    "person": ["my sister", "my landlord", "a friend", "my mother", "Tom", "my flatmate", "Grace"],
    "currency": ["US dollars", "yen", "Swiss francs", "Korean won", "pounds", "Danish crowns"],
    "number": ["two", "three", "4", "five", "six"],
}
_BEFORE: Final = ("", "", "", "", "Hi, ", "Hello, ", "Good morning. ", "Help! ", "Quick question: ")
_AFTER: Final = ("", "", "", "", " Thanks!", " Please help.", " What can I do?", " Thank you.")
_ASKS: Final = re.compile(
    r"(How (can|do|does|expensive|long|many|much)|What|When|Where|Which|Who|Why|Can|Could|Do|Does|Has"
    r"|Is (it|my|the|there)|Was|Would)\b"
)


class Inquiry(NamedTuple):
    """A message and its label."""

    text: str
    label: str


def labels() -> list[str]:
    """Return the labels."""
    return list(sentences())


def inquiries(seed: int = 0) -> tuple[list[Inquiry], list[Inquiry]]:
    """Return messages to train on, and messages that are held out; each is there once."""
    chance = random.Random(seed)
    train, held_out = [], []
    for label, (learned, asked) in sentences().items():
        train += [Inquiry(text, label) for text in _messages(learned, TRAIN, chance)]
        held_out += [Inquiry(text, label) for text in _messages(asked, HELD_OUT, chance)]
    chance.shuffle(train)
    chance.shuffle(held_out)
    return train, held_out


def sentences() -> dict[str, tuple[list[str], list[str]]]:
    """Return the sentences of each label: to train on, and held out."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for block in _FILE.read_text(encoding="utf-8").split("\n\n")[1:]:
        label, *lines = block.strip().split("\n")
        cut = lines.index("held out")
        found[label] = lines[:cut], lines[cut + 1 :]
    return found


def write_inquiries(path: Path, rows: Sequence[Inquiry]) -> None:
    """Write messages as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["message", "topic"])
        writer.writerows(rows)


def _messages(sentences: Sequence[str], count: int, chance: random.Random) -> list[str]:
    """Return different messages, of all sentences alike."""
    found: dict[str, str] = {}
    for sentence in cycle(sentences):
        message = _message(sentence, chance)
        found.setdefault(message.lower(), message)
        if len(found) == count:
            break
    return list(found.values())


def _message(sentence: str, chance: random.Random) -> str:
    filled = re.sub(r"\{(\w+)\}", lambda place: chance.choice(_PLACES[place[1]]), sentence)
    end = "?" if _ASKS.match(filled) else chance.choice((".", ".", "!", ""))
    after = chance.choice(_AFTER)
    text = chance.choice(_BEFORE) + filled[0].upper() + filled[1:] + end
    whole = text + (after if end else "")
    return whole.lower() if chance.random() < 0.2 else whole
