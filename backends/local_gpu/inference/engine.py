"""Answers of a base model and of what was trained from it, made by one child process.

`open_engine` keeps models loaded for serving; `complete` loads them to answer many prompts at once.
When a child that serves dies, the askers that wait get an error, and the next question starts
another child.
"""

import threading
from collections.abc import Container, Generator, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from backends.contract.completions import Chunk, Completed, Completion, Prompt, Sampling
from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel
from backends.local_gpu.inference.engine_process import EngineProcess
from backends.local_gpu.inference.trained_models import TrainedModel, trained_model
from backends.local_gpu.inference.wire import Message, error_of


def open_engine(state: Path, base_model: BaseModel, default: str | None = None) -> "LocalEngine":
    """Start loading a base model, without waiting for it. See `Backend.open_engine`.

    Args:
        state: Folder below which the backend keeps its files.
        base_model: The base model.
        default: ID of the trained model that answers where none is named; None for the base model.
    """
    return LocalEngine(state, base_model, default)


def complete(
    state: Path,
    base_model: BaseModel,
    models: Sequence[str | None],
    prompts: Sequence[Prompt],
    sampling: Sampling,
    skip: Container[tuple[int, int]] = (),
) -> Generator[Completed, None, None]:
    """Yield the answer of every model to every prompt when it ends. See `Backend.complete`.

    A child process answers for one model after the other. It reads the prompts from a file, and
    begins with the longest. The base model uses the first trained model's template.
    """
    asked = [_model(state, model, base_model) for model in models]
    first = next((model for model in asked if model is not None), None)
    wanted = [
        [number for number in range(len(prompts)) if (place, number) not in skip]
        for place in range(len(asked))
    ]
    if not any(wanted):
        return
    process = EngineProcess(state, base_model, serves=False, prompts=prompts)
    try:
        for place in sorted(range(len(asked)), key=lambda place: _weights(asked[place])):
            question = {
                "model": _described(asked[place]),
                "like": _described(asked[place] or first),
                "prompts": wanted[place],
                "sampling": asdict(sampling),
            }
            if wanted[place]:
                for number, completion in _answers(process, question):
                    yield Completed(model=place, prompt=number, completion=completion)
    finally:
        process.close()


class LocalEngine:
    """Implements `Engine`; see there for what each method promises."""

    def __init__(self, state: Path, base_model: BaseModel, default: str | None = None) -> None:
        self._state = state
        self._base_model = base_model
        self._default = default
        self._lock = threading.Lock()
        self._closed = False
        self._process = EngineProcess(state, base_model, serves=True)

    @property
    def pid(self) -> int:
        """ID of the process that has the models."""
        return self._process.process.pid

    def generate(
        self, model: str | None, prompt: Prompt, sampling: Sampling
    ) -> Generator[Chunk, None, None]:
        """Stream one answer; closing the iterator gives the answer up.

        The model is looked up at once; the question is sent when the first piece is asked for. The
        last piece has the numbers of tokens.
        """
        question = {
            "model": _described(_model(self._state, model or self._default, self._base_model)),
            "messages": list(prompt.messages),
            "tools": list(prompt.tools),
            "sampling": asdict(sampling),
        }
        return self._answer(question)

    def close(self) -> None:
        """End the engine and free its memory; askers that still wait get an error."""
        with self._lock:
            self._closed = True
            self._process.close()

    def _answer(self, question: Message) -> Generator[Chunk, None, None]:
        process = self._living()
        number, pieces = process.ask(question)
        try:
            while True:
                piece = pieces.get()
                if "error" in piece:
                    raise error_of(piece["error"])
                last = piece["finish_reason"] is not None
                yield Chunk(
                    text=piece["text"],
                    thinking=piece["thinking"],
                    tool_calls=piece["tool_calls"],
                    finish_reason=piece["finish_reason"],
                    prompt_tokens=piece["prompt_tokens"] if last else 0,
                    completion_tokens=piece["completion_tokens"] if last else 0,
                )
                if last:
                    return
        finally:
            process.forget(number)

    def _living(self) -> EngineProcess:
        with self._lock:
            if self._closed:
                raise BackendError("the engine was closed", "Open another.")
            if self._process.process.poll() is not None:
                self._process.close()
                self._process = EngineProcess(self._state, self._base_model, serves=True)
            return self._process


def _model(state: Path, model_id: str | None, base_model: BaseModel) -> TrainedModel | None:
    return None if model_id is None else trained_model(state, model_id, base_model)


def _described(model: TrainedModel | None) -> Message | None:
    return None if model is None else asdict(model)


def _weights(model: TrainedModel | None) -> tuple[str, str]:
    """Return what a model loads: models with equal weights answer one after the other."""
    if model is None or model.adapter:
        return "", "auto" if model is None else model.dtype
    return model.folder, model.dtype


def _answers(process: EngineProcess, question: Message) -> Iterator[tuple[int, Completion]]:
    """Yield the answers to a question about many prompts, each with its prompt's number."""
    _, answers = process.ask(question)
    while True:
        answer = answers.get()
        if "error" in answer:
            raise error_of(answer["error"])
        if "completion" not in answer:
            return
        yield answer["prompt"], Completion(**answer["completion"])
