"""What trackers get of a build: names and numbers, no text of an example."""

import json
import math
import re
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract.jobs import CurvePoint
from controller.lockfile.model import RecordedSample, Verdict
from controller.track.record import Origin, run_record, tracker_name

POINTS = (
    CurvePoint(step=0, held_out_loss=2.5),
    CurvePoint(step=10, train_loss=1.5, epoch=0.5, learning_rate=1e-4),
    CurvePoint(step=20, train_loss=math.nan),
    CurvePoint(step=30, train_loss=math.inf, epoch=1.0),
)
SECRET = "저희 병원 환자 김철수"


def build_of(make, **changes):
    desired = make.desired(
        "cafe",
        evaluation={
            "metrics": [{"accuracy": {"labels": [SECRET, "환불"]}}, "exact_match"],
            "compare_to": ["base", {"name": "luna", "model": "m", "prompt": SECRET}],
        },
        data={
            "train": [{"path": "a.csv", "where": [f"name == '{SECRET}'"]}],
            "held_out": {"fraction": 0.25},
            "system": SECRET,
        },
    )
    build = make.build(desired, facts={"trained_tokens": 1234, "seconds": 61.5, "digest": "x"})
    slice_name = f"accuracy[label={SECRET}]"
    evaluation = build.evaluation.model_copy(
        update={
            "scores": {
                "candidate": {"accuracy": 0.75, slice_name: 0.5, "accuracy[lang=ko]": 1.0},
                "base": {"accuracy": 0.5, "chrf": 0.25},
            },
            "samples": {"candidate": {"accuracy": RecordedSample(n=4, right=3)}},
            "differences": {"base": {"accuracy": RecordedSample(n=4, pairs=(2, 1, 0, 1))}},
        }
    )
    verdict = Verdict(
        passed=False, gate=[f"{slice_name} >= 0.9"], failures=[f"{slice_name} >= 0.9: is 0.5"]
    )
    build = build.model_copy(update={"evaluation": evaluation, "verdict": verdict, **changes})
    return build, evaluation


def record_of(make, *, reduced=False, origin=None, **changes):
    build, evaluation = build_of(make, **changes)
    origin = origin or Origin(name="cafe", curve=POINTS, commit_url="https://h/o/r/commit/0123")
    return run_record(build, evaluation, origin, reduced=reduced)


def test_a_record_as_a_golden_file(make, golden):
    record = record_of(make)
    golden("track/record.json", json.dumps(asdict(record), ensure_ascii=False, indent=1))


def test_private_data_sends_numbers_and_parameters_only(make):
    text = json.dumps(asdict(record_of(make, reduced=True)), ensure_ascii=False)
    assert SECRET not in text
    assert "[" not in "".join(record_of(make, reduced=True).scores)
    assert '"candidate/accuracy": 0.75' in text
    assert "ftctl.reasons" not in text


def test_prompts_labels_and_conditions_never_go_as_parameters(make):
    record = record_of(make)
    assert SECRET not in json.dumps(dict(record.parameters), ensure_ascii=False)
    assert {"seed", "method", "hyperparameters.learning_rate", "commit"} <= set(record.parameters)


@pytest.mark.parametrize(
    ("hyperparameters", "expected"),
    [
        ({"lr": 1e-4, "packed": True}, {"lr": 1e-4, "packed": True}),
        ({"scheduler": "cosine"}, {"scheduler": "cosine"}),
        ({"target_modules": ["q_proj", "v_proj"]}, {"target_modules": "q_proj,v_proj"}),
        ({"lora": {"rank": 8, "alpha": None}}, {"lora.rank": 8}),
        ({"grader": {"type": "score", "prompt": SECRET}}, {"grader.type": "score"}),
        ({"grader": {"inputs": [{"content": SECRET}], "labels": [SECRET]}}, {}),
    ],
)
def test_hyperparameters_are_numbers_and_words(make, hyperparameters, expected):
    inputs = {"hyperparameters": hyperparameters}
    parameters = record_of(make, inputs=inputs).parameters
    found = {key: one for key, one in parameters.items() if key.startswith("hyper")}
    assert found == {f"hyperparameters.{key}": value for key, value in expected.items()}


def test_the_key_is_that_of_the_build(make):
    keys = {
        record_of(make).key,
        record_of(make, attempt=2).key,
        record_of(make, fingerprint="ft1:" + "9" * 64).key,
        record_of(make, origin=Origin(name="other")).key,
    }
    assert len(keys) == 4
    assert record_of(make, model_id="else", verdict=None).key == record_of(make).key


def test_numbers_that_are_not_finite_are_left_out_of_curves(make):
    assert [step for step, _ in record_of(make).curve] == [0, 10, 30]
    assert record_of(make).curve[-1][1] == {"curve/epoch": 1.0}


@pytest.mark.parametrize(
    ("verdict", "word"),
    [
        (None, "none"),
        (Verdict(passed=True, gate=[]), "passed"),
        (Verdict(passed=False, gate=["a > 1"], failures=["a > 1: no"]), "failed"),
        (Verdict(passed=False, gate=["a > 1"], undecided=["a > 1: maybe"]), "cannot tell"),
    ],
)
def test_the_word_of_a_verdict(make, verdict, word):
    assert record_of(make, verdict=verdict).tags["ftctl.verdict"] == word


@pytest.mark.parametrize(
    ("score", "name"),
    [
        ("accuracy", "candidate/accuracy"),
        ("retain.json", "candidate/retain.json"),
        ("accuracy[lang=ko]", "candidate/accuracy/lang/ko"),
        ("accuracy[label=환불]", "candidate/accuracy/label/환불"),
    ],
)
def test_names_of_scores(score, name):
    assert tracker_name("candidate", score) == name


NAMES = st.text(max_size=300) | st.from_regex(r"[a-z]+\[[a-z]+=.{1,20}\]", fullmatch=True)


@given(NAMES, NAMES)
def test_every_name_is_one_that_trackers_take_and_names_stay_apart(one, other):
    assert re.fullmatch(r"candidate/[\w./-]*", tracker_name("candidate", one))
    assert len(tracker_name("candidate", one)) <= 250
    slashes = "/" in one + other
    if one != other and not slashes:
        assert tracker_name("candidate", one) != tracker_name("candidate", other)
