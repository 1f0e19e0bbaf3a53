"""Repeating requests with `tenacity`, which comes with the SDK's extra."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import TypeAlias, TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_after_attempt,
    stop_before_delay,
    stop_when_event_set,
    wait_exponential,
)

from backends.openai.api.protocol import OutcomeUnknown, Rejected
from backends.openai.api.retry_policy import RetryLimits
from backends.openai.api.waiting import Waiting

Failure: TypeAlias = Rejected | OutcomeUnknown
_Answer = TypeVar("_Answer")


def may_pass(failure: Failure) -> bool:
    """Return True if the same request may succeed later."""
    if isinstance(failure, OutcomeUnknown):
        return failure.may_pass
    return failure.must_slow_down


@dataclass(frozen=True, slots=True)
class Repeater:
    """Repeats requests, and announces long pauses."""

    waiting: Waiting

    def __call__(
        self,
        call: Callable[[], _Answer],
        limits: RetryLimits,
        reason: Callable[[Failure], str],
        *,
        may_pass: Callable[[Failure], bool] = may_pass,
        over: threading.Event | None = None,
    ) -> _Answer:
        """Return the answer of a call; repeat it after failures that may pass.

        Args:
            call: Sends the request.
            limits: Limits for repeating it.
            reason: Returns the reason of the pause after a failure; see `Waiting.sleep`.
            may_pass: Returns True for failures after which the call is repeated.
            over: Ends pauses and attempts when set.

        Raises:
            Rejected: The last attempt's failure.
            OutcomeUnknown: The last attempt's failure.
        """
        over = over or threading.Event()
        grows = wait_exponential(multiplier=limits.pause_s, max=limits.longest_pause_s)

        def may_repeat(error: BaseException) -> bool:
            if not isinstance(error, Rejected | OutcomeUnknown):
                return False
            return (error.retry_after_s or 0.0) <= limits.longest_asked_s and may_pass(error)

        def pause(state: RetryCallState) -> float:
            asked_s = _failure(state).retry_after_s
            return grows(state) if asked_s is None else asked_s

        def announce(state: RetryCallState) -> None:
            most_s = limits.total_s if isfinite(limits.total_s) else None
            self.waiting.announce(state.upcoming_sleep, reason(_failure(state)), most_s=most_s)

        retrying = Retrying(
            retry=retry_if_exception(may_repeat),
            wait=pause,
            stop=stop_after_attempt(limits.attempts)
            | stop_before_delay(limits.total_s)
            | stop_when_event_set(over),
            before_sleep=announce,
            sleep=sleep_using_event(over),
            reraise=True,
        )
        return retrying(call)


def _failure(state: RetryCallState) -> Failure:
    failure = state.outcome and state.outcome.exception()
    if not isinstance(failure, Rejected | OutcomeUnknown):
        raise TypeError(f"only failed calls are repeated, not {failure!r}")
    return failure
