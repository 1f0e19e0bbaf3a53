"""What a valid example is: the only description of it. Pure.

A conversation has a question that is not blank, and ends with an answer. Every answer has text,
calls or a refusal, and at least one is learned. The assistant may open it with one greeting.
"""

import re
from typing import Final

from backends.contract.inspector import Json
from controller.data.errors import DataError, EmptyExample
from controller.data.examples.example import Example, Message
from controller.data.examples.validate_calls import check_form
from controller.data.suggestions import quote

ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool"})

PLAIN_CONVERSATION: Final = re.compile(rb"\A(?:,system)?,user(?:,user|,assistant)*+(?<=,assistant)")
"""Roles of a conversation that is valid if its messages are texts and not blank."""


def validate_example(example: Example) -> None:
    """Check that a model can learn from an example.

    Raises:
        EmptyExample: Its question, an answer or its text is empty.
        DataError: Something else is wrong.
    """
    if example.text is not None:
        if _is_blank(example.text):
            raise EmptyExample("the text is empty", "Write it, or delete this row.")
        return
    if example.rejected is not None:
        _check_content(example.rejected["content"], "assistant")
        _check_answer(example.rejected)
    asked, learned, last_role = _check_turns(example.messages)
    if example.graded is not None:
        if not asked or last_role not in {"user", "developer", "system"}:
            raise DataError(
                "the conversation does not end with a question",
                "End with a user turn: for reinforcement the model answers itself.",
            )
        return
    if not learned:
        raise DataError(
            "there is no assistant turn to learn from",
            "Add the answer as a turn with the role assistant, or delete this row.",
        )
    if last_role != "assistant":
        raise DataError(
            f"the last turn is the {last_role}'s, and an answer is missing after it",
            "Add the answer, or delete the turns after the last one.",
        )


def is_opened_by_assistant(messages: list[Message]) -> bool:
    """Return True if the assistant speaks first, so that it learns to greet without a question."""
    return bool(messages) and messages[0].get("role") == "assistant"


def _check_turns(messages: list[Message]) -> tuple[bool, bool, Json]:
    """Check each turn; return whether there is a question and a learned answer, and the last role."""
    asked = learned = empty = greeted = False
    role: Json = None
    for message in messages:
        role = message.get("role")
        content = message["content"]
        if type(role) is not str or role not in ROLES:
            raise DataError(
                f"{quote(role)} is not a role" if role is not None else "a message has no role",
                f"Use one of: {', '.join(sorted(ROLES))}.",
            )
        _check_content(content, role)
        if role == "assistant":
            if not asked and (empty or greeted or "tool_calls" in message):
                raise _unasked(empty=empty)
            learned = _check_answer(message) or learned
            # An answer that opens the conversation is a greeting; a question has to follow.
            greeted = greeted or not asked
        elif role != "tool":
            empty = _is_blank(content)
            asked = asked or not empty
    if greeted and not asked:
        raise _unasked(empty=empty)
    return asked, learned, role


def _unasked(*, empty: bool) -> DataError:
    if empty:
        return EmptyExample("the question is empty", "Write the question, or delete this row.")
    return DataError("the answer comes before any question", "Put a user turn first.")


def _check_content(content: Json, role: str) -> None:
    if type(content) is str or (content is None and role == "assistant"):
        return
    if isinstance(content, list) and all(
        isinstance(part, dict) and isinstance(part.get("type"), str) for part in content
    ):
        return
    if content is None:
        raise DataError(f"the {role}'s message has no content", 'Add "content": "..."')
    raise DataError(
        f"the content of the {role}'s message is neither text nor parts",
        'Write "content": "..." or "content": [{"type": "text", "text": "..."}]',
    )


def _check_answer(message: Message) -> bool:
    """Return True if the model learns this answer."""
    if _is_blank(message["content"]) and "tool_calls" not in message and not message.get("refusal"):
        raise EmptyExample(
            "an answer is empty", "Write the answer of that assistant turn, or delete this row."
        )
    if "tool_calls" in message:
        check_form(message["tool_calls"])
    weight = message.get("weight", 1)
    if weight not in (0, 1) or isinstance(weight, bool):
        raise DataError(f"a weight is {quote(weight)}", "Write 0 or 1.")
    return weight == 1


def _is_blank(content: Json) -> bool:
    return not content or (isinstance(content, str) and content.isspace())
