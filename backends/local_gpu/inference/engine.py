"""Models kept loaded in one child process: `engine_child`, which this starts and asks.

The child has its GPU without the lock that training and completing queue for: an engine stays, and
with the lock nothing would ever be trained beside it. It takes the last of the visible GPUs, since
jobs take the first that is free; on a machine with one GPU both share its memory.

When the child dies, whoever waits is told so, and the next question starts another. When this
process dies, the child's input ends and the child with it.
"""

import itertools
import json
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import asdict
from os import environ
from pathlib import Path
from typing import IO, Any, Final, TypeAlias, cast

from backends.contract.completions import Chunk, Prompt, Sampling
from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel
from backends.local_gpu.inference.completions import error_of, trained_model
from backends.local_gpu.jobs.child_process import child_environment, log_tail
from backends.local_gpu.jobs.devices import CPU, DEVICE, visible_devices
from backends.local_gpu.json_files import json_bytes

Message: TypeAlias = Mapping[str, Any]
"""One line, in or out; see `engine_child`."""

_PATIENCE_S: Final = 10.0
"""How long a child may take to end once its input has."""


def open_engine(state: Path, base_model: BaseModel) -> "LocalEngine":
    """Start loading a base model, without waiting for it. See `Backend.open_engine`.

    Args:
        state: The folder below which the backend keeps its models.
        base_model: What they were trained from.
    """
    return LocalEngine(state, base_model)


class LocalEngine:
    """Implements `Engine`; see there for what each method promises."""

    def __init__(self, state: Path, base_model: BaseModel) -> None:
        self._state = state
        self._base_model = base_model
        self._lock = threading.Lock()
        self._closed = False
        self._child = _Child(state, base_model)

    @property
    def pid(self) -> int:
        """The process that holds the models."""
        return self._child.process.pid

    def generate(
        self, model: str | None, prompt: Prompt, sampling: Sampling
    ) -> Generator[Chunk, None, None]:
        """Stream one answer; closing the iterator gives the answer up.

        The model is looked up at once; nothing is asked before the first piece is. Tokens are
        counted with the one that ended the answer.
        """
        question = {
            "model": None if model is None else trained_model(self._state, model, self._base_model),
            "messages": list(prompt.messages),
            "tools": list(prompt.tools),
            "sampling": asdict(sampling),
        }
        return self._answer(question)

    def close(self) -> None:
        """End it and free its memory; whoever still waits is told."""
        with self._lock:
            self._closed = True
            self._child.close()

    def _answer(self, question: Message) -> Generator[Chunk, None, None]:
        child = self._living()
        number, pieces = child.ask(question)
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
            child.forget(number)

    def _living(self) -> "_Child":
        with self._lock:
            if self._closed:
                raise BackendError("the engine was closed", "Open another.")
            if self._child.process.poll() is not None:
                self._child.close()
                self._child = _Child(self._state, self._base_model)
            return self._child


class _Child:
    """One life of the child process. Two threads of its own do all reading and writing.

    Askers only touch queues and single entries of a dict, which needs no lock: a generator may be
    collected, and so forgotten, at any point of any thread.
    """

    def __init__(self, state: Path, base_model: BaseModel) -> None:
        root = state.absolute() / "engines"
        root.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(dir=root))
        (self._folder / "request.json").write_bytes(json_bytes({"base_model": asdict(base_model)}))
        self.process = _start(self._folder)
        self._numbers = itertools.count()
        self._waiting: dict[int, queue.SimpleQueue[Message]] = {}
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._closing = False
        self._end: Message | None = None
        threads = [threading.Thread(target=self._listen), threading.Thread(target=self._write)]
        self._threads = threads
        for thread in threads:
            thread.daemon = True
            thread.start()

    def ask(self, question: Message) -> tuple[int, queue.SimpleQueue[Message]]:
        """Send a question; its pieces come through the queue, an error as the last."""
        number = next(self._numbers)
        pieces: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._waiting[number] = pieces
        self._outbox.put(_line({"id": number, **question}))
        if self._end is not None:
            # It died meanwhile, and may have told everyone just before this question was there.
            pieces.put({"error": self._end})
        return number, pieces

    def forget(self, number: int) -> None:
        """Let the child give a question up, unless it is answered."""
        if self._waiting.pop(number, None) is not None:
            self._outbox.put(_line({"cancel": number}))

    def close(self) -> None:
        """End the process and wait until it is gone."""
        self._closing = True
        self._outbox.put(None)
        try:
            self.process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for thread in self._threads:
            thread.join()

    def _listen(self) -> None:
        fatal: Message | None = None
        with cast("IO[bytes]", self.process.stdout) as answers:
            for line in answers:
                # A killed child may leave half a line.
                piece = json.loads(line) if line.endswith(b"\n") else {}
                fatal = piece.get("fatal", fatal)
                number = piece.get("id", -1)
                ended = "error" in piece or piece.get("finish_reason") is not None
                find = self._waiting.pop if ended else self._waiting.get
                asker = find(number, None)
                if asker is not None:
                    asker.put(piece)
        self.process.wait()
        self._outbox.put(None)
        self._end = fatal or self._death()
        shutil.rmtree(self._folder, ignore_errors=True)
        for number in list(self._waiting):
            asker = self._waiting.pop(number, None)
            if asker is not None:
                asker.put({"error": self._end})

    def _write(self) -> None:
        questions = cast("IO[bytes]", self.process.stdin)
        # A child that died is noticed by who listens to it.
        with suppress(BrokenPipeError), questions:
            while (line := self._outbox.get()) is not None:
                questions.write(line)
                questions.flush()

    def _death(self) -> Message:
        """Say how the process ended."""
        if self._closing:
            return _said("the engine was closed", "Open another.")
        status = self.process.returncode
        if status < 0:
            name = signal.Signals(-status).name
            return _said(
                f"the process that keeps the models was ended by {name}",
                "Ask again, which starts it anew; most often memory ran out: use a smaller base "
                "model or ask for less at once.",
            )
        tail = "\n".join(log_tail(self._folder / "log.txt"))
        return _said(
            f"the process that keeps the models died; its last words:\n{tail}",
            "Ask again, which starts it anew.",
        )


def _start(folder: Path) -> subprocess.Popen[bytes]:
    device = visible_devices(environ)[-1]
    # An empty list hides every GPU from an engine that was given the CPU.
    chosen = {DEVICE: device, "CUDA_VISIBLE_DEVICES": "" if device == CPU else device}
    module = ["-P", "-m", "backends.local_gpu.inference.engine_worker", str(folder)]
    with (folder / "log.txt").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, *module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=child_environment(environ) | chosen,
            start_new_session=True,
        )


def _line(message: Message) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _said(message: str, remedy: str) -> Message:
    return {"kind": "BackendError", "message": message, "remedy": remedy}
