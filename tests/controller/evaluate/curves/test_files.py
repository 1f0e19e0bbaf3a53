"""Curves kept in the state folder: of which build, of which attempt, and as damaged files."""

import math

import pytest

from backends.contract.jobs import CurvePoint
from backends.testing import ScriptedBackend
from controller.evaluate.curves.files import (
    curve_path,
    findings_of_any_job,
    findings_of_build,
    findings_of_job,
    keep_curve,
    read_curve,
)
from controller.evaluate.curves.points import MOST_POINTS, curve_lines, parse_curve
from controller.lockfile.model import Entry

LEARNS = [
    CurvePoint(step=0, held_out_loss=2.5, epoch=0.0),
    *(CurvePoint(step=n, train_loss=round(2.5 - n / 100, 4), epoch=n / 100) for n in range(1, 100)),
    CurvePoint(step=100, held_out_loss=1.5, train_loss=1.4, epoch=1.0),
]


class Remembers(ScriptedBackend):
    """A backend that knows the curve of one job."""

    def curve(self, job_id):
        return iter(self.losses if job_id == "job-1" else ())


@pytest.fixture
def backend(tmp_path):
    return Remembers(tmp_path / "backend", losses=LEARNS)


def test_a_kept_curve_needs_no_backend(tmp_path, make, backend):
    build, other = make.build(make.desired()), make.build(make.desired(seed=7))
    kept = keep_curve(backend, tmp_path, build)
    assert kept == LEARNS
    assert read_curve(tmp_path, build) == kept
    assert read_curve(tmp_path, other) == []
    assert curve_path(tmp_path, build) != curve_path(tmp_path, other)
    assert curve_path(tmp_path, build).read_bytes() == curve_lines(LEARNS)


def test_what_is_returned_is_what_is_kept(tmp_path, make, backend):
    """A first look at a build shows the same numbers as every later one."""
    backend.losses = [CurvePoint(step=n, train_loss=2 + n / 3) for n in range(5000)]
    build = make.build(make.desired())
    kept = keep_curve(backend, tmp_path, build)
    assert len(kept) == MOST_POINTS
    assert kept == read_curve(tmp_path, build)
    assert kept[1].train_loss != backend.losses[1].train_loss


@pytest.mark.parametrize("job", ["job-2", None])
def test_a_curve_that_is_not_known_replaces_that_of_an_earlier_attempt(
    tmp_path, make, backend, job
):
    build = make.build(make.desired())
    keep_curve(backend, tmp_path, build)
    again = build.model_copy(update={"job": job, "attempt": 2})
    assert keep_curve(backend, tmp_path, again) == []
    assert read_curve(tmp_path, again) == []
    assert not curve_path(tmp_path, build).exists()


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff",
        b"{}\n",
        b"[" * 100_000,
        b'{"step": 1e999}\n',
        b'{"step": 1, "train_loss": 1' + b"0" * 400 + b"}\n",
        b'{"step": 1, "train_loss": "much"}\n',
    ],
)
def test_a_damaged_file_is_a_curve_that_is_not_known(tmp_path, make, backend, damage):
    build = make.build(make.desired())
    keep_curve(backend, tmp_path, build)
    path = curve_path(tmp_path, build)
    path.write_bytes(path.read_bytes() + damage)
    with pytest.raises(ValueError, match="a line is not a point of a curve"):
        parse_curve(path.read_bytes())
    assert read_curve(tmp_path, build) == []
    assert keep_curve(backend, tmp_path, build) == LEARNS


HIGH = [
    CurvePoint(step=0, held_out_loss=4.0),
    *(CurvePoint(step=n, train_loss=4.0 - n / 10) for n in range(1, 20)),
]
"""Begins far above the base model's loss of 2.5 in the records."""
NAN = [CurvePoint(step=1, train_loss=math.nan)]


def names(findings) -> list[str]:
    return [one.name for one in findings]


def test_a_build_is_compared_with_its_own_base_loss(make):
    desired = make.desired()
    assert names(findings_of_build(make.build(desired), HIGH)) == ["wrong template"]
    assert names(findings_of_build(make.build(desired, evaluated=False), HIGH)) == []
    silent = make.evaluation(desired)
    silent = silent.model_copy(update={"scores": {"candidate": {"held_out_loss": 1.0}}})
    assert names(findings_of_build(make.build(desired, evaluation=silent), HIGH)) == []


@pytest.mark.parametrize(
    ("job", "expected"),
    [("job-open", ["wrong template"]), ("job-1", ["wrong template"]), ("job-gone", [])],
)
def test_a_job_is_found_among_the_open_and_the_recorded(make, job, expected):
    """Of a job without a record, nothing but its losses is known."""
    build = make.build(make.desired(seed=7))
    opened = make.open_job(make.desired(), id="job-open")
    entry = Entry(job=opened, builds={build.fingerprint: build})
    assert names(findings_of_any_job(entry, job, HIGH)) == expected
    assert names(findings_of_any_job(entry, job, NAN)) == ["divergence"]


def test_a_job_from_another_base_model_has_another_base_loss(make):
    build = make.build(make.desired(seed=7))
    entry = Entry(
        job=make.open_job(make.desired(base="scripted:acme/other@1")),
        builds={build.fingerprint: build},
    )
    assert findings_of_job(entry, HIGH) == ()


def test_the_first_build_that_was_measured_with_its_base_tells_the_base_loss(make):
    unmeasured = make.build(make.desired(seed=7), evaluated=False)
    measured = make.build(make.desired(seed=8))
    entry = Entry(
        job=make.open_job(make.desired()),
        builds={one.fingerprint: one for one in (unmeasured, measured)},
    )
    assert names(findings_of_job(entry, HIGH)) == ["wrong template"]
