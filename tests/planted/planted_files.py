"""Files with problems planted in them, and the truth: which line has which.

`make(seed)` returns 4,560 clean questions and answers, Korean and English, full of what looks like
a problem and is none (prices, dates, order numbers, versions), and 500 planted problems. Numbers
get their checksums here, by the issuers' rules and not by the libraries that look for them.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.planted.clean_rows import clean_rows
from tests.planted.near_copies import EDITS
from tests.planted.personal_data import with_pii
from tests.planted.records import Problem, line

CLEAN = 4_560
HELD_OUT = 200
OVER_LENGTH = 4_000
"""An over-length answer has at least so many characters; any other has less than 1,000."""
COUNTS = {
    "email": 40,
    "phone": 60,
    "rrn": 40,
    "card": 40,
    "iban": 25,
    "ip": 30,
    "secret": 55,
    "exact duplicate": 40,
    "near duplicate": 50,
    "exact leak": 20,
    "near leak": 20,
    "over-length": 20,
    "broken JSON": 15,
    "missing answer": 15,
    "wrong role": 15,
    "empty question": 15,
}
PII = ("email", "phone", "rrn", "card", "iban", "ip", "secret")


@dataclass(slots=True, kw_only=True)
class Planted:
    """Two files as lines, and the problems of the first by line number."""

    train: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    truth: dict[int, Problem] = field(default_factory=dict)
    """Line of `train`, from 1, to its problem."""


def make(seed: int = 4, *, clean: int = CLEAN, share: float = 1) -> Planted:
    """Make the files; with fewer clean rows and only a share of the problems for a quick look."""
    chance = random.Random(seed)
    counts = {kind: round(count * share) for kind, count in COUNTS.items()}
    clean_ones = clean_rows(chance, clean + HELD_OUT)
    held_out, rows = clean_ones[:HELD_OUT], clean_ones[HELD_OUT:]
    entries: list[tuple[str, Problem | None]] = [(line(*row), None) for row in rows]
    later = list(problem_lines(chance, counts, rows, held_out))
    # Duplicates stand after what they are duplicates of, which is in the first half of the rows.
    first = len(entries) - len(later)
    mixed = [*entries[first:], *later]
    chance.shuffle(mixed)
    planted = Planted(held_out=[line(*row) for row in held_out])
    for text, problem in [*entries[:first], *mixed]:
        planted.train.append(text)
        if problem is not None:
            planted.truth[len(planted.train)] = problem
    return planted


def problem_lines(
    chance: random.Random,
    counts: dict[str, int],
    rows: list[tuple[str, str]],
    held_out: list[tuple[str, str]],
) -> Iterator[tuple[str, Problem]]:
    for kind in PII:
        for number in range(counts[kind]):
            yield with_pii(chance, kind, number)
    # Each row is the origin of one problem at most, so that every problem is one of its own.
    origins = iter(
        chance.sample(rows[: len(rows) // 2], counts["exact duplicate"] + counts["near duplicate"])
    )
    leaked = iter(chance.sample(held_out, counts["exact leak"] + counts["near leak"]))
    for kind, source in (("duplicate", origins), ("leak", leaked)):
        for _ in range(counts[f"exact {kind}"]):
            yield line(*next(source)), Problem(kind=f"exact {kind}", form="the same")
        for number in range(counts[f"near {kind}"]):
            form, edit = EDITS[number % len(EDITS)]
            yield line(*edit(chance, *next(source))), Problem(kind=f"near {kind}", form=form)
    yield from bad_lines(chance, counts)


def bad_lines(chance: random.Random, counts: dict[str, int]) -> Iterator[tuple[str, Problem]]:
    for _ in range(counts["over-length"]):
        ((question, answer),) = clean_rows(chance, 1)
        while len(answer) < OVER_LENGTH:
            answer = f"{answer} {clean_rows(chance, 1)[0][1]}"
        yield line(question, answer), Problem(kind="over-length", form=f"{len(answer)} characters")
    for number in range(counts["broken JSON"]):
        whole = line(*clean_rows(chance, 1)[0])
        forms = [
            ("cut off", whole[: len(whole) // 2]),
            ("trailing comma", whole[:-1] + ",}"),
            ("single quotes", whole.replace('"', "'")),
        ]
        form, text = forms[number % 3]
        yield text, Problem(kind="broken JSON", form=form)
    for number in range(counts["missing answer"]):
        row = json.loads(line(*clean_rows(chance, 1)[0]))
        if number % 2:
            del row["messages"][1]
        else:
            row["messages"][1]["content"] = ""
        form = "no turn" if number % 2 else "empty"
        yield json.dumps(row, ensure_ascii=False), Problem(kind="missing answer", form=form)
    for number in range(counts["wrong role"]):
        row = json.loads(line(*clean_rows(chance, 1)[0]))
        role = ["gpt", "human", "Assistant"][number % 3]
        row["messages"][number % 2]["role"] = role
        yield json.dumps(row, ensure_ascii=False), Problem(kind="wrong role", form=role)
    for number in range(counts["empty question"]):
        _, answer = clean_rows(chance, 1)[0]
        yield line(" \n"[: number % 3], answer), Problem(kind="empty question", form="blank")
