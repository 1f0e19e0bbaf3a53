"""Messages and tools of a chat request: what each may hold, and what goes together."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
)
from pydantic_core import from_json

from backends.base import Json
from controller.server.errors import invalid

ROLES = ("system", "developer", "user", "assistant", "tool")
_PART_KEYS = {"type", "text"}
_HARMLESS_PART_KEYS = {"cache_control", "prompt_cache_breakpoint"}
"""Hints for caches of other servers."""


def _as_text(content: object) -> object:
    """Return parts of text as one text."""
    if not isinstance(content, list):
        return content
    texts = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else part
        if kind != "text":
            raise ValueError(
                f"part {number} is {str(kind)[:50]!r}; only text can be understood here"
            )
        unknown = part.keys() - _PART_KEYS - _HARMLESS_PART_KEYS
        if unknown or not isinstance(part.get("text"), str):
            raise ValueError(f"part {number} must be {{'type': 'text', 'text': TEXT}}")
        texts.append(part["text"])
    return "".join(texts)


def _object_text(text: str) -> str:
    """Make sure that arguments are an object in JSON."""
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise ValueError(f"it must be a JSON object as text, and is no JSON: {error}") from None
    if type(value) is not dict:
        raise ValueError(f"it must be a JSON object as text, such as '{{}}', not {text[:50]!r}")
    return text


def _absent(value: object) -> None:
    """Refuse what no model here could have said."""
    if value:
        raise ValueError("nothing but null can be understood here")


Text: TypeAlias = Annotated[str, BeforeValidator(_as_text)]
"""Content: a text, or parts of text."""
Absent: TypeAlias = Annotated[None, BeforeValidator(_absent)]
"""What clients send back as null, because answers have it."""
NonEmpty: TypeAlias = Annotated[str, Field(min_length=1)]


class Strict(BaseModel):
    """Part of a request in which every key is known."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class CalledFunction(Strict):
    """A function and its arguments."""

    name: NonEmpty
    arguments: Annotated[str, AfterValidator(_object_text)]


class ToolCall(Strict):
    """A call that the assistant made before."""

    id: NonEmpty
    type: Literal["function"]
    function: CalledFunction
    index: int | None = Field(default=None, exclude=True)
    """Left by clients that put streamed calls together."""


class SystemMessage(Strict):
    """Instructions."""

    role: Literal["system", "developer"]
    content: Text
    name: str | None = None


class UserMessage(Strict):
    """What a person says."""

    role: Literal["user"]
    content: Text
    name: str | None = None


class AssistantMessage(Strict):
    """What the model said before."""

    role: Literal["assistant"]
    content: Text | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking: str | None = None
    refusal: Absent = None
    audio: Absent = None
    function_call: Absent = None
    annotations: Absent = None


class ToolMessage(Strict):
    """What a tool answered."""

    role: Literal["tool"]
    content: Text
    tool_call_id: NonEmpty
    name: str | None = None


class UnknownMessage(BaseModel):
    """A message of nobody: refused for its role."""

    role: Literal["system", "developer", "user", "assistant", "tool"]


def _branch(message: object) -> str:
    role = message.get("role") if isinstance(message, Mapping) else None
    return f"<{role}>" if role in ROLES else "<unknown>"


Message: TypeAlias = Annotated[
    Annotated[SystemMessage, Tag("<system>")]
    | Annotated[SystemMessage, Tag("<developer>")]
    | Annotated[UserMessage, Tag("<user>")]
    | Annotated[AssistantMessage, Tag("<assistant>")]
    | Annotated[ToolMessage, Tag("<tool>")]
    | Annotated[UnknownMessage, Tag("<unknown>")],
    Discriminator(_branch),
]


class Function(Strict):
    """A function that the model may call."""

    name: NonEmpty
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None
    strict: bool | None = None


class Tool(Strict):
    """A tool that the model may call."""

    type: Literal["function"]
    function: Function


def as_prompt(messages: Sequence[BaseModel]) -> list[dict[str, Json]]:
    """Return messages as a prompt holds them: without what is null."""
    return [_shown(message.model_dump(exclude_none=True)) for message in messages]


def offered(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Return tools as a prompt holds them: without what is null, the order of keys kept."""
    shown = []
    for tool in tools:
        function = {
            key: value
            for key, value in tool.function
            if key in tool.function.model_fields_set and value is not None
        }
        shown.append({"type": tool.type, "function": function})
    return shown


def check_history(messages: Sequence[BaseModel]) -> None:
    """Make sure that every call is answered, and that every answer of a tool has a call.

    Raises:
        ApiError: With the first message that does not fit.
    """
    waiting: dict[str, str] = {}
    for place, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            if waiting.pop(message.tool_call_id, None) is None:
                param = f"messages[{place}].tool_call_id"
                said = f"No call before it, still without an answer, has this ID: '{param}'."
                raise invalid(said, param, "invalid_value")
            continue
        _refuse_unanswered(waiting)
        if isinstance(message, AssistantMessage):
            waiting = _calls(message, f"messages[{place}]")
    _refuse_unanswered(waiting)


def _calls(message: AssistantMessage, where: str) -> dict[str, str]:
    if message.content is None and not message.tool_calls:
        raise invalid(
            f"A message of the assistant needs '{where}.content', or 'tool_calls'.",
            f"{where}.content",
            "missing_required_parameter",
        )
    found: dict[str, str] = {}
    for number, call in enumerate(message.tool_calls or ()):
        param = f"{where}.tool_calls[{number}].id"
        if call.id in found:
            raise invalid(f"Two calls have the same ID: '{param}'.", param, "invalid_value")
        found[call.id] = param
    return found


def _refuse_unanswered(waiting: Mapping[str, str]) -> None:
    if waiting:
        call_id, param = next(iter(waiting.items()))
        said = f"No message of a tool answers the call {call_id[:100]!r}: '{param}'."
        raise invalid(said, param, "invalid_value")


def _shown(message: dict[str, Any]) -> dict[str, Any]:
    if not message.get("tool_calls"):
        message.pop("tool_calls", None)
    return message
