"""What a chat template does with the parts of a conversation, found out by rendering some.

Needs `jinja2`, and no tokenizer: whoever plans is told at once.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from backends.base import BackendError
from backends.encoder import Feature
from backends.local_gpu.run_dir import read_json
from backends.local_gpu.templates import (
    Conversation,
    Template,
    endless,
    load_template,
    special_text,
)

_ASKED: Final = {"role": "user", "content": "QUESTION"}
_ANSWERED: Final = {"role": "assistant", "content": "ANSWER"}
_CALL: Final[dict[str, Any]] = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {
            "id": "call00001",
            "type": "function",
            "function": {"name": "PROBE_CALLED", "arguments": '{"argument": "PROBE_ARGUMENT"}'},
        }
    ],
}
_TOOL: Final = {
    "type": "function",
    "function": {
        "name": "PROBE_TOOL",
        "description": "PROBE_DESCRIPTION",
        "parameters": {"type": "object", "properties": {"argument": {"type": "string"}}},
    },
}
_RESULT: Final = {"role": "tool", "tool_call_id": "call00001", "content": "PROBE_RESULT"}
_PROMPTED: Final[tuple[tuple[Feature, str], ...]] = (
    ("system", "PROBE_SYSTEM"),
    ("developer", "PROBE_DEVELOPER"),
)
_PROBES: Final[tuple[tuple[Feature, str, str, Conversation], ...]] = (
    *(
        (
            role,
            f"the {role} prompt",
            text,
            {"messages": [{"role": role, "content": text}, _ASKED, _ANSWERED]},
        )
        for role, text in _PROMPTED
    ),
    ("tools", "tools", "PROBE_TOOL", {"messages": [_ASKED, _ANSWERED], "tools": [_TOOL]}),
    (
        "tools",
        "tool calls",
        "PROBE_CALLED",
        {"messages": [_ASKED, _CALL, _RESULT, _ANSWERED], "tools": [_TOOL]},
    ),
    (
        "tools",
        "the results of tools",
        "PROBE_RESULT",
        {"messages": [_ASKED, _CALL, _RESULT, _ANSWERED], "tools": [_TOOL]},
    ),
)
"""Of which feature it is, its name, what must be seen of it, and a conversation with it."""
_LEARNT: Final[tuple[tuple[str, Conversation], ...]] = (
    ("no answer can be learnt", {"messages": [_ASKED, _ANSWERED]}),
    (
        "conversations with several answers cannot be learnt",
        {"messages": [_ASKED, _ANSWERED, _ASKED, _ANSWERED]},
    ),
)


def chat_warnings(
    folder: Path,
    chat_template: str | None,
    special: Sequence[str],
    features: Collection[Feature],
) -> Iterator[str]:
    """Yield what a model would not see, or not learn, of conversations.

    Args:
        folder: The model's folder.
        chat_template: A shipped template that replaces the model's own.
        special: Texts of its tokenizer's control tokens.
        features: What some examples have; nobody misses the rest.
    """
    try:
        template = load_template(folder, chat_template)
    except BackendError as error:
        yield _with_remedy(error)
        return
    yield from _not_shown(template, features)
    if "parallel_tool_calls" in features:
        yield (
            "`parallel_tool_calls` of the examples is read by no chat template: how many tools are "
            "called at once is learnt from the answers alone"
        )
    named = special_text(read_json(folder / "tokenizer_config.json") or {}, "eos_token")
    ends = (*special, named) if named else tuple(special)
    for name, conversation in _LEARNT:
        try:
            rendered = template.render(conversation)
            if not all(rendered.text[: one.end].endswith(ends) for one in rendered.answers):
                raise endless()
        except BackendError as error:
            yield f"{name}: {_with_remedy(error)}"
            return


def _not_shown(template: Template, features: Collection[Feature]) -> Iterator[str]:
    dropped = []
    for feature, name, seen, conversation in _PROBES:
        if feature not in features:
            continue
        try:
            text = template.text(conversation)
        except BackendError as error:
            yield f"{name}: {_with_remedy(error)}"
        else:
            if seen not in text:
                dropped.append(name)
    if dropped:
        yield (
            f"the base model's chat template drops {', '.join(dropped)} "
            "(`chat_template: chatml` shows them)"
        )


def _with_remedy(error: BackendError) -> str:
    return f"{error.message} ({error.remedy})"
