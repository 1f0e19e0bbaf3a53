"""What is wrong with a job depends on its inputs."""

from dataclasses import replace

import pytest

from backends.contract.jobs import CurvePoint
from controller.evaluate.curves.files import findings_of_any_job, findings_of_job
from controller.lockfile.model import Entry

HIGH = [CurvePoint(step=n, train_loss=25.0 - 2 * n) for n in range(1, 12)]
RISES = [
    CurvePoint(step=0, held_out_loss=2.0),
    *(CurvePoint(step=n, train_loss=2.0 - n / 20) for n in range(1, 10)),
    CurvePoint(step=10, train_loss=1.4, held_out_loss=1.2),
    *(CurvePoint(step=n, train_loss=2.0 - n / 20) for n in range(11, 30)),
    CurvePoint(step=30, train_loss=0.4, held_out_loss=1.9),
]


def found(entry, points):
    assert findings_of_job(entry, points) == findings_of_any_job(entry, "job-1", points)
    return [finding.name for finding in findings_of_job(entry, points)]


@pytest.mark.parametrize(
    ("method", "expected"), [("supervised", ["wrong template"]), ("dpo", []), ("kto", [])]
)
def test_the_first_loss_of_preferences_says_nothing_about_the_template(make, method, expected):
    """With ipo and a small beta it is large."""
    assert found(Entry(job=make.open_job(make.desired(method=method))), HIGH) == expected


@pytest.mark.parametrize("method", ["supervised", "dpo", "kto"])
def test_a_rise_is_named_unless_the_lowest_loss_is_kept(make, method):
    desired = make.desired(method=method)
    assert found(Entry(job=make.open_job(desired)), RISES) == ["overfitting"]
    deciding = {**desired.inputs, "held_out": desired.data.held_out.digest}
    assert found(Entry(job=make.open_job(desired, inputs=deciding)), RISES) == []


def test_a_job_is_compared_with_the_base_loss_that_a_build_has_recorded(make):
    desired = make.desired()
    build = make.build(make.desired(seed=7))
    job = make.open_job(desired)
    points = [CurvePoint(step=0, held_out_loss=2.9), CurvePoint(step=1, train_loss=2.9)]
    assert build.evaluation.scores["base"]["held_out_loss"] == 2.5
    assert found(Entry(job=job), points) == []
    builds = {build.fingerprint: build}
    assert found(Entry(job=job, builds=builds), points) == ["wrong template"]
    other = make.open_job(replace(desired, data=make.data(held_out="sha256:" + "8" * 64)))
    assert found(Entry(job=other, builds=builds), points) == []


def test_a_job_without_a_record_is_judged_by_its_losses():
    failed = findings_of_any_job(Entry(), "job-9", [CurvePoint(step=1, train_loss=float("nan"))])
    assert [finding.name for finding in failed] == ["divergence"]
    assert findings_of_job(Entry(), RISES) == ()
