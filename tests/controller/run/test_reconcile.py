"""The walk on real files: what is recorded, what is paid, what people are told."""

import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from backends.contract.completions import Completion
from backends.contract.errors import BackendError, SubmissionUnknown
from backends.contract.jobs import JobState
from backends.registry import require_backend
from backends.testing import FAILS, GONE_UNFINISHED, INTERRUPTED_ONCE, Crash
from controller.errors import ExitCode, LockfileInvalid
from controller.run import carry_out, reconcile
from controller.run.reconcile import prepare_run

FASTER = {"learning_rate": 2e-4}
SLOW = [*[JobState.RUNNING] * 12, JobState.SUCCEEDED]


def production(repo, name: str = "faq"):
    return repo.lockfile.finetunes[name].production


def declared(repo, name: str = "faq"):
    return repo.planned().resolved.desired[name].fingerprint


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_from_nothing_to_production(repo):
    repo.declare(gate=["held_out_loss < base.held_out_loss"])
    seen = []
    for _ in range(8):
        converged = repo.run()
        seen += [type(outcome.action).__name__ for outcome in converged.outcomes]
        if not converged.waiting:
            break
    assert seen == ["Train", "Record", "Evaluate", "Promote"]
    assert converged.exit_code == ExitCode.DONE
    assert production(repo) == declared(repo)
    assert repo.backend.submitted == 1


def test_waiting_goes_to_the_end_in_one_run(repo):
    repo.declare()
    assert repo.run(wait=True).exit_code == ExitCode.DONE
    assert production(repo) == declared(repo)


def test_a_pass_that_finds_nothing_to_do_writes_no_byte(repo):
    repo.declare()
    repo.settle()
    before = files(repo.root)
    before.pop(".ftctl/lock.json")
    stamp = repo.lockfile_path.stat().st_mtime_ns
    assert repo.actions() == []
    repo.run()
    after = files(repo.root)
    after.pop(".ftctl/lock.json")
    assert after == before
    assert repo.lockfile_path.stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    "words", [{"description": "카페"}, {"owner": "a"}, {"labels": {"a": "b"}}, {"seed": 42}]
)
def test_words_and_defaults_train_nothing(repo, words: dict):
    repo.declare()
    repo.settle()
    repo.declare(**words)
    assert repo.actions() == []


def test_moving_and_reformatting_data_trains_nothing(repo):
    repo.declare()
    repo.settle()
    text = (repo.root / "finetunes/data/faq.csv").read_text()
    repo.write("finetunes/data/moved.csv", "\ufeff" + text.replace("\n", "\r\n"))
    moved = {"path": "data/moved.csv", "columns": {"user": "question", "assistant": "answer"}}
    repo.declare(data={"train": [moved], "held_out": {"fraction": 0.25}})
    assert repo.actions() == []


def test_going_back_is_free_and_keeps_both_builds(repo):
    repo.declare()
    repo.settle()
    first = production(repo)
    repo.declare(hyperparameters=FASTER)
    repo.settle()
    assert production(repo) != first
    repo.declare()
    converged = repo.settle()
    assert [type(o.action).__name__ for o in converged.outcomes] == ["Reuse"]
    assert production(repo) == first
    assert len(repo.lockfile.finetunes["faq"].builds) == 2
    assert repo.backend.submitted == 2


def test_only_what_was_approved_is_submitted(repo):
    repo.declare("a")
    planned = repo.planned()
    repo.declare("b", seed=1)
    repo.reconcile()
    assert repo.backend.submitted == 0
    repo.run(planned=planned)
    assert [job.fingerprint for job in repo.backend.jobs] == [declared(repo, "a")]


def test_one_fine_tune_alone(repo):
    repo.declare("a")
    repo.declare("b", seed=1)
    repo.run(only=["a"])
    assert repo.lockfile.finetunes.keys() == {"a"}


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


# --- jobs and builds that several fine-tunes, clones or lives of a lockfile share --------------


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


