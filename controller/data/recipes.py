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
    recorded build may have been made by it.
    """
    return not (row.keys() & _READ_LATER) and all(map(_is_plain, row.values()))


def _is_plain(value: Json) -> bool:
    if isinstance(value, str):
        return not value.lstrip().startswith(("[", "{")) and "\n\nHuman:" not in value
    if isinstance(value, list):
        return all(isinstance(one, dict) and _is_plain_turn(one) for one in value)
    return not isinstance(value, dict)


def _is_plain_turn(turn: Mapping[str, Json]) -> bool:
    return turn.keys() in _TURNS and all(isinstance(text, str) for text in turn.values())


_READ_LATER: Final = frozenset(
    {*("system", "system_prompt", "tools", "functions", "conversations"), "parallel_tool_calls"}
)
"""Keys beside a conversation that recipe 2 reads in more shapes."""
_TURNS: Final = ({"role", "content"},)
