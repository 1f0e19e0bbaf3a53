"""Jobs that fail or vanish, runs that die, and servers that give no answer."""

from dataclasses import replace

import pytest

from backends.contract.errors import BackendError, SubmissionUnknown
from backends.contract.jobs import JobState
from backends.testing import FAILS, GONE_UNFINISHED, INTERRUPTED_ONCE, Crash
from controller.errors import ExitCode
from controller.run import carry_out, reconcile
from tests.controller.run.runs import FASTER, SLOW, declared, production


def test_a_failed_job_blocks_until_something_changes(repo):
    repo.use(script=FAILS)
    repo.declare()
    converged = repo.settle()
    assert converged.exit_code == ExitCode.ERROR
    assert "job job-1 failed: the script says so" in converged.outcomes[-1].message
    repo.settle()
    assert repo.backend.submitted == 1
    repo.use()
    repo.declare(hyperparameters=FASTER)
    repo.settle()
    assert production(repo) == declared(repo)


def test_one_failure_does_not_stop_the_others(repo):
    repo.use(script=lambda request: FAILS if request.name == "a" else [JobState.SUCCEEDED])
    repo.declare("a")
    repo.declare("b", seed=1)
    converged = repo.settle()
    assert converged.exit_code == ExitCode.ERROR
    assert production(repo, "b") == declared(repo, "b")


def test_an_interrupted_job_goes_on_as_the_same_job(repo):
    repo.use(script=INTERRUPTED_ONCE)
    repo.declare()
    repo.settle()
    assert production(repo) == declared(repo)
    assert repo.backend.submitted == 1


def test_a_vanished_job_is_never_replaced_silently(repo):
    repo.use(script=GONE_UNFINISHED)
    repo.declare()
    converged = repo.settle()
    assert converged.exit_code == ExitCode.ERROR
    assert "the backend does not know it" in converged.outcomes[-1].message
    repo.settle()
    assert repo.backend.submitted == 1


def test_a_lost_answer_is_not_sent_again(repo):
    repo.declare()
    repo.use(raise_at={"submit": SubmissionUnknown("the answer was lost", "look at the backend")})
    converged = repo.run()
    assert converged.exit_code == ExitCode.SUBMISSION_UNKNOWN
    assert repo.backend.calls["submit"] == 1


def test_a_refused_job_is_told_with_its_remedy(repo):
    repo.declare()
    repo.use(raise_at={"submit": BackendError("no quota", "ask for more")})
    converged = repo.run()
    assert converged.exit_code == ExitCode.ERROR
    assert converged.outcomes[0].message == "no quota\n    ask for more"


@pytest.mark.parametrize("call", ["find_jobs", "observe"])
def test_nothing_is_done_where_a_backend_gives_no_answer(repo, call: str):
    repo.declare()
    repo.run()
    repo.declare(seed=1)
    repo.use(raise_at={call: BackendError("no route to host", "try later")})
    result = repo.run()
    assert "scripted gave no answer: no route to host" in result.outcomes[-1].message
    assert result.exit_code == ExitCode.ERROR
    assert repo.backend.submitted == 1


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("call", ["submit", "find_jobs", "observe", "complete", "cancel"])
def test_a_run_that_dies_at_any_call_is_continued(repo, call: str, moment: str):
    repo.use(script=SLOW)
    repo.declare()
    repo.run()
    repo.declare(hyperparameters=FASTER)  # so that the first job is cancelled
    repo.use(crash_at={call: moment})
    for _ in range(3):
        try:
            repo.run()
        except Crash:
            break
    repo.use()
    repo.settle()
    assert production(repo) == declared(repo)
    assert repo.backend.submitted == 2
    keys = [(job.fingerprint, job.attempt) for job in repo.backend.jobs]
    assert len(set(keys)) == 2


def test_a_server_without_the_base_model_strands_no_trained_build(repo):
    repo.declare(gate=["stop_rate >= 0.5"])
    repo.backend.silent_bases = frozenset({"acme/base"})
    [action] = repo.planned().plan.actions
    assert "`base` is left out of the comparison" in action.warnings[-1]
    assert repo.settle().exit_code == ExitCode.DONE
    build = repo.lockfile.finetunes["faq"].builds[production(repo)]
    assert build.evaluation.scores.keys() == {"candidate"}
    assert repo.actions() == []


def test_a_base_model_that_comes_back_is_not_measured_for_its_own_sake(repo):
    repo.declare()
    repo.backend.silent_bases = frozenset({"acme/base"})
    repo.settle()
    repo.backend.silent_bases = frozenset()
    assert repo.actions() == []


def test_a_run_that_waits_puts_up_with_an_outage_and_says_it_once(repo):
    """The backend is silent for a few looks; the job is followed to its end all the same."""

    class Flaky(type(repo.backend)):
        silent = 0

        def observe(self, job_ids):
            self.calls["looks"] += 1
            if self.submitted and 2 <= self.calls["looks"] <= 6:
                raise BackendError("503", "try later")
            return super().observe(job_ids)

        def capabilities(self):
            return replace(super().capabilities(), poll_s=0.01)

    repo.backend = Flaky(repo.service, script=SLOW)
    repo.declare()
    assert repo.run(wait=True).exit_code == ExitCode.DONE
    assert production(repo) == declared(repo)
    begins, ends = repo.reporter.notices
    assert begins == "scripted: 503; asking again for 30 minutes. try later"
    assert ends.startswith("an answer again after ")


def test_what_was_read_long_ago_is_read_again_before_the_next_action(repo, monkeypatch):
    """An evaluation may take an hour; what comes after it is planned anew."""
    monkeypatch.setattr(carry_out, "FRESH_S", -1.0)
    reads = []
    load = reconcile.load

    def counted(inputs):
        reads.append(1)
        return load(inputs)

    monkeypatch.setattr(reconcile, "load", counted)
    for number, name in enumerate("abc"):
        repo.declare(name, seed=number)
    repo.use(script=SLOW)
    repo.run()
    assert repo.backend.submitted == 3
    assert len(reads) == 5  # the first is of the plan that was approved
