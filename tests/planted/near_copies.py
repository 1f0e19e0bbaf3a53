"""Edits that make a near duplicate of a row."""

import random

from tests.planted.clean_rows import KO_NOUNS


def respaced(chance: random.Random, question: str, answer: str) -> tuple[str, str]:
    words = answer.split(" ")
    at = chance.randrange(len(words) - 1)
    return question.upper(), " ".join([*words[:at], words[at] + words[at + 1], *words[at + 2 :]])


def repunctuated(_: random.Random, question: str, answer: str) -> tuple[str, str]:
    return question.rstrip("?.") + "!!", answer.replace(". ", "...  ")


def one_word_other(chance: random.Random, question: str, answer: str) -> tuple[str, str]:
    words = answer.split(" ")
    words[chance.randrange(len(words))] = chance.choice(KO_NOUNS)
    return question, " ".join(words)


def mistyped(chance: random.Random, question: str, answer: str) -> tuple[str, str]:
    at = chance.randrange(len(answer) - 1)
    return question, answer[:at] + answer[at + 1] + answer[at] + answer[at + 2 :]


def thanked(_: random.Random, question: str, answer: str) -> tuple[str, str]:
    return f"{question} 감사합니다.", answer


def reordered(_: random.Random, question: str, answer: str) -> tuple[str, str]:
    first, _, rest = answer.partition(". ")
    return question, f"{rest.rstrip('.')}. {first}."


def asked_otherwise(chance: random.Random, question: str, answer: str) -> tuple[str, str]:
    words = question.split(" ")
    words[chance.randrange(len(words))] = chance.choice(KO_NOUNS)
    return " ".join(words), answer


EDITS = (
    ("blanks and case", respaced),
    ("punctuation", repunctuated),
    ("one word of the answer", one_word_other),
    ("two letters swapped", mistyped),
    ("thanks added", thanked),
    ("sentences reordered", reordered),
    ("one word of the question", asked_otherwise),
)
