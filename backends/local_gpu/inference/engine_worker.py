"""The process of an engine: keeps models loaded and answers every question.

`python -m backends.local_gpu.inference.engine_worker DIR`, started by `engine_process`, which has
written `request.json` there. Input and output have one JSON object per line::

    in   {"id", "model", "messages", "tools", "sampling"}       answered piece by piece
         {"id", "model", "like", "prompts", "sampling"}         answers of many, and their losses
         {"cancel": id}
    out  {"id", "text", "thinking", "tool_calls", "finish_reason", "prompt_tokens",
          "completion_tokens"}
         {"id", "prompt", "completion"}    {"id", "answered"}    {"id", "error"}    {"fatal"}

`prompts` of a question are numbers of lines, from 0, of the file `wire.PROMPTS` beside the request;
its answers come one by one, then their number. Answers of one model are made in one batch; models
take turns. The process ends when its input ends.
"""

import gc
import json
import os
import queue
import shutil
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import torch

from backends.contract.errors import BackendError, PromptTooLong
from backends.contract.jobs import BaseModel
from backends.local_gpu.inference.active_answer import Piece
from backends.local_gpu.inference.continuous_batching import Batch
from backends.local_gpu.inference.loaded_model import LoadedModel
from backends.local_gpu.inference.measuring import measure
from backends.local_gpu.inference.model_pool import ModelPool
from backends.local_gpu.inference.prompts import PromptFile
from backends.local_gpu.inference.questions import new_answer, refuse_far_too_long, rendered
from backends.local_gpu.inference.trained_models import TrainedModel
from backends.local_gpu.inference.wire import PROMPTS, Message, describe_error, line
from backends.local_gpu.models.base_folders import base_folder
from backends.local_gpu.models.model_folders import device
from backends.local_gpu.templates.answers import Answer

Tell: TypeAlias = Callable[[Sequence[Message]], None]

_NOTHING: Final = Piece(id=0, added=Answer(), finish_reason="length")


def main(folder: Path) -> int:
    """Answer until the input ends."""
    # Output of a library must not be read as an answer: it goes to the log.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # What was imported stays: when a model makes room, the search for cycles leaves it out.
    gc.freeze()

    def tell(messages: Sequence[Message]) -> None:
        out.write(b"".join(map(line, messages)))
        out.flush()

    inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(folder, inbox), daemon=True).start()
    request = json.loads((folder / "request.json").read_bytes())
    try:
        base = base_folder(BaseModel(**request["base_model"]))
        pool = ModelPool(base, device(), request["room"])
        if request["keep_base"]:
            pool.keep_base()
        prompts = PromptFile(folder / PROMPTS)
    except (BackendError, torch.OutOfMemoryError) as error:
        tell([{"fatal": _described(error)}])
        return 1
    serve(pool, prompts, inbox, tell)
    return 0


def serve(
    pool: ModelPool, prompts: PromptFile, inbox: queue.SimpleQueue[Message], tell: Tell
) -> None:
    """Answer what comes in; never return."""
    unplaced: deque[Message] = deque()
    while True:
        busy = any(loaded.batch.busy for loaded in pool.models())
        for message in _received(inbox, wait=not busy and not unplaced):
            if "cancel" in message:
                number = message["cancel"]
                unplaced = deque(question for question in unplaced if question["id"] != number)
                for loaded in pool.models():
                    loaded.batch.cancel(number)
            else:
                unplaced.append(message)
        unplaced = _place(pool, prompts, unplaced, tell)
        for loaded in pool.models():
            if loaded.batch.busy:
                tell(_step(loaded.batch))


def _read(folder: Path, inbox: queue.SimpleQueue[Message]) -> None:
    for text in sys.stdin.buffer:
        inbox.put(json.loads(text))
    # The engine has closed or died: a model that is loading or answering need not continue.
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _received(inbox: queue.SimpleQueue[Message], *, wait: bool) -> Iterator[Message]:
    """Yield the messages that have come in, after waiting for one if there is nothing else to do."""
    if wait:
        yield inbox.get()
    while not inbox.empty():
        yield inbox.get()


