"""Columns of held-out rows that an evaluation needs: for groups, for slices, for the gate. Pure."""

import unicodedata
from collections.abc import Collection
from typing import Final

from controller.spec.evaluation import Evaluation

LABEL: Final = "label"
"""Reserved name: the text of the expected answer, which is no column of the row."""


def evaluation_columns(evaluation: Evaluation, gate: Collection[str] = ()) -> dict[str, str]:
    """Return the columns of held-out rows that an evaluation needs.

    Args:
        evaluation: The spec's section.
        gate: Columns that the gate's conditions name: `lang` of `accuracy[lang=ko] >= 0.9`.

    Returns:
        The field of the spec that names each column, for messages: `evaluation.slices[0]`. Names
        are in Unicode NFC, so that two spellings of a name are one column. `label` is left out.
    """
    named = [(column, "gate") for column in sorted(gate)]
    named += [(name, f"evaluation.slices[{at}]") for at, name in enumerate(evaluation.slices)]
    if evaluation.group_by is not None:
        named.append((evaluation.group_by, "evaluation.group_by"))
    fields = {unicodedata.normalize("NFC", column): field for column, field in named}
    fields.pop(LABEL, None)
    return fields
