"""Answers that are kept: nobody is asked twice the same with the same decoding.

`.ftctl/answers/` has a file per model and decoding; see `answer_file`. Answers of a model that is
gone still count. Delete files to have their models asked again. `ftctl record` writes files of the
same form to commit, whose answers count first: so every clone scores the same answers. A greedy answer
that ended by itself also counts under any other limit of tokens that it keeps to.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from backends.contract.backend import Backend
from backends.contract.completions import Completion, Prompt
from backends.contract.jobs import BaseModel
from controller.errors import FtctlError
from controller.evaluate.answer_file import (
    AnswerFile,
    AnswerKey,
    PromptKey,
    limits_of,
    prompt_key,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Numbers of answers, of all models together; equal prompts of one model count once."""

    asked: int
    """Answers that a model was asked for now."""
    kept: int
    """Answers that were kept before."""


class AnswerStore:
    """Kept answers below a folder, and those that were committed."""

    def __init__(self, folder: Path, committed: Path | None = None) -> None:
        """Open a store.

        Args:
            folder: Folder of answers; new answers are kept here.
            committed: Folder of committed answers, which is only read.
        """
        self._folder, self._committed = folder, committed
        self._files: dict[AnswerKey, _KeptFile] = {}

    def missing(self, key: AnswerKey, prompts: Sequence[Prompt]) -> list[int]:
        """Return the places of prompts whose answers are not kept; of equal prompts, the first.

        Raises:
            FtctlError: The file has answers of another model.
        """
        skip = _Skip([self._file(key)], prompts)
        return [place for place in range(len(prompts)) if (0, place) not in skip]

    def ask(
        self,
        backend: Backend,
        base_model: BaseModel,
        models: Mapping[AnswerKey, str | None],
        prompts: Sequence[Prompt],
        *,
        read_by: str | None = None,
        heard: Callable[[Completion], None] = lambda _: None,
    ) -> Asked:
        """Ask models for the answers that are missing, and keep each answer when it ends.

        Answers that ended before an error or an interruption are kept. Models of which nothing is
        missing are named to the backend as well, since they may decide how a base model is asked.

        Args:
            backend: The backend of all models.
            base_model: The base model of all models.
            models: Model IDs by key, the keys with one decoding; None is the base model itself.
            prompts: The prompts.
            read_by: ID of the trained model as which the base model reads its prompts.
            heard: Called with each answer after it is kept.

        Raises:
            ValueError: The keys have different decodings.
            PromptRefused: Prompts were refused. Their answers are missing, the others are kept.
            BackendError: A model gave no answer.
            FtctlError: Answers cannot be kept.
        """
        samplings = [key.sampling for key in models]
        if any(sampling != samplings[0] for sampling in samplings):
            raise ValueError("models that are asked together need one decoding")
        files = [self._file(key) for key in models]
        skip = _Skip(files, prompts)
        missing = skip.missing
        if missing:
            ids = list(models.values())
            # A trained model in front of the others decides how the base model is asked.
            skip.before = int(read_by is not None and read_by not in ids)
            ids = [read_by, *ids] if skip.before else ids
            answers = backend.complete(base_model, ids, prompts, samplings[0], skip)
            try:
                with closing(answers):
                    for answer in answers:
                        file = files[answer.model - skip.before]
                        file.append(skip.keys[answer.prompt], answer.completion)
                        heard(answer.completion)
            finally:
                for file in files:
                    file.sync()
        return Asked(asked=missing, kept=skip.wanted - missing)

    def read(self, key: AnswerKey, prompts: Sequence[Prompt]) -> Iterator[Completion]:
        """Yield the answer to each prompt, in order.

        Raises:
            FtctlError: An answer is missing.
        """
        for place, answer in enumerate(self.find(key, prompts)):
            if answer is None:
                raise FtctlError(
                    f"{self._file(key).path}: has no answer to prompt {place + 1} of "
                    f"{len(prompts)}",
                    "Run the same command again, which asks for it.",
                )
            yield answer

    def find(self, key: AnswerKey, prompts: Sequence[Prompt]) -> Iterator[Completion | None]:
        """Yield the answer to each prompt, in order; None where there is none."""
        file = self._file(key)
        for prompt in prompts:
            found = prompt_key(prompt)
            yield file.read(found) if found in file else None

    def _file(self, key: AnswerKey) -> "_KeptFile":
        if key not in self._files:
            committed = [] if self._committed is None else [AnswerFile(self._committed, key)]
            own = AnswerFile(self._folder, key)
            self._files[key] = _KeptFile(own, [*committed, own, *self._under_other_limits(key)])
        return self._files[key]

    def _under_other_limits(self, key: AnswerKey) -> Iterator[AnswerFile]:
        """Yield the same model's answers that another limit of tokens would not have changed."""
        for folder in filter(None, (self._committed, self._folder)):
            for limit in limits_of(folder, key):
                other = replace(key, sampling=replace(key.sampling, max_tokens=limit))
                yield AnswerFile(folder, other, within=key.sampling.max_tokens)


class _KeptFile:
    """The answers of one key: of this machine, and other files with such answers."""

    def __init__(self, own: AnswerFile, files: Sequence[AnswerFile]) -> None:
        self.path, self.append, self.sync = own.path, own.append, own.sync
        self._files = files

    def __contains__(self, key: PromptKey) -> bool:
        return any(key in file for file in self._files)

    def read(self, key: PromptKey) -> Completion:
        """Return the answer to a prompt, from the first file that has one."""
        return next(file.read(key) for file in self._files if key in file)


class _Skip:
    """Places (model, prompt) that need not be asked: kept answers, and all but one equal prompt.

    Decided once: what is kept meanwhile changes nothing.
    """

    def __init__(self, files: Sequence[_KeptFile], prompts: Sequence[Prompt]) -> None:
        self.keys = [prompt_key(prompt) for prompt in prompts]
        first: list[bool] = []
        seen: set[bytes] = set()
        for key in self.keys:
            first.append(key.prompt not in seen)
            seen.add(key.prompt)
        self._width = len(self.keys)
        self._asked = bytearray(
            is_first and key not in file
            for file in files
            for is_first, key in zip(first, self.keys, strict=True)
        )
        self.before = 0
        """Number of models in front of the others that are not asked at all."""
        self.wanted = len(files) * len(seen)
        self.missing = sum(self._asked)

    def __contains__(self, place: object) -> bool:
        if not isinstance(place, tuple):
            return False
        model, prompt = place
        if model < self.before:
            return True
        return not self._asked[(model - self.before) * self._width + prompt]
