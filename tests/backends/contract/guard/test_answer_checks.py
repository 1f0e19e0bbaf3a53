"""Wrong answers of a backend are named, with the method that gave them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from backends.contract.capabilities import Capabilities
from backends.contract.completions import Completed, Completion, Sampling
from backends.contract.errors import (
    BackendError,
)
from backends.contract.guard.value_types import misfit
from backends.contract.inspector import Json
from backends.contract.jobs import (
    CurvePoint,
    Estimate,
    Event,
    Job,
    JobResult,
    JobState,
    Progress,
)
from backends.contract.recording import AnswerPrice, AnswersEstimate
from tests.backends.contract.guard.acme import BASE, CALLS, KEY, NOWHERE, PROMPT, REMEDY, acme

JOB = Job(id="job-1", fingerprint=KEY, attempt=1, state=JobState.RUNNING, created_s=1.0)
TOKENS = AnswersEstimate(prompt_tokens=9, completion_tokens=(3, 9))
SAID = Completion(text="yes", finish_reason="stop")
FIRST, SECOND = (Completed(model=0, prompt=place, completion=SAID) for place in range(2))
BAD = {"learning_rate": float("nan")}
GOOD = JobResult(model_id="m")
WRONG = [
    ("capabilities", None, "None, the contract asks for Capabilities"),
    ("capabilities", Capabilities(methods="supervised", remote=False, paid=False), "with methods"),
    ("capabilities", Capabilities(methods={1}, remote=False, paid=False), "with methods 1"),
    ("capabilities", Capabilities(methods=set(), remote=1, paid=False), "remote 1, the contract"),
    (
        "capabilities",
        Capabilities(methods=set(), remote=False, paid=False, poll_s=float("inf")),
        "poll_s inf",
    ),
    ("parse_hyperparameters", [], "[], the contract asks for dict[str, Json]"),
    ("parse_hyperparameters", BAD, "what JSON can hold"),
    ("parse_hyperparameters", {"layers": {1, 2}}, "a value that JSON can hold"),
    ("parse_hyperparameters", {1: "one"}, "1, the contract asks for str"),
    ("resolve_base_model", "acme/base", "'acme/base', the contract asks for BaseModel"),
    ("resolve_base_model", replace(BASE, identity=""), "a reference and an identity"),
    (
        "resolve_base_model",
        replace(BASE, revision=7),
        "revision 7, the contract asks for str | None",
    ),
    (
        "inspector",
        None,
        "None without count, check, show, warnings, the contract asks for an ExampleInspector",
    ),
    ("estimate", 3.0, "3.0, the contract asks for Estimate"),
    ("estimate", Estimate(usd=3.0), "usd 3.0, the contract asks for tuple[float, float] | None"),
    ("estimate", Estimate(usd=(2.0, 1.0)), "(2.0, 1.0), the contract asks for a range"),
    ("estimate", Estimate(gpu_hours=(0.0, float("nan"))), "a range"),
    ("estimate", Estimate(steps=-1), "-1 steps"),
    ("find_jobs", [JOB], "the contract asks for dict[str, tuple[Job, ...]]"),
    ("find_jobs", {KEY: [JOB]}, "the contract asks for tuple[Job, ...]"),
    ("find_jobs", {KEY: (replace(JOB, fingerprint="ft1:00"),)}, "of fingerprint 'ft1:00'"),
    ("find_jobs", {"ft1:00": ()}, "an answer for 'ft1:00'"),
    ("find_jobs_by_name", (JOB,), "the contract asks for dict[str, tuple[Job, ...]]"),
    ("find_jobs_by_name", {"other": (JOB,)}, "an answer for 'other'"),
    ("find_jobs_by_name", {"faq": (replace(JOB, origin=None),)}, "Job with origin None"),
    ("find_jobs_by_name", {"faq": (replace(JOB, result=GOOD),)}, "exactly when"),
    ("submit", None, "None, the contract asks for Job"),
    ("submit", replace(JOB, attempt=2), "attempt 2, the contract asks for"),
    ("submit", replace(JOB, id=""), "without ID"),
    ("submit", replace(JOB, state="running"), "Job with state 'running', the contract asks for"),
    ("submit", replace(JOB, created_s="now"), "created_s 'now', the contract asks for float"),
    ("submit", replace(JOB, created_s=-1.0), "created_s -1.0, the contract asks for seconds"),
    (
        "submit",
        replace(JOB, created_s=float("nan")),
        "created_s nan, the contract asks for seconds",
    ),
    ("observe", {"job-1": replace(JOB, finished_s=1.8e12)}, "finished_s 1800000000000.0, the"),
    ("observe", {"job-1": replace(JOB, finished_s=float("inf"))}, "finished_s inf, the contract"),
    ("find_jobs", {KEY: (replace(JOB, finished_s=-0.5),)}, "finished_s -0.5, the contract asks"),
    ("submit", replace(JOB, attempt=True), "attempt True, the contract asks for int"),
    ("submit", replace(JOB, progress=Progress(step="1", total_steps=2)), "step '1'"),
    ("submit", replace(JOB, result=GOOD), "exactly when the state is 'succeeded'"),
    ("submit", replace(JOB, state=JobState.SUCCEEDED), "exactly when the state is 'succeeded'"),
    (
        "submit",
        replace(JOB, state=JobState.SUCCEEDED, result=JobResult(model_id="")),
        "a model ID",
    ),
    (
        "submit",
        replace(JOB, state=JobState.SUCCEEDED, result=replace(GOOD, facts={"at": NOWHERE})),
        "Job with result JobResult with facts",
    ),
    ("observe", None, "None, the contract asks for dict[str, Job]"),
    ("observe", {"job-1": replace(JOB, id="job-2")}, "job 'job-2', the contract asks for job"),
    ("observe", {"job-2": JOB}, "an answer for 'job-2'"),
    ("events", ["a line"], "'a line', the contract asks for Event"),
    ("events", [Event(time_s=1.0, message=None)], "message None, the contract asks for str"),
    ("events", None, "failed: TypeError"),
    ("common_names", {"epochs": "passes"}, "['passes'], the contract asks for names of"),
    ("common_names", None, "None, the contract asks for Mapping[str, str]"),
    ("curve", [1.5], "1.5, the contract asks for CurvePoint"),
    ("curve", [CurvePoint(step=1.5)], "step 1.5, the contract asks for int"),
    ("curve", None, "failed: TypeError"),
    ("complete", [[SAID, SAID]], "the contract asks for an iterator that yields a Completed"),
    ("complete", [FIRST, SECOND], "the contract asks for an iterator"),
    ("complete", None, "None, the contract asks for an iterator"),
    ("complete", iter(["yes"]), "'yes', the contract asks for Completed"),
    ("complete", iter([SAID]), "the contract asks for Completed"),
    (
        "complete",
        iter([]),
        "0 answers, none of model 0 to prompt 0, the contract asks for an answer",
    ),
    ("complete", iter([SECOND]), "1 answers, none of model 0 to prompt 0"),
    ("complete", iter([FIRST, FIRST]), "an answer of model 0 to prompt 0 twice"),
    (
        "complete",
        iter([replace(FIRST, model=1)]),
        "of model 1 to prompt 0, the contract asks for pl",
    ),
    ("complete", iter([replace(FIRST, prompt=-1)]), "of model 0 to prompt -1, the contract asks"),
    (
        "complete",
        iter([replace(FIRST, completion=replace(SAID, latency_s="1"))]),
        "Completed with completion Completion with latency_s '1'",
    ),
    ("export_model", ["done"], "'done', the contract asks for ExportStep"),
    ("export_model", None, "failed: TypeError"),
    ("weights_folder", "models", "'models', the contract asks for"),
    ("answers", None, "None, the contract asks for bool"),
    ("answers", 1, "1, the contract asks for bool"),
    ("estimate_answers", 1.5, "1.5, the contract asks for AnswersEstimate"),
    ("estimate_answers", replace(TOKENS, completion_tokens=(9, 3)), "the least, then the most"),
    ("estimate_answers", replace(TOKENS, prompt_tokens=-1), "the least, then the most"),
    (
        "estimate_answers",
        replace(TOKENS, price=AnswerPrice(input=-1.0, output=1.0)),
        "the contract asks for a price",
    ),
    ("stored_completions", ["one"], "'one', the contract asks for StoredCompletion"),
    ("stored_completions", None, "failed: TypeError"),
    ("stored_messages", ["hello"], "the contract asks for tuple"),
    ("open_engine", None, "None without generate, close, the contract asks for an Engine"),
]


@pytest.mark.parametrize(("method", "answer", "said"), WRONG)
def test_a_wrong_answer_is_named(tmp_path: Path, method: str, answer, said: str):
    with pytest.raises(BackendError) as caught:
        CALLS[method](acme(tmp_path, **{method: lambda *_: answer}))
    assert caught.value.message.startswith(f"backend acme: {method} ")
    assert said in caught.value.message
    assert caught.value.remedy == REMEDY


def test_what_is_skipped_may_be_missing_and_must_not_be_answered(tmp_path: Path):
    def ask(answers, skip):
        backend = acme(tmp_path, complete=lambda *_: iter(answers))
        return list(backend.complete(BASE, [None], [PROMPT, PROMPT], Sampling(), skip=skip))

    assert ask([SECOND], {(0, 0)}) == [SECOND]
    assert ask([], {(0, 0), (0, 1)}) == []
    with pytest.raises(BackendError, match="prompt 0, the contract asks for no answers that are"):
        ask([FIRST, SECOND], {(0, 0)})


def test_answers_before_a_fault_are_had_and_closing_ends_the_work(tmp_path: Path):
    ended = []

    def answers(*_):
        try:
            yield FIRST
            raise ValueError("no table")
        finally:
            ended.append(True)

    backend = acme(tmp_path, complete=answers)
    asked = backend.complete(BASE, [None], [PROMPT, PROMPT], Sampling())
    assert next(asked) == FIRST
    with pytest.raises(BackendError, match="complete failed: ValueError: no table"):
        next(asked)
    asked = backend.complete(BASE, [None], [PROMPT, PROMPT], Sampling())
    next(asked)
    assert ended == [True]
    asked.close()
    assert ended == [True, True]


@pytest.mark.parametrize(
    ("value", "wanted", "found"),
    [
        (1, float, None),
        (True, float, ("True", "float")),
        (None, int | None, None),
        ("x" * 1000, int, (repr("x" * 12 + "..." + "x" * 13), "int")),
        ({"a": [1, {"b": None}]}, dict[str, Json], None),
        (((1, 2.0)), tuple[float, float], None),
        ((), Sequence[Mapping[str, Json]], None),
        ([{"a": 1}], Sequence[Mapping[str, Json]], None),
        ([1], Sequence[Mapping[str, Json]], ("1", "Mapping[str, Json]")),
        ((1, 2, 3), tuple[float, float], ("(1, 2, 3)", "tuple[float, float]")),
    ],
)
def test_values_are_compared_with_types(value, wanted, found):
    assert misfit(value, wanted) == found
