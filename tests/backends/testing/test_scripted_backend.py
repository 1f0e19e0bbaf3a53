"""The test double keeps the contract, and the contract's check finds what does not."""

from dataclasses import replace
from pathlib import Path

import pytest

from backends.contract.completions import Prompt, Sampling, in_order
from backends.contract.errors import (
    BackendError,
    BaseModelMissing,
    HyperparametersInvalid,
    ModelMissing,
)
from backends.contract.inspector import Piece
from backends.contract.jobs import BaseModel, JobState, TrainRequest
from backends.testing import (
    FAILS,
    GONE_UNFINISHED,
    INTERRUPTED_ONCE,
    VANISHED,
    ContractBroken,
    Crash,
    ScriptedBackend,
    WordInspector,
    check_backend,
)

BASE = BaseModel(reference="acme/base", revision="1", identity="scripted:acme/base@1")
KEY = "ft1:" + "ab" * 32


def request(**changes) -> TrainRequest:
    nothing = Path("/nonexistent")
    made = TrainRequest(
        name="faq",
        fingerprint=KEY,
        attempt=1,
        base_model=BASE,
        method="supervised",
        hyperparameters={"learning_rate": 1e-4, "num_train_epochs": 3},
        seed=42,
        train=nothing,
        held_out=nothing,
        train_origins=nothing,
    )
    return replace(made, **changes)


@pytest.mark.parametrize("settings", [{}, {"script": INTERRUPTED_ONCE}])
def test_the_double_keeps_the_contract(tmp_path: Path, settings: dict):
    check_backend(ScriptedBackend(tmp_path, **settings), request(), poll_s=0.0)


class SubmitsTwice(ScriptedBackend):
    def submit(self, request):
        return super().submit(replace(request, attempt=self.submitted + 1))


class FindsNothing(ScriptedBackend):
    def find_jobs(self, fingerprints):
        return super().find_jobs([]) if fingerprints else {}


class FindsNobody(ScriptedBackend):
    def find_jobs_by_name(self, names):
        return super().find_jobs_by_name([]) if names else {}


class FindsAnybody(ScriptedBackend):
    def find_jobs_by_name(self, names):
        return dict.fromkeys(names, self.jobs or ("somebody",))


class ForgetsOrigins(ScriptedBackend):
    def submit(self, request):
        return super().submit(replace(request, origin={}))


class SeesStrangers(ScriptedBackend):
    def observe(self, job_ids):
        seen = super().observe(job_ids)
        return {key: next(iter(self.jobs), None) for key in job_ids} | seen if self.jobs else seen


class OneProblemAtATime(ScriptedBackend):
    def parse_hyperparameters(self, method, raw):
        try:
            return super().parse_hyperparameters(method, raw)
        except HyperparametersInvalid as error:
            raise HyperparametersInvalid(error.problems[:1]) from None


class TakesAnything(ScriptedBackend):
    def parse_hyperparameters(self, method, raw):
        return super().parse_hyperparameters(method, {}) | dict(raw)


class LosesAnAnswer(ScriptedBackend):
    def complete(self, *asked):
        answers = super().complete(*asked)
        next(answers, None)
        return answers


class AsksWhatIsSkipped(ScriptedBackend):
    def complete(self, base_model, models, prompts, sampling, _skip=()):
        return super().complete(base_model, models, prompts, sampling)


class AnswersOn(ScriptedBackend):
    def complete(self, *asked):
        class Answers:
            def __init__(self, answers):
                self.answers = answers

            def __iter__(self):
                return self

            def __next__(self):
                return next(self.answers)

            def close(self):
                pass

        return Answers(super().complete(*asked))


class RefusesStrangers(ScriptedBackend):
    def cancel(self, job_id):
        if job_id not in {job.id for job in self.jobs}:
            raise BackendError("no such job")


class RepeatsSteps(ScriptedBackend):
    def curve(self, job_id):
        return iter([*super().curve(job_id)] * 2)


class CurvesForAnybody(ScriptedBackend):
    def curve(self, job_id):
        return iter(self.losses) if job_id else None


class CancelsWhatIsDone(ScriptedBackend):
    def cancel(self, job_id):
        if self.jobs:
            self.set_script(job_id, JobState.CANCELLED)


class SaysTheBaseAnswers(ScriptedBackend):
    def __init__(self, state):
        super().__init__(state)
        self.silent_bases = frozenset({"acme/base"})

    def answers(self, base_model):
        return not super().answers(base_model)


