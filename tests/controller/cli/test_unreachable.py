"""Backends that give no answer, under every command: one clear message, and the rest goes on."""

import http.server
import io
import json
import os
import socket
import sys
import threading
from contextlib import contextmanager

import pytest

from backends.installation import install_command
from controller.cli import run
from controller.lockfile.model import (
    Build,
    DataFacts,
    Entry,
    Lockfile,
    OpenJob,
    PartFacts,
    dump_lockfile,
    parse_lockfile,
)

pytestmark = pytest.mark.usefixtures("installed")

ASKING = [
    ["status"],
    ["logs", "NAME"],
    ["wait"],
    ["cancel", "NAME"],
    ["retry", "NAME"],
]
CHAT = ["chat", "NAME", "-m", "hello"]
KEY = "sk-test-of-nobody"
PART = PartFacts(digest="sha256:" + "1" * 64, examples=9)
DATA = DataFacts(train=PART, held_out=PART)
COMMANDS = [
    ["status"],
    ["logs", "NAME"],
    ["logs", "-f", "NAME"],
    ["wait"],
    ["wait", "NAME"],
    ["cancel", "NAME"],
    ["retry", "NAME"],
    ["chat", "NAME", "-m", "hello"],
    ["show", "NAME"],
    ["model", "NAME"],
    ["data", "build", "NAME"],
    ["data", "stats", "NAME"],
    ["data", "preview", "NAME"],
    ["data", "diff", "NAME"],
    ["data", "explain", "NAME", "faq.csv:2"],
    ["doctor"],
    ["validate"],
    ["schema"],
]
EVERY = pytest.mark.parametrize("typed", COMMANDS, ids=" ".join)
MODEL = "gpt-4.1-mini-2025-04-14"

PLUG_INS = {
    "raising": "raise_all:create",
    "old": "raise_all:old",
    "nonsense": "raise_all:nonsense",
    "unopened": "raise_all:refuse",
    "unloaded": "absent_module:create",
    "broken": "broken_module:create",
}
RAISE_ALL = '''
"""A plug-in that is wrong in every way."""

from backends.testing import ScriptedBackend


class Raising(ScriptedBackend):
    def observe(self, *arguments):
        raise ZeroDivisionError("boom")

    events = cancel = resolve_base_model = complete = find_jobs = submit = estimate = observe


class Nonsense(ScriptedBackend):
    def observe(self, job_ids):
        return {job_id: None for job_id in job_ids}

    def events(self, job_id):
        return None

    def complete(self, base_model, models, prompts, sampling):
        return []


class Old:
    """Made before anything but this was asked for."""

    name = "old"

    def observe(self, job_id):
        return {}


def create(state, endpoint):
    return Raising(state)


def old(state, endpoint):
    return Old()


def nonsense(state, endpoint):
    return Nonsense(state)


def refuse(state, endpoint):
    raise KeyError("no such setting")
'''


def fingerprint(number):
    return f"ft1:{number:064x}"


def entry(place, number, base_model=MODEL):
    shared = {
        "backend": place,
        "fingerprint": fingerprint(number),
        "attempt": 1,
        "inputs": {},
        "base_model": base_model,
        "data": DATA,
        "submitted": "2026-11-20T09:00:00Z",
    }
    job = OpenJob(id=f"ftjob-{number}", **shared)
    build = Build(
        **shared | {"fingerprint": fingerprint(number + 100)},
        job=f"ftjob-{number + 100}",
        model_id=f"ft:model:{number}",
        facts={},
        finished="2026-11-20T10:00:00Z",
    )
    return Entry(production=build.fingerprint, builds={build.fingerprint: build}, job=job)


