"""`method: prompt`: a run that dies anywhere loses nothing, and the next one asks little twice."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_wherever_a_run_dies_the_next_one_comes_to_the_same_end(tmp_path):
    # Of some two hundred places, every fourth.
    script = "tests.controller.run.dying_runs"
    command = [sys.executable, "-m", script, str(tmp_path / "round"), "4"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=True
    )
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    last = rounds[-1]
    assert len(rounds) > 30
    assert [one["died"] for one in rounds] == [True] * (len(rounds) - 1) + [False]
    for one in rounds:
        same = {"again": 0, "builds": 1, "production": last["production"], "left": [], "jobs": 0}
        assert {key: one[key] for key in same} == same
        assert one["different"] == last["different"]
        # What was asked when it died, but not yet on the disk, is asked once more.
        assert one["asked"] - one["different"] <= 1
