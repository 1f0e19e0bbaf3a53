"""Which process of several is to blame for the end of a job."""

import signal

import pytest

from backends.local_gpu.jobs.rank_protocol import AGAIN, LOST, STOPPED
from backends.local_gpu.jobs.ranks import Ends

KILLED = -signal.SIGKILL


@pytest.mark.parametrize(
    ("codes", "blamed", "status"),
    [
        ([(0, 0), (1, 0)], None, 0),
        ([(1, 0), (0, 0)], None, 0),
        ([(1, STOPPED), (0, STOPPED)], None, STOPPED),
        ([(1, KILLED), (0, LOST)], (1, 11, KILLED), 0),
        # The one that lost another may be seen first.
        ([(0, LOST), (1, KILLED)], (1, 11, KILLED), 0),
        ([(2, LOST), (0, LOST), (1, 1)], (1, 11, 1), 0),
        ([(0, LOST), (1, LOST)], (0, 10, LOST), 0),
        ([(1, AGAIN), (0, LOST)], (1, 11, AGAIN), 0),
        ([(0, 1), (1, KILLED)], (0, 10, 1), 0),
    ],
)
def test_who_is_to_blame(codes, blamed, status):
    ends = Ends()
    for rank, code in codes:
        ends.add(rank, 10 + rank, code, 1.0)
    assert (ends.blamed, ends.status) == (blamed, status)


def test_an_unexpected_end_kills_the_others_at_once_and_a_loss_after_a_moment():
    ends = Ends()
    assert not ends.add(0, 10, LOST, 1.0)
    assert 1.0 < ends.deadline < 10.0
    assert ends.add(1, 11, 1, 1.5)


def test_those_that_are_killed_for_being_late_are_not_to_blame():
    ends = Ends()
    ends.add(0, 10, 0, 1.0)
    assert not ends.add(1, 11, KILLED, ends.deadline + 1)
    assert (ends.blamed, ends.status) == (None, 0)
