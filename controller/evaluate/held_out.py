"""Held-out examples as prompts, read from their file when they are needed."""

import json
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

from backends.contract.completions import Prompt
from backends.contract.methods import form_of


class HeldOut(Sequence[Prompt]):
    """The prompts of a file of held-out examples: the conversation before the last answer.

    Only the place of each line is kept in memory. The expected answer of a preference pair is the
    preferred one.
    """

    def __init__(self, path: Path) -> None:
        """Find the lines.

        Args:
            path: The held-out examples, canonical JSONL.
        """
        self._path = path
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


def _prompt(line: bytes) -> Prompt:
    example = json.loads(line)
    form = form_of(example)
    return Prompt(
        messages=form.question(example),
        tools=form.tools(example),
        reference=form.reference(example),
    )
