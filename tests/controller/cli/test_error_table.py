"""Every command, with everything that commonly goes wrong: its exit code, and one clear message.

`pytest -v` prints the table: each test is one cell. `chat` and `evaluate` are left out where a
server may recover: their requests are repeated for minutes, and the tests of the backend show in
seconds how that ends.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from tests.children import ROOT, background
from tests.servers.silent_backends import (
    KEY,
    PLUG_INS,
    answering,
    dead_server,
    install_plug_ins,
    record,
)

ASK = ["status", "logs NAME", "logs -f NAME", "wait", "wait NAME", "cancel NAME", "retry NAME"]
"""Commands that ask a backend about an open job."""
ACT = ["plan", "apply --auto-approve --no-wait", "reconcile", "evaluate NAME --auto-approve"]
RECORDED = ["show NAME", "model NAME"]
"""Commands that only read what is recorded."""
DATA = [
    "data build NAME",
    "data stats NAME",
    "data preview NAME",
    "data diff NAME",
    "data explain NAME faq.csv:2",
]
CHAT = "chat NAME -m hello"
COMMANDS = [*ASK, CHAT, *ACT, *RECORDED, *DATA, "validate", "doctor", "schema"]
ALWAYS_ONE = {"data diff NAME"}
"""The data of the recorded build is not on this machine."""


class Making:
    """What a row needs to make its cause in a repository."""

    def __init__(self, shell, patch, stack):
        self.shell = shell
        self.patch = patch
        self.stack = stack

    def at(self, place):
        """Record a job at a place; return the fine-tune's name."""
        return record(self.shell, place)[0]

    def at_server(self, url):
        self.patch.setenv("OPENAI_API_KEY", KEY)
        self.patch.setenv("OPENAI_BASE_URL", url)
        return self.at("openai")

    def answered(self, *answer):
        return self.at_server(self.stack.enter_context(answering(*answer)))

    def without_sdk(self):
        self.patch.setitem(sys.modules, "openai", None)
        self.patch.delitem(sys.modules, "backends.openai.api.client", raising=False)
        return self.at_server(dead_server())

    def with_file(self, name, content):
        found = self.at("scripted")
        if name.startswith(LOCK):
            (self.shell.root / LOCK).unlink()
        self.shell.write(name, content)
        return found


def cells(ask, others, *, fine=()):
    """Return the exit codes of a row: of commands that ask a backend, of others, of fine ones."""
    codes = dict.fromkeys(COMMANDS, others) | dict.fromkeys([*ASK, CHAT, *ACT], ask)
    codes |= {"status": 0, "schema": 0} | dict.fromkeys(RECORDED, 0) | dict.fromkeys(fine, 0)
    return codes | dict.fromkeys(ALWAYS_ONE, 1)


def asked(*, fine=()):
    """Return the exit codes of a row about a server, which other commands never ask."""
    return {typed: code for typed, code in cells(1, 0, fine=fine).items() if typed in SERVED}


SERVED = {*ASK, CHAT, *ACT}
BROKEN_LOCKFILE = dict.fromkeys(COMMANDS, 1) | {"validate": 0, "schema": 0}
PLUG_IN = cells(1, 1)
LOCK = "finetunes/ftctl.lock"
HTML = (200, "<title>Hi</title>", "text/html")
ROWS = {
    # Cause: what makes it, exit codes, and what commands that ask say.
    "no SDK": (Making.without_sdk, cells(1, 0), "needs the package openai"),
    "no key": (lambda m: m.at("openai"), cells(1, 0, fine=["plan"]), "OPENAI_API_KEY is not set"),
    "server down": (lambda m: m.at_server(dead_server()), asked(), "nothing listens at 127.0.0.1"),
    "HTML": (lambda m: m.answered(*HTML), asked(), "does not speak the OpenAI API"),
    "HTTP 500": (
        lambda m: m.answered(500, {"error": {"message": "oops"}}),
        asked(),
        "gave no usable answer: HTTP 500: oops",
    ),
    "HTTP 401": (
        lambda m: m.answered(401, {"error": {"message": "no", "code": "invalid_api_key"}}),
        asked(),
        "does not accept the key",
    ),
    "HTTP 404": (
        lambda m: m.answered(404, {"error": {"message": "no", "code": "model_not_found"}}),
        asked(fine=["cancel NAME", "retry NAME"]),
        "",
    ),
    "nonsense": (
        lambda m: m.answered(200, {"object": "nonsense"}),
        asked(fine=["cancel NAME", "retry NAME"]),
        "",
    ),
    "half an API": (
        lambda m: m.answered(200, {"id": 7, "status": [], "data": {"a": 1}, "choices": [{}]}),
        asked(fine=["cancel NAME", "retry NAME"]),
        "",
    ),
    "lockfile of another form": (
        lambda m: m.with_file(LOCK, '{"format": 1, "finetunes": []}'),
        BROKEN_LOCKFILE,
        "ftctl.lock: is corrupt",
    ),
    "lockfile of no text": (
        lambda m: m.with_file(LOCK, b"\xff\xfe\x00"),
        BROKEN_LOCKFILE,
        "ftctl.lock: is corrupt",
    ),
    "lockfile is a folder": (
        lambda m: m.with_file(f"{LOCK}/file", ""),
        BROKEN_LOCKFILE,
        "ftctl.lock: is a folder",
    ),
    "broken spec": (
        lambda m: m.with_file("finetunes/scripted.yaml", "backend: [\n"),
        cells(1, 1, fine=["cancel NAME", "retry NAME"]),
        "",
    ),
    "broken ftctl.yaml": (
        lambda m: m.with_file("ftctl.yaml", "budgt: 1\n"),
        cells(1, 1),
        "ftctl.yaml:1: budgt: is not a known key",
    ),
    "no state folder": (
        lambda m: m.with_file(".ftctl", "a file, not a folder"),
        cells(1, 1, fine=["validate"]),
        ".ftctl",
    ),
    "backend absent": (lambda m: m.at("absent"), PLUG_IN, "'absent'"),
    "backend absent at eu": (lambda m: m.at("absent@eu"), PLUG_IN, "'absent'"),
    "endpoint absent": (lambda m: m.at("openai@nowhere"), PLUG_IN, "is called 'nowhere'"),
    "plug-in raises": (lambda m: m.at("raising"), cells(1, 1, fine=["validate", "doctor"]), "boom"),
    "plug-in is old": (lambda m: m.at("old"), PLUG_IN, "backend old: create returned"),
    "plug-in answers nonsense": (
        lambda m: m.at("nonsense"),
        cells(1, 0, fine=["cancel NAME"]),
        "nonsense: ",
    ),
    "plug-in refuses": (lambda m: m.at("unopened"), PLUG_IN, "backend unopened: create failed"),
    "plug-in is gone": (lambda m: m.at("unloaded"), PLUG_IN, "No module named 'absent_module'"),
    "plug-in lacks a package": (lambda m: m.at("broken"), PLUG_IN, "module named 'absent_package'"),
}
RECOVERS = {"server down", "HTML", "HTTP 500", "nonsense", "half an API"}
ANSWERED = {CHAT, "evaluate NAME --auto-approve"}
SILENT = {"schema", "validate", "doctor", *RECORDED, *DATA}
"""Commands that need not name the cause: they do not meet it, or meet another one first."""


