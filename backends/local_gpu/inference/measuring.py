"""All answers of one model to many prompts, and the losses of the expected answers.

Prompts and references are encoded as in training, so the losses are those of training.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import torch

from backends.contract.completions import Completion
from backends.contract.errors import BackendError, PromptTooLong
from backends.local_gpu.inference.active_answer import ActiveAnswer
from backends.local_gpu.inference.continuous_batching import Batch
from backends.local_gpu.inference.loaded_model import LoadedModel
from backends.local_gpu.inference.model_pool import ModelPool
from backends.local_gpu.inference.prompts import (
    conversation_of,
    text_of,
    wants_answer,
    with_reference,
)
from backends.local_gpu.inference.questions import new_answer, rendered
from backends.local_gpu.inference.streaming_text import joined
from backends.local_gpu.inference.trained_models import TrainedModel
from backends.local_gpu.templates.answers import Answer
from backends.local_gpu.tokens.chat_tokens import Encoded
from backends.local_gpu.tokens.tokenizers import ExampleTokenizer
from backends.local_gpu.training.batching import by_length, collate
from backends.local_gpu.training.loss import labelled_loss
from backends.local_gpu.training.tokenized_dataset import flatten

Prompts = Sequence[Mapping[str, Any]]

_BATCH: Final = 64
"""References that are measured at once."""
_BATCH_TOKENS: Final = 16_384
"""Tokens, padding included, that are measured at once."""
_SILENCE: Final = Completion(text="", finish_reason="length")
_NOT_ASKED: Final = Completion(text="", finish_reason="stop")


def measure(
    pool: ModelPool,
    loaded: LoadedModel,
    model: TrainedModel | None,
    like: TrainedModel | None,
    question: Mapping[str, Any],
) -> list[Completion]:
    """Answer every prompt with one model, and measure the references.

    Args:
        pool: The pool of the model.
        loaded: The model, or its base if it is an adapter.
        model: The model; None is the base model.
        like: The model whose template and block length are used, so that the base
            model gets the prompts of the models trained from it.
        question: `prompts` and `sampling`.

    Raises:
        PromptTooLong: A prompt leaves no room for an answer.
        BackendError: The adapter does not fit, or a prompt or a reference cannot be encoded.
    """
    prompts, sampling = question["prompts"], question["sampling"]
    loaded.batch.switch(loaded.attach(model))
    answers = [_SILENCE if wants_answer(prompt) else _NOT_ASKED for prompt in prompts]
    if sampling["max_tokens"] > 0:
        for place, completion in _answers(pool, loaded, model, like, question).items():
            answers[place] = completion
    with torch.no_grad(), loaded.batch.computing():
        losses = _reference_losses(loaded, _references(pool, loaded, like, prompts), len(prompts))
    return [
        replace(completion, reference_loss=loss, reference_tokens=tokens)
        for completion, (loss, tokens) in zip(answers, losses, strict=True)
    ]


def _answers(
    pool: ModelPool,
    loaded: LoadedModel,
    model: TrainedModel | None,
    like: TrainedModel | None,
    question: Mapping[str, Any],
) -> dict[int, Completion]:
    """Return the answers to the prompts that want one, by the prompts' places."""
    prompts, sampling = question["prompts"], question["sampling"]
    places = [place for place, prompt in enumerate(prompts) if wants_answer(prompt)]
    if not places:
        return {}
    chat, adapter = pool.chat(like), loaded.attach(model)
    answers = []
    for place in places:
        conversation = conversation_of(prompts[place])
        prompt, reader = rendered(chat, conversation, thinking=sampling["thinking"])
        # Equal prompts draw different answers.
        drawn = {**sampling, "seed": sampling["seed"] + place}
        answers.append(new_answer(place, chat, prompt, reader, adapter, drawn))
    _give_room(answers, loaded.context)
    # Like lengths together, so that little is padded.
    loaded.batch.waiting.extend(sorted(answers, key=lambda answer: -len(answer.prompt)))
    return dict(_run(loaded.batch))


def _run(batch: Batch) -> Iterator[tuple[int, Completion]]:
    """Make the answers of a batch, and yield each when it ends."""
    begun: dict[int, Answer] = {}
    try:
        while batch.busy:
            for piece in batch.step():
                answer = joined(begun.pop(piece.id, Answer()), piece.added)
                if piece.finish_reason is None:
                    begun[piece.id] = answer
                else:
                    yield piece.id, _completion(answer, piece.finish_reason)
            for _, error in batch.take_failed():
                raise error
    finally:
        batch.waiting.clear()
        batch.clear()


def _completion(answer: Answer, finish_reason: str) -> Completion:
    return Completion(
        text=answer.text,
        thinking=answer.thinking,
        tool_calls=answer.calls,
        finish_reason=finish_reason,
    )


def _give_room(answers: Sequence[ActiveAnswer], longest: int | None) -> None:
    """End answers where the model stops reading, as when they are served.

    Raises:
        PromptTooLong: With the first prompt that is too long, and the number of others.
    """
    if longest is None:
        return
    over = [answer for answer in answers if len(answer.prompt) >= longest]
    if over:
        more = f" (and {len(over) - 1} more)" if len(over) > 1 else ""
        first = f"prompt {over[0].id + 1} has {len(over[0].prompt)} tokens{more}"
        raise PromptTooLong(f"{first}; the base model reads {longest}", "Shorten the prompt.")
    for answer in answers:
        answer.max_tokens = min(answer.max_tokens, longest - len(answer.prompt))


def _references(
    pool: ModelPool, loaded: LoadedModel, like: TrainedModel | None, prompts: Prompts
) -> Iterator[tuple[int, Encoded]]:
    """Yield the references, encoded as training does, each with its prompt's place."""
    measured = [place for place, prompt in enumerate(prompts) if prompt["reference"] is not None]
    asked = [place for place in measured if wants_answer(prompts[place])]
    texts = [place for place in measured if not wants_answer(prompts[place])]
    readers: list[
        tuple[ExampleTokenizer, Callable[[Mapping[str, Any]], Mapping[str, Any]], list[int]]
    ] = []
    if asked:
        readers.append((pool.chat(like), with_reference, asked))
    if texts:
        readers.append((pool.documents(like, loaded.context), text_of, texts))
    for reader, example_of, places in readers:
        encoded = reader.encode(example_of(prompts[place]) for place in places)
        for place, found in zip(places, encoded, strict=True):
            if isinstance(found, BackendError):
                message = f"the reference of prompt {place + 1}: {found.message}"
                raise BackendError(message, found.remedy)
            for block in reader.blocks(found):
                yield place, block


def _reference_losses(
    loaded: LoadedModel, references: Iterable[tuple[int, Encoded]], count: int
) -> list[tuple[float | None, int]]:
    """Return the mean loss of each reference, and the number of its tokens."""
    encoded = list(references)
    totals, counts = [0.0] * count, [0] * count
    if encoded:
        model = loaded.plain
        tokens = flatten(block for _, block in encoded)
        loss = labelled_loss(model)
        room = max(1, _BATCH_TOKENS // int(tokens.lengths.max()))
        for places in by_length(tokens.lengths, min(_BATCH, room)):
            batch = {key: value.to(model.device) for key, value in collate(tokens, places).items()}
            for place, total in zip(places, loss.per_example(batch).tolist(), strict=True):
                prompt = encoded[place][0]
                totals[prompt] += total
                counts[prompt] += int(tokens[place][1].sum())
    return [
        (total / labels if labels else None, labels)
        for total, labels in zip(totals, counts, strict=True)
    ]
