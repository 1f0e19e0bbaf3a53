"""Requests are repeated while waiting helps: as the server asks, within limits, announced."""

import threading
import time

import pytest

from backends.openai.api.protocol import OutcomeUnknown, Rejected
from backends.openai.api.retry_policy import RetryLimits
from backends.openai.api.retrying import Repeater
from backends.openai.api.waiting import Waiting

LIMITS = RetryLimits(pause_s=0.01, attempts=4)


class Pauses(Waiting):
    """Records the pauses that are announced."""

    def __init__(self):
        super().__init__()
        self.announced = []

    def announce(self, seconds, reason, *, most_s=None):
        self.announced.append((round(seconds, 3), reason, most_s))


def busy(asked_s=None):
    return Rejected(429, "slow down", retry_after_s=asked_s)


def lost(**more):
    return OutcomeUnknown("no answer", **more)


def attempt(failures, limits=LIMITS, **more):
    """Return attempts, pauses and outcome of a call that fails with some errors, then answers."""
    waiting, left, attempts = Pauses(), list(failures), []

    def call():
        attempts.append(time.monotonic())
        if left:
            raise left.pop(0)
        return "answer"

    try:
        outcome = Repeater(waiting)(call, limits, str, **more)
    except (Rejected, OutcomeUnknown) as error:
        outcome = error
    return len(attempts), [pause for pause, _, _ in waiting.announced], outcome


@pytest.mark.parametrize(
    ("failures", "attempts", "pauses"),
    [
        ([], 1, []),
        ([lost()], 2, [0.01]),
        ([lost(), busy(), lost()], 4, [0.01, 0.02, 0.04]),
        # The server's own pause counts, in its own order.
        ([busy(0.03), busy(0.0), lost(retry_after_s=0.005)], 4, [0.03, 0.0, 0.005]),
    ],
)
def test_what_may_pass_is_tried_again_after_the_pause_that_the_server_asks_for(
    failures, attempts, pauses
):
    assert attempt(failures) == (attempts, pauses, "answer")


@pytest.mark.parametrize(
    ("failures", "limits", "attempts"),
    [
        ([lost()] * 9, LIMITS, 4),
        ([Rejected(400, "no")], LIMITS, 1),
        ([Rejected(429, "no credit", code="insufficient_quota")], LIMITS, 1),
        ([lost(may_pass=False)], LIMITS, 1),
        ([busy(0.2)], RetryLimits(pause_s=0.01, longest_asked_s=0.1), 1),
        ([busy(60.0)], RetryLimits(pause_s=0.01, total_s=5.0), 1),
        ([lost()] * 99, RetryLimits(pause_s=0.02, longest_pause_s=0.02, total_s=0.05), 3),
    ],
)
def test_an_outage_is_bounded(failures, limits, attempts):
    made, pauses, outcome = attempt(failures, limits)
    assert made <= attempts
    assert len(pauses) == made - 1
    assert isinstance(outcome, Rejected | OutcomeUnknown)


def test_the_last_failure_is_the_one_that_is_raised():
    failures = [lost(), busy(), lost(retry_after_s=0.0), busy()]
    assert attempt(failures)[2] is failures[-1]


def test_nothing_else_is_caught():
    with pytest.raises(ZeroDivisionError):
        attempt([ZeroDivisionError()])


def test_the_caller_decides_what_may_pass():
    unread = Rejected(400, "the file is not ready")
    assert attempt([unread], may_pass=lambda error: error is unread)[2] == "answer"
    assert attempt([busy()], may_pass=lambda error: error is unread)[0] == 1


def test_an_event_ends_a_pause_at_once():
    over = threading.Event()
    timer = threading.Timer(0.1, over.set)
    timer.start()
    started_s = time.monotonic()
    attempts, _, outcome = attempt([lost()] * 9, RetryLimits(pause_s=30.0), over=over)
    assert time.monotonic() - started_s < 10
    assert attempts <= 2
    assert isinstance(outcome, OutcomeUnknown)


def test_a_pause_is_announced_with_its_limit():
    waiting = Pauses()
    failures = [lost()]

    def call():
        if failures:
            raise failures.pop()

    limits = RetryLimits(pause_s=0.01, total_s=7.0)
    Repeater(waiting)(call, limits, lambda error: f"it: {error}")
    assert waiting.announced == [(0.01, "it: no answer", 7.0)]
