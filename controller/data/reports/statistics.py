"""What is in a part of a dataset, counted: turns, roles, answers, languages. Kept once counted.

In: a part. Out: a `Statistics`. The lines are looked through on all cores, a stretch at a time;
languages are told of a sample.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
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
    ExampleView,
    read_blocks,
    text_of,
    view_example,
)
from controller.data.extras import import_extra
from controller.data.pipeline.process_pool import process_pool
from controller.data.report import SplitName
from controller.data.reports.contradictions import Contradictions
from controller.data.storage.memo_file import cached_bytes

MOST_ANSWERS = 50
"""With more different answers than these, nobody looks at a table of them."""

_VERSION = 2
"""Raised whenever the same lines would be counted otherwise."""
_REPEATED = 3
"""How often a label is given, on average; answers that hardly repeat are none."""
_LONGEST_LABEL = 100
"""Characters: what is longer is an answer, not a label."""
_SAMPLED = 2_000
"""Examples whose language is told."""
_PAIR = b'{"input":'
"""Beginning of a preference pair."""
_LOOKED_AT = 2_000
"""Characters of each of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What is in one part of a dataset."""

    examples: int
    characters: int
    """Of all messages, system prompts among them."""
    roles: dict[str, int]
    """Messages by role."""
    turns: dict[int, int]
    """Examples by the number of questions in them."""
    with_system: int
    with_tools: int
    answers: dict[str, int] | None
    """How often each is given, when they are few and short; None otherwise."""
    languages: dict[str, int] | None
    """Sampled examples by language; None where that cannot be told."""
    contradicted: int = 0
    """Number of questions with different answers for the same system prompt and tools."""
    contradicting: int = 0
    """Number of examples with these questions."""
    contradictions: tuple[tuple[int, ...], ...] = ()
    """Numbers, from 0 on, of examples with the first of these questions."""
    note: str = ""
    """Why there are no languages, and what to type."""


def statistics_of(part: Split, cache: Path) -> Statistics:
    """Return what is in a part.

    Args:
        part: The train or the held-out half.
        cache: Where it is kept.
    """
    language_of, note = _language_of()
    key = digest([_VERSION, part.digest, language_of is not None])
    data = cached_bytes(
        cache / "statistics" / key, lambda: _spelt(_counted(part, language_of, cache))
    )
    found: dict[str, Any] = json.loads(data)
    found["contradictions"] = tuple(tuple(group) for group in found["contradictions"])
    turns = {int(number): examples for number, examples in found.pop("turns").items()}
    return Statistics(**{**found, "note": note}, turns=turns)


def labels(parts: Mapping[SplitName, Statistics]) -> dict[str, dict[SplitName, int]] | None:
    """Return how often each part has each answer; None when the answers are no labels.

    They are when there are few, and each is given several times on average.
    """
    counts: dict[SplitName, dict[str, int]] = {}
    for name, one in parts.items():
        if one.answers is None:
            return None
        counts[name] = one.answers
    total: Counter[str] = Counter()
    for one_part in counts.values():
        total.update(one_part)
    if not total or len(total) > MOST_ANSWERS or total.total() < _REPEATED * len(total):
        return None
    return {
        label: {name: answers.get(label, 0) for name, answers in counts.items()}
        for label, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))
    }


@dataclass(slots=True, kw_only=True)
class _Tally:
    """Counts of some lines, which counts of others are added to."""

    examples: int = 0
    characters: int = 0
    roles: Counter[str] = field(default_factory=Counter)
    turns: Counter[int] = field(default_factory=Counter)
    with_system: int = 0
    with_tools: int = 0
    answers: Counter[str] | None = field(default_factory=Counter)
    sampled: list[str] = field(default_factory=list)
    asked: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Hashed question and answer of each example."""

    def add(self, seen: ExampleView) -> None:
        self.examples += 1
        roles = [str(message["role"]) for message in seen.messages]
        self.roles.update(roles)
        self.turns[roles.count("user")] += 1
        self.with_system += "system" in roles or "developer" in roles
        self.with_tools += bool(seen.tools)
        self.characters += len(seen.text or "")
        self.characters += sum(len(text_of(message)) for message in seen.messages)
        answer = seen.answer
        if answer is None or len(answer) > _LONGEST_LABEL:
            self.answers = None
        elif self.answers is not None:
            self.answers[answer] += 1
            self._forget_many()

    def take(self, other: "_Tally") -> None:
        self.examples += other.examples
        self.characters += other.characters
        self.roles.update(other.roles)
        self.turns.update(other.turns)
        self.with_system += other.with_system
        self.with_tools += other.with_tools
        self.sampled += other.sampled
        if self.answers is None or other.answers is None:
            self.answers = None
        else:
            self.answers.update(other.answers)
            self._forget_many()

    def _forget_many(self) -> None:
        if self.answers is not None and len(self.answers) > MOST_ANSWERS:
            self.answers = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _CountLines:
    """What a worker does with a stretch of lines."""

    every: int
    """One in so many examples is sampled."""

    def open(self) -> Callable[[tuple[int, bytes]], _Tally]:
        return self._look

    def _look(self, item: tuple[int, bytes]) -> _Tally:
        first, block = item
        tally = _Tally()
        for number, line in zip(count(first), block.splitlines(), strict=False):
            seen = view_example(line)
            tally.add(seen)
            tally.asked.append(_asked(seen, is_pair=line.startswith(_PAIR)))
            if number % self.every == 0:
                tally.sampled.append(_said(seen)[:_LOOKED_AT])
        return tally


def _counted(part: Split, language_of: Callable[[str], str] | None, cache: Path) -> Statistics:
    tally = _Tally()
    cache.mkdir(parents=True, exist_ok=True)
    # Rounded up, so that no more are sampled than wanted.
    every = max(1, -(-part.examples // _SAMPLED))
    with (
        TemporaryDirectory(dir=cache, prefix=".statistics-") as scratch,
        Contradictions(Path(scratch), part.examples) as contradictions,
        process_pool(part.path.stat().st_size) as run,
    ):
        for one in run(_CountLines(every=every), _numbered(part.path)):
            tally.take(one)
            contradictions.add(one.asked)
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
        answers=None if tally.answers is None else dict(tally.answers.most_common()),
        contradicted=found.questions,
        contradicting=found.examples,
        contradictions=found.first,
        languages=languages,
    )


def _asked(seen: ExampleView, *, is_pair: bool) -> tuple[bytes, bytes]:
    """Return hashes of question and answer; empty if several answers may be right."""
    if not seen.answered or is_pair:
        return b"", b""
    *asked, answer = seen.messages
    learnt = {key: value for key, value in answer.items() if key != "weight"}
    question = canonical_json([cast("list[Json]", asked), seen.tools])
    return xxh3_64_digest(question), xxh3_64_digest(canonical_json(learnt))


def _numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    first = 0
    for block in read_blocks(path):
        yield first, block
        first += block.count(b"\n")


def _said(seen: ExampleView) -> str:
    if seen.text is not None:
        return seen.text
    said = [one for one in seen.messages if one["role"] not in ("system", "developer", "tool")]
    return "\n".join(text_of(message) for message in said)


def _spelt(statistics: Statistics) -> bytes:
    return json.dumps(asdict(statistics), ensure_ascii=False).encode()


def _language_of() -> tuple[Callable[[str], str] | None, str]:
    try:
        module = import_extra(
            "controller.data.reports.language", extra="data", what="telling languages apart"
        )
    except DataError as error:
        return None, f"{error.message}: {error.remedy}"
    return module.language_of, ""
