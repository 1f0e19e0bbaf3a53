"""What the whole program finds of planted problems, asked as a person would who mends what it says.

`found_by_build` writes the rows into a repository and types `ftctl data build` until it succeeds:
whatever is said to be an error is noted and left out, as a blank line, so that lines keep their
numbers. What stays is found in the build's file of reasons.
"""

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAME = "planted"
SPEC = """\
backend: {backend}
base_model: {base_model}
data:
  train: [{{path: train.jsonl}}]
  held_out: [{{path: held_out.jsonl}}]
  prepare:
    {{pii: warn, deduplicate: near, drop_empty: true, max_tokens: {max_tokens}, over_length: drop}}
"""
ERRORS = {
    "not valid JSON": "broken JSON",
    "no assistant turn": "missing answer",
    "is not a role": "wrong role",
}
"""What is said of a row that is refused, and which kind of problem that is."""
EMPTY = {"answer": "missing answer", "question": "empty question"}
"""What is said to be empty in a row that is dropped."""

Ask = Callable[..., tuple[int, Any]]
"""Types a command, and returns its exit code and JSON."""


@dataclass(slots=True, kw_only=True)
class Found:
    """What a build said."""

    kinds: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Kinds by line of `train`."""
    said: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    """In its own words."""
    builds: int = 0
    """How often it was typed until everything was mended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How well one kind was found."""

    kind: str
    planted: int
    found: int
    alarms: tuple[int, ...]
    """Lines without any planted problem that are said to have it."""
    besides: tuple[int, ...]
    """Lines with another planted problem that are said to have this one too."""

    @property
    def recall(self) -> float:
        return self.found / self.planted


def found_by_build(
    ask: Ask, root: Path, planted: Any, *, backend: str, base_model: str, max_tokens: int
) -> Found:
    folder = root / "finetunes"
    folder.mkdir(exist_ok=True)
    spec = SPEC.format(backend=backend, base_model=base_model, max_tokens=max_tokens)
    (folder / f"{NAME}.yaml").write_text(spec)
    (folder / "held_out.jsonl").write_text("".join(f"{one}\n" for one in planted.held_out))
    rows, found = list(planted.train), Found()
    while True:
        (folder / "train.jsonl").write_text("".join(f"{row}\n" for row in rows))
        found.builds += 1
        code, value = ask("data", "build", NAME)
        if code == 0:
            break
        if not (errors := [one for one in value["problems"] if is_of_row(one)]):
            raise AssertionError(value)
        for one in errors:
            rows[one["line"] - 1] = ""
            note(found, one["line"], kind_of_error(one["message"]), one["message"])
    for line in Path(value["reasons"]).read_text().splitlines():
        if of_train := re.match(rf"{folder.name}/train\.jsonl:(\d+): (\w+): (.*)", line):
            number, step, reason = of_train.groups()
            for kind in kinds_of_reason(step, reason):
                note(found, int(number), kind, f"{step}: {reason}")
    return found


def is_of_row(problem: dict[str, Any]) -> bool:
    counted = problem["message"].endswith("more of these problems")
    return problem["file"].endswith("train.jsonl") and problem["line"] is not None and not counted


def note(found: Found, line: int, kind: str, words: str) -> None:
    found.kinds[line].add(kind)
    found.said[line].append(words)


def kind_of_error(message: str) -> str:
    return next((kind for words, kind in ERRORS.items() if words in message), f"? {message}")


def kinds_of_reason(step: str, reason: str) -> list[str]:
    if step == "pii":
        return re.findall(r"\d+ (\w+)", reason)
    if step in {"deduplicate", "near"}:
        exact = "exact" if step == "deduplicate" else "near"
        return [f"{exact} {'leak' if 'the held-out' in reason else 'duplicate'}"]
    if step == "max_tokens":
        return ["over-length"]
    if step == "drop_empty":
        return [next(kind for what, kind in EMPTY.items() if what in reason)]
    return []


def scores(planted: Any, found: Found, kinds: list[str]) -> list[Score]:
    """Say of each kind how well it was found; a kind that was never planted is an alarm too."""
    unknown = {kind for some in found.kinds.values() for kind in some} - set(kinds)
    made = []
    for kind in [*kinds, *sorted(unknown)]:
        lines = {number for number, one in planted.truth.items() if one.kind == kind}
        hits = {number for number, some in found.kinds.items() if kind in some}
        others = hits - lines
        made.append(
            Score(
                kind=kind,
                planted=len(lines),
                found=len(hits & lines),
                alarms=tuple(sorted(others - planted.truth.keys())),
                besides=tuple(sorted(others & planted.truth.keys())),
            )
        )
    return made
