"""Scripts of a `ScriptedBackend`: states of its jobs, answers of its models, crashes of calls."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NoReturn, TypeAlias

from backends.contract.completions import Completion, Prompt, text_of
from backends.contract.jobs import CurvePoint, JobState

VANISHED: Final = "vanished"
"""State in a script from which on the backend does not know the job."""

Moment: TypeAlias = Literal["before", "after"]
"""Moment at which a call crashes: before its effect, or after it with its answer lost."""
Script: TypeAlias = Sequence[str]
"""States of a job, one per poll; the job stays in the last state."""
Answer: TypeAlias = Callable[[str | None, Prompt], Completion]
"""Function that returns a model's answer to a prompt; None is the base model."""

GOES_WELL: Final[Script] = (JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED)
FAILS: Final[Script] = (JobState.QUEUED, JobState.RUNNING, JobState.FAILED)
GONE_UNFINISHED: Final[Script] = (JobState.QUEUED, VANISHED)
CURVE: Final[Sequence[CurvePoint]] = (
    CurvePoint(step=0, held_out_loss=2.0, epoch=0.0),
    *(
        CurvePoint(step=step, train_loss=round(2.0 - 0.15 * step, 2), epoch=step / 10)
        for step in range(1, 10)
    ),
    CurvePoint(step=10, train_loss=0.5, held_out_loss=0.5, epoch=1.0),
)
"""Losses of a job that learns, as `answer_well` measures them before and after."""
INTERRUPTED_ONCE: Final[Script] = (JobState.RUNNING, JobState.INTERRUPTED, *GOES_WELL)


class Crash(BaseException):
    """The process died in the middle of a call. No `except Exception` catches this."""


def raise_crash(call: str) -> NoReturn:
    """Simulate a crash with `Crash`; use `lambda call: os._exit(1)` instead for a real crash."""
    raise Crash(call)


def answer_well(model: str | None, prompt: Prompt) -> Completion:
    """Return the expected answer for a tuned model, and a wrong answer for the base model."""
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
