"""Questions from stored completions: sampled, masked, and kept as rows of a file.

A row has the question and the stored answer, in the canonical form of an example. The file may be a
source of `data`: as held-out rows, its questions are those that were recorded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from backends.atomic_files import write_atomic
from backends.contract.backend import Backend
from backends.contract.completions import Prompt
from backends.contract.recording import StoredCompletion
from controller.data.examples.example import Example, to_canonical
from controller.errors import FtctlError
from controller.evaluate.answer_file import prompt_digest
from controller.evaluate.prompts.held_out import prompt_of
from controller.record.policy import DataPolicy
from controller.record.wanted import smallest
from controller.state_folder import writing_to

MOST_LISTED: Final = 10_000
"""Newest stored completions of which a sample is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSample:
    """Rows that were sampled from stored completions."""

    lines: Sequence[bytes] = ()
    listed: int = 0
    """Stored completions that were listed."""
    refused: int = 0
    """Sampled completions that the data policy keeps out."""
    unusable: int = 0
    """Sampled completions whose question is missing, gone at the service, or cannot be written."""


def read_stored(path: Path) -> list[bytes]:
    """Return the rows of a file of stored completions; none if there is no such file.

    Raises:
        FtctlError: A line is damaged.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            prompt_of(line)
        except (ValueError, KeyError, TypeError, AttributeError):
            remedy = "Remove that line, or restore the file from git."
            message = f"{path}:{number}: not a recorded conversation"
            raise FtctlError(message, remedy) from None
    return lines


def write_stored(path: Path, lines: Sequence[bytes]) -> None:
    """Write the rows of a file of stored completions.

    Raises:
        StateNotWritten: The system refused.
    """
    with writing_to(path.parent):
        write_atomic(path, b"".join(lines))


def sample_stored(
    backend: Backend,
    model: str | None,
    metadata: Mapping[str, str],
    *,
    count: int,
    known: Sequence[bytes],
    policy: DataPolicy,
) -> StoredSample:
    """Sample rows from the completions that a service has stored. Questions are read of these only.

    Args:
        backend: The backend of the service.
        model: Only completions of this model; None for any model.
        metadata: Only completions with these metadata.
        count: Number of rows to add.
        known: Rows that are there already; their questions are not sampled again.
        policy: The data policy.

    Raises:
        NothingStored: The service does not list stored completions.
        BackendError: The service does not answer.
    """
    listed = {
        one.id.encode(): one
        for one in islice(backend.stored_completions(model, metadata), MOST_LISTED)
    }
    questions = {_question(line) for line in known}
    lines: list[bytes] = []
    refused = unusable = 0
    for key in smallest(listed, len(listed)):
        if len(lines) == count:
            break
        example = _example(backend, listed[key])
        if example is None:
            unusable += 1
            continue
        allowed = policy.example(example)
        if allowed is None:
            refused += 1
            continue
        try:
            line = to_canonical(allowed)[0]
        except (ValueError, RecursionError):
            # Half a character, a number without end, lists in lists without end: nothing to ask.
            unusable += 1
            continue
        if (question := _question(line)) not in questions:
            questions.add(question)
            lines.append(line)
    return StoredSample(lines=lines, listed=len(listed), refused=refused, unusable=unusable)


def _example(backend: Backend, stored: StoredCompletion) -> Example | None:
    """Return a stored completion as an example; None without a question."""
    messages = [dict(message) for message in backend.stored_messages(stored.id)]
    if not any(message.get("role") == "user" for message in messages):
        return None
    tools = [dict(tool) for tool in stored.tools]
    return Example([*messages, dict(stored.answer)], list(tools) if tools else None)


def _question(line: bytes) -> bytes:
    """Return the digest of a row's question, without its answer."""
    prompt = prompt_of(line)
    return prompt_digest(Prompt(messages=prompt.messages, tools=prompt.tools))
