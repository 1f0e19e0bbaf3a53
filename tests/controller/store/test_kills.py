"""Pushes and pulls that die at any moment; the script of the same name does many more rounds."""

from tests.benchmarks.store_kills import kill_rounds


def test_a_push_and_a_pull_may_die_at_any_moment(tmp_path):
    found = kill_rounds(tmp_path, rounds=10, seed=3)
    assert found.pushes + found.pulls == 10
    assert found.under_way > 2
