"""A disk that is full, files that expire, and times of models."""

import errno
import itertools
import os

import pytest

from controller.cli import run
from controller.spec.settings import load_settings
from tests.controller.server.chat_helpers import record
from tests.controller.server.serve_helpers import BASE, Trainer, lines, serving, upload


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("disk")
    with serving(root, Trainer(root / "s", script=["queued"])) as served:
        yield served


def tree(server, folder):
    found = (server.state / "server" / folder).rglob("*")
    return {path.name for path in found if path.is_file()}


@pytest.mark.parametrize(
    ("method", "path", "given", "folder"),
    [
        (
            "POST",
            "/v1/files",
            {"files": {"file": ("a.jsonl", lines())}, "data": "purpose"},
            "files",
        ),
        ("POST", "/v1/fine_tuning/jobs", {"json": "job"}, "jobs"),
        (
            "POST",
            "/v1/uploads",
            {"json": {"filename": "a", "purpose": "batch", "bytes": 1, "mime_type": "x"}},
            "uploads",
        ),
    ],
)
def test_a_full_disk_is_said_and_leaves_nothing_half_written(
    server, monkeypatch, method, path, given, folder
):
    file = upload(server.client)
    given = dict(given)
    if given.get("json") == "job":
        given["json"] = {"model": BASE, "training_file": file.id}
    if "data" in given:
        given["data"] = {"purpose": "fine-tune"}
    before = tree(server, folder)
    fsync = os.fsync
    for allowed in itertools.count():
        calls = itertools.count()

        def full(handle, calls=calls, allowed=allowed):
            if next(calls) >= allowed:
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(handle)

        monkeypatch.setattr(os, "fsync", full)
        answer = server.send(method, path, **given)
        monkeypatch.setattr(os, "fsync", fsync)
        if answer.status_code == 200:
            break
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (507, "insufficient_storage")
        assert "disk is full" in error["message"]
        assert tree(server, folder) == before
    assert allowed >= 2
    assert tree(server, folder) > before


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_after": '{"anchor": "created_at", "seconds": 3600}'},
        {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"},
    ],
)
def test_a_file_expires_however_the_form_says_so(server, fields):
    answer = server.send(
        "POST",
        "/v1/files",
        files={"file": ("a.jsonl", lines())},
        data={"purpose": "fine-tune", **fields},
    )
    found = answer.json()
    assert found["expires_at"] - found["created_at"] == 3600


@pytest.mark.parametrize(
    "given",
    [
        "",
        "3600",
        "{",
        "[]",
        '{"anchor": "created_at"}',
        '{"anchor": "last_used", "seconds": 3600}',
        '{"anchor": "created_at", "seconds": "3600"}',
        '{"anchor": "created_at", "seconds": true}',
        '{"anchor": "created_at", "seconds": 3599}',
        '{"anchor": "created_at", "seconds": 3600, "x": 1}',
    ],
)
@pytest.mark.parametrize("twice", [False, True])
def test_an_impossible_expiry_is_refused(server, given, twice):
    fields = {"purpose": "fine-tune", "expires_after": given}
    if twice:
        fields["expires_after[seconds]"] = "3600"
    answer = server.send("POST", "/v1/files", files={"file": ("a", b"x")}, data=fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "expires_after"


def test_fine_tunes_were_made_when_they_were(server):
    record(server.root, cafe=("local-gpu", "ft:other:cafe:1"))
    made = [server.client.models.retrieve(name).created for name in ("cafe", "ft:other:cafe:1")]
    # 2026-11-21T00:00:00Z, as the lockfile has it.
    assert made == [1795219200] * 2
    assert server.client.models.retrieve(BASE).created != 1795219200


def test_the_demo_is_served(tmp_path, capsys):
    base = tmp_path / "models" / BASE
    base.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (base / name).write_text("{}")
    assert run(["init", "--demo", str(tmp_path)]) == 0
    assert "wrote ftctl.yaml\n" in capsys.readouterr().out
    offered = load_settings(tmp_path).serve.base_models
    with serving(tmp_path, Trainer(tmp_path / "s", script=["queued"]), None, offered) as server:
        assert [model.id for model in server.client.models.list()] == [BASE]
        file = upload(server.client)
        job = server.client.fine_tuning.jobs.create(model=BASE, training_file=file.id)
        assert job.status in {"validating_files", "queued"}


def test_settings_that_are_there_are_kept_and_named(tmp_path, capsys):
    (tmp_path / "models" / BASE).mkdir(parents=True)
    (tmp_path / "ftctl.yaml").write_text("serve: {base_models: [org/name]}\n")
    assert run(["init", "--demo", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert f"kept ftctl.yaml; to serve the demo, name ../models/{BASE} under" in out
    assert load_settings(tmp_path).serve.base_models == ["org/name"]