class Recorded:
    """A repository with one job open at each place."""

    def __init__(self, shell):
        self.shell = shell

    def __call__(self, *places):
        names = {}
        for number, place in enumerate(places, start=1):
            name, backend, endpoint = place.replace("@", "-"), *place.partition("@")[::2]
            more = f"endpoint: {endpoint}\n" if endpoint else ""
            self.shell.declare(name, more, backend=backend, base=MODEL)
            names[name] = entry(place, number)
        self.shell.write("finetunes/ftctl.lock", dump_lockfile(Lockfile(finetunes=names)))
        return list(names)

    def clean(self, typed, name, expected=(0, 1)):
        """Type a command as text and as JSON; return what was said as text."""
        typed = [name if word == "NAME" else word for word in typed]
        code, text = self.shell(*typed)
        assert code in expected, text
        assert "Traceback" not in text
        assert "defect of ftctl" not in text
        assert text.count("\n") < 60 or typed == ["schema"]
        if typed[0] not in {"cancel", "retry", "schema"}:
            code, said = self.shell(*typed, "--json")
            assert code in expected, said
            if typed[0] in {"logs", "wait"}:
                assert all(isinstance(json.loads(line), dict) for line in said.splitlines())
            else:
                json.loads(said)
        return text


@pytest.fixture
def recorded(shell, tmp_path, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    packages = tmp_path / "plug-ins"
    info = packages / "ftctl_wrong-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ftctl-wrong\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in PLUG_INS.items())
    (info / "entry_points.txt").write_text(f"[ftctl.backends]\n{lines}")
    (packages / "raise_all.py").write_text(RAISE_ALL)
    (packages / "broken_module.py").write_text("import absent_package\n")
    monkeypatch.setattr(sys, "path", [str(packages), *sys.path])
    monkeypatch.setitem(sys.modules, "raise_all", None)
    monkeypatch.delitem(sys.modules, "raise_all")
    return Recorded(shell)


@contextmanager
def answering(status, body):
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            content = json.dumps(body).encode()
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("x-should-retry", "false")
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self):
            self.do_GET()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join(10)


def nobody():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


@EVERY
def test_no_key(recorded, typed):
    (name,) = recorded("openai")
    text = recorded.clean(typed, name)
    if typed[0] in {"logs", "wait", "cancel", "retry", "chat", "status"}:
        assert "OPENAI_API_KEY" in text


@EVERY
def test_no_sdk(recorded, typed, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.delitem(sys.modules, "backends.openai.api.client", raising=False)
    (name,) = recorded("openai")
    text = recorded.clean(typed, name)
    if typed[0] in {"logs", "wait", "cancel", "retry", "chat", "status"}:
        assert install_command("openai") in text


@pytest.mark.parametrize("typed", ASKING, ids=" ".join)
def test_server_down(recorded, typed, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", nobody())
    (name,) = recorded("openai")
    recorded.clean(typed, name)


SAYS = {
    "503": (503, {"error": {"message": "overloaded"}}),
    "404": (404, {"error": {"message": "no such thing", "code": "model_not_found"}}),
    "401": (401, {"error": {"message": "wrong key", "code": "invalid_api_key"}}),
    "nonsense": (200, {"object": "nonsense"}),
    "worse": (200, {"id": 7, "status": [], "data": {"a": 1}, "choices": [{}]}),
}


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        *((typed, says) for typed in ASKING for says in SAYS),
        # To a busy server the backend puts its question again for minutes.
        *((CHAT, says) for says in ("401", "404")),
    ],
)
def test_server_says_no(recorded, typed, monkeypatch, says):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (name,) = recorded("openai")
    with answering(*SAYS[says]) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        assert KEY not in recorded.clean(typed, name)


@EVERY
@pytest.mark.parametrize("place", ["absent", "absent@eu", "openai@nowhere", *PLUG_INS])
def test_a_plug_in_that_is_absent_or_fails(recorded, typed, place):
    (name,) = recorded(place)
    text = recorded.clean(typed, name)
    # What does not fail on a plug-in need not name it.
    if typed[0] in {"logs", "wait", "retry", "chat", "status"}:
        assert place.partition("@")[2 if place == "openai@nowhere" else 0] in text


