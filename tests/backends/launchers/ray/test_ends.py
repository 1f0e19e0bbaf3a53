"""How the commands of a job on several nodes end together."""

from backends.launchers.ray.ends import GRACE_S, STOPPED, Ends

KILLED = 137


def test_a_job_that_ends_well_has_the_status_of_node_0():
    ends = Ends(nodes=2)

    assert not ends.add(1, 0, 10.0)
    assert not ends.is_over
    assert ends.deadline == float("inf"), "node 0 still writes the result"
    assert not ends.add(0, 0, 20.0)
    assert (ends.is_over, ends.status) == (True, 0)


def test_the_others_may_take_a_while_after_node_0():
    ends = Ends(nodes=3)

    ends.add(0, 0, 20.0)

    assert ends.deadline == 20.0 + GRACE_S


def test_a_bad_end_ends_all_and_counts():
    ends = Ends(nodes=3)

    assert ends.add(1, KILLED, 10.0)
    assert ends.deadline == 10.0 + GRACE_S
    assert not ends.add(0, STOPPED, 11.0)
    assert not ends.add(2, 1, 12.0)
    assert ends.status == KILLED


def test_a_node_that_stops_unasked_stops_the_others():
    ends = Ends(nodes=2)

    assert ends.add(1, STOPPED, 10.0)
    ends.add(0, STOPPED, 11.0)
    assert ends.status == STOPPED


def test_a_job_that_was_told_to_stop_has_stopped():
    ends = Ends(nodes=2)

    ends.stop(10.0, 120.0)

    assert ends.deadline == 130.0
    assert not ends.add(1, STOPPED, 12.0)
    assert not ends.add(0, STOPPED, 13.0)
    assert ends.status == STOPPED
    assert ends.blamed is None


def test_the_last_bad_end_leaves_nothing_to_wait_for():
    ends = Ends(nodes=1)

    ends.add(0, 1, 10.0)

    assert (ends.is_over, ends.status, ends.is_stopping) == (True, 1, False)
