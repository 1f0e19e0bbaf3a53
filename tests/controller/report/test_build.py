"""Verdict and reason in one line, in every state of a fine-tune."""

import pytest

from controller.lockfile.model import Verdict
from controller.report.build import ReportInputs, build_report, headline_of, page_name


def with_verdict(build, **verdict):
    value = {"passed": True, "gate": [], **verdict}
    return build.model_copy(update={"verdict": Verdict(**value)})


def shown(make, build):
    headline = headline_of(make.entry(build, candidate=build.fingerprint))
    return f"{headline.verdict} ({headline.tone}): {headline.why}"


def test_a_fine_tune_without_a_model(make):
    desired = make.desired()
    nothing = headline_of(make.entry())
    open_job = headline_of(make.entry(job=make.open_job(desired)))
    failed = headline_of(make.entry(failures={desired.fingerprint: make.failure()}))
    assert (nothing.verdict, nothing.why) == ("not trained", "`ftctl apply` trains it.")
    assert open_job.verdict == "in training"
    assert open_job.why == "Job job-1 was submitted at 2026-11-20T09:00:00Z."
    assert (failed.verdict, failed.tone) == ("not trained", "bad")
    assert failed.why == "Job job-1 failed: CUDA out of memory."


def test_a_model_without_an_evaluation_or_a_verdict(make):
    build = make.build(make.desired(), evaluated=False)
    unjudged = make.build(make.desired()).model_copy(update={"verdict": None})
    assert shown(make, build).startswith("not evaluated (neutral): The model is trained")
    assert shown(make, unjudged).startswith("not judged (neutral): The model is measured")


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (
            {"gate": ["stop_rate >= 1"]},
            "The condition of the gate holds: stop_rate is 1 (base model: 0.25).",
        ),
        (
            {"gate": ["held_out_loss < 2", "stop_rate >= 1"]},
            "Both conditions of the gate hold: held_out_loss is 1.25 (base model: 2.5).",
        ),
        ({}, "No gate is declared; the held-out loss is not worse than that of the base model."),
        ({"allowed_worse": True}, "The model is worse than its base, which `gate: []` allows."),
    ],
)
def test_a_pass_and_why(make, verdict, words):
    build = with_verdict(make.build(make.desired()), **verdict)
    assert shown(make, build) == f"passed (good): {words}"


def test_a_fail_and_why(make):
    failures = ["accuracy >= 0.9: accuracy is 0.5", "stop_rate >= 1: stop_rate is 0.5"]
    build = with_verdict(
        make.build(make.desired()), passed=False, gate=["accuracy >= 0.9"], failures=failures
    )
    assert shown(make, build) == (
        "failed (bad): accuracy >= 0.9: accuracy is 0.5, and 1 more condition failed."
    )


def test_a_verdict_that_the_examples_cannot_give(make):
    sentence = "accuracy > 0.85 @ 95%: cannot tell: accuracy is 0.9; about 400 examples would do"
    build = with_verdict(
        make.build(make.desired()),
        passed=False,
        gate=["accuracy > 0.85 @ 95%"],
        undecided=[sentence],
    )
    assert shown(make, build) == f"cannot tell (neutral): {sentence}."


def test_answers_that_are_elsewhere_are_said_to_be(make):
    build = make.build(make.desired())
    report = build_report(ReportInputs(name="faq", entry=make.entry(build, production=build)))
    assert report.answers is None
    assert "are not on this machine" in report.no_answers
    assert [block.name for block in report.scores] == ["held_out_loss", "stop_rate"]
    assert [split.examples for split in report.data.splits] == [90, 10]
    assert "The spec was removed" in report.notes[0]


def test_a_changed_gate_is_named(make):
    desired = make.desired(gate=["stop_rate >= 0.5"])
    build = make.build(desired)
    changed = make.spec(gate=["stop_rate >= 1"])
    inputs = ReportInputs(
        name="faq", entry=make.entry(build, production=build), spec=changed, file="f"
    )
    assert any("The gate of the spec has changed" in note for note in build_report(inputs).notes)


def test_a_candidate_beside_production_is_the_one_that_is_shown(make):
    old, new = make.build(make.desired(seed=1)), make.build(make.desired(seed=2))
    entry = make.entry(old, new, production=old, candidate=new.fingerprint)
    report = build_report(ReportInputs(name="faq", entry=entry, file="f"))
    roles = {one.role: one.is_shown for one in report.builds}
    assert roles == {"production": False, "candidate": True}
    assert any("is in production meanwhile" in note for note in report.notes)


def test_a_fine_tune_called_index_does_not_take_the_index():
    assert page_name("index") == "index_"
    assert page_name("faq") == "faq"
