"""How the jobs of a `ScriptedBackend` go on, what its models say, and how a call breaks off."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NoReturn, TypeAlias

from backends.base import Completion, JobState, Prompt
from backends.chat import text_of

VANISHED: Final = "vanished"
"""In a script: from here on the backend knows nothing of the job."""

Moment: TypeAlias = Literal["before", "after"]
"""Whether a call breaks off before it had its effect, or after it, its answer lost."""
Script: TypeAlias = Sequence[str]
"""States that a job goes through, one at each look; it stays at the last one."""
Answer: TypeAlias = Callable[[str | None, Prompt], Completion]
"""What a model says; None is the base model."""

GOES_WELL: Final[Script] = (JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED)
FAILS: Final[Script] = (JobState.QUEUED, JobState.RUNNING, JobState.FAILED)
GONE_UNFINISHED: Final[Script] = (JobState.QUEUED, VANISHED)
INTERRUPTED_ONCE: Final[Script] = (JobState.RUNNING, JobState.INTERRUPTED, *GOES_WELL)


class Crash(BaseException):
    """The process died in the middle of a call. No `except Exception` catches this."""


def raise_crash(call: str) -> NoReturn:
    """Die by raising `Crash`; `lambda call: os._exit(1)` in its place dies for real."""
    raise Crash(call)


def answer_well(model: str | None, prompt: Prompt) -> Completion:
    """Let a tuned model give the expected answer, and the base model another one."""
    if model is None:
        return Completion(text="?", finish_reason="length", reference_loss=2.0, reference_tokens=10)
    reference: Mapping[str, Any] = prompt.reference or {}
    calls = tuple(reference.get("tool_calls") or ())
    return Completion(
        text=text_of(reference) or ("" if calls else "yes"),
        tool_calls=calls,
        finish_reason="stop",
        reference_loss=0.5,
        reference_tokens=10,
    )