class SaysTheBaseIsSilent(ScriptedBackend):
    def answers(self, base_model):
        return not super().answers(base_model)


class HasNoNames(ScriptedBackend):
    find_jobs_by_name = None


class LosesCounts(WordInspector):
    def count(self, examples):
        return super().count(examples)[:1]


class ShowsNothingLearnt(WordInspector):
    def show(self, example):
        return [Piece(text=text, trained=False) for text in ("", *example)]


class CountsBadly(ScriptedBackend):
    def __init__(self, state):
        super().__init__(state)
        self.words = LosesCounts()


class ShowsBadly(ScriptedBackend):
    def __init__(self, state):
        super().__init__(state)
        self.words = ShowsNothingLearnt()


@pytest.mark.parametrize(
    ("kind", "finding"),
    [
        (SubmitsTwice, "submit: a second call made another job"),
        (FindsNothing, "find_jobs: has [], submitted was job-1"),
        (FindsNobody, "find_jobs_by_name: has [], submitted was job-1"),
        (FindsAnybody, "find_jobs_by_name: answers for a name nobody used"),
        (ForgetsOrigins, "find_jobs: the job has origin {}, its request {"),
        (ForgetsOrigins, "find_jobs_by_name: the job has origin {}, its request {"),
        (SeesStrangers, "observe: of one job, ['job-1', 'no-such-job'] are seen"),
        (OneProblemAtATime, "of two unknown keys only ['no_such_setting'] is reported"),
        (TakesAnything, "parse_hyperparameters: accepts keys that mean nothing"),
        (LosesAnAnswer, "complete: two models and two prompts gave answers at [(0, 1), (1, 0), (1"),
        (AsksWhatIsSkipped, "complete: without [(0, 0), (1, 1)] gave answers at [(0, 0), (0, 1)"),
        (AnswersOn, "complete: answers after its iterator was closed"),
        (SaysTheBaseAnswers, "answers: the base model is said to answer, but: acme/base itself"),
        (SaysTheBaseIsSilent, "answers: the base model is said not to answer, and does"),
        (HasNoNames, "find_jobs_by_name: the backend has no such method"),
        (RefusesStrangers, "cancel: a job that is gone already is refused: no such job"),
        (CountsBadly, "inspector: 2 examples were counted as ["),
        (ShowsBadly, "inspector: shows an empty piece"),
        (ShowsBadly, "inspector: shows an example from which nothing is learnt"),
        (RepeatsSteps, "curve: the steps are not each once, from 0 on, in order"),
        (CurvesForAnybody, "curve: a job that does not exist has losses"),
        (CancelsWhatIsDone, "cancel, submit: changed a job that had succeeded"),
    ],
)
def test_a_broken_promise_is_named(tmp_path: Path, kind: type, finding: str):
    with pytest.raises(ContractBroken) as caught:
        check_backend(kind(tmp_path), request(), poll_s=0.0)
    assert any(finding in one for one in caught.value.findings), caught.value.findings


@pytest.mark.parametrize(
    ("script", "finding"),
    [(FAILS, "the job has failed"), (GONE_UNFINISHED, "of one job, [] are seen")],
)
def test_a_job_that_does_not_succeed_is_a_finding(tmp_path: Path, script, finding: str):
    with pytest.raises(ContractBroken, match=finding.replace("[", r"\[").replace("]", r"\]")):
        check_backend(ScriptedBackend(tmp_path, script=script), request(), poll_s=0.0)


def test_a_job_that_never_ends_is_a_finding(tmp_path: Path):
    backend = ScriptedBackend(tmp_path, script=[JobState.RUNNING])
    with pytest.raises(ContractBroken, match="still running"):
        check_backend(backend, request(), timeout_s=0.0, poll_s=0.0)


def test_a_silent_base_model_keeps_the_contract(tmp_path: Path):
    backend = ScriptedBackend(tmp_path)
    backend.silent_bases = frozenset({"acme/base"})
    assert not backend.answers(BASE)
    assert backend.answers(replace(BASE, reference="acme/other"))
    check_backend(backend, request(), poll_s=0.0)


def test_jobs_are_seen_by_others_with_the_same_folder(tmp_path: Path):
    job = ScriptedBackend(tmp_path).submit(request())
    other = ScriptedBackend(tmp_path)
    assert other.find_jobs([KEY]) == {KEY: (job,)}
    assert other.submitted == 1


