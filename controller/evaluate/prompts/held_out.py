"""Held-out examples as prompts, read from their files when they are needed."""

import json
from array import array
from collections.abc import Iterator

from backends.contract.completions import Prompt
from backends.contract.methods import form_of
from controller.data.dataset import Split
from controller.data.reports.traced_examples import TracedExample, read_traced_examples
from controller.evaluate.prompts.lazy import LazyPrompts


class HeldOut(LazyPrompts):
    """The prompts of a file of held-out examples: the conversation before the last answer.

    Only the place of each line is kept in memory. The expected answer of a preference pair is the
    preferred one. Of an answer that is marked as bad, there is none.
    """

    def __init__(self, split: Split) -> None:
        """Find the lines of the held-out split."""
        self._split = split
        self._offsets = array("Q", [0])
        with split.path.open("rb") as file:
            for line in file:
                self._offsets.append(self._offsets[-1] + len(line))
        super().__init__(len(self._offsets) - 1, self._read, self._read_all)

    def _read(self, place: int) -> Prompt:
        with self._split.path.open("rb") as file:
            file.seek(self._offsets[place])
            return prompt_of(file.readline())

    def _read_all(self) -> Iterator[Prompt]:
        with self._split.path.open("rb") as file:
            yield from map(prompt_of, file)

    def rows(self) -> Iterator[TracedExample]:
        """Yield each example with the place and the columns of its row, in order."""
        return read_traced_examples(self._split)


def prompt_of(line: bytes) -> Prompt:
    """Return the prompt of an example: the conversation before its answer, and the answer."""
    example = json.loads(line)
    form = form_of(example)
    return Prompt(
        messages=form.question(example),
        tools=form.tools(example),
        reference=form.reference(example),
        rejected=form.unwanted(example),
    )
