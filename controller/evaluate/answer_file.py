"""The answers of one model under one decoding: a file of lines that is only appended to.

The first line names the model and the decoding, for people. Each other line is an answer:
`{"prompt": DIGEST, "completion": {...}}`, with `logprobs` beside it where they were asked for; they
are no part of the key. Where no loss was measured, `question` is the digest without the expected
answer: a corrected label does not lose the answer of a model that is gone. A line is written when its answer ends, so what a killed
process had heard is kept; the disk is told to keep it at least every second while answers come. A
last line without its end, from a process that died or a disk that was full, does not count, and is
cut off by the next write. Of two answers to one prompt the first counts. Every write holds a lock
of the file, so processes may share it.

Damaged lines do not stop an evaluation: they are reported, and their prompts asked again. All that
a person could do about them is to delete them.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any, Final, NamedTuple

from backends.contract.completions import COLDEST, Completion, Prompt, Sampling
from backends.contract.guard.value_types import misfit
from backends.contract.inspector import Json
from backends.lock_files import try_lock
from controller.canonical import digest, written_json
from controller.errors import FtctlError
from controller.state_folder import writing_to

_FORMAT: Final = 1
"""Raised when a line changes its meaning; files of other formats have other names."""
_POINTER: Final = b"version https://git-lfs.github.com/"
"""Beginning of a file whose content Git LFS has."""
_SYNC_S: Final = 1.0
"""Longest time for which answers that keep coming are only in the system's memory."""
_LOCK_S: Final = 30.0
_LOCK_POLL_S: Final = 0.002
_log: Final = logging.getLogger("ftctl.answers")


@dataclass(frozen=True, slots=True)
class AnswerKey:
    """A model and a decoding, which together with a prompt decide an answer."""

    model: str
    """The model, by everything that decides its answers: weights, place, and the way it is asked.
    Any text; people read it too."""
    sampling: Sampling

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def header(self) -> dict[str, Json]:
        """The first line of the file."""
        decoding: dict[str, Json] = dict(asdict(self.sampling))
        return {
            "about": f"Answers of {self.model}, {_in_words(self.sampling)}.",
            "decoding": decoding | {"stop": list(self.sampling.stop)},
            "format": _FORMAT,
            "model": self.model,
        }

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"{digest(self.header)[:32]}.jsonl"


def files_of_models(folder: Path, models: Collection[str]) -> list[Path]:
    """Return the files with answers of models, under any decoding."""
    found = sorted(folder.glob("*.jsonl"))
    return [path for path in found if _first_line(path).get("model") in models]


def limits_of(folder: Path, key: AnswerKey) -> list[int]:
    """Return the limits of tokens under which a folder has answers like those of a key.

    A greedy answer that ends by itself does not depend on the limit. The key's own limit is left
    out; so is everything where answers are drawn.
    """
    if key.sampling.temperature >= COLDEST:
        return []
    _, mine = _limit_and_rest(key.header)
    found = [_limit_and_rest(_first_line(path)) for path in sorted(folder.glob("*.jsonl"))]
    return [limit for limit, rest in found if rest == mine and limit != key.sampling.max_tokens]


