"""The engine's process: keeps models loaded and answers every request.

`engine.LocalEngine` starts it as `python -m backends.local_gpu.inference.engine_worker DIR`, after writing
`request.json` there. Input and output have one JSON object per line::

    in   {"id", "model", "messages", "tools", "sampling"}    {"cancel": id}
    out  {"id", "text", "thinking", "tool_calls", "finish_reason", "prompt_tokens",
          "completion_tokens"}
         {"id", "error"}    {"fatal"}

The base model is loaded once per requested precision. Adapters are added to it when first needed,
and stay. Fully trained models are loaded separately. Answers of one network are decoded in one
batch; networks take turns. The process ends when its input ends.
"""

import gc
import json
import os
import queue
import random
import shutil
import sys
import threading
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import torch

from backends.contract.errors import BackendError, ModelMissing, PromptRefused, PromptTooLong
from backends.contract.jobs import BaseModel
from backends.local_gpu.inference.continuous_batching import BASE, Batch, Row
from backends.local_gpu.inference.loaded_model import Network
from backends.local_gpu.inference.streaming_text import StreamingText
from backends.local_gpu.models.model_folders import base_folder, device, load_model, precision
from backends.local_gpu.templates.answers import AnswerReader
from backends.local_gpu.templates.messages import Conversation
from backends.local_gpu.tokens.chat_tokens import Chat, load_chat

Message: TypeAlias = Mapping[str, Any]
"""One line, in or out."""
Asked: TypeAlias = Mapping[str, Any] | None
"""A model as `completions` describes it to its child; None is the base model."""
Tell: TypeAlias = Callable[[Sequence[Message]], None]

_OTHERS: Final = 2
"""Networks that stay loaded beside the base model."""


def main(folder: Path) -> int:
    """Answer until the input ends."""
    # What a library prints must not be read as an answer; it goes to the log.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def tell(messages: Sequence[Message]) -> None:
        out.write(b"".join(json.dumps(message).encode() + b"\n" for message in messages))
        out.flush()

    inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(folder, inbox), daemon=True).start()
    request = json.loads((folder / "request.json").read_bytes())
    try:
        models = Models(base_folder(BaseModel(**request["base_model"])), device())
    except (BackendError, torch.OutOfMemoryError) as error:
        tell([{"fatal": _said(error)}])
        return 1
    serve(models, inbox, tell)
    return 0


def serve(models: "Models", inbox: queue.SimpleQueue[Message], tell: Tell) -> None:
    """Answer what comes in, for ever."""
    unplaced: deque[Message] = deque()
    while True:
        busy = [network for network in models.networks() if network.batch.busy]
        for message in _received(inbox, wait=not busy and not unplaced):
            if "cancel" in message:
                number = message["cancel"]
                unplaced = deque(one for one in unplaced if one["id"] != number)
                for network in models.networks():
                    network.batch.drop(number)
            else:
                unplaced.append(message)
        unplaced = _place(models, unplaced, tell)
        for network in models.networks():
            if network.batch.busy:
                tell(_turn(network.batch))


class Models:
    """What is loaded."""

    def __init__(self, base: Path, where: torch.device) -> None:
        self._base = base
        self._where = where
        self._chats: dict[tuple[str | None, bool], Chat] = {}
        usual = precision("auto", where)
        # Loaded at once, so that the first question need not wait for more than itself.
        self._usual = (base, 0, usual)
        self._networks = OrderedDict(
            {self._usual: Network(load_model(base, usual, where), usual, base)}
        )

    def networks(self) -> list[Network]:
        """Return every loaded network."""
        return list(self._networks.values())

    def chat(self, asked: Asked) -> Chat:
        """Return what turns a model's conversations into tokens, as in training."""
        key = (None, False) if asked is None else (asked["chat_template"], asked["thinking"])
        if key not in self._chats:
            self._chats[key] = load_chat(self._base, key[0], thinking=key[1])
        return self._chats[key]

    def network(self, asked: Asked) -> Network | None:
        """Return the network that a model needs, loading it if there is room.

        Raises:
            BackendError: It cannot be opened.
        """
        dtype = precision("auto" if asked is None else asked["dtype"], self._where)
        folder, changed = self._base, 0
        if asked is not None and not asked["adapter"]:
            folder = Path(asked["folder"])
            if not folder.exists():
                raise ModelMissing(f"the folder of model {asked['id']} is gone: {folder}")
            # Deleted and trained again, a model lies in the same folder.
            changed = folder.stat().st_mtime_ns
        key = (folder, changed, dtype)
        if key not in self._networks:
            if not self._make_room():
                return None
            self._networks[key] = Network(load_model(folder, dtype, self._where), dtype, folder)
        self._networks.move_to_end(key)
        return self._networks[key]

    def _make_room(self) -> bool:
        idle = [
            key
            for key, network in self._networks.items()
            if key != self._usual and not network.batch.busy
        ]
        while len(self._networks) > _OTHERS and idle:
            del self._networks[idle.pop(0)]
            gc.collect()
            if self._where.type == "cuda":
                torch.cuda.empty_cache()
        return len(self._networks) <= _OTHERS


