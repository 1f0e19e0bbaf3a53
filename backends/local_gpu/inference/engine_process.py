"""One life of the child process that keeps an engine's models: `engine_worker`.

A child that serves has its GPU without the lock that jobs wait for: with the lock, nothing could
be trained while it lives. It takes the last of the visible GPUs, since jobs take the first that is
free. On a machine with one GPU, both share its memory. A child that evaluates waits for the lock.

When this process dies, the child's input ends, and the child with it.
"""

import itertools
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Final, cast

from backends.contract.completions import Prompt
from backends.contract.errors import BackendError
from backends.contract.inspector import Json
from backends.contract.jobs import BaseModel
from backends.local_gpu.inference.wire import PROMPTS, Message, describe_error, line
from backends.local_gpu.jobs.child_process import child_environment, log_tail, python_module
from backends.local_gpu.jobs.devices import DEVICE, is_cpu, visible_devices
from backends.local_gpu.json_files import json_bytes
from backends.lock_files import try_lock

_PATIENCE_S: Final = 10.0
"""Seconds that a child may take to end after its input."""
_LOCK: Final = "lock"
"""File that a process keeps locked for as long as it has the folder of an engine."""
_MADE_S: Final = 60.0
"""Seconds after which a folder that nobody has locked is not about to be."""
_SERVED: Final = 3
"""Models that a child that serves keeps loaded, the base model among them."""


class EngineProcess:
    """A child process, with two threads that do all reading and writing.

    The threads that ask only touch queues and single entries of a dict, which needs no lock: a
    generator may be collected, and so its question forgotten, at any point of any thread.
    """

    def __init__(
        self,
        state: Path,
        base_model: BaseModel,
        *,
        serves: bool,
        prompts: Iterable[Prompt] | None = None,
    ) -> None:
        """Start the child.

        Args:
            state: Folder below which the backend keeps its files.
            base_model: The base model of the engine.
            serves: True to load the base model now and keep it; False to wait for a free device,
                and to load one model at a time.
            prompts: Prompts that questions name by their numbers; written to a file of the child.
        """
        root = state.absolute() / "engines"
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        self._folder = Path(tempfile.mkdtemp(dir=root))
        self._lock = try_lock(self._folder / _LOCK)
        request: dict[str, Json] = {
            "base_model": asdict(base_model),
            "keep_base": serves,
            "room": _SERVED if serves else 1,
        }
        try:
            if prompts is not None:
                with (self._folder / PROMPTS).open("wb") as file:
                    file.writelines(line(asdict(prompt)) for prompt in prompts)
            (self._folder / "request.json").write_bytes(json_bytes(request))
            self.process = _start(self._folder, serves=serves)
        except BaseException:
            self._remove_folder()
            raise
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
        """Send a question.

        Returns:
            Number of the question, and a queue that gets its answer, an error as the last.
        """
        number = next(self._numbers)
        answers: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._waiting[number] = answers
        self._outbox.put(line({"id": number, **question}))
        if self._end is not None:
            # The child has died, perhaps before this question was in the table.
            answers.put({"error": self._end})
        return number, answers

    def forget(self, number: int) -> None:
        """Let the child give a question up, unless it is answered."""
        if self._waiting.pop(number, None) is not None:
            self._outbox.put(line({"cancel": number}))

    def close(self) -> None:
        """End the process and wait until it has ended."""
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
        with cast("IO[bytes]", self.process.stdout) as lines:
            for text in lines:
                # A killed child may leave half a line.
                answer = json.loads(text) if text.endswith(b"\n") else {}
                fatal = answer.get("fatal", fatal)
                number = answer.get("id", -1)
                find = self._waiting.pop if _is_last(answer) else self._waiting.get
                asker = find(number, None)
                if asker is not None:
                    asker.put(answer)
        self.process.wait()
        self._outbox.put(None)
        self._end = fatal or describe_error(self._death())
        self._remove_folder()
        for number in list(self._waiting):
            asker = self._waiting.pop(number, None)
            if asker is not None:
                asker.put({"error": self._end})

    def _write(self) -> None:
        questions = cast("IO[bytes]", self.process.stdin)
        # The thread that listens notices a child that has died.
        with suppress(BrokenPipeError), questions:
            while (text := self._outbox.get()) is not None:
                questions.write(text)
                questions.flush()

    def _remove_folder(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _death(self) -> BackendError:
        """Return the error for how the process ended."""
        if self._closing:
            return BackendError("the engine was closed", "Open another.")
        status = self.process.returncode
        if status < 0:
            name = signal.Signals(-status).name
            return BackendError(
                f"the process that keeps the models was ended by {name}",
                "Ask again, which starts it again. Most often memory ran out: then use a smaller base "
                "model, or ask for less at once.",
            )
        tail = "\n".join(log_tail(self._folder / "log.txt"))
        return BackendError(
            f"the process that keeps the models died; its last words:\n{tail}",
            "Ask again, which starts it again.",
        )


def _sweep(root: Path) -> None:
    """Remove what killed processes left behind: prompts are data, and nobody would look for them."""
    for folder in root.iterdir():
        with suppress(OSError):
            is_new = time.time() - folder.stat().st_mtime < _MADE_S
            if not is_new and (lock := try_lock(folder / _LOCK)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _start(folder: Path, *, serves: bool) -> subprocess.Popen[bytes]:
    if serves:
        device = visible_devices(os.environ)[-1]
        # An empty list hides every GPU from an engine that was given the CPU.
        chosen = {DEVICE: device, "CUDA_VISIBLE_DEVICES": "" if is_cpu(device) else device}
        command = python_module("backends.local_gpu.inference.engine_worker", str(folder))
    else:
        chosen = {}
        command = python_module("backends.local_gpu.jobs.device_queue", "answer", str(folder))
    with (folder / "log.txt").open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=child_environment(os.environ) | chosen,
            start_new_session=True,
        )


def _is_last(answer: Message) -> bool:
    """Return True if no further message answers the same question."""
    ended = answer.get("finish_reason") is not None
    return ended or "error" in answer or "answered" in answer