def test_a_place_without_answer_is_a_line_below_what_is_recorded(recorded):
    recorded("scripted", "openai")
    code, text = recorded.shell("status")
    assert code == 0
    table, _, below = text.partition("\n\n")
    assert "openai     job not asked, in production" in table
    assert "scripted   job missing, in production" in table
    assert below == (
        "Not asked: openai: endpoint default: no key: the variable OPENAI_API_KEY is not set. "
        "set OPENAI_API_KEY in the environment or in .env\n"
    )
    code, value = recorded.shell.json("status")
    assert code == 0
    assert list(value["unreachable"]) == ["openai"]
    assert value["finetunes"]["openai"]["state"] == "job not asked, in production"


def test_wait_still_waits_for_the_others(recorded):
    shell = recorded.shell
    shell.declare()
    assert shell("apply", "--auto-approve", "--no-wait")[0] == 0
    faq = parse_lockfile((shell.root / "finetunes/ftctl.lock").read_bytes(), "").finetunes["faq"]
    silent = entry("openai", 1)
    lockfile = Lockfile(finetunes={"faq": faq, "silent": silent})
    shell.write("finetunes/ftctl.lock", dump_lockfile(lockfile))
    shell.backend.set_script("job-1", "queued", "running", "succeeded")

    code, said = shell("wait", "--json")

    assert code == 1
    lines = [json.loads(line) for line in said.splitlines()]
    states = [line["state"] for line in lines]
    assert states.count("not asked") == 1
    assert states[-1] == "succeeded"
    assert shell("wait", "faq")[0] == 0


def test_a_job_that_its_backend_does_not_know_is_no_success(recorded):
    recorded("scripted")
    code, text = recorded.shell("wait")
    assert (code, text) == (
        1,
        "! scripted: scripted does not know job ftjob-1 any more; see `ftctl plan`.\n",
    )
    code, text = recorded.shell("logs", "scripted")
    assert code == 1
    assert "scripted does not know job ftjob-1 any more" in text


@pytest.mark.parametrize("typed", [["wait"], ["apply"], ["reconcile"], ["logs", "none"]])
def test_errors_of_commands_that_stream_json_are_one_line(shell, typed):
    shell.declare(more="sed: 1\n")
    shell.write("finetunes/ftctl.lock", "{")
    code, said = shell(*typed, "--json")
    assert code == 1
    assert said.count("\n") == 1
    assert json.loads(said)["error"]


