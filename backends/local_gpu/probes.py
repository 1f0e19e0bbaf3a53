"""What a chat template does with the parts of a conversation, found out by rendering some."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from backends.base import BackendError
from backends.local_gpu.templates import Conversation

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
_PROBES: Final[tuple[tuple[str, str, Conversation], ...]] = (
    *(
        (
            f"the {role} prompt",
            text,
            {"messages": [{"role": role, "content": text}, _ASKED, _ANSWERED]},
        )
        for role, text in (("system", "PROBE_SYSTEM"), ("developer", "PROBE_DEVELOPER"))
    ),
    ("tools", "PROBE_TOOL", {"messages": [_ASKED, _ANSWERED], "tools": [_TOOL]}),
    (
        "tool calls",
        "PROBE_CALLED",
        {"messages": [_ASKED, _CALL, _RESULT, _ANSWERED], "tools": [_TOOL]},
    ),
    (
        "the results of tools",
        "PROBE_RESULT",
        {"messages": [_ASKED, _CALL, _RESULT, _ANSWERED], "tools": [_TOOL]},
    ),
)
"""What it is called, what must be seen of it, and a conversation with it."""
_LEARNT: Final[tuple[tuple[str, Conversation], ...]] = (
    ("no answer can be learnt", {"messages": [_ASKED, _ANSWERED]}),
    (
        "conversations with several answers cannot be learnt",
        {"messages": [_ASKED, _ANSWERED, _ASKED, _ANSWERED]},
    ),
)


def chat_warnings(
    render: Callable[[Conversation], str], refusal: Callable[[Conversation], BackendError | None]
) -> Iterator[str]:
    """Yield what a model would not see, or not learn, of conversations.

    Args:
        render: Returns a conversation as the model sees it; raises what the template refuses.
        refusal: Returns why a conversation cannot be learnt from; None where it can.
    """
    dropped = []
    for name, seen, conversation in _PROBES:
        try:
            text = render(conversation)
        except BackendError as error:
            yield f"{name}: {error.message} ({error.remedy})"
        else:
            if seen not in text:
                dropped.append(name)
    if dropped:
        yield (
            f"the base model's chat template drops {', '.join(dropped)} "
            "(`chat_template: chatml` shows them)"
        )
    for name, conversation in _LEARNT:
        refused = refusal(conversation)
        if refused is not None:
            yield f"{name}: {refused.message} ({refused.remedy})"
            return
