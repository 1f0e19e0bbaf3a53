"""Each tracker by its own library, read back; skipped where the library is not installed."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import struct
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec

import pytest

from controller.track.record import RunRecord
from controller.track.send import write_runs
from controller.track.targets import Target
from tests.children import child

LIMIT_S = 90.0
RECORD = RunRecord(
    key="0123456789abcdef01234567",
    name="카페 0123456789ab",
    parameters={"finetune": "카페", "seed": 42, "hyperparameters.learning_rate": 1e-4},
    scores={
        "candidate/accuracy": 0.75,
        "candidate/accuracy.low95": 0.5,
        "candidate/accuracy/label/환불": 1.0,
        "base/accuracy": 0.25,
    },
    tags={"ftctl.verdict": "passed", "ftctl.build": "ft1:00"},
    curve=[
        (0, {"curve/held_out_loss": 2.5}),
        (10, {"curve/train_loss": 1.5}),
        (20, {"curve/train_loss": 1.25}),
    ],
    finished="2026-11-20T10:00:00Z",
    evaluated="2026-11-20T10:01:00Z",
)
AGAIN = replace(
    RECORD,
    scores={**RECORD.scores, "candidate/accuracy": 0.5},
    tags={**RECORD.tags, "ftctl.verdict": "failed"},
    evaluated="2026-11-21T10:01:00Z",
)
OTHER = replace(RECORD, key="f" * 24, name="other 0123456789ab")


def require(*packages: str) -> None:
    missing = [one for one in packages if find_spec(one) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed: this tracker is not tested here")


@pytest.fixture
def write(tmp_path):
    """Return a function that writes records to a tracker, and returns their links."""

    def run(tracker: str, *records: RunRecord, **settings):
        target = Target(tracker=tracker, settings=settings, is_server=False)
        state = tmp_path / ".ftctl"
        (written,) = write_runs([target], lambda _: records, tmp_path, state, LIMIT_S)
        assert written.problem is None, written.problem
        return written.links

    return run


# ---- TensorBoard


def events_of(folder):
    """Return the events of a folder, by TensorBoard's format of files."""
    event = import_module("tensorboardX.proto.event_pb2").Event
    (path,) = folder.glob("events.*")
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        one = event()
        one.ParseFromString(data[at + 12 : at + 12 + length])
        found.append(one)
        at += 12 + length + 4
    return found


def test_tensorboard(write, tmp_path):
    require("tensorboardX")
    write("tensorboard", RECORD, OTHER, folder="runs")
    links = write("tensorboard", AGAIN, OTHER, folder="runs")
    assert sorted(one.name for one in (tmp_path / "runs").iterdir()) == [
        "other-0123456789ab",
        "카페-0123456789ab",
    ]
    found = {}
    for event in events_of(tmp_path / links[RECORD.key]):
        for value in event.summary.value:
            found[value.tag, event.step] = value
    assert found["candidate/accuracy", 0].simple_value == 0.5
    assert found["candidate/accuracy/label/환불", 0].simple_value == 1.0
    assert found["curve/train_loss", 20].simple_value == 1.25
    verdict = next(value for (tag, _), value in found.items() if tag.startswith("ftctl.verdict"))
    assert b"failed" in verdict.tensor.string_val[0]
    assert any(tag.startswith("_hparams_") for tag, _ in found)


# ---- trackio


