"""The command as a process: its greeting, its end by each signal, memory, a real training."""

import contextlib
import re
import resource
import signal
import socket
import time
from pathlib import Path

import pytest

from controller.cli.serve import command
from controller.errors import FtctlError, InvalidInput, LockHeld
from tests.controller.server.serve_helpers import BASE, lines, process, refused, until, upload
from tests.tiny_base import make_base


@pytest.fixture
def root(tmp_path):
    """A repository with a base model that can be named but not trained."""
    base = tmp_path / "models" / BASE
    base.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (base / name).write_text("{}")
    return repository(tmp_path)


def repository(root):
    (root / "finetunes").mkdir()
    (root / "ftctl.yaml").write_text(f"serve: {{base_models: [../models/{BASE}]}}\n")
    return root


def run(root, *arguments):
    command.main([*arguments], obj={"folder": root, "json": False}, standalone_mode=False)


def test_the_greeting_says_where_and_keeps_the_token_to_itself(root):
    with process(root) as (_, greeting, client):
        assert re.fullmatch(
            f"Serving {root} at http://127.0.0.1:[0-9]+/v1\n"
            f"Base models: ../models/{BASE}\n"
            "Token: the value of FTCTL_SERVE_TOKEN.\n"
            "Ctrl-C ends the server. Jobs continue, and the next server follows them.\n",
            greeting,
        )
        assert [model.id for model in client.models.list()] == [BASE]


def test_the_greeting_lists_aliases_and_those_that_are_taken(root):
    for name, aliases in {"cafe": "[old-cafe, shared]", "tea": f"[shared, {BASE}]"}.items():
        (root / "finetunes" / f"{name}.yaml").write_text(
            "backend: local-gpu\nbase_model: ../models/other\n"
            "data: {train: [{path: rows.csv}], held_out: {fraction: 0.1}}\n"
            f"aliases: {aliases}\n"
        )
    with process(root) as (child, greeting, _):
        assert [line for line in greeting.splitlines() if line.startswith("Alias")] == [
            "Alias: old-cafe -> cafe"
        ]
        child.terminate()
        _, errors = child.communicate(timeout=20)
    assert "Warning: the alias shared is also an alias of" in errors
    assert f"Warning: the alias {BASE} is a base model of `serve.base_models`" in errors


def test_without_a_token_one_is_made_and_printed_once(root):
    with process(root, token="") as (child, greeting, client):
        token = client.api_key
        assert len(token) > 30
        assert greeting.count(token) == 1
        assert client.models.list().data
        child.terminate()
        assert token not in "".join(child.communicate(timeout=20))
    kept = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    assert token.encode() not in kept


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_well_when_told_to(root, number):
    with process(root) as (child, _, client):
        client.models.list()
        child.send_signal(number)
        _, errors = child.communicate(timeout=20)
        assert child.returncode == (0 if number == signal.SIGTERM else 1)
        assert errors.replace("Aborted!", "").strip() == ""


