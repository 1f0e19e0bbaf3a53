"""What concerns every fine-tune, and what concerns one: records, and everything else."""

import errno
import os

import pytest

from backends.testing import ScriptedBackend
from controller.apply.dispatch import apply_action
from controller.errors import ExitCode, FtctlError
from controller.lockfile.store import lock_lockfile
from controller.run.carry_out import context_of


@pytest.mark.parametrize("more", [{}, {"seed": 7}], ids=["protect", "train"])
def test_a_protection_that_cannot_be_recorded_ends_the_run(repo, more):
    repo.declare()
    repo.settle()
    repo.declare(lifecycle={"protect": True}, **more)
    prepared, state = repo.planned(), repo.project.state
    submitted = repo.backend.submitted
    (action,) = prepared.plan.actions
    with lock_lockfile(repo.root, state, timeout_s=5, purpose="test") as lockfile:
        journal = state / "journal.jsonl"
        journal.mkdir()
        with pytest.raises(FtctlError, match=r"journal\.jsonl: cannot be written"):
            apply_action(action, context_of(prepared, lockfile))
        journal.rmdir()
    assert repo.backend.submitted == submitted
    assert not repo.lockfile.finetunes["faq"].protect


class FullDisk(ScriptedBackend):
    """A backend whose machine has no room for the base model of one fine-tune."""

    def fetch_base_model(self, base_model, report):
        del report
        if base_model.reference == "acme/large":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/cache/model.safetensors")


def test_a_download_that_fills_the_disk_concerns_its_fine_tune_alone(repo):
    repo.declare("a-large", base_model="acme/large")
    repo.declare("b-small")
    repo.backend = FullDisk(repo.service)
    result = repo.run()
    told = {outcome.action.name: outcome for outcome in result.outcomes}
    assert told["a-large"].exit_code == ExitCode.ERROR
    assert "/cache/model.safetensors" in told["a-large"].message
    assert told["b-small"].exit_code == ExitCode.DONE
    assert repo.lockfile.finetunes.keys() == {"b-small"}
