"""Published forms of training examples, which the service checks hours later, naming no line. Pure.

The forms come from the published schemas of training files and from the guides. Cases that these
leave open pass: unlisted keys of messages, names of any characters, the role `developer`. The
controller checks for every backend that roles are known, that a question precedes an answer and
that no answer is empty, so these checks are not repeated here.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from backends.contract.methods import DPO, REINFORCEMENT, SUPERVISED
from backends.excerpt import excerpt
from backends.openai.examples.forms import Form, first_problem
from backends.openai.examples.images import Image
from backends.openai.profiles.profile import ServiceLimits
from backends.pydantic_errors import InvalidValue, Path, shown

_Part = TypeVar("_Part")

_REMEDIES: Final = {
    "messages": "Write a conversation whose messages have one of these roles.",
    "name": "Write a name as text; a function's has 1 to 64 letters a-z and A-Z, digits, _ and -.",
    "refusal": "Write the refusal as text, or remove it.",
    "content": 'Write "content": "..." or "content": [{"type": "text", "text": "..."}]; only a '
    "user's message holds images.",
    "image_url": 'Write {"type": "image_url", "image_url": {"url": "https://..."}}.',
    "detail": "Write one of: auto, low, high.",
    "weight": "Write 0 or 1 at an answer, and nothing at other messages.",
    "tool_call_id": "Write the `id` of the call that it answers.",
    "tool_calls": 'Write {"id": "call_1", "type": "function", "function": {"name": "search", '
    '"arguments": "{}"}} in a list.',
    "id": "Give every call an id of its own.",
    "function_call": 'Write {"name": "search", "arguments": "{}"}.',
    "arguments": 'Write the object as JSON in text: "arguments": "{\\"day\\": \\"Monday\\"}".',
    "tools": 'Write {"type": "function", "function": {"name": "search", "description": "...", '
    '"parameters": {"type": "object", "properties": {}}}} in a list of at most 128.',
    "functions": 'Write {"name": "search", "parameters": {"type": "object", "properties": {}}} '
    "in a list of at most 128.",
    "parameters": 'Write "parameters": {"type": "object", "properties": {...}}.',
    "properties": 'Write "properties": {"day": {"type": "string"}}.',
    "parallel_tool_calls": "Write true or false, without quotes.",
    "preferred_output": "Write one answer here, and the turns before it in `input`.",
    "non_preferred_output": "Write one answer here, and the turns before it in `input`.",
}
"""Correct form of a field, by its name."""


def check_example(method: str, example: Mapping[str, Any], limits: ServiceLimits) -> None:
    """Check an example as the service does.

    Args:
        method: The training method.
        example: One line of canonical JSONL, parsed.
        limits: Published limits of the service.

    Raises:
        BackendError: The service would refuse the example; the message names the field.
    """
    try:
        _FORMS[method].model_validate(example, context=limits)
    except ValidationError as error:
        raise first_problem(error, example, _REMEDIES) from None


def _require_json(text: str) -> str:
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"must be JSON: {error}", _REMEDIES["arguments"]) from None
    return text


def _require_own_ids(calls: list["_ToolCall"]) -> list["_ToolCall"]:
    ids = [call.id for call in calls]
    for number, call_id in enumerate(ids):
        if call_id in ids[:number]:
            message = f"is {excerpt(call_id)}, and so is the id of another call"
            raise InvalidValue(message, _REMEDIES["id"], number, "id")
    return calls


def _require_zero_or_one(weight: float) -> float:
    if weight not in (0, 1):
        raise InvalidValue(f"must be 0 or 1, not {shown(weight)}", _REMEDIES["weight"])
    return weight


def _refuse_weight(_: object) -> None:
    raise InvalidValue("is allowed at answers only", _REMEDIES["weight"])


def _text_or_parts(content: object) -> str | None:
    if isinstance(content, str):
        return "text"
    return "parts" if isinstance(content, list) else None


class _Text(Form):
    type: Literal["text"]
    text: str


class _Refusal(Form):
    type: Literal["refusal"]
    refusal: str


class _ImagePart(Form):
    type: Literal["image_url"]
    image_url: Image


_UserPart: TypeAlias = Annotated[_Text | _ImagePart, Field(discriminator="type")]
_AnswerPart: TypeAlias = Annotated[_Text | _Refusal, Field(discriminator="type")]
_Content: TypeAlias = Annotated[
    Annotated[str, Tag("text")] | Annotated[list[_Part], Field(min_length=1), Tag("parts")],
    Discriminator(
        _text_or_parts,
        custom_error_type="content_type",
        custom_error_message="must be text or a list of parts",
    ),
]
_FunctionName: TypeAlias = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
_NonEmpty: TypeAlias = Annotated[str, Field(min_length=1)]


class _FunctionCall(Form):
    name: _FunctionName
    arguments: Annotated[str, AfterValidator(_require_json)]


class _ToolCall(Form):
    type: Literal["function"]
    id: _NonEmpty
    function: _FunctionCall


class _Message(Form):
    name: str | None = None
    refusal: str | None = None
    tool_calls: Annotated[
        list[_ToolCall],
        Field(default_factory=list, min_length=1),
        AfterValidator(_require_own_ids),
    ]
    function_call: _FunctionCall | None = None
    weight: Annotated[float | None, BeforeValidator(_refuse_weight)] = None


class _Instruction(_Message):
    role: Literal["system", "developer"]
    content: _Content[_Text]


class _User(_Message):
    role: Literal["user"]
    content: _Content[_UserPart]

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(isinstance(part, _ImagePart) for part in self.content)


class _Assistant(_Message):
    role: Literal["assistant"]
    content: _Content[_AnswerPart] | None = None
    weight: Annotated[float, AfterValidator(_require_zero_or_one)] = 1

    @model_validator(mode="after")
    def _require_content(self) -> Self:
        if self.content is None and not (self.tool_calls or self.function_call or self.refusal):
            raise InvalidValue("is missing", _REMEDIES["content"], "content")
        return self


class _Tool(_Message):
    role: Literal["tool"]
    tool_call_id: _NonEmpty
    content: _Content[_Text]


class _Function(_Message):
    """A message of a function, the form before tools."""

    role: Literal["function"]
    name: _NonEmpty
    content: _Content[_Text]


_AnyMessage: TypeAlias = Annotated[
    _Instruction | _User | _Assistant | _Tool | _Function, Field(discriminator="role")
]


def _require_answered_calls(messages: list[_AnyMessage]) -> list[_AnyMessage]:
    """Require that each tool call gets its answer before anyone else speaks."""
    open_calls: dict[str, Path] = {}
    for number, message in enumerate(messages):
        if isinstance(message, _Tool):
            if open_calls.pop(message.tool_call_id, None) is None:
                raise InvalidValue(
                    f"is {excerpt(message.tool_call_id)}, and no call just before has this id",
                    "Put the message behind the assistant's message with that call, once.",
                    *(number, "tool_call_id"),
                )
        elif open_calls:
            raise _unanswered(open_calls)
        for place, call in enumerate(message.tool_calls):
            open_calls[call.id] = (number, "tool_calls", place)
    # The last answer may itself be a call, which nobody answers any more.
    if open_calls and isinstance(messages[-1], _Tool):
        raise _unanswered(open_calls)
    return messages


def _unanswered(open_calls: Mapping[str, Path]) -> InvalidValue:
    call_id = min(open_calls)
    return InvalidValue(
        f"is not answered; its id is {excerpt(call_id)}",
        'Put {"role": "tool", "tool_call_id": "...", "content": "..."} behind it.',
        *open_calls[call_id],
    )


def _require_few_images(messages: list[_AnyMessage], info: ValidationInfo) -> list[_AnyMessage]:
    limits: Any = info.context
    images = sum(message.images for message in messages if isinstance(message, _User))
    most = limits.images
    if most is not None and images > most:
        raise InvalidValue(
            f"hold {images} images; the service takes at most {most} in one example",
            "Remove images, or make several examples of it.",
        )
    return messages


_Conversation: TypeAlias = Annotated[
    list[_AnyMessage],
    Field(min_length=1),
    AfterValidator(_require_answered_calls),
    AfterValidator(_require_few_images),
]


class _Parameters(Form):
    type: Literal["object"]
    properties: dict[str, Any] = Field(default_factory=dict)


class _Definition(Form):
    name: _FunctionName
    description: str | None = None
    strict: bool | None = None
    parameters: Annotated[
        _Parameters | None, BeforeValidator(lambda schema: None if schema == {} else schema)
    ] = None


class _ToolDefinition(Form):
    type: Literal["function"]
    function: _Definition


_Definitions: TypeAlias = Annotated[
    list[_Part], Field(default_factory=list, min_length=1, max_length=128)
]


class _Example(Form):
    """A conversation, and the functions that may be called in it."""

    messages: _Conversation
    tools: _Definitions[_ToolDefinition]
    functions: _Definitions[_Definition]
    parallel_tool_calls: bool | None = None

    @property
    def last(self) -> Path:
        """Path of the last message."""
        return ("messages", len(self.messages) - 1)


class _Supervised(_Example):
    """A conversation to learn from."""

    @model_validator(mode="after")
    def _require_answer(self) -> Self:
        role = self.messages[-1].role
        if role != "assistant":
            raise InvalidValue(
                f"is the {role}'s; the service learns from a conversation that ends with an answer",
                'End the conversation with {"role": "assistant", "content": "..."}.',
                *self.last,
            )
        return self


class _Graded(_Example):
    """A conversation whose next answer is graded."""

    @model_validator(mode="after")
    def _require_question(self) -> Self:
        if self.messages[-1].role == "assistant":
            raise InvalidValue(
                "is an answer; the service samples the answer to the last question itself",
                "Remove the turns after the last question.",
                *self.last,
            )
        return self


class _Compared(_Example):
    """A conversation whose next answers are compared."""

    @model_validator(mode="after")
    def _require_texts(self) -> Self:
        for number, message in enumerate(self.messages):
            if isinstance(message, _User) and message.images:
                raise InvalidValue(
                    "holds an image; the service compares texts only",
                    "Remove the example, or train with `method: supervised`.",
                    *("messages", number, "content"),
                )
        return self


def _require_one(answers: list[_Assistant]) -> list[_Assistant]:
    if len(answers) != 1:
        said = f"must be exactly one message of the assistant, not {len(answers)}"
        raise InvalidValue(said, _REMEDIES["preferred_output"])
    return answers


class _Preference(Form):
    """A conversation and two answers to it."""

    input: _Compared
    preferred_output: Annotated[list[_Assistant], AfterValidator(_require_one)]
    non_preferred_output: Annotated[list[_Assistant], AfterValidator(_require_one)]


_FORMS: Final[Mapping[str, type[Form]]] = {
    SUPERVISED.name: _Supervised,
    DPO.name: _Preference,
    REINFORCEMENT.name: _Graded,
}
