"""Counts of turns, roles, answers and languages in a split, remembered once counted.

Lines are counted on all cores, a block at a time; languages are detected in a sample.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from xxhash import xxh3_64_digest

from backends.contract.inspector import Json
from controller.canonical import canonical_json, digest
from controller.data.dataset import Split
from controller.data.errors import DataError
from controller.data.examples.conversation_view import (
    answer_of,
    is_answered,
    read_blocks,
    text_of,
)
from controller.data.examples.example import Example, parse
from controller.data.extras import import_extra
from controller.data.pipeline.process_pool import process_pool
from controller.data.reports.contradictions import Contradictions
from controller.data.storage.memo_file import cached_bytes
from controller.spec.data import SplitName

MAX_ANSWERS = 50
"""Maximum number of different answers in a table that people read."""

_VERSION = 3
"""Raised with every change of the counts of the same lines."""
_REPEATED = 3
"""Minimum average frequency of a label; rarer answers are not labels."""
_LONGEST_LABEL = 100
"""Maximum characters of a label."""
_SAMPLED = 2_000
"""Maximum number of examples whose language is detected."""
_SAMPLED_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Counts of one split of a dataset."""

    examples: int
    characters: int
    """Characters of all messages, with system prompts."""
    roles: dict[str, int]
    """Messages by role."""
    turns: dict[int, int]
    """Examples by their number of questions."""
    with_system: int
    with_tools: int
    answers: dict[str, int] | None
    """Frequency of each answer, if answers are few and short; None otherwise."""
    languages: dict[str, int] | None
    """Sampled examples by language; None if no package detects languages."""
    good: int = 0
    """Examples whose answer is marked as good."""
    bad: int = 0
    """Examples whose answer is marked as bad."""
    contradicted: int = 0
    """Number of questions with different answers for the same system prompt and tools."""
    contradicting: int = 0
    """Number of examples with these questions."""
    contradictions: tuple[tuple[int, ...], ...] = ()
    """Numbers, from 0, of examples with the first of these questions."""
    note: str = ""
    """Reason for missing languages, and the command to type."""


def statistics_of(split: Split, cache: Path) -> Statistics:
    """Return the counts of a split; memos are in the folder `cache`."""
    language_of, note = _language_of()
    key = digest([_VERSION, split.digest, language_of is not None])
    data = cached_bytes(
        cache / "statistics" / key, lambda: _to_json(_counted(split, language_of, cache))
    )
    values: dict[str, Any] = json.loads(data)
    values["contradictions"] = tuple(tuple(group) for group in values["contradictions"])
    turns = {int(number): examples for number, examples in values.pop("turns").items()}
    return Statistics(**{**values, "note": note}, turns=turns)


def labels(splits: Mapping[SplitName, Statistics]) -> dict[str, dict[SplitName, int]] | None:
    """Return the frequency of each answer in each split; None if the answers are not labels.

    They are labels if there are few, and each is frequent on average.
    """
    counts: dict[SplitName, dict[str, int]] = {}
    total: Counter[str] = Counter()
    for name, statistics in splits.items():
        if statistics.answers is None:
            return None
        counts[name] = statistics.answers
        total.update(statistics.answers)
    if not total or len(total) > MAX_ANSWERS or total.total() < _REPEATED * len(total):
        return None
    return {
        label: {name: answers.get(label, 0) for name, answers in counts.items()}
        for label, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))
    }