def _read(folder: Path, inbox: queue.SimpleQueue[Message]) -> None:
    for line in sys.stdin.buffer:
        inbox.put(json.loads(line))
    # Whoever asked is gone; a model may be loading or decoding right now, and for nobody.
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _received(inbox: queue.SimpleQueue[Message], *, wait: bool) -> Iterator[Message]:
    """Yield what has come in, after waiting for it if there is nothing else to do."""
    if wait:
        yield inbox.get()
    while not inbox.empty():
        yield inbox.get()


def _place(models: Models, asked: deque[Message], tell: Tell) -> deque[Message]:
    """Give questions to their networks; return those that no network has room for yet.

    Once one has to wait, later ones for networks other than the base's wait behind it, so that a
    busy network runs dry and makes room.
    """
    kept: deque[Message] = deque()
    for message in asked:
        model = message["model"]
        if kept and model is not None and not model["adapter"]:
            kept.append(message)
            continue
        try:
            network = models.network(model)
            if network is None:
                kept.append(message)
                continue
            row = _row(models.chat(model), network, message)
        except Exception as error:  # noqa: BLE001 - one bad question must not end all the others
            traceback.print_exc()
            tell([{"id": message["id"], "error": _said(error)}])
            continue
        if row.max_tokens > 0:
            network.batch.waiting.append(row)
            continue
        nothing: dict[str, Any] = {"text": "", "thinking": "", "tool_calls": []}
        nothing |= {"finish_reason": "length", "completion_tokens": 0}
        tell([{"id": row.id, "prompt_tokens": len(row.prompt), **nothing}])
    return kept


def _row(chat: Chat, network: Network, message: Message) -> Row:
    """Turn a question into tokens.

    Raises:
        PromptRefused: It is too long, or empty.
        BackendError: Its model cannot be opened.
    """
    sampling, model = message["sampling"], message["model"]
    conversation = {"messages": message["messages"], "tools": message["tools"]}
    config = network.batch.model.config.get_text_config()
    longest = getattr(config, "max_position_embeddings", None)
    prompt, reader = _asked(chat, conversation, longest, thinking=sampling["thinking"])
    if not prompt:
        raise PromptRefused("the prompt has no tokens", "Say something.")
    # An answer ends where the model's reading does, as at the hosted service.
    room = sampling["max_tokens"] if longest is None else longest - len(prompt)
    if room < 1:
        said = f"the prompt has {len(prompt)} tokens; the base model reads {longest}"
        raise PromptTooLong(said, "Shorten the prompt.")
    adapted = model is not None and model["adapter"]
    return Row(
        id=message["id"],
        prompt=prompt,
        adapter=network.attach(model) if adapted else BASE,
        ends=chat.stops,
        text=StreamingText(
            tokenizer=chat.tokenizer,
            control=chat.silent,
            reader=reader,
            stop=tuple(sampling["stop"]),
        ),
        max_tokens=min(sampling["max_tokens"], room),
        temperature=sampling["temperature"],
        chance=random.Random(sampling["seed"]),  # noqa: S311 - no secret is drawn
    )


def _asked(
    chat: Chat, conversation: Conversation, longest: int | None, *, thinking: bool
) -> tuple[list[int], AnswerReader]:
    """Return the prompt's token IDs and a reader for the answer.

    Raises:
        PromptRefused: The template cannot show the conversation, or it is far too long.
    """
    # By default, a model thinks if it was trained to.
    wished = thinking or None
    with _showing():
        # Every answer in progress waits while a prompt is processed.
        beyond = longest is not None and chat.is_beyond(conversation, longest)
    if beyond:
        said = f"the prompt has far more than the {longest} tokens that the base model reads"
        raise PromptTooLong(said, "Shorten the prompt.")
    with _showing():
        prompt = chat.prompt(conversation, thinking=wished)
        reader = chat.reader(conversation, thinking=wished)
    if not conversation["tools"]:
        # No tools are offered, so no text is a call.
        reader.form = replace(reader.form, call=None)
    return prompt, reader


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


def _turn(batch: Batch) -> list[Message]:
    """Add a token to every answer of a network."""
    try:
        pieces = batch.turn()
    except torch.OutOfMemoryError as error:
        traceback.print_exc()
        said = _said(error)
        return [{"id": number, "error": said} for number in batch.clear()]
    failed: list[Message] = []
    for number, reason in batch.take_failed():
        traceback.print_exception(reason)
        failed.append({"id": number, "error": _said(reason)})
    return failed + [
        asdict(piece)
        for piece in pieces
        if piece.text or piece.thinking or piece.tool_calls or piece.finish_reason is not None
    ]


def _said(error: Exception) -> Message:
    """Return an error as a line says it."""
    if isinstance(error, BackendError):
        kind = type(error).__name__
        return {"kind": kind, "message": error.message, "remedy": error.remedy}
    if isinstance(error, torch.OutOfMemoryError):
        message = f"out of memory while answering: {error}"
        remedy = "Use a smaller base model, ask for less at once, or lower max_tokens."
        return {"kind": "BackendError", "message": message, "remedy": remedy}
    message = f"the question cannot be answered: {type(error).__name__}: {error}"
    return {"kind": "BackendError", "message": message, "remedy": ""}


if __name__ == "__main__":
    status = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