def test_with_few_files_it_answers_beside_half_requests(root):
    few = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    with process(root, files=200) as (child, greeting, client), contextlib.ExitStack() as stack:
        address = ("127.0.0.1", int(re.search(r":(\d+)/v1", greeting)[1]))
        for _ in range(min(260, few // 2)):
            half = stack.enter_context(socket.create_connection(address, timeout=10))
            half.sendall(b"POST /v1/files HTTP/1.1\r\n")
        assert [model.id for model in client.models.list()] == [BASE]
        child.terminate()
        _, errors = child.communicate(timeout=30)
        assert (child.returncode, errors) == (0, "")


def test_killed_and_started_again_it_has_everything(root):
    with process(root) as (child, _, client):
        file = upload(client, lines(3))
        job = client.fine_tuning.jobs.create(model=BASE, training_file=file.id)
        child.kill()
        child.wait(20)
    with process(root) as (_, _, client):
        assert client.files.content(file.id).read() == lines(3)
        failed = until(client, job.id, "failed")
        assert "Line 3: the base model in" in failed.error.message  # it has no template


def test_one_server_at_a_time_works_in_a_repository(root):
    with process(root), pytest.raises(LockHeld, match="another server already uses"):
        run(root, "--port", "0")


def test_what_keeps_it_from_starting(root, monkeypatch):
    monkeypatch.delenv("FTCTL_SERVE_TOKEN", raising=False)
    with pytest.raises(FtctlError, match="no token is set"):
        run(root, "--host", "0.0.0.0")
    with process(root) as (_, greeting, _):
        port = re.search(r":(\d+)/v1", greeting)[1]
        other = repository(root / "other") if (root / "other").mkdir() is None else None
        with pytest.raises(FtctlError, match=f"cannot listen on 127.0.0.1:{port}"):
            run(other, "--port", port)
    (root / "ftctl.yaml").write_text("serv: {}\n")
    with pytest.raises(InvalidInput, match="is not a known key"):
        run(root)


def peak_mb(pid, field):
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow_with_a_file(root, tmp_path):
    path = tmp_path / "large.jsonl"
    with path.open("wb") as file:
        for _ in range(64):
            file.write(lines(1)[:-1] + b" " * (1 << 20) + b"\n")
    with process(root) as (child, _, client):
        client.models.list()
        idle = peak_mb(child.pid, "VmRSS")
        with path.open("rb") as file:
            sent = client.files.create(file=file, purpose="fine-tune")
        client.uploads.upload_file_chunked(
            file=path, mime_type="text/plain", purpose="fine-tune", part_size=16 << 20
        )
        job = client.fine_tuning.jobs.create(
            model=BASE, training_file=sent.id, validation_file=upload(client, b"x").id
        )
        until(client, job.id, "failed")
        with client.files.with_streaming_response.content(sent.id) as answer:
            assert sum(map(len, answer.iter_bytes())) == path.stat().st_size
        assert peak_mb(child.pid, "VmHWM") - idle < 50


@pytest.mark.slow
@pytest.mark.torch
def test_killed_while_training_it_ends_as_if_it_had_not_been(tmp_path, warm_python, monkeypatch):
    # The server is killed, and not what it started: that may be warm.
    monkeypatch.setenv("PYTHON_OF_CHILDREN", warm_python)
    devices = tmp_path / "devices"
    devices.mkdir()
    monkeypatch.setenv("TMPDIR", str(devices))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    make_base(tmp_path / "models" / BASE)
    root = repository(tmp_path)
    asked = {"model": BASE, "seed": 1, "suffix": "cafe", "hyperparameters": {"n_epochs": 30}}
    with process(root) as (child, _, client):
        file, held_out = upload(client, lines(64)), upload(client, lines(8, start=900))
        job = client.fine_tuning.jobs.create(
            training_file=file.id, validation_file=held_out.id, **asked
        )
        until(client, job.id, "running", timeout_s=120)
        child.kill()
        child.wait(20)
    with process(root) as (child, _, client):
        done = until(client, job.id, "succeeded", timeout_s=240)
        assert done.trained_tokens > 0
        csv = client.files.content(done.result_files[0]).text.splitlines()
        losses = [float(loss) for line in csv[1:] if (loss := line.split(",")[1])]
        first, last = losses[0], losses[-1]
        assert last < first
        messages = [{"role": "user", "content": "질문 3?"}]
        sampling = {"messages": messages, "max_tokens": 16, "temperature": 0}
        chat = client.chat.completions
        tuned = chat.create(model=done.fine_tuned_model, **sampling)
        pieces = chat.create(model=done.fine_tuned_model, stream=True, **sampling)
        streamed = "".join(piece.choices[0].delta.content or "" for piece in pieces)
        assert streamed == tuned.choices[0].message.content
        assert tuned.usage.completion_tokens > 0
        assert chat.create(model=BASE, **sampling).choices
        assert client.models.delete(done.fine_tuned_model).deleted
        assert refused(chat.create, model=done.fine_tuned_model, **sampling)[0] == 404
        child.terminate()
        started = time.monotonic()
        child.wait(30)
        assert time.monotonic() - started < 15