def test_a_prompt_that_is_refused_does_not_end_a_conversation(shell, monkeypatch):
    shell.declare()
    assert shell("apply", "--auto-approve")[0] == 0
    (shell.root.parent / "picky.py").write_text(PICKY)
    # Not `syspath_prepend`: undone, it would bring back what `installed` had put there.
    monkeypatch.setattr(sys, "path", [str(shell.root.parent), *sys.path])
    entries = shell.root.parent / "site-packages/ftctl_scripted-1.0.dist-info/entry_points.txt"
    entries.write_text("[ftctl.backends]\nscripted = picky:create\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("long\nhello\n\n"))

    code, text = shell("chat", "faq")

    assert code == 0
    assert "1 message: hello" in text
    assert "! the prompt is too long. Shorten it." in text
    code, text = shell("chat", "faq", "-m", "long")
    assert (code, text) == (1, "the prompt is too long\n    Shorten it.\n")


PICKY = """
from backends.contract.completions import Completion
from backends.contract.errors import PromptRefused
from backends.testing import ScriptedBackend


def answer(model, prompt):
    last = prompt.messages[-1]["content"]
    if last == "long":
        raise PromptRefused("the prompt is too long", "Shorten it.")
    return Completion(text=f"{len(prompt.messages)} message: {last}", finish_reason="stop")


def create(state, endpoint):
    return ScriptedBackend(state, answer=answer)
"""


@pytest.mark.parametrize("typed", [["validate"], ["status"], ["chat", "faq", "-m", "x"]])
def test_a_link_out_is_refused_by_every_command(shell, tmp_path, typed):
    shell.declare()
    assert shell("apply", "--auto-approve")[0] == 0
    (shell.root / "finetunes").rename(tmp_path / "elsewhere")
    (shell.root / "finetunes").symlink_to(tmp_path / "elsewhere")
    code, text = shell(*typed)
    assert code == 1
    assert "leaves the repository through a link" in text


def test_a_failure_of_ours_is_still_a_defect(shell, monkeypatch):
    monkeypatch.setattr("controller.cli.validate.load_settings", lambda _: 1 / 0)
    shell.declare()
    code, text = shell("validate")
    assert code == 3
    assert "defect of ftctl" in text


@pytest.mark.parametrize("name", ["finetunes", "finetunes/data", ".gitignore"])
def test_init_writes_nothing_through_a_link(tmp_path, capsys, name):
    root, outside = tmp_path / "new", tmp_path / "outside"
    (root / name).parent.mkdir(parents=True)
    (root / name).symlink_to(outside)
    if name != ".gitignore":
        outside.mkdir()
    assert run(["init", str(root)]) == 1
    assert "leaves the repository through a link" in capsys.readouterr().err
    assert not outside.exists() or not list(outside.iterdir())


def test_init_keeps_what_is_ignored_already(tmp_path, capsys):
    (tmp_path / ".gitignore").write_bytes(b"caf\xe9")
    assert run(["init", str(tmp_path)]) == 0
    assert capsys.readouterr().out
    assert (tmp_path / ".gitignore").read_bytes().startswith(b"caf\xe9\n# ftctl")


def test_answers_that_are_damaged_are_named(shell):
    shell.declare(more="gate:\n  - held_out_loss < base.held_out_loss\n")
    assert shell("apply", "--auto-approve")[0] == 0
    (kept,) = (shell.root / ".ftctl/evaluations").iterdir()
    kept.write_text("{")
    code, text = shell("show", "faq")
    assert code == 1
    assert "is damaged" in text
    assert shell("show", "faq", "--answers", "-1")[0] == 64


@pytest.mark.parametrize(
    "typed", [["chat", "faq", "--max-tokens", "0"], ["chat", "faq", "--temperature", "-1"]]
)
def test_numbers_that_no_backend_takes_are_wrong_usage(shell, typed):
    assert shell(*typed)[0] == 64


def corrupt(shell):
    shell.write("finetunes/ftctl.lock", '{"format": 1, "finetunes": []}')


def not_text(shell):
    shell.write("finetunes/ftctl.lock", b"\xff\xfe\x00")


def a_folder(shell):
    shell.write("finetunes/ftctl.lock/file", "")


@EVERY
@pytest.mark.parametrize("make", [corrupt, not_text, a_folder], ids=lambda make: make.__name__)
def test_a_lockfile_that_cannot_be_read(recorded, typed, make):
    recorded.shell.declare()
    make(recorded.shell)
    text = recorded.clean(typed, "faq")
    if typed[0] not in {"schema", "validate"}:
        assert "ftctl.lock" in text


@EVERY
def test_a_spec_that_cannot_be_read_stops_no_other(recorded, typed):
    (name,) = recorded("scripted")
    os.mkfifo(recorded.shell.root / "finetunes/pipe.yaml")
    text = recorded.clean(typed, name)
    if typed[0] == "validate":
        assert "finetunes/pipe.yaml: is a pipe or a device, not a file" in text
    elif typed[0] == "data":
        assert "pipe" not in text


@pytest.mark.parametrize("typed", [["serve", "--port", "0"], ["doctor"], ["validate"]])
def test_settings_that_lead_out_are_refused(shell, typed):
    shell.declare()
    (shell.root.parent / "private.yaml").write_text("password: hunter2\n")
    (shell.root / "ftctl.yaml").symlink_to("../private.yaml")
    code, text = shell(*typed)
    assert code == 1
    assert "password" not in text
    if typed[0] != "doctor":
        assert "ftctl.yaml: leaves the repository through a link" in text


def test_serve_names_a_state_folder_that_cannot_be_written(shell):
    shell.write(".ftctl", "a file")
    shell.declare()
    code, text = shell("serve", "--port", "0")
    assert code == 1
    assert "FTCTL_STATE_DIR" in text
