"""A killed `ftctl adopt --all` goes on; `kill_rounds.py --rounds 50` is the longer form."""

import pytest

from tests.controller.adopt.kill_rounds import one_round


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1003))
def test_a_killed_run_loses_nothing_and_downloads_nothing_twice(tmp_path, seed):
    counts = one_round(tmp_path, seed)
    assert counts.kills