def _place(
    pool: ModelPool, prompts: PromptFile, questions: deque[Message], tell: Tell
) -> deque[Message]:
    """Give questions to their models; return the questions that no model has room for yet.

    Once a question has to wait, later questions to fully trained models wait behind it, so that a
    busy model runs dry and makes room.
    """
    kept: deque[Message] = deque()
    for question in questions:
        model = _model(question["model"])
        if kept and model is not None and not model.adapter:
            kept.append(question)
            continue
        try:
            loaded = pool.load(model)
            if loaded is None or ("prompts" in question and loaded.batch.busy):
                kept.append(question)
            elif "prompts" in question:
                like = _model(question["like"])
                count = 0
                for number, completion in measure(pool, loaded, model, like, prompts, question):
                    found = {"prompt": number, "completion": asdict(completion)}
                    tell([{"id": question["id"], **found}])
                    count += 1
                tell([{"id": question["id"], "answered": count}])
            else:
                _begin(pool, loaded, model, question, tell)
        except Exception as error:  # noqa: BLE001 - one bad question must not end all the others
            traceback.print_exc()
            tell([{"id": question["id"], "error": _described(error)}])
    return kept


def _model(described: Mapping[str, Any] | None) -> TrainedModel | None:
    return None if described is None else TrainedModel(**described)


def _begin(
    pool: ModelPool, loaded: LoadedModel, model: TrainedModel | None, question: Message, tell: Tell
) -> None:
    """Let a model begin an answer.

    Raises:
        PromptRefused: The prompt is too long, or the template cannot show it.
        BackendError: The adapter cannot be loaded.
    """
    chat, sampling = pool.chat(model), question["sampling"]
    conversation = {"messages": question["messages"], "tools": question["tools"]}
    longest = loaded.context
    # Every answer in progress waits while a prompt is rendered.
    refuse_far_too_long(chat, conversation, longest)
    prompt, reader = rendered(chat, conversation, thinking=sampling["thinking"])
    if not conversation["tools"]:
        # No tools are offered, so no text is a call.
        reader.form = replace(reader.form, call=None)
    # An answer ends where the model stops reading, as at the hosted service.
    room = sampling["max_tokens"] if longest is None else longest - len(prompt)
    if room < 1:
        message = f"the prompt has {len(prompt)} tokens; the base model reads {longest}"
        raise PromptTooLong(message, "Shorten the prompt.")
    answer = new_answer(question["id"], chat, prompt, reader, loaded.attach(model), sampling)
    answer.max_tokens = min(answer.max_tokens, room)
    if answer.max_tokens > 0:
        loaded.batch.waiting.append(answer)
    else:
        tell([_piece(replace(_NOTHING, id=answer.id, prompt_tokens=len(prompt)))])


def _step(batch: Batch) -> list[Message]:
    """Add a token to every answer of a model."""
    try:
        pieces = batch.step()
    except torch.OutOfMemoryError as error:
        traceback.print_exc()
        described = _described(error)
        return [{"id": number, "error": described} for number in batch.clear()]
    failed: list[Message] = []
    for number, reason in batch.take_failed():
        traceback.print_exception(reason)
        failed.append({"id": number, "error": _described(reason)})
    return failed + [
        _piece(piece)
        for piece in pieces
        if piece.added != Answer() or piece.finish_reason is not None
    ]


def _piece(piece: Piece) -> Message:
    """Return a piece of an answer as a message."""
    return {
        "id": piece.id,
        "text": piece.added.text,
        "thinking": piece.added.thinking,
        "tool_calls": piece.added.calls,
        "finish_reason": piece.finish_reason,
        "prompt_tokens": piece.prompt_tokens,
        "completion_tokens": piece.completion_tokens,
    }


def _described(error: Exception) -> Message:
    """Return the message for any error."""
    if isinstance(error, BackendError):
        return describe_error(error)
    if isinstance(error, torch.OutOfMemoryError):
        return describe_error(
            BackendError(
                f"out of memory while answering: {error}",
                "Use a smaller base model, ask for less at once, or lower max_tokens.",
            )
        )
    return describe_error(
        BackendError(f"the question cannot be answered: {type(error).__name__}: {error}")
    )


if __name__ == "__main__":
    status = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    # Nothing is left to do, and taking torch down would keep the device for longer.
    os._exit(status)
