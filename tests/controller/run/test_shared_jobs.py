"""Jobs and builds that are shared or lost, and the files of a repository during runs."""

import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from backends.contract.jobs import JobState
from backends.registry import require_backend
from controller.errors import ExitCode, LockfileInvalid
from controller.run.reconcile import prepare_run
from tests.controller.run.runs import FASTER, SLOW, declared, production


def test_a_deleted_lockfile_is_made_again_without_training(repo):
    repo.declare("a")
    repo.declare("b", seed=1)
    repo.settle()
    before = json.loads(repo.lockfile_path.read_text())
    repo.lockfile_path.unlink()
    assert repo.actions() == ["Adopt a", "Adopt b"]
    repo.settle()
    after = json.loads(repo.lockfile_path.read_text())
    assert repo.backend.submitted == 2
    for name in ("a", "b"):
        assert after["finetunes"][name]["production"] == before["finetunes"][name]["production"]


def test_equal_inputs_under_two_names_are_trained_once(repo):
    repo.declare("a")
    repo.declare("b")
    repo.settle()
    assert repo.backend.submitted == 1
    assert production(repo, "a") == production(repo, "b")


def test_a_shared_job_goes_on_when_one_of_two_changes(repo):
    repo.use(script=SLOW)
    repo.declare("a")
    repo.declare("b")
    repo.run()
    repo.declare("a", hyperparameters=FASTER)
    repo.settle()
    assert [job.state for job in repo.backend.jobs] == [JobState.SUCCEEDED, JobState.SUCCEEDED]
    assert production(repo, "a") == declared(repo, "a") != production(repo, "b")


def test_a_shared_job_goes_on_when_one_of_two_is_removed(repo):
    repo.use(script=SLOW)
    repo.declare("a")
    repo.declare("b")
    repo.run()
    repo.withdraw("a")
    repo.settle()
    assert repo.lockfile.finetunes.keys() == {"b"}
    assert production(repo, "b") == declared(repo, "b")


def test_a_superseded_job_is_cancelled_and_may_be_wanted_again(repo):
    repo.use(script=SLOW)
    repo.declare()
    repo.run()
    repo.declare(hyperparameters=FASTER)
    repo.run()
    assert [job.state for job in repo.backend.jobs] == [JobState.CANCELLED, JobState.RUNNING]
    repo.declare()
    assert repo.settle().exit_code == ExitCode.DONE
    assert production(repo) == declared(repo)
    states = [(job.attempt, job.state) for job in repo.backend.jobs]
    assert states == [(1, "cancelled"), (1, "cancelled"), (2, "succeeded")]


def test_a_superseded_job_that_finished_first_is_not_paid_again(repo):
    """Between the look and the cancelling the job ends; it stays what it is."""

    class EndsWhenCancelled(type(repo.backend)):
        def cancel(self, job_id):
            self.set_script(job_id, JobState.SUCCEEDED)

    repo.backend = EndsWhenCancelled(repo.service, script=SLOW)
    repo.declare()
    repo.run()
    repo.declare(hyperparameters=FASTER)
    repo.run()
    assert [job.state for job in repo.backend.jobs] == [JobState.SUCCEEDED, JobState.RUNNING]
    repo.declare()
    repo.settle()
    assert production(repo) == declared(repo)
    assert repo.backend.submitted == 2


def test_another_clone_finds_the_same_job(repo, tmp_path: Path):
    repo.declare()
    repo.run()
    clone = type(repo)(root=tmp_path / "clone", service=repo.service)
    clone.declare()
    assert clone.actions() == ["Adopt faq"]
    clone.settle()
    assert production(clone) == declared(clone)
    assert clone.backend.submitted == 1


def test_a_corrupt_lockfile_stops_everything_and_stays(repo):
    repo.declare()
    repo.write("finetunes/ftctl.lock", b"{ broken")
    with pytest.raises(LockfileInvalid):
        repo.run()
    assert repo.lockfile_path.read_bytes() == b"{ broken"
    assert repo.backend.submitted == 0


def test_a_removed_spec_is_forgotten_and_comes_back_for_nothing(repo):
    repo.declare("a")
    repo.declare("keep", seed=1)
    repo.settle()
    repo.withdraw("a")
    repo.settle()
    assert repo.lockfile.finetunes.keys() == {"keep"}
    repo.declare("a")
    repo.settle()
    assert production(repo, "a") == declared(repo, "a")
    assert repo.backend.submitted == 2


def test_protection_is_recorded_with_the_promotion_and_kept(repo):
    repo.declare("a", lifecycle={"protect": True})
    repo.declare("keep", seed=1)
    repo.settle()
    repo.withdraw("a")
    converged = repo.settle()
    assert converged.exit_code == ExitCode.ERROR
    assert "a" in repo.lockfile.finetunes


def test_a_job_at_a_backend_that_is_not_installed_concerns_its_fine_tune_alone(repo):
    repo.declare("faq")
    repo.declare("other", seed=1)
    repo.run()
    text = repo.lockfile_path.read_text()
    first, rest = text.split('"backend": "scripted"', 1)
    repo.lockfile_path.write_text(f'{first}"backend": "elsewhere"{rest}')

    def opened(name: str):
        if name != "scripted":
            require_backend(name)
        return repo.backend

    planned = prepare_run(repo.project, lambda _settings: opened)
    result = repo.run(planned=planned, wait=True)
    assert "'elsewhere', which is not installed here" in result.outcomes[0].message
    assert production(repo, "other") == declared(repo, "other")


def test_ctrl_c_finishes_the_record_in_hand(repo):
    """The signal comes while the job is being submitted; the job is recorded all the same."""

    class Interrupting(type(repo.backend)):
        def submit(self, request):
            os.kill(os.getpid(), signal.SIGINT)
            return super().submit(request)

    assert threading.current_thread() is threading.main_thread()
    repo.backend = Interrupting(repo.service)
    repo.declare()
    with pytest.raises(KeyboardInterrupt):
        repo.run()
    assert repo.lockfile.finetunes["faq"].job.id == "job-1"


def test_two_walks_from_plans_of_different_times_pay_once(repo):
    repo.declare()
    early = repo.planned()
    late = repo.planned()

    for planned in (early, late, replace(early)):
        repo.run(planned=planned)
    assert repo.backend.submitted == 1
