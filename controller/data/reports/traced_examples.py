"""Examples of a split with the places and values of their rows, read one by one.

In: a split of a built dataset. Out: each example as the evaluation asks it, the place of its row,
and the values that groups, slices and files of misses need. Memory does not grow with the split.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import repeat

from backends.contract.inspector import Json
from backends.contract.methods import form_of
from controller.data.dataset import Split
from controller.evaluate.answers import expected_answer
from controller.spec.evaluation import LABEL

_ID_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedExample:
    """One example of a split, and its row."""

    id: str
    """First 16 hex digits of the SHA-256 of the canonical line; equal examples have equal IDs."""
    example: Mapping[str, Json]
    """The example in the protocol's form."""
    origin: str
    """Place of its row: `file:line`, or `file[index]`."""
    columns: Mapping[str, str]
    """Values of the wanted columns as text, by name in NFC; a column that the row lacks is absent.
    A name within an object is written with dots: `meta.lang`."""

    @property
    def label(self) -> str:
        """Text of the expected answer, which the reserved column `label` means; empty if none."""
        form = form_of(self.example)
        return expected_answer(form.reference(self.example)).text.strip()

    def value(self, column: str) -> str | None:
        """Return the value of a column, also of `label`; None if the row does not have it."""
        return self.label if column == LABEL else self.columns.get(column)


def read_traced_examples(split: Split) -> Iterator[TracedExample]:
    """Yield the examples of a split in their order, each with its origin and columns.

    Raises:
        OSError: The dataset is not there any more.
        ValueError: Its files do not belong together.
    """
    with ExitStack() as stack:
        lines = stack.enter_context(split.path.open("rb"))
        origins = stack.enter_context(split.origins.open("rb"))
        columns: Iterator[bytes] = repeat(b"{}", split.examples)
        if split.columns is not None:
            columns = stack.enter_context(split.columns.open("rb"))
        for line, origin, values in zip(lines, origins, columns, strict=True):
            yield TracedExample(
                id=hashlib.sha256(line).hexdigest()[:_ID_DIGITS],
                example=json.loads(line),
                origin=origin.decode().rstrip("\n"),
                columns=json.loads(values),
            )
