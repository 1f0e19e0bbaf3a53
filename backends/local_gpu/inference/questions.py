"""From a conversation to an answer that a model can begin: tokens, reader and limits."""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from backends.contract.errors import BackendError, PromptRefused, PromptTooLong
from backends.local_gpu.inference.active_answer import ActiveAnswer
from backends.local_gpu.inference.streaming_text import StreamingText
from backends.local_gpu.templates.answers import AnswerReader
from backends.local_gpu.templates.messages import Conversation
from backends.local_gpu.tokens.chat_tokens import Chat


def rendered(
    chat: Chat, conversation: Conversation, *, thinking: bool
) -> tuple[list[int], AnswerReader]:
    """Return a prompt's tokens, and a reader for the answer.

    Args:
        chat: Chat that renders the conversation.
        conversation: The conversation so far.
        thinking: True to let the model think first. False means: as the model was trained.

    Raises:
        PromptRefused: The template cannot show the conversation, or shows nothing.
    """
    with _showing():
        prompt = chat.prompt(conversation, thinking=thinking or None)
        reader = chat.reader(conversation, thinking=thinking or None)
    if not prompt:
        raise PromptRefused("the prompt has no tokens", "Say something.")
    return prompt, reader


def refuse_far_too_long(chat: Chat, conversation: Conversation, longest: int | None) -> None:
    """Refuse a prompt that is certainly too long, without rendering it.

    Raises:
        PromptTooLong: The prompt is far too long.
        PromptRefused: The template cannot show the conversation.
    """
    with _showing():
        beyond = longest is not None and chat.is_beyond(conversation, longest)
    if beyond:
        message = f"the prompt has far more than the {longest} tokens that the base model reads"
        raise PromptTooLong(message, "Shorten the prompt.")


def new_answer(
    number: int,
    chat: Chat,
    prompt: Sequence[int],
    reader: AnswerReader,
    adapter: str,
    sampling: Mapping[str, Any],
) -> ActiveAnswer:
    """Return an answer that a batch can begin.

    Args:
        number: ID of the answer.
        chat: Chat that rendered the prompt.
        prompt: Tokens of the prompt.
        reader: Splits the answer's text into its parts.
        adapter: Name of the adapter that answers, or `BASE`.
        sampling: Settings of the answer.
    """
    return ActiveAnswer(
        id=number,
        prompt=prompt,
        adapter=adapter,
        ends=chat.stops,
        text=StreamingText(
            tokenizer=chat.tokenizer,
            control=chat.silent,
            reader=reader,
            stop=tuple(sampling["stop"]),
        ),
        max_tokens=sampling["max_tokens"],
        temperature=sampling["temperature"],
        chance=random.Random(sampling["seed"]),  # noqa: S311 - no secret is drawn
    )


@contextmanager
def _showing() -> Iterator[None]:
    """Refuse a conversation that the chat template cannot show."""
    try:
        yield
    except BackendError as error:
        raise PromptRefused(error.message, error.remedy) from error
    except Exception as error:  # templates are programs, which fail in many ways
        raise PromptRefused(
            f"the chat template cannot show this conversation: {error!r}", "Change the messages."
        ) from error
