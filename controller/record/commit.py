"""Answers as files to commit: those of this machine, under the data policy of the spec."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from backends.contract.completions import Prompt
from controller.evaluate.answer_file import AnswerFile, prompt_digest
from controller.project.project import Project
from controller.record.policy import DataPolicy
from controller.record.wanted import Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Committable:
    """What was written to be committed of one fine-tune."""

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
        StateNotWritten: The system refused.
        FtctlError: The file has answers of another model, or another process holds it.
    """
    if wanted.is_private:
        return Committable()
    own, target = AnswerFile(project.answers, wanted.key), AnswerFile(project.recorded, wanted.key)
    policy, counts = DataPolicy(wanted.prepare), Counter[str]()
    for digest in _digests(wanted.prompts):
        if digest in target:
            counts["there"] += 1
        elif digest in own:
            answer = own.read(digest)
            passed = policy.answer(answer)
            if passed.completion is None:
                counts["kept_out"] += 1
                continue
            target.append(digest, passed.completion)
            counts["written"] += 1
            if passed.found:
                counts["warned" if passed.completion == answer else "masked"] += 1
    target.sync()
    return Committable(path=target.path, **counts)


def _digests(prompts: Iterable[Prompt]) -> Iterable[bytes]:
    """Return the digests of prompts, each once, in their order."""
    return dict.fromkeys(map(prompt_digest, prompts))
