"""Jobs on another machine: trained once, found again, resumed, whatever its scheduler says."""

import pytest

from backends.contract.jobs import JobState
from backends.local_gpu.json_files import read_lines

pytestmark = pytest.mark.torch


def losses(folder):
    return {
        (line["step"], kind): line[kind]
        for line in read_lines(folder / "progress.jsonl")
        for kind in ("loss", "held_out_loss")
        if kind in line
    }


def test_a_job_there_is_the_job_here(backend, placed, make_request, wait, run_folder, scheduler):
    there = wait(backend.submit(placed(num_train_epochs=1)))
    assert there.state is JobState.SUCCEEDED, there.error
    here = wait(backend.submit(make_request(fingerprint="b" * 64, num_train_epochs=1)))
    assert losses(run_folder(there)) == losses(run_folder(here)) != {}
    assert there.result.facts["workers"] == 1
    (placement,) = scheduler.submitted
    assert placement.name.startswith("ftctl-cafe")
