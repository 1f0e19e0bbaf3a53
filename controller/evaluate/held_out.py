"""Held-out examples as prompts, read from their files when they are needed."""

import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, overload

from backends.contract.completions import Prompt
from backends.contract.methods import form_of
from controller.canonical import digest

ID_DIGITS: Final = 16
"""Hex digits of an example's digest by which people and files name it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Where a held-out example comes from."""

    id: str
    """First digits of the example's digest."""
    origin: str
    """`file:line`; empty if it is not known."""
    columns: dict[str, str]
    """Columns of its row that slices and groups name."""


class HeldOut(Sequence[Prompt]):
    """The prompts of a file of held-out examples: the conversation before the last answer.

    Only the place of each line is kept in memory. The expected answer of a preference pair is the
    preferred one.
    """

    def __init__(
        self, path: Path, *, origins: Path | None = None, columns: Path | None = None
    ) -> None:
        """Find the lines.

        Args:
            path: The held-out examples, canonical JSONL.
            origins: One `file:line` for each example.
            columns: One JSON object for each example.
        """
        self._path, self._origins, self._columns = path, origins, columns
        self._offsets = array("Q", [0])
        with path.open("rb") as file:
            for line in file:
                self._offsets.append(self._offsets[-1] + len(line))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> Prompt: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Prompt]: ...

    def __getitem__(self, index: int | slice) -> Prompt | Sequence[Prompt]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        with self._path.open("rb") as file:
            file.seek(self._offsets[range(len(self))[index]])
            return _prompt(file.readline())

    def __iter__(self) -> Iterator[Prompt]:
        with self._path.open("rb") as file:
            yield from map(_prompt, file)

    def rows(self) -> Iterator[Row]:
        """Yield where each example comes from, in order."""
        origins, columns = lines_of(self._origins), lines_of(self._columns)
        for line in lines_of(self._path):
            yield Row(
                id=digest(json.loads(line))[:ID_DIGITS],
                origin=next(origins, ""),
                columns=json.loads(next(columns, "{}")),
            )


def lines_of(path: Path | None) -> Iterator[str]:
    """Yield the lines of a file without their ends; none if there is no file."""
    if path is not None:
        with path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                yield line.rstrip("\n")


def _prompt(line: bytes) -> Prompt:
    example = json.loads(line)
    form = form_of(example)
    return Prompt(
        messages=form.question(example),
        tools=form.tools(example),
        reference=form.reference(example),
    )