# --- evaluation -------------------------------------------------------------------------------


def badly(model, prompt):
    del model, prompt
    return Completion(text="?", finish_reason="length", reference_loss=9.0, reference_tokens=1)


def test_a_gate_that_fails_keeps_production(repo):
    repo.declare(gate=["held_out_loss < 1"])
    repo.settle()
    first = production(repo)
    repo.use(answer=badly)
    repo.declare(gate=["held_out_loss < 1"], hyperparameters=FASTER)
    converged = repo.settle()
    assert converged.exit_code == ExitCode.GATE_FAILED
    assert "held_out_loss is 9" in converged.outcomes[-1].message
    assert production(repo) == first
    repo.declare(hyperparameters=FASTER)
    assert repo.settle().exit_code == ExitCode.DONE
    assert production(repo) != first
    assert repo.backend.submitted == 2


def test_changed_metrics_are_measured_without_training(repo):
    repo.declare()
    repo.settle()
    repo.declare(evaluation={"metrics": ["exact_match"]})
    repo.settle()
    scores = repo.lockfile.finetunes["faq"].builds[production(repo)].evaluation.scores
    assert scores["candidate"]["exact_match"] == 1.0
    assert scores["base"]["exact_match"] == 0.0
    assert repo.backend.submitted == 1


def test_production_is_measured_with_the_base_model_it_was_trained_from(repo):
    asked = []
    repo.declare(evaluation={"compare_to": ["base", "production"]})
    repo.settle()
    old = repo.lockfile.finetunes["faq"].builds[production(repo)].model_id

    class Watching(type(repo.backend)):
        def complete(self, base_model, models, prompts, sampling):
            asked.append((base_model.reference, list(models)))
            return super().complete(base_model, models, prompts, sampling)

    repo.backend = Watching(repo.service)
    settings = {"compare_to": ["base", "production"], "max_tokens": 7}
    repo.declare(base_model="acme/larger", evaluation=settings)
    repo.settle()
    new = repo.lockfile.finetunes["faq"].builds[production(repo)].model_id
    assert ("acme/larger", [new, None]) in asked
    assert ("acme/base", [old]) in asked


def test_production_is_not_asked_again_while_its_scores_stand(repo):
    settings = {"compare_to": ["production"]}
    repo.declare(evaluation=settings)
    repo.settle()
    old = production(repo)
    repo.declare(base_model="acme/larger", evaluation=settings)
    repo.backend.missing = frozenset({"acme/base"})
    assert repo.settle().exit_code == ExitCode.DONE
    builds = repo.lockfile.finetunes["faq"].builds
    evaluation = builds[production(repo)].evaluation
    assert evaluation.production_build == old
    assert evaluation.scores["production"] == builds[old].evaluation.scores["candidate"]


def test_a_base_model_that_is_gone_is_said(repo):
    repo.declare(evaluation={"compare_to": ["production"]})
    repo.settle()
    repo.declare(
        base_model="acme/larger", evaluation={"compare_to": ["production"], "max_tokens": 7}
    )
    repo.backend.missing = frozenset({"acme/base"})
    converged = repo.settle()
    assert converged.exit_code == ExitCode.ERROR
    assert "acme/base is not here" in converged.outcomes[-1].message


def test_a_pinned_build_is_measured_with_its_own_base_model(repo):
    repo.declare()
    repo.settle()
    old = production(repo)
    pin = {"pin": old.partition(":")[2][:12]}
    repo.declare(base_model="acme/larger", lifecycle=pin, evaluation={"metrics": ["exact_match"]})
    assert repo.settle().exit_code == ExitCode.DONE
    assert production(repo) == old
    assert repo.backend.submitted == 1


# --- files ------------------------------------------------------------------------------------


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


# --- servers that cannot be asked for the base model, and outages -------------------------------


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
    assert repo.reporter.notices == ["scripted: 503; asking again for 30 minutes"]


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
