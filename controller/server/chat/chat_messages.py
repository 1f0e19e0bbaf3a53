"""Messages and tools of a chat request: their fields, and the order of calls and answers."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeAlias, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    JsonValue,
    ModelWrapValidatorHandler,
    PrivateAttr,
    model_serializer,
    model_validator,
)
from pydantic_core import from_json

from backends.contract.inspector import Json
from controller.server.api.errors import invalid
from controller.server.api.requests import ExactBody

_PART_KEYS = {"type", "text", "cache_control", "prompt_cache_breakpoint"}
"""Keys of a part of a content. The last two are cache hints for other servers, and ignored."""


def _as_text(content: object) -> object:
    """Return the parts of a content joined into one text."""
    if not isinstance(content, list):
        return content
    texts = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else part
        if kind != "text":
            raise ValueError(f"part {number} is {str(kind)[:50]!r}, but only text is supported")
        unknown = part.keys() - _PART_KEYS
        if unknown or not isinstance(part.get("text"), str):
            raise ValueError(f"part {number} must be {{'type': 'text', 'text': TEXT}}")
        texts.append(part["text"])
    return "".join(texts)


def _object_text(text: str) -> str:
    """Check that arguments are a JSON object."""
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise ValueError(f"must be a JSON object as text, but is not JSON: {error}") from None
    if type(value) is not dict:
        raise ValueError(f"must be a JSON object as text, such as '{{}}', not {text[:50]!r}")
    return text


def _absent(value: object) -> None:
    """Refuse a field that models of this server cannot have written."""
    if value:
        raise ValueError("must be null: this server does not support it")


Text: TypeAlias = Annotated[str, BeforeValidator(_as_text)]
"""Content of a message: a text, or parts of text."""
Absent: TypeAlias = Annotated[None, BeforeValidator(_absent)]
"""A field of answers that clients send back as null."""
NonEmpty: TypeAlias = Annotated[str, Field(min_length=1)]


class AsWritten(ExactBody):
    """Part of a request whose keys reach the model in the order of the request."""

    _written: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _keep(cls, written: object, validate: ModelWrapValidatorHandler[Self]) -> Self:
        made = validate(written)
        made.remember(cast("dict[str, Any]", written))
        return made

    def remember(self, written: dict[str, Any]) -> None:
        """Store the part as written."""
        self._written = written

    @model_serializer
    def shown(self) -> dict[str, Any]:
        """Return the part as written, without null values and excluded fields."""
        left_out = {name for name, field in type(self).model_fields.items() if field.exclude}
        return {
            key: inner.shown()
            if isinstance(inner := getattr(self, key, None), AsWritten)
            else value
            for key, value in self._written.items()
            if value is not None and key not in left_out
        }


class CalledFunction(AsWritten):
    """A function and its arguments."""

    name: NonEmpty
    arguments: Annotated[str, AfterValidator(_object_text)]


class ToolCall(AsWritten):
    """A tool call of an earlier turn of the assistant."""

    id: NonEmpty
    type: Literal["function"]
    function: CalledFunction
    index: int | None = Field(default=None, exclude=True)
    """Left over by clients that join streamed calls."""


class SystemMessage(ExactBody):
    """A message with instructions."""

    role: Literal["system", "developer"]
    content: Text
    name: str | None = None


class UserMessage(ExactBody):
    """A message of the user."""

    role: Literal["user"]
    content: Text
    name: str | None = None


class AssistantMessage(ExactBody):
    """An earlier answer of the model."""

    role: Literal["assistant"]
    content: Text | None = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCall] | None, AfterValidator(lambda calls: calls or None)] = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking: str | None = None
    refusal: Absent = None
    audio: Absent = None
    function_call: Absent = None
    annotations: Absent = None


class ToolMessage(ExactBody):
    """The result of a tool call."""

    role: Literal["tool"]
    content: Text
    tool_call_id: NonEmpty
    name: str | None = None


Message: TypeAlias = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


class Function(AsWritten):
    """A function that the model may call."""

    name: NonEmpty
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None
    strict: bool | None = None
    result: JsonValue = Field(default=None, alias="return")
    """Schema of the result. This and the next two keys are used by some families' templates."""
    returns: JsonValue = None
    response: JsonValue = None


class Tool(AsWritten):
    """A tool that the model may call."""

    type: Literal["function"]
    function: Function


def as_prompt(messages: Sequence[BaseModel]) -> list[dict[str, Json]]:
    """Return messages for a prompt, without null values."""
    return [message.model_dump(exclude_none=True) for message in messages]


def check_history(messages: Sequence[BaseModel]) -> None:
    """Check that every tool call has an answer, and every answer of a tool has a call.

    Raises:
        ApiError: A call or an answer has no counterpart; the error names the first.
    """
    waiting: dict[str, str] = {}
    for place, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            if waiting.pop(message.tool_call_id, None) is None:
                param = f"messages[{place}].tool_call_id"
                said = f"No earlier tool call without an answer has this ID: '{param}'."
                raise invalid(said, param, "invalid_value")
            continue
        _refuse_unanswered(waiting)
        if isinstance(message, AssistantMessage):
            waiting = _calls(message, f"messages[{place}]")
    _refuse_unanswered(waiting)


def _calls(message: AssistantMessage, where: str) -> dict[str, str]:
    if message.content is None and not message.tool_calls:
        raise invalid(
            f"An assistant message needs '{where}.content' or 'tool_calls'.",
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
        said = f"No tool message answers the call {call_id[:100]!r}: '{param}'."
        raise invalid(said, param, "invalid_value")
