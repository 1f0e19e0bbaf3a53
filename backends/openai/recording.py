"""Stored completions of a server, and the price of its answers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from backends.contract.completions import Prompt, Sampling
from backends.contract.errors import NothingStored
from backends.contract.inspector import Json
from backends.contract.recording import (
    AnswerPrice,
    AnswersEstimate,
    StoredCompletion,
)
from backends.openai.api.protocol import (
    Body,
    Rejected,
    mapping_in,
    name_in,
    objects,
    read_pages,
    text_of,
)
from backends.openai.examples.inspector import open_tokens

if TYPE_CHECKING:
    from backends.openai.api.client import Client

_NO_LIST: Final = frozenset({404, 405})
"""Statuses of servers that do not list stored completions."""
_PAGE: Final = 100
_OF_MESSAGE: Final = ("role", "content", "name", "tool_calls", "tool_call_id", "refusal")


def estimate_answers(
    base_model: str,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    price: tuple[AnswerPrice, str] | None,
) -> AnswersEstimate:
    """Return the tokens and the price of answers.

    Args:
        base_model: The base model, whose tokens are counted.
        prompts: The prompts. An answer is expected to be as long as its reference.
        sampling: How the answers are drawn.
        price: Price of the model's answers and its basis; None if it is not known.
    """
    tokens = open_tokens()
    count: Callable[[Mapping[str, Any]], int] = tokens.counter(base_model)
    count_answer: Callable[[Mapping[str, Any]], int] = tokens.answer_counter(base_model)
    given = least = asked = 0
    for prompt in prompts:
        asked += 1
        given += count({"messages": prompt.messages, "tools": prompt.tools})
        expected = 1 if prompt.reference is None else count_answer(prompt.reference)
        least += min(expected, sampling.max_tokens)
    most = asked * sampling.max_tokens
    known, basis = price or (None, "")
    return AnswersEstimate(
        prompt_tokens=given, completion_tokens=(least, most), price=known, basis=basis
    )


def stored_completions(
    client: "Client", server: str, model: str | None, metadata: Mapping[str, str]
) -> Iterator[StoredCompletion]:
    """Yield the completions that a server has stored, newest first.

    A server may ignore the filters, so each completion is compared with them again.

    Raises:
        NothingStored: The server does not list stored completions.
        Rejected: The server does not show them.
        OutcomeUnknown: The server gave no usable answer.
    """
    pages = read_pages(
        lambda after: client.list_stored(limit=_PAGE, after=after, model=model, metadata=metadata),
        _PAGE,
    )
    try:
        for stored in pages:
            found = _stored(stored)
            if found is not None and _fits(found, model, metadata):
                yield found
    except Rejected as error:
        if error.status not in _NO_LIST:
            raise
        raise NothingStored(
            f"{server} lists no stored completions: {error.message}",
            "Take questions from your own logs, as a source of `data`.",
        ) from error


def stored_messages(client: "Client", completion_id: str) -> tuple[Mapping[str, Json], ...]:
    """Return the messages before the answer of a stored completion; empty if they are gone.

    Raises:
        Rejected: The server does not show them.
        OutcomeUnknown: The server gave no usable answer.
    """
    try:
        pages = read_pages(
            lambda after: client.list_stored_messages(completion_id, limit=_PAGE, after=after),
            _PAGE,
        )
        return tuple(map(_message, pages))
    except Rejected as error:
        if error.is_missing:
            return ()
        raise


def _fits(found: StoredCompletion, model: str | None, metadata: Mapping[str, str]) -> bool:
    return (model is None or found.model == model) and metadata.items() <= found.metadata.items()


def _stored(body: Body) -> StoredCompletion | None:
    """Return a stored completion; None if it has no ID or no answer."""
    choices = body.get("choices")
    choice = mapping_in(choices[0], "message") if isinstance(choices, list) and choices else {}
    found = name_in(body.get("id"))
    if not found or not choice:
        return None
    tools = body.get("tools")
    return StoredCompletion(
        id=found,
        model=text_of(body.get("model")),
        answer={**_message(choice), "role": "assistant"},
        tools=tuple(objects({"data": tools})) if isinstance(tools, list) else (),
        metadata={str(key): str(value) for key, value in mapping_in(body, "metadata").items()},
    )


def _message(body: Body) -> Mapping[str, Json]:
    """Return a message with the protocol's keys that it has; parts count where content is null."""
    message = {key: body[key] for key in _OF_MESSAGE if body.get(key) is not None}
    parts = body.get("content_parts")
    if "content" not in message and isinstance(parts, list):
        message["content"] = parts
    if "content" not in message:
        message["content"] = None
    return message