@pytest.fixture
def packages(request, tmp_path, monkeypatch):
    """Folder of plug-ins that are wrong in every way, installed beside the scripted one."""
    request.getfixturevalue("installed")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "plug-ins"
    install_plug_ins(folder)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.setitem(sys.modules, "raise_all", None)
    monkeypatch.delitem(sys.modules, "raise_all")
    return folder


@pytest.fixture
def making(shell, packages, monkeypatch):
    assert packages.is_dir()
    with ExitStack() as stack:
        yield Making(shell, monkeypatch, stack)


@pytest.mark.parametrize(
    ("cause", "typed"),
    [
        (cause, typed)
        for cause, (_, codes, _) in ROWS.items()
        for typed in codes
        if not (typed in ANSWERED and cause in RECOVERS)
    ],
)
def test_the_exit_code_is_right_and_the_message_clear(shell, making, cause, typed):
    make, codes, said = ROWS[cause]
    name = make(making)
    words = [name if word == "NAME" else word for word in typed.split()]
    code, text = shell(*words)
    assert (code, "Traceback" in text, "defect of ftctl" in text) == (codes[typed], False, False)
    assert KEY not in text
    assert typed == "schema" or text.count("\n") < 60
    assert typed in SILENT or not code or said in text
    if words[0] not in {"cancel", "retry", "schema", "apply", "evaluate"}:
        code, text = shell(*words, "--json")
        assert code == codes[typed]
        lines = text.splitlines() if words[0] in {"logs", "wait", "reconcile"} else [text]
        assert all(isinstance(json.loads(line), dict | list | str) for line in lines)


@pytest.mark.parametrize(
    ("cause", "fails"),
    [
        ("no key", False),
        ("lockfile of another form", True),
        ("broken spec", False),
        ("plug-in raises", False),
        ("broken ftctl.yaml", True),
        ("no state folder", True),
    ],
)
def test_serve_serves_or_says_why_not(shell, making, packages, cause, fails):
    make, _, said = ROWS[cause]
    make(making)
    there = SimpleNamespace(root=shell.root, packages=packages)
    with background(there, "serve", "--port", "0") as server:
        first = server.stdout.readline()
        if first.startswith("Serving "):
            server.send_signal(signal.SIGINT)
        text = first + server.communicate(timeout=110)[0]
    assert (server.returncode, "Traceback" in text) == (1 if fails else 130, False), text
    assert not fails or said in text


BLOCKED = """
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "openai":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Blocker())
from controller.cli import main

main(sys.argv[1:])
"""


@pytest.mark.parametrize("typed", ["status", "logs NAME", CHAT])
def test_a_process_without_the_sdk_ends_without_traceback(shell, making, typed):
    name = making.at_server(dead_server())
    words = [name if word == "NAME" else word for word in typed.split()]
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, "--dir", str(shell.root), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    said = done.stdout + done.stderr
    assert (done.returncode, "Traceback" in said) == (int(typed != "status"), False), said
    assert "needs the package openai" in said


def test_every_wrong_plug_in_has_a_row():
    assert len(PLUG_INS) == sum(cause.startswith("plug-in") for cause in ROWS)