@dataclass(slots=True, kw_only=True)
class _Tally:
    """Counts of a block of lines, or of several blocks."""

    examples: int = 0
    characters: int = 0
    roles: Counter[str] = field(default_factory=Counter)
    turns: Counter[int] = field(default_factory=Counter)
    with_system: int = 0
    with_tools: int = 0
    good: int = 0
    bad: int = 0
    answers: Counter[str] | None = field(default_factory=Counter)
    sampled: list[str] = field(default_factory=list)
    hashes: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Hashed question and answer of each example."""

    def add(self, example: Example) -> None:
        self.examples += 1
        answers = [] if example.rejected is None else [example.rejected]
        messages = [*example.messages, *answers]
        roles = [str(message["role"]) for message in messages]
        self.roles.update(roles)
        self.turns[roles.count("user")] += 1
        self.with_system += "system" in roles or "developer" in roles
        self.with_tools += bool(example.tools)
        self.characters += len(example.text or "")
        self.characters += sum(len(text_of(message)) for message in messages)
        self.good += example.label is True
        self.bad += example.label is False
        answer = answer_of(example)
        if answer is None or len(answer) > _LONGEST_LABEL:
            self.answers = None
        elif self.answers is not None:
            self.answers[answer] += 1
            self._drop_many_answers()

    def add_block(self, other: "_Tally") -> None:
        self.examples += other.examples
        self.characters += other.characters
        self.roles.update(other.roles)
        self.turns.update(other.turns)
        self.with_system += other.with_system
        self.with_tools += other.with_tools
        self.good += other.good
        self.bad += other.bad
        self.sampled += other.sampled
        if self.answers is None or other.answers is None:
            self.answers = None
        else:
            self.answers.update(other.answers)
            self._drop_many_answers()

    def _drop_many_answers(self) -> None:
        if self.answers is not None and len(self.answers) > MAX_ANSWERS:
            self.answers = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _CountLines:
    """Task of a worker: the counts of a block of lines."""

    sampled_every: int

    def open(self) -> Callable[[tuple[int, bytes]], _Tally]:
        return self._count

    def _count(self, item: tuple[int, bytes]) -> _Tally:
        first, block = item
        tally = _Tally()
        for number, line in zip(count(first), block.splitlines(), strict=False):
            example = parse(line)
            tally.add(example)
            tally.hashes.append(_hashes(example))
            if number % self.sampled_every == 0:
                tally.sampled.append(_words(example)[:_SAMPLED_CHARACTERS])
        return tally


def _counted(split: Split, language_of: Callable[[str], str] | None, cache: Path) -> Statistics:
    tally = _Tally()
    cache.mkdir(parents=True, exist_ok=True)
    # Rounded up, so that at most `_SAMPLED` are sampled.
    every = max(1, -(-split.examples // _SAMPLED))
    with (
        TemporaryDirectory(dir=cache, prefix=".statistics-") as scratch,
        closing(Contradictions(Path(scratch), split.examples)) as contradictions,
        process_pool(split.path.stat().st_size) as map_ordered,
    ):
        for block in map_ordered(_CountLines(sampled_every=every), _numbered(split.path)):
            tally.add_block(block)
            contradictions.add(block.hashes)
        found = contradictions.found()
    languages = None
    if language_of is not None:
        languages = dict(Counter(language_of(text) for text in tally.sampled).most_common())
    return Statistics(
        examples=tally.examples,
        characters=tally.characters,
        roles=dict(tally.roles.most_common()),
        turns=dict(sorted(tally.turns.items())),
        with_system=tally.with_system,
        with_tools=tally.with_tools,
        good=tally.good,
        bad=tally.bad,
        answers=None if tally.answers is None else dict(tally.answers.most_common()),
        contradicted=found.questions,
        contradicting=found.examples,
        contradictions=found.first,
        languages=languages,
    )


def _hashes(example: Example) -> tuple[bytes, bytes]:
    """Return hashes of question and answer; empty if several answers may be right.

    Of an answer that is marked, both are the question, and the mark is the answer.
    """
    if not is_answered(example) or example.rejected is not None:
        return b"", b""
    *asked, answer = example.messages
    learned = {key: value for key, value in answer.items() if key != "weight"}
    question = canonical_json([cast("list[Json]", asked), example.tools or []])
    if example.label is not None:
        marked = canonical_json([question.decode(), learned])
        return xxh3_64_digest(marked), b"\1" if example.label else b"\0"
    return xxh3_64_digest(question), xxh3_64_digest(canonical_json(learned))


def _numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    first = 0
    for block in read_blocks(path):
        yield first, block
        first += block.count(b"\n")


def _words(example: Example) -> str:
    """Return the text of an example in which its language is detected."""
    if example.text is not None:
        return example.text
    unspoken = ("system", "developer", "tool")
    return "\n".join(
        text_of(message) for message in example.messages if message["role"] not in unspoken
    )


def _to_json(statistics: Statistics) -> bytes:
    return json.dumps(asdict(statistics), ensure_ascii=False).encode()


def _language_of() -> tuple[Callable[[str], str] | None, str]:
    try:
        module = import_extra(
            "controller.data.reports.language", extra="data", what="detecting languages"
        )
    except DataError as error:
        return None, f"{error.message}: {error.remedy}"
    return module.language_of, ""
