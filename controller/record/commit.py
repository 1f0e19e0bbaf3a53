"""Answers as files to commit: those of this machine, under the data policy of the spec."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from controller.errors import FtctlError
from controller.evaluate.answer_file import AnswerFile, prompt_key
from controller.evaluate.answer_store import AnswerStore
from controller.project.project import Project
from controller.record.policy import DataPolicy
from controller.record.wanted import Wanted
from controller.state_folder import StateNotWritten


@dataclass(frozen=True, slots=True, kw_only=True)
class Committable:
    """Answers of one fine-tune written to be committed."""

    path: Path | None = None
    """The file of answers; None where nothing may be written."""
    written: int = 0
    """Answers that were written now."""
    there: int = 0
    """Answers that were written before."""
    masked: int = 0
    """Answers of those written now in which personal data is masked."""
    warned: int = 0
    """Answers of those written now that hold personal data, of which the spec only warns."""
    kept_out: int = 0
    """Answers that the data policy keeps out of the repository."""


def write_committable(wanted: Wanted, project: Project) -> Committable:
    """Write the answers of one fine-tune that are kept on this machine, and not committed yet.

    Written answers stay as they are. A write that was interrupted is continued by the next run.

    Raises:
        DataError: A package that finds personal data is missing.
        FtctlError: The system refused, the file has answers of another model, or another process
            holds it.
    """
    if wanted.is_private:
        return Committable()
    own, committed = AnswerStore(project.answers), AnswerStore(project.recorded)
    target = AnswerFile(project.recorded, wanted.key)
    policy, counts = DataPolicy(wanted.prepare), Counter[str]()
    prompts = {prompt_key(prompt): prompt for prompt in wanted.prompts}
    there = committed.find(wanted.key, list(prompts.values()))
    kept = own.find(wanted.key, list(prompts.values()))
    for key, found, answer in zip(prompts, there, kept, strict=True):
        if found is not None:
            counts["there"] += 1
        elif answer is not None:
            passed = policy.answer(answer)
            if passed.completion is None:
                counts["kept_out"] += 1
                continue
            with _committing(project.recorded):
                target.append(key, passed.completion)
            counts["written"] += 1
            if passed.found:
                counts["warned" if passed.completion == answer else "masked"] += 1
    with _committing(project.recorded):
        target.sync()
    return Committable(path=target.path, **counts)


@contextmanager
def _committing(folder: Path) -> Iterator[None]:
    """Name the folder to commit where it cannot be written: it is no part of the state folder.

    Raises:
        FtctlError: The system refused.
    """
    try:
        yield
    except StateNotWritten as error:
        why = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error.message
        message = f"{folder} cannot be written: {why}; the answers are kept on this machine"
        remedy = "Make room there, or make it writable."
        raise FtctlError(message, remedy) from error
