"""All answers of one model to many prompts, and the losses of the expected answers.

Prompts and references are encoded as in training, so the losses are those of training.
"""

import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeAlias

import torch

from backends.contract.completions import Completion
from backends.contract.errors import BackendError, PromptRefused, PromptTooLong
from backends.local_gpu.inference.active_answer import ActiveAnswer, Piece
from backends.local_gpu.inference.continuous_batching import Batch
from backends.local_gpu.inference.loaded_model import LoadedModel
from backends.local_gpu.inference.model_pool import ModelPool
from backends.local_gpu.inference.prompts import (
    conversation_of,
    text_of,
    wants_answer,
    with_reference,
    with_rejected,
)
from backends.local_gpu.inference.questions import new_answer, rendered
from backends.local_gpu.inference.streaming_text import joined
from backends.local_gpu.inference.trained_models import TrainedModel
from backends.local_gpu.templates.answers import Answer, AnswerReader
from backends.local_gpu.tokens.chat_tokens import Chat, Encoded
from backends.local_gpu.tokens.text_tokens import Documents
from backends.local_gpu.tokens.tokenizers import ExampleTokenizer
from backends.local_gpu.training.batching import by_length, collate
from backends.local_gpu.training.loss import labelled_loss
from backends.local_gpu.training.tokenized_dataset import flatten


class Prompts(Protocol):
    """Prompts by their numbers: a list, or a `PromptFile`."""

    def __getitem__(self, number: int, /) -> Mapping[str, Any]:
        """Return a prompt."""


_Place: TypeAlias = tuple[int, str]
"""Number of a prompt, and which of its answers is measured."""
REFERENCE: Final = "reference"
REJECTED: Final = "rejected answer"
_CHUNK: Final = 512
"""Prompts that are read at a time, so that memory does not grow with their number."""
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
    prompts: Prompts,
    question: Mapping[str, Any],
) -> Iterator[tuple[int, Completion]]:
    """Answer many prompts with one model, and measure the references.

    The longest prompts come first, so that a lack of memory shows at once, and like lengths are in
    a batch, so that little is padded. The losses of a chunk of prompts come before its answers.

    Args:
        pool: The pool of the model.
        loaded: The model, or its base if it is an adapter.
        model: The model; None is the base model.
        like: The model whose template and block length are used, so that the base
            model gets the prompts of the models trained from it.
        prompts: All prompts.
        question: `prompts`, the numbers of those to answer, and `sampling`.

    Yields:
        The number of a prompt and its completion, when the answer has ended.

    Raises:
        PromptTooLong: A prompt leaves no room for an answer; nothing was answered.
        BackendError: The adapter does not fit, or a prompt or a reference cannot be encoded.
    """
    task = _Task(
        loaded=loaded,
        adapter=loaded.attach(model),
        chat=lambda: pool.chat(like),
        documents=lambda: pool.documents(like, loaded.context),
        prompts=prompts,
        sampling=question["sampling"],
    )
    loaded.batch.switch(task.adapter)
    numbers = task.longest_first(question["prompts"])
    for start in range(0, len(numbers), _CHUNK):
        yield from task.completions(numbers[start : start + _CHUNK])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """One model that answers."""

    loaded: LoadedModel
    adapter: str
    chat: Callable[[], Chat]
    documents: Callable[[], Documents]
    prompts: Prompts
    sampling: Mapping[str, Any]

    def completions(self, numbers: Sequence[int]) -> Iterator[tuple[int, Completion]]:
        """Yield the completion of each prompt."""
        with torch.no_grad(), self.loaded.batch.computing():
            losses = _losses(self.loaded, self._references(numbers))
        for number, completion in self._answers(numbers):
            loss, tokens = losses.get((number, REFERENCE), (None, 0))
            worse, others = losses.get((number, REJECTED), (None, 0))
            yield (
                number,
                replace(
                    completion,
                    reference_loss=loss,
                    reference_tokens=tokens,
                    rejected_loss=worse,
                    rejected_tokens=others,
                ),
            )

    def longest_first(self, numbers: Sequence[int]) -> Sequence[int]:
        """Return the numbers of prompts by the prompts' tokens.

        Raises:
            PromptTooLong: With the first prompt that is too long, and the number of others.
            PromptRefused: A prompt cannot be rendered.
        """
        lengths = array("l", (len(self._rendered(number)[0]) for number in numbers))
        longest = self.loaded.context
        over = [place for place, length in enumerate(lengths) if longest and length >= longest]
        if over:
            more = f" (and {len(over) - 1} more)" if len(over) > 1 else ""
            first = f"prompt {numbers[over[0]] + 1} has {lengths[over[0]]} tokens{more}"
            raise PromptTooLong(f"{first}; the base model reads {longest}", "Shorten the prompt.")
        order = sorted(range(len(numbers)), key=lambda place: -lengths[place])
        return array("l", (numbers[place] for place in order))

    def _rendered(self, number: int) -> tuple[list[int], AnswerReader | None]:
        """Return the tokens of a prompt, and the reader of its answer; nothing if none is made."""
        prompt = self.prompts[number]
        if not (wants_answer(prompt) and self.sampling["max_tokens"] > 0):
            return [], None
        try:
            return rendered(
                self.chat(), conversation_of(prompt), thinking=self.sampling["thinking"]
            )
        except PromptRefused as error:
            raise type(error)(f"prompt {number + 1}: {error.message}", error.remedy) from error

    def _answers(self, numbers: Sequence[int]) -> Iterator[tuple[int, Completion]]:
        answers = []
        for number in numbers:
            tokens, reader = self._rendered(number)
            if reader is None:
                silent = _SILENCE if wants_answer(self.prompts[number]) else _NOT_ASKED
                yield number, silent
                continue
            # Equal prompts draw different answers.
            drawn = {**self.sampling, "seed": self.sampling["seed"] + number}
            answer = new_answer(number, self.chat(), tokens, reader, self.adapter, drawn)
            if self.loaded.context is not None:
                # An answer ends where the model stops reading, as when it is served.
                answer.max_tokens = min(answer.max_tokens, self.loaded.context - len(tokens))
            answers.append(answer)
        yield from _run(self.loaded.batch, answers)

    def _references(self, numbers: Sequence[int]) -> Iterator[tuple[_Place, Encoded]]:
        """Yield the answers to measure, encoded as training does, each with its place."""
        asked: list[int] = []
        texts: list[int] = []
        for number in numbers:
            prompt = self.prompts[number]
            if prompt["reference"] is not None:
                (asked if wants_answer(prompt) else texts).append(number)
        rejected = [number for number in numbers if self.prompts[number]["rejected"] is not None]
        if asked:
            yield from self._encoded(self.chat(), with_reference, asked, REFERENCE)
        if rejected:
            yield from self._encoded(self.chat(), with_rejected, rejected, REJECTED)
        if texts:
            yield from self._encoded(self.documents(), text_of, texts, REFERENCE)

    def _encoded(
        self,
        reader: ExampleTokenizer[Encoded],
        example_of: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        numbers: Sequence[int],
        what: str,
    ) -> Iterator[tuple[_Place, Encoded]]:
        encoded = reader.encode(example_of(self.prompts[number]) for number in numbers)
        for number, found in zip(numbers, encoded, strict=True):
            if isinstance(found, BackendError):
                message = f"the {what} of prompt {number + 1}: {found.message}"
                raise BackendError(message, found.remedy)
            for block in reader.blocks(found):
                yield (number, what), block


