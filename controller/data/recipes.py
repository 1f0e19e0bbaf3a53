"""Recipes: versions of what the same row becomes. Records of each version's corrections.

A correction that changes what an accepted row is turned into would give equal specs other data, and
an upgrade would train again. So the code that a recipe corrected asks for the recipe's number and
still does what it did before: a recorded build matches its spec under the build's own recipe.
A correction that only refuses or only reports needs no branch.

What recipe 2 corrected, each where `recipe > FIRST` is asked:

- `example.spell`: keys inside tool definitions, arguments, graded values and whatever else a message
  holds stay in the order as written; recipe 1 sorted them.
- `messages.options_of`: `parallel_tool_calls` is kept; recipe 1 dropped it.
- `messages.with_system_of`: `system` or `system_prompt` beside a conversation is its system prompt in
  every shape; recipe 1 read it in Alpaca and ShareGPT rows alone.
- `messages.tools_of`: `functions` are tools; tools are read beside Alpaca rows too; a function beside
  its `type` is put into `function`.
- `calls.in_openai_form`: calls in Hugging Face's and OpenAI's former form become `tool_calls` with
  IDs and arguments as JSON text.
- `sharegpt.messages_of`: turns in OpenAI's form keep all their keys.
- `messages.turns_of`, `preference`: messages that are JSON text in a cell, and dialogues in one text,
  are read as turns; recipe 1 learnt them as one text.
- `example.map_texts`: `strip_html` and `collapse_whitespace` reach what an answer thinks or refuses.
- `personal`, `pii`, `pii_numbers`, `pii_national`: all of an example is masked, with more kinds of
  numbers, and what is written in disguise (digits of other scripts, unseen characters between them,
  escapes of JSON, HTML and addresses); recipe 1 masked contents, arguments as text and graded values.
- `compared`: near duplicates have equal calls, images and tools.
- `prepare_rows`: preference pairs with equal answers are dropped.
- Conditions of `where`: names lead into objects and are found however their letters are composed;
  `true` and `false` are known however a table spells them; an empty cell of a table is null
  (`conditions`).
- Nulls within nested values of Parquet, saved and hub datasets are not read: Arrow writes them for
  the keys that other rows have (`prepare_rows`).

"""

from collections.abc import Mapping
from typing import Final

from backends.base import Json

FIRST: Final = 1
NEWEST: Final = 2
"""What new datasets are built with."""


def is_the_same_by_all(row: Mapping[str, Json]) -> bool:
    """Return whether a row of plain texts surely becomes the same example by every recipe.

    False where in doubt: then the dataset is built by an older recipe too, for a spec whose
    recorded build may have been made by it. Asked of supervised rows alone.
    """
    if not _READ_LATER.isdisjoint(row):
        return False
    for value in row.values():
        # Nearly every value of nearly every row: what is asked here costs.
        if type(value) is str:
            if value[:1] in _MAY_OPEN_JSON and value.lstrip()[:1] in _OPENS_JSON:
                return False
        elif not _is_plain(value):
            return False
    return True


def _is_plain(value: Json) -> bool:
    if not isinstance(value, list):
        return not isinstance(value, dict)
    for turn in value:
        if type(turn) is not dict or len(turn) != len(_TURN):
            return False
        if type(turn.get("role")) is not str or type(turn.get("content")) is not str:
            return False
    return True


_OPENS_JSON: Final = frozenset("[{")
_MAY_OPEN_JSON: Final = _OPENS_JSON | frozenset(" \t\r\n")
_READ_LATER: Final = frozenset(
    {*("system", "system_prompt", "tools", "functions", "conversations"), "parallel_tool_calls"}
)
"""Keys beside a conversation that recipe 2 reads in more shapes."""
_TURN: Final = ("role", "content")
