"""Keys of a row that its shape does not read: refused if they change the meaning, else reported.

No key of a row is dropped silently. A key with a meaning in data of this kind (a label of
unwanted answers, a weight, another answer, a part of the question, images) is refused, and the
message says what to write. Every other key is reported once for its source. Keys that a source
names in `where`, `ignore` or for the split pass. Pure.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

from backends.contract.inspector import Json
from controller.data.errors import DataError
from controller.data.lookup import Row, composed
from controller.data.recipes import NEWEST
from controller.spec.data import joined_columns


class Reading(NamedTuple):
    """Settings for reading the rows of a source."""

    recipe: int = NEWEST
    """Version of the conversion from row to example; see `recipes`."""
    ignored: frozenset[str] = frozenset()
    """Keys that the spec names: in conditions, for the split, or in `ignore`."""


class _Meaning(NamedTuple):
    """Meaning of a key that training would ignore."""

    what: str
    remedy: str
    """Text to write instead; `<key>` stands for the key."""
    says: Callable[[Json], bool] = bool
    """Function that returns True if the key's value carries information."""


def keys_beside(
    row: Row, read: frozenset[str], reading: Reading, within: str = ""
) -> tuple[str, ...]:
    """Return the keys of a row, or of an object in it, that its shape does not read.

    Raises:
        DataError: An unread key changes the meaning.
    """
    if row.keys() <= read:
        return ()
    unread = [key for key, value in row.items() if key not in read and value is not None]
    for key in unread:
        if (
            (meaning := _MEANINGS.get(key)) is not None
            and key not in reading.ignored
            and meaning.says(row[key])
        ):
            raise DataError(
                f"`{within}{key}` {meaning.what}",
                f"{meaning.remedy.replace('<key>', key)}, or set on this source: ignore: [{key}]",
            )
    if not within and not reading.ignored:
        return tuple(unread)
    return tuple(within + key for key in unread if key not in reading.ignored)


class Named(NamedTuple):
    """Keys that a spec names, each possibly a path into objects: `meta.question`."""

    whole: frozenset[str]
    """Keys that are read, or left unread on purpose."""
    begun: frozenset[str]
    """Keys whose objects hold a key of `whole`."""


@lru_cache(maxsize=100)
def named(names: frozenset[str], reading: Reading) -> Named:
    """Return the keys that a spec names: columns (joined columns separately) and ignored keys."""
    joined = [column for name in names for column in joined_columns(name)]
    whole = frozenset(map(composed, (*names, *joined, *reading.ignored)))
    begun = frozenset(
        name[:at] for name in whole for at, letter in enumerate(name) if letter == "."
    )
    return Named(whole, begun)


def names_beside(row: Row, read: Named, within: str = "") -> tuple[str, ...]:
    """Return the keys that are not read in a row whose columns the spec names. Refuse none."""
    if not within and row.keys() <= read.whole:
        return ()
    unread: list[str] = []
    for key, value in row.items():
        name = composed(within + key)
        if name in read.whole:
            continue
        if name in read.begun and isinstance(value, dict):
            unread += names_beside(value, read, f"{name}.")
        else:
            unread.append(within + key)
    return tuple(unread)


def _is_verdict(value: Json) -> bool:
    return isinstance(value, bool) or (
        isinstance(value, str) and value.strip().lower() in {"true", "false"}
    )


def _is_number(value: Json) -> bool:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_weight(value: Json) -> bool:
    return value not in (1, "", "1", "1.0")


def _is_choice(value: Json) -> bool:
    return value not in ("", "auto")


def _is_format(value: Json) -> bool:
    return bool(value) and value != {"type": "text"}


def _is_set(value: Json) -> bool:
    return value != ""


_VERDICT = _Meaning(
    "tells whether the answer is good, and bad answers would be learned too",
    "Learn from both with `method: kto`, or keep the good ones: where: [<key> == true]",
    _is_verdict,
)
_WEIGHT = _Meaning(
    "weighs the row, which training does not",
    "Write `weight: 0` into messages that the model must not learn, or `weight` on the source",
    _is_weight,
)
_SCORE = _Meaning(
    "rates the row, and badly rated answers would be learned too",
    "Keep the good ones: where: [<key> >= 4]",
    _is_number,
)
_ANSWER = _Meaning(
    "is another answer of a pair, which this method does not use",
    "Set `method: dpo` and write prompt, chosen and rejected",
)
_MEDIA = _Meaning(
    "is beside the conversation, and nothing tells to which message it belongs",
    'Write each image as a part of its message: {"type": "image_url", "image_url": {"url": "..."}}',
)
_CHOICE = _Meaning(
    "decides which tool is called, which training data cannot express",
    "Remove it",
    _is_choice,
)
_FORMAT = _Meaning(
    "asks for a form of the answer that the model would not know of",
    "Describe it in the system prompt, or remove it",
    _is_format,
)
_QUESTION = _Meaning(
    "seems to be a part of the question, and would be left out",
    'Write it into the question, for columns: user: "{context}\\n{question}"',
)
_PROMPT = _Meaning(
    "seems to be a system prompt, and would be left out",
    "Rename it to `system`",
)
_SWITCH = _Meaning(
    "changes how the chat template writes the conversation, which the spec decides",
    "Remove it",
    _is_set,
)

_MEANINGS: Mapping[str, _Meaning] = {
    **dict.fromkeys(("label", "kto_tag", "desirable"), _VERDICT),
    **dict.fromkeys(("weight", "loss_weight", "sample_weight"), _WEIGHT),
    **dict.fromkeys(("score", "reward"), _SCORE),
    **dict.fromkeys(("chosen", "rejected", "rejected_response", "rejected_messages"), _ANSWER),
    **dict.fromkeys(("preferred_output", "non_preferred_output"), _ANSWER),
    **dict.fromkeys(("image", "images", "video", "videos", "audio", "audios"), _MEDIA),
    **dict.fromkeys(("tool_choice", "function_call"), _CHOICE),
    "response_format": _FORMAT,
    **dict.fromkeys(("context", "documents", "history", "input"), _QUESTION),
    **dict.fromkeys(("instructions", "developer", "system_message"), _PROMPT),
    **dict.fromkeys(("chat_template_kwargs", "enable_thinking"), _SWITCH),
}
"""Keys with a known meaning, in the formats of common training tools."""