def _run(batch: Batch, answers: Sequence[ActiveAnswer]) -> Iterator[tuple[int, Completion]]:
    """Make answers in one batch, and yield each when it ends."""
    unfinished = {answer.id: (answer, Answer()) for answer in answers}
    try:
        batch.waiting.extend(answers)
        while batch.busy:
            for piece in batch.step():
                active, begun = unfinished.pop(piece.id)
                answer = joined(begun, piece.added)
                if piece.finish_reason is None:
                    unfinished[piece.id] = active, answer
                else:
                    yield piece.id, _completion(active, answer, piece)
            for _, error in batch.take_failed():
                raise error
    finally:
        batch.waiting.clear()
        batch.clear()


def _completion(active: ActiveAnswer, answer: Answer, last: Piece) -> Completion:
    begun_s = active.begun_s
    return Completion(
        text=answer.text,
        thinking=answer.thinking,
        tool_calls=answer.calls,
        finish_reason=last.finish_reason or "stop",
        latency_s=None if begun_s is None else time.monotonic() - begun_s,
        prompt_tokens=last.prompt_tokens,
        completion_tokens=last.completion_tokens,
    )


def _losses(
    loaded: LoadedModel, references: Iterable[tuple[_Place, Encoded]]
) -> dict[_Place, tuple[float | None, int]]:
    """Return the mean loss of each answer to measure and the number of its tokens, by place."""
    encoded = list(references)
    if not encoded:
        return {}
    totals: dict[_Place, float] = defaultdict(float)
    counts: dict[_Place, int] = defaultdict(int)
    model = loaded.plain
    tokens = flatten(block for _, block in encoded)
    loss = labelled_loss(model)
    room = max(1, _BATCH_TOKENS // int(tokens.lengths.max()))
    for places in by_length(tokens.lengths, min(_BATCH, room)):
        batch = {key: value.to(model.device) for key, value in collate(tokens, places).items()}
        for place, total in zip(places, loss.per_example(batch).tolist(), strict=True):
            key = encoded[place][0]
            totals[key] += total
            counts[key] += int(tokens[place][1].sum())
    return {key: (totals[key] / count if count else None, count) for key, count in counts.items()}