def test_jobs_are_found_by_name_with_what_they_came_from(tmp_path: Path):
    origin = {"inputs": {"seed": 42}}
    backend = ScriptedBackend(tmp_path)
    first = backend.submit(request(origin=origin))
    second = backend.submit(request(fingerprint="ft1:" + "cd" * 32))
    backend.submit(request(fingerprint="ft1:" + "ef" * 32, name="other"))
    assert first.origin == origin
    assert ScriptedBackend(tmp_path).find_jobs_by_name(["faq", "nobody"]) == {
        "faq": (first, second)
    }
    assert backend.calls == {"submit": 3}
    backend.set_script(first.id, VANISHED)
    assert backend.find_jobs_by_name(["faq"]) == {"faq": (second,)}


def test_a_job_goes_on_by_its_script(tmp_path: Path):
    backend = ScriptedBackend(tmp_path, clock=lambda: 5.0)
    job = backend.submit(request())
    states = [job.state, *(backend.observe([job.id])[job.id].state for _ in range(3))]
    assert states == ["queued", "running", "succeeded", "succeeded"]
    assert [event.message for event in backend.events(job.id)] == ["queued", "running", "succeeded"]
    assert backend.jobs[0].finished_s == 5.0


def test_a_job_has_losses_once_it_has_succeeded(tmp_path: Path):
    backend = ScriptedBackend(tmp_path)
    job = backend.submit(request())
    assert list(backend.curve(job.id)) == []
    backend.set_script(job.id, JobState.SUCCEEDED)
    assert list(backend.curve(job.id)) == list(backend.losses)
    assert list(backend.curve("job-9")) == []


def test_each_job_can_have_its_own_script(tmp_path: Path):
    backend = ScriptedBackend(
        tmp_path, script=lambda asked: FAILS if asked.attempt == 1 else [JobState.SUCCEEDED]
    )
    assert backend.submit(request()).state == "queued"
    assert backend.submit(request(attempt=2)).result is not None


def test_a_vanished_job_is_unknown_but_was_paid(tmp_path: Path):
    backend = ScriptedBackend(tmp_path, script=GONE_UNFINISHED)
    job = backend.submit(request())
    assert backend.observe([job.id]) == {}
    assert backend.find_jobs([KEY]) == {}
    assert backend.submitted == 1


@pytest.mark.parametrize(("moment", "submitted"), [("before", 0), ("after", 1)])
def test_a_call_breaks_off_before_or_after_its_effect(tmp_path: Path, moment, submitted: int):
    backend = ScriptedBackend(tmp_path, crash_at={"submit": moment})
    with pytest.raises(Crash):
        backend.submit(request())
    assert backend.submitted == submitted
    assert backend.calls["submit"] == 1


def test_a_call_can_raise(tmp_path: Path):
    backend = ScriptedBackend(tmp_path, raise_at={"observe": BackendError("no route")})
    with pytest.raises(BackendError, match="no route"):
        backend.observe(["job-1"])


def test_models_answer_until_they_are_deleted(tmp_path: Path):
    backend = ScriptedBackend(tmp_path, script=[JobState.SUCCEEDED])
    model = backend.submit(request()).result.model_id
    prompt = Prompt(
        messages=[{"role": "user", "content": "?"}],
        reference={"role": "assistant", "content": "네, 있습니다."},
    )
    answers = backend.complete(BASE, [model, None], [prompt], Sampling())
    tuned, base = in_order(answers, 2, 1)
    assert (tuned[0].text, base[0].text) == ("네, 있습니다.", "?")
    engine = backend.open_engine(BASE)
    chunks = list(engine.generate(model, prompt, Sampling()))
    assert "".join(chunk.text for chunk in chunks) == "네, 있습니다."
    assert chunks[-1].finish_reason == "stop"
    engine.close()
    backend.delete(model)
    with pytest.raises(ModelMissing):
        backend.complete(BASE, [model], [prompt], Sampling())
    assert backend.find_jobs([KEY]) == {}


def test_base_models_are_here_unless_they_are_missing(tmp_path: Path):
    backend = ScriptedBackend(tmp_path)
    backend.missing = frozenset({"acme/gone"})
    assert backend.resolve_base_model("acme/base", None, tmp_path).identity.startswith(
        "scripted:acme/base@"
    )
    with pytest.raises(BaseModelMissing):
        backend.resolve_base_model("acme/gone", None, tmp_path)
