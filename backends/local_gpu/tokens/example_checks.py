"""Find without tokenizer and template what the local trainer would refuse of an example. Pure.

Runs for every example of a dataset. The most common kind, short texts of user and assistant, passes
in a few comparisons.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from backends.contract.errors import BackendError

_ROLE_AND_CONTENT: Final = 2
_ONLY_TEXT: Final = "the local trainer reads text only"


def check_conversation(example: Mapping[str, Any], control: re.Pattern[str]) -> None:
    """Check a conversation.

    Args:
        example: `messages`, and `tools` if it has any.
        control: Finds texts that the tokenizer reads as control tokens, wherever they occur.

    Raises:
        BackendError: The trainer would refuse the example.
    """
    if "messages" not in example:
        raise _not_messages(example)
    learned = False
    for message in example["messages"]:
        content = message.get("content")
        if type(content) is not str:
            content = _content(message)
        if found := control.search(content):
            raise _control_token(found, f"the {message['role']}'s text")
        if len(message) != _ROLE_AND_CONTENT:
            _check_rest(message, control)
        if message["role"] == "assistant" and message.get("weight") != 0:
            learned = True
    _search(example.get("tools"), control, "a tool definition")
    if not learned:
        raise BackendError(
            "nothing is learned from this example: it has no answer of the assistant",
            "Remove it, or end it with a message of the assistant.",
        )


def check_text(example: Mapping[str, Any], control: re.Pattern[str]) -> None:
    """Check a plain text; the arguments are as for conversations.

    Raises:
        BackendError: The trainer would refuse the example.
    """
    text = example.get("text")
    if not isinstance(text, str):
        raise BackendError(
            "continued pre-training reads plain texts, and this example is not a plain text",
            'Write {"text": "..."}.',
        )
    if not text:
        raise BackendError("nothing is learned from an empty text", "Remove it.")
    if found := control.search(text):
        raise _control_token(found, "the text")


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if content is None:
        if message.get("tool_calls") or message["role"] != "assistant":
            return ""
        if message.get("refusal"):
            raise BackendError(
                "an answer is a `refusal`, which no chat template reads",
                "Write its text as the `content`.",
            )
        if message.get("function_call"):
            raise BackendError(
                "an answer has a `function_call`, which no chat template reads",
                "Write it as `tool_calls`.",
            )
        return ""
    for part in content:
        if part.get("type") == "image_url":
            raise BackendError(f"a message contains an image; {_ONLY_TEXT}", "Remove the example.")
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise BackendError(
                f"a message contains a part of type {part.get('type')!r}; {_ONLY_TEXT}",
                "Remove the part, or the example.",
            )
    return "".join(part["text"] for part in content)


def _check_rest(message: Mapping[str, Any], control: re.Pattern[str]) -> None:
    """Check all parts of a message but its content: templates print them too."""
    calls = message.get("tool_calls")
    _search(calls, control, "a tool call")
    beside = {key: value for key, value in message.items() if key not in {"content", "tool_calls"}}
    _search(beside, control, f"the {message['role']}'s message")
    for call in calls or ():
        arguments = call["function"].get("arguments")
        if not isinstance(arguments, str):
            continue
        try:
            inside = json.loads(arguments)
        except ValueError as error:
            raise BackendError(
                f"the arguments of a tool call are not JSON: {error}",
                'Write them as an object in text: "{\\"day\\": \\"Monday\\"}".',
            ) from None
        # Templates print decoded arguments: an escaped token is a control token there.
        _search(inside, control, "the arguments of a tool call")


def _search(value: object, control: re.Pattern[str], where: str) -> None:
    for text in _texts(value):
        if found := control.search(text):
            raise _control_token(found, where)


def _texts(value: object) -> Iterator[str]:
    """Yield every text within a value, including keys."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple):
            waiting += one


def _control_token(found: re.Match[str], what: str) -> BackendError:
    return BackendError(
        f"{what} contains the control token {found[0]!r}",
        "Remove it from the text (for HTML: `prepare: {strip_html: true}`).",
    )


def _not_messages(example: Mapping[str, Any]) -> BackendError:
    keys = ", ".join(map(repr, example))
    return BackendError(
        f"supervised training reads conversations, and this has {keys}",
        'Write {"messages": [{"role": "user", ...}, {"role": "assistant", ...}]}.',
    )