def _limit_and_rest(header: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Return an answer's limit of tokens, and whatever else decides it; 0 for another file."""
    decoding = header.get("decoding")
    decoding = dict(decoding) if isinstance(decoding, dict) else {}
    limit = decoding.pop("max_tokens", 0)
    rest = {"decoding": decoding, "format": header.get("format"), "model": header.get("model")}
    return (limit if isinstance(limit, int) else 0), rest


def _first_line(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            header = json.loads(file.readline())
    except (OSError, ValueError, RecursionError):
        return {}  # who asks for the file itself gets the reason
    return header if isinstance(header, dict) else {}


def prompt_digest(prompt: Prompt) -> bytes:
    """Return the digest of a prompt: its messages, its tools and the answers that are measured.

    The order of keys counts, since a model reads it in tools and arguments.
    """
    content: dict[str, Json] = {
        "messages": prompt.messages,
        "reference": prompt.reference,
        "tools": prompt.tools,
    }
    if prompt.rejected is not None:
        content["rejected"] = prompt.rejected
    return hashlib.sha256(written_json(content)).digest()


class PromptKey(NamedTuple):
    """Digests by which the answer to a prompt is found."""

    prompt: bytes
    question: bytes
    """The same without the answers that are measured."""


def prompt_key(prompt: Prompt) -> PromptKey:
    """Return the digests of a prompt."""
    exact = prompt_digest(prompt)
    if prompt.reference is None and prompt.rejected is None:
        return PromptKey(exact, exact)
    return PromptKey(exact, prompt_digest(replace(prompt, reference=None, rejected=None)))


class AnswerFile:
    """One file of answers. In memory are only the digests of prompts and the places of lines."""

    def __init__(self, folder: Path, key: AnswerKey, *, within: int | None = None) -> None:
        """Read which answers there are.

        Args:
            folder: The folder of answers; made at the first write.
            key: The model and the decoding.
            within: Most tokens of the answers to read; others are left out. None reads all.

        Raises:
            FtctlError: The file has answers of another model or decoding.
        """
        self.path = folder / key.name
        self._header = key.header
        self._max_tokens = key.sampling.max_tokens
        self._within = within
        self._offsets: dict[bytes, int] = {}
        self._questions: dict[bytes, int] = {}
        """Places of answers without a measured loss: another reference would not change them."""
        self._synced_s = time.monotonic()
        if self.path.exists():
            self._index()

    def __contains__(self, key: PromptKey) -> bool:
        return key.prompt in self._offsets or key.question in self._questions

    def read(self, key: PromptKey) -> Completion:
        """Return the answer to a prompt.

        Raises:
            KeyError: There is none.
        """
        with self.path.open("rb") as file:
            offset = self._offsets.get(key.prompt)
            file.seek(self._questions[key.question] if offset is None else offset)
            return _parsed(file.readline())[1]

    def append(self, key: PromptKey, completion: Completion) -> None:
        """Keep an answer.

        Raises:
            StateNotWritten: The system refused.
            FtctlError: Another process holds the file.
        """
        is_unmeasured = key.question != key.prompt and not _is_measured(completion)
        question: dict[str, Json] = {"question": key.question.hex()} if is_unmeasured else {}
        line = _line({"prompt": key.prompt.hex(), **question, **_fields(completion)})
        with writing_to(self.path.parent), self._locked() as handle:
            end = _whole(handle)
            if end == 0:
                line, end = _line(self._header) + line, len(_line(self._header))
            _write(handle, line)
            if time.monotonic() - self._synced_s >= _SYNC_S:
                os.fsync(handle)
                self._synced_s = time.monotonic()
        self._offsets.setdefault(key.prompt, end)
        if is_unmeasured:
            self._questions.setdefault(key.question, end)

    def sync(self) -> None:
        """Have the disk keep everything that was appended."""
        if self.path.exists():
            with writing_to(self.path.parent):
                handle = os.open(self.path, os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)

    def _index(self) -> None:
        offset = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.endswith(b"\n"):
                    self._take(line, number, offset)
                offset += len(line)

    def _take(self, line: bytes, number: int, offset: int) -> None:
        if number == 1 and line.startswith(_POINTER):
            message = f"{self.path}: is a pointer of Git LFS, not the answers"
            raise FtctlError(message, "Fetch the answers: git lfs pull")
        try:
            if number == 1:
                self._require_header(json.loads(line))
            else:
                key, completion = _parsed(line)
                if self._within is None or self._ends_within(completion, self._within):
                    self._offsets.setdefault(key.prompt, offset)
                    if key.question != key.prompt:
                        self._questions.setdefault(key.question, offset)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            _log.warning(
                "%s:%d: not a kept answer (%s); what it answered counts as not asked yet",
                self.path,
                number,
                " ".join(str(error).split())[:100],
            )

    def _ends_within(self, completion: Completion, limit: int) -> bool:
        """Return whether an answer ended by itself, within a limit of tokens that is not its own."""
        # Without a count of its tokens, an answer has at most as many as its own limit.
        tokens = completion.completion_tokens or self._max_tokens
        return completion.finish_reason == "stop" and tokens <= limit

    def _require_header(self, found: object) -> None:
        mine = json.loads(_line(self._header))
        if found == mine:
            return
        if not isinstance(found, dict) or "about" not in found:
            raise ValueError("the first line must name model and decoding")
        if found.get("format") != _FORMAT:
            message = f"{self.path}: has the format {found.get('format')!r}, not {_FORMAT}"
            raise FtctlError(
                message, "Read it with the ftctl that wrote it, or restore it from git."
            )
        # Answers of a model that is gone cannot be asked for again.
        raise FtctlError(
            f"{self.path}: has other answers than its name says: {found['about']}",
            "Restore it from git, if it was committed. Otherwise delete it, which asks again: "
            f"rm '{self.path}'",
        )

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Open the file with its lock, and close it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        until_s = time.monotonic() + _LOCK_S
        while (handle := try_lock(self.path)) is None:
            if time.monotonic() >= until_s:
                raise FtctlError(
                    f"{self.path}: another process has locked it for {_LOCK_S:.0f} s",
                    "End that process, then run the same command again.",
                )
            time.sleep(_LOCK_POLL_S)
        try:
            yield handle
        finally:
            os.close(handle)


def _in_words(sampling: Sampling) -> str:
    greedy = sampling.temperature < COLDEST
    drawn = f"drawn at temperature {sampling.temperature} with seed {sampling.seed}"
    parts = ["greedy" if greedy else drawn, f"up to {sampling.max_tokens} tokens"]
    if sampling.thinking:
        parts.append("after thinking")
    if sampling.stop:
        parts.append(f"up to one of the texts {json.dumps(list(sampling.stop))}")
    return ", ".join(parts)


def _line(content: dict[str, Json]) -> bytes:
    return written_json(content) + b"\n"


def _fields(completion: Completion) -> dict[str, Json]:
    """Return a completion as a line has it, its log-probabilities beside it."""
    fields: dict[str, Any] = asdict(completion)
    logprobs = fields.pop("logprobs")
    if completion.rejected_loss is None:
        # Most lines, and those of earlier versions, have nothing to say of it.
        del fields["rejected_loss"], fields["rejected_tokens"]
    for key in ("reference_loss", "rejected_loss"):
        loss = fields.get(key)
        if loss is not None and not isfinite(loss):
            # JSON has no such number.
            fields[key] = str(loss)
    return {"completion": fields, **({"logprobs": logprobs} if logprobs else {})}


def _is_measured(completion: Completion) -> bool:
    """Return whether an answer carries the loss of its reference, as far as one was asked for."""
    return completion.reference_loss is not None or completion.reference_tokens > 0


def _parsed(line: bytes) -> tuple[PromptKey, Completion]:
    """Return the digests of a prompt, and its answer.

    Raises:
        ValueError: The line is damaged.
        TypeError: It has other fields.
        KeyError: It lacks fields.
    """
    content = json.loads(line)
    fields = content["completion"]
    fields.setdefault("rejected_loss", None)
    for key in ("reference_loss", "latency_s", "rejected_loss"):
        # A whole number was written without its fraction.
        fields[key] = None if fields[key] is None else float(fields[key])
    completion = Completion(**fields, logprobs=content.get("logprobs", ()))
    found = misfit(completion, Completion)
    if found is not None:
        raise ValueError(f"{found[0]} instead of {found[1]}")
    prompt = bytes.fromhex(content["prompt"])
    digests = PromptKey(prompt, bytes.fromhex(content.get("question", content["prompt"])))
    if any(len(one) != hashlib.sha256().digest_size for one in digests):
        raise ValueError("the prompt is not a digest")
    return digests, completion


def _whole(handle: int) -> int:
    """Cut off a last line without its end; return the size and stand there."""
    size = os.fstat(handle).st_size
    end = size
    while end > 0:
        start = max(0, end - 65_536)
        newline = os.pread(handle, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(handle, end)
    os.lseek(handle, end, os.SEEK_SET)
    return end


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
