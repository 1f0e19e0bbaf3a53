"""Marks of single answers: a key of a row that says whether its answer is good or bad. Pure.

What thumbs give. TRL writes `label`, LLaMA-Factory `kto_tag`; the rest of the row is a conversation
in any form that supervised training reads.
"""

from typing import Final

from backends.contract.inspector import Json
from controller.data.errors import DataError
from controller.data.lookup import Row
from controller.data.suggestions import quote

MARKS: Final = ("label", "kto_tag", "desirable", "thumbs_up", "thumbs")
"""Keys whose value marks an answer as good or bad."""
_GOOD: Final = frozenset({"true", "1", "yes", "good", "up", "thumbs_up", "desirable", "👍"})
_BAD: Final = frozenset(
    {"false", "0", "-1", "no", "bad", "down", "thumbs_down", "undesirable", "👎"}
)


def mark_key(row: Row) -> str:
    """Return the key of a row that marks its answer.

    Raises:
        DataError: There is none, or there are several.
    """
    keys = [key for key in MARKS if row.get(key) is not None]
    if len(keys) == 1:
        return keys[0]
    if keys:
        raise DataError(
            f"{' and '.join(map(repr, keys))} both mark the answer",
            "Remove all but one of them, or set on this source: columns: "
            f"{{user: ..., assistant: ..., label: {keys[0]}}}",
        )
    raise DataError(
        "nothing says whether the answer is good or bad",
        'Write "label": true or "label": false, or name the column that does: columns: '
        "{user: ..., assistant: ..., label: ...}",
    )


def is_good(value: Json, key: str) -> bool:
    """Return True if a mark says that the answer is good.

    Raises:
        DataError: It says neither good nor bad.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        value = f"{value:g}"
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in _GOOD:
        return True
    if word in _BAD:
        return False
    raise DataError(
        f"`{key}` is {quote(value)}, which marks an answer neither as good nor as bad",
        "Write true or false (also read: 1 or 0, up or down, good or bad).",
    )
