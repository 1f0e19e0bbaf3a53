"""Many questions at once, of which only a few are read ahead."""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Final

from backends.contract.completions import Completed, Completion, Prompt
from backends.contract.errors import PromptRefused

_MOST_REFUSED: Final = 20
"""Refused prompts after which no others are asked: a server that refuses many may refuse all."""
_AHEAD: Final = 2
"""Questions that are read ahead, for each that may be under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One prompt for one model."""

    model: int
    """Place of the model in the call."""
    number: int
    """Place of the prompt in the call."""
    prompt: Prompt


@dataclass(slots=True, kw_only=True)
class Answering:
    """The answers to many questions, each yielded when it ends."""

    ask: Callable[[Question], Completion]
    """Waits for one answer; called from many threads."""
    stop: Callable[[], None]
    """Ends every call of `ask` that is under way."""
    at_once: int
    prompts: int
    """Number of prompts of the call, for messages."""
    _under_way: dict[Future[Completion], Question] = field(default_factory=dict)
    _refused: dict[int, PromptRefused] = field(default_factory=dict)

    def answers(self, questions: Iterator[Question]) -> Generator[Completed, None, None]:
        """Yield the answers; closing the iterator stops the work.

        Raises:
            PromptRefused: Prompts were refused; the other answers were yielded before.
            BackendError: An answer failed; answers that had ended were yielded before.
        """
        pool = ThreadPoolExecutor(max_workers=self.at_once)
        try:
            while self._submitted(questions, pool):
                yield from self._ended()
        finally:
            self.stop()
            pool.shutdown(wait=True, cancel_futures=True)
        self._raise_refusal()

    def _submitted(self, questions: Iterator[Question], pool: ThreadPoolExecutor) -> bool:
        """Send questions to the pool; return False if nothing is under way any more."""
        while len(self._refused) < _MOST_REFUSED and len(self._under_way) < _AHEAD * self.at_once:
            question = next(questions, None)
            if question is None:
                break
            self._under_way[pool.submit(self.ask, question)] = question
        return bool(self._under_way)

    def _ended(self) -> Iterator[Completed]:
        """Wait for answers and yield them, before the error of one that failed."""
        done, _ = wait(self._under_way, return_when=FIRST_COMPLETED)
        failed: BaseException | None = None
        for future in done:
            question = self._under_way.pop(future)
            error = future.exception()
            if error is None:
                yield Completed(
                    model=question.model, prompt=question.number, completion=future.result()
                )
            elif isinstance(error, PromptRefused):
                self._refused.setdefault(question.number, error)
            else:
                failed = failed or error
        if failed is not None:
            raise failed

    def _raise_refusal(self) -> None:
        if not self._refused:
            return
        number = min(self._refused)
        error = self._refused[number]
        if self.prompts == 1:
            raise error
        more = f" (and {len(self._refused) - 1} more)" if len(self._refused) > 1 else ""
        message = f"prompt {number + 1} of {self.prompts}{more}: {error.message}"
        raise type(error)(message, error.remedy) from error
