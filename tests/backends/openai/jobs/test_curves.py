"""Losses of jobs at a server: result files, events and checkpoints."""

import base64
import math

import pytest

from backends.contract.errors import BackendError
from backends.contract.jobs import CurvePoint
from backends.openai.jobs.curves import to_curve
from tests.backends.openai.servers.fault_server import Fault

PARTS = b"step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n"
PARTS += b"1,2.5,0.1,2.4,0.1\n2,1.5,0.3,,\n3,0.5,0.7,1.1,0.5\n"
WHOLE = b"step,train_loss,valid_loss,full_valid_loss\n1,2.5,2.4,\n2,1.5,,1.8\n4,0.5,,1.9\n"


def metrics(number, **data):
    return {
        "id": f"ftevent-{number}",
        "object": "fine_tuning.job.event",
        "created_at": number,
        "level": "info",
        "message": f"Step {data.get('step')}",
        "type": "metrics",
        "data": data,
    }


@pytest.fixture
def job(server, backend, make_request):
    made = backend.submit(make_request())
    server.jobs[made.id]["status"] = "running"
    return made


@pytest.fixture
def end(server, job):
    """Return a function that lets the job succeed with a result file."""

    def end(content=None):
        files = []
        if content is not None:
            files = [server.add_file("m.csv", len(content), "fine-tune-results", content)["id"]]
        server.finish(job.id, result_files=files)

    return end


def losses(points):
    return [(point.step, point.train_loss, point.held_out_loss) for point in points]


@pytest.mark.parametrize("encode", [bytes, base64.b64encode, lambda text: b"\xef\xbb\xbf" + text])
def test_a_result_file_is_a_curve(backend, job, end, encode):
    end(encode(PARTS))
    assert losses(backend.curve(job.id)) == [(1, 2.5, 2.4), (2, 1.5, None), (3, 0.5, 1.1)]


def test_losses_of_the_whole_set_are_not_mixed_with_losses_of_parts(server, backend, job, end):
    end(WHOLE)
    assert losses(backend.curve(job.id)) == [(1, 2.5, None), (2, 1.5, 1.8), (4, 0.5, 1.9)]
    assert ("GET", f"/fine_tuning/jobs/{job.id}/events") not in [r[:2] for r in server.requests]


def test_events_add_the_losses_of_the_whole_set(server, backend, job, end):
    server.events[job.id] = [
        metrics(1, step=1, train_loss=2.5, full_valid_loss=2.0),
        metrics(2, step=3, train_loss=0.5, full_valid_loss=1.0),
    ]
    end(PARTS)
    assert losses(backend.curve(job.id)) == [(1, 2.5, 2.0), (2, 1.5, None), (3, 0.5, 1.0)]


def test_a_running_job_has_the_losses_of_its_events(server, backend, job):
    server.events[job.id] = [
        metrics(number, step=number, train_loss=3 - number / 100) for number in range(1, 251)
    ]
    server.events[job.id].insert(0, {**metrics(0), "type": "message", "data": None})
    server.events[job.id].append(metrics(251, step=249, train_loss=9.0))
    points = list(backend.curve(job.id))
    assert [point.step for point in points] == list(range(1, 251))
    assert (points[-2].train_loss, points[-1].train_loss) == (9.0, 0.5)


def test_checkpoints_have_losses_too(server, backend, job, end):
    end(PARTS)
    whole = server.list_checkpoints

    def listed(query, body, job_id):
        status, page = whole(query, body, job_id)
        for one in page["data"]:
            one["metrics"] = {
                "step": one["step_number"],
                "full_valid_loss": one["step_number"] / 10,
            }
        return status, page

    server.route = lambda method, path, query, body: (
        listed(query, body, job.id)
        if path.endswith("/checkpoints")
        else type(server).route(server, method, path, query, body)
    )
    assert losses(backend.curve(job.id))[-2:] == [(10, None, 1.0), (20, None, 2.0)]


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe junk", b"step\n1\n", PARTS[:68]])
def test_a_server_that_reports_no_losses_has_no_curve(backend, job, end, content):
    end(content)
    assert list(backend.curve(job.id)) == []


def test_a_job_that_is_gone_has_no_curve(backend):
    assert list(backend.curve("ftjob-gone")) == []


def test_a_deleted_result_file_leaves_the_events(server, backend, job, end):
    server.events[job.id] = [metrics(1, step=1, train_loss=2.0)]
    end(PARTS)
    path = f"/files/{server.jobs[job.id]['result_files'][0]}/content"
    server.put_fault("GET", path, Fault("404", body={"error": {"message": "no such file"}}))
    assert losses(backend.curve(job.id)) == [(1, 2.0, None)]


def test_a_server_without_an_answer_is_an_error(server, backend, job):
    faults = [Fault("500", headers={"retry-after-ms": "1"})] * 9
    server.put_fault("GET", f"/fine_tuning/jobs/{job.id}/events", *faults)
    with pytest.raises(BackendError, match="HTTP 500"):
        list(backend.curve(job.id))


@pytest.mark.parametrize(
    ("measured", "points"),
    [
        ([{"step": "2", "train_loss": "nan"}], [(2, "nan", None)]),
        ([{"step": 2, "train_loss": math.inf}], [(2, "inf", None)]),
        ([{"step": 1, "train_loss": 2.0}, {"step": 1, "train_loss": 1.0}], [(1, 1.0, None)]),
        (
            [{"step": 2, "train_loss": 1}, {"step": 1, "valid_loss": 3}],
            [(1, None, 3.0), (2, 1.0, None)],
        ),
        (
            [{"step": 1, "full_valid_loss": 2}, {"step": 2, "valid_loss": 3}],
            [(1, None, 2.0), (2, None, 3.0)],
        ),
        ([{"step": 1}, {"train_loss": 1.0}, {"step": -1, "train_loss": 1.0}], []),
        ([{"step": 1, "train_loss": "", "valid_loss": None}, {"step": True}], []),
        ([{"step": "x", "train_loss": 1.0}, {"step": 1, "train_loss": [1]}], []),
    ],
)
def test_metrics_of_any_shape(measured, points):
    found = [
        tuple(str(v) if isinstance(v, float) and not math.isfinite(v) else v for v in row)
        for row in losses(to_curve(measured))
    ]
    assert found == points


def test_epochs_are_kept_where_a_server_names_them():
    measured = [{"step": 5, "train_loss": 1.0, "epoch": 0.5}]
    assert to_curve(measured) == [CurvePoint(step=5, train_loss=1.0, epoch=0.5)]
