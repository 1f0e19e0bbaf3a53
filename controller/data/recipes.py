"""Recipes: versions of the conversion from row to example, with each version's corrections.

A correction that changes the example of an accepted row would change the data of an equal spec, and an
upgrade would train again. So corrected code takes the recipe's number and keeps the old behaviour
for older recipes: a recorded build matches its spec under the build's own recipe. A correction that
only refuses or only reports needs no branch.

Corrections of recipe 2, each in a branch `recipe > FIRST`:

- `example.to_canonical`: keys inside tool definitions, arguments, graded values and other content
  of a message keep the order as written; recipe 1 sorted them.
- `openai_messages.options_of`: `parallel_tool_calls` is kept; recipe 1 dropped it.
- `openai_messages.with_system_of`: `system` or `system_prompt` next to a conversation is its system prompt
  in every shape; recipe 1 read it only in Alpaca and ShareGPT rows.
- `openai_messages.tools_of`: `functions` are tools; tools next to Alpaca rows are read too; a function
  next to its `type` is put into `function`.
- `tool_calls.in_openai_form`: calls in Hugging Face's and OpenAI's former form become `tool_calls` with
  IDs and arguments as JSON text.
- `sharegpt.messages_of`: turns in OpenAI's form keep all their keys.
- `openai_messages.messages_from`, `preference`: messages that are JSON text in a cell, and dialogues in one
  text, are read as turns; recipe 1 learned them as one text.
- `example.map_texts`: `strip_html` and `collapse_whitespace` also change thinking and refusals.
- `transforms.pii`: all of an example is masked, with more kinds of
  numbers and with disguised forms (digits of other scripts, invisible characters, escapes of JSON,
  HTML and URLs); recipe 1 masked contents, arguments as text and graded values.
- `compared_parts`: near duplicates have equal calls, images and tools.
- `prepare_rows`: preference pairs with equal answers are dropped.
- Conditions of `where`: names may be paths into objects, in any Unicode composition; `true` and
  `false` match every spelling of tables; an empty cell of a table is null (`row_conditions`).
- Nulls within nested values of Parquet, saved and hub datasets are not read: Arrow writes them for
  the keys that other rows have (`prepare_rows`).
"""

from collections.abc import Mapping
from typing import Final

from backends.contract.inspector import Json

FIRST: Final = 1
NEWEST: Final = 2
"""Recipe of new datasets."""


def is_the_same_by_all(row: Mapping[str, Json]) -> bool:
    """Return True if a row of plain texts certainly becomes the same example under every recipe.

    False if uncertain: then the dataset is also built with an older recipe, for a spec whose
    recorded build may have used it. Only for supervised rows.
    """
    if not _READ_LATER.isdisjoint(row):
        return False
    for value in row.values():
        # Hot loop: it runs for nearly every value of every row.
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
"""Keys next to a conversation that recipe 2 reads in more shapes."""
_TURN: Final = ("role", "content")