def test_trackio(write, tmp_path, monkeypatch):
    require("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    write("trackio", RECORD, OTHER, project="cafe")
    write("trackio", AGAIN, OTHER, project="cafe")
    with sqlite3.connect(tmp_path / "trackio" / "cafe.db") as database:
        rows = database.execute("select run_name, step, metrics from metrics").fetchall()
        configs = database.execute("select run_name, config from configs").fetchall()
    database.close()
    assert len({name for name, *_ in rows}) == len(configs) == 2
    mine = [(step, json.loads(text)) for name, step, text in rows if name.startswith("카페")]
    assert (0, AGAIN.scores) in mine
    assert (20, {"curve/train_loss": 1.25}) in mine
    assert len(mine) == 4
    config = next(json.loads(text) for name, text in configs if name.startswith("카페"))
    assert (config["seed"], config["ftctl.verdict"]) == (42, "failed")


@pytest.mark.parametrize("name", ["TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"])
def test_trackio_refuses_a_server(tmp_path, monkeypatch, name):
    require("trackio")
    monkeypatch.setenv(name, "acme/space")
    target = Target(tracker="trackio", settings={"project": "cafe"}, is_server=False)
    (written,) = write_runs([target], lambda _: [RECORD], tmp_path, tmp_path, LIMIT_S)
    assert f"{name} is set" in written.problem.message
    assert "trackio sync --project cafe" in written.problem.remedy


# ---- Weights & Biases


def wandb_records(folder):
    """Return the records of an offline run: W&B's messages in LevelDB's format of logs."""
    message = import_module("wandb.proto.wandb_internal_pb2").Record
    (path,) = folder.glob("*.wandb")
    data, found, parts, at = path.read_bytes(), [], b"", 7
    assert data.startswith(b":W&B")
    while at + 7 <= len(data):
        left = 32_768 - at % 32_768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in {1, 4}:  # A whole record, or the last part of one.
            one = message()
            one.ParseFromString(parts)
            found.append(one)
            parts = b""
    return found


def key_of(item) -> str:
    return item.key or "/".join(item.nested_key)


def test_wandb_offline(write, tmp_path, monkeypatch):
    require("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_DIR", raising=False)
    write("wandb", RECORD, project="cafe", entity="acme")
    time.sleep(1.1)  # The folder's name has whole seconds.
    links = write("wandb", AGAIN, project="cafe", entity="acme")
    (folder,) = (tmp_path / ".ftctl/wandb").glob("offline-run-*")
    assert links[RECORD.key] == str(folder)
    summary, config, history, run = {}, {}, [], None
    for record in wandb_records(folder):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            config |= {key_of(one): json.loads(one.value_json) for one in run.config.update}
        elif kind == "config":
            updates = record.config.update
            config |= {key_of(one): json.loads(one.value_json) for one in updates}
        elif kind == "summary":
            updates = record.summary.update
            summary |= {key_of(one): json.loads(one.value_json) for one in updates}
        elif kind == "history":
            items = record.history.item
            history.append({key_of(one): json.loads(one.value_json) for one in items})
    assert (run.run_id, run.display_name) == (RECORD.key, RECORD.name)
    assert (run.entity, run.project) == ("acme", "cafe")
    assert (config["seed"], config["ftctl.verdict"]) == (42, "failed")
    assert summary["candidate/accuracy"] == 0.5
    assert summary["candidate/accuracy/label/환불"] == 1.0
    losses = [(one["curve/step"], one.get("curve/train_loss")) for one in history]
    assert losses == [(0, None), (10, 1.5), (20, 1.25)]
    text = b"".join(path.read_bytes() for path in folder.rglob("*.wandb"))
    assert str(tmp_path).encode() not in text.replace(str(folder).encode(), b"")


def test_wandb_without_a_key_fails_with_a_line(tmp_path, monkeypatch):
    require("wandb")
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    target = Target(tracker="wandb", settings={"project": "c", "entity": None}, is_server=True)
    (written,) = write_runs([target], lambda _: [RECORD], tmp_path, tmp_path, LIMIT_S)
    assert written.problem is not None
    assert "\n" not in written.problem.message


# ---- MLflow


def check_mlflow(uri: str) -> None:
    """Check that the experiment has one run, with what the second call wrote."""
    client = import_module("mlflow.tracking").MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("cafe").experiment_id
    (run,) = client.search_runs([experiment])
    assert (run.info.run_name, run.info.status) == (RECORD.name, "FINISHED")
    assert run.data.params["seed"] == "42"
    assert run.data.tags["ftctl.verdict"] == "failed"
    assert run.data.metrics["candidate/accuracy"] == 0.5
    assert run.data.metrics["candidate/accuracy/label/환불"] == 1.0
    points = client.get_metric_history(run.info.run_id, "curve/train_loss")
    assert [(one.step, one.value) for one in points] == [(10, 1.5), (20, 1.25)]
    assert len(client.get_metric_history(run.info.run_id, "base/accuracy")) == 1


@pytest.mark.filterwarnings("ignore")
def test_mlflow_in_a_database(write, tmp_path):
    require("mlflow", "alembic", "sqlalchemy")
    uri = "sqlite:///mlflow.db"
    write("mlflow", RECORD, tracking_uri=uri, experiment="cafe")
    write("mlflow", AGAIN, tracking_uri=uri, experiment="cafe")
    check_mlflow(f"sqlite:///{tmp_path / 'mlflow.db'}")


@contextmanager
def ended_group(process):
    """Kill a process at the end, with all that it started."""
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_mlflow_at_a_server(write, tmp_path):
    require("mlflow")
    program = os.environ.get("MLFLOW") or shutil.which("mlflow")
    if program is None:
        pytest.skip("MLFLOW does not name the program `mlflow`, which has a server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}"]
    command += ["--artifacts-destination", str(tmp_path / "artifacts")]
    uri = f"http://127.0.0.1:{port}"
    log = (tmp_path / "log").open("wb")
    environment = {key: one for key, one in os.environ.items() if key != "PYTHONPATH"}
    options = {"cwd": tmp_path, "stdout": log, "stderr": log, "env": environment}
    with log, child(command, start_new_session=True, **options) as server, ended_group(server):
        until_s = time.monotonic() + 200
        while True:
            try:
                urllib.request.urlopen(f"{uri}/health", timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < until_s, (tmp_path / "log").read_text()
                time.sleep(0.5)
        links = write("mlflow", RECORD, tracking_uri=uri, experiment="cafe")
        write("mlflow", AGAIN, tracking_uri=uri, experiment="cafe")
        assert links[RECORD.key].startswith(f"{uri}/#/experiments/")
        check_mlflow(uri)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", None])
def test_mlflow_without_a_server(tmp_path, monkeypatch, uri):
    require("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings = {"tracking_uri": uri, "experiment": "cafe"}
    target = Target(tracker="mlflow", settings=settings, is_server=True)
    (written,) = write_runs([target], lambda _: [RECORD], tmp_path, tmp_path, LIMIT_S)
    expected = "no server is named" if uri is None else "127.0.0.1"
    assert expected in written.problem.message
