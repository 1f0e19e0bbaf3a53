"""What a distrustful engineer tries: through the real command line, one fault a test."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from backends.testing import ScriptedBackend
from controller.cli import run

SPEC = """\
backend: odd
base_model: acme/base
data:
  train:
    - path: data/faq.csv
      columns: {user: question, assistant: answer}
  held_out: {fraction: 0.25}
"""
ROWS = "question,answer\n" + "".join(f"q{n}?,a{n}.\n" for n in range(24))
STRICT = "gate: ['held_out_loss < 0.1']\n"
PLUGIN = '''
"""A backend with hooks: `hooks/CALL.py` is run once at that call, `faults/CALL` is raised."""
import json
from pathlib import Path

from backends.base import BackendError
from backends.testing import ScriptedBackend

TOP = Path({folder!r})


class Odd(ScriptedBackend):
    def _touch(self, call):
        with (TOP / "calls").open("a") as file:
            file.write(call + "\\n")
        hook = TOP / "hooks" / f"{{call}}.py"
        if hook.exists():
            code = hook.read_text()
            hook.unlink()
            exec(code, {{"backend": self, "TOP": TOP}})
        fault = TOP / "faults" / call
        if fault.exists():
            text = fault.read_text()
            if text.startswith("raise "):
                exec(text)
            raise BackendError(text, "try later")

    def capabilities(self):
        from dataclasses import replace
        self._touch("capabilities")
        poll = 0.1
        return replace(super().capabilities(), endpoints=True, poll_s=poll)

    def estimate(self, request, examples, tokens):
        from dataclasses import replace
        self._touch("estimate")
        found = super().estimate(request, examples, tokens)
        for key in ("usd", "gpu_hours"):
            path = TOP / key
            if path.exists():
                value = json.loads(path.read_text())
                found = replace(found, **{{key: tuple(value) if value else None}})
        return found

    def submit(self, request):
        self._touch("submit")
        job = super().submit(request)
        with (TOP / "served_by").open("a") as file:
            file.write(f"{{job.id}} {{self.url}}\\n")
        return job


def _hooked(name):
    def call(self, *arguments):
        self._touch(name)
        return getattr(ScriptedBackend, name)(self, *arguments)
    return call


for name in ("observe", "find", "find_by_name", "cancel", "complete", "verify", "identify"):
    setattr(Odd, name, _hooked(name))


def create(state, endpoint):
    running = (TOP / "running").exists()
    backend = Odd(TOP / "service", script=["running"] * 100_000 if running else ["queued", "succeeded"])
    backend.usd = (1.0, 2.0)
    backend.remote = True
    backend.url = endpoint.base_url
    return backend
'''


@dataclass
class Shell:
    root: Path
    top: Path
    capsys: object

    def __call__(self, *arguments: str) -> tuple[int, str]:
        code = run(["--dir", str(self.root), *arguments])
        out, err = self.capsys.readouterr()
        return code, (out + err).replace(str(self.root), "/repository")

    def declare(self, name: str = "faq", more: str = "", root: Path | None = None, **_) -> Path:
        path = (root or self.root) / "finetunes" / f"{name}.yaml"
        path.write_text(SPEC + more)
        return path

    def spec(self, name: str) -> Path:
        return self.root / "finetunes" / f"{name}.yaml"

    def hook(self, call: str, code: str) -> None:
        (self.top / "hooks" / f"{call}.py").write_text(code)

    def fault(self, call: str, text: str | None) -> None:
        path = self.top / "faults" / call
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)

    def set(self, key: str, value: object) -> None:
        (self.top / key).write_text(json.dumps(value))

    def endless(self, on: bool = True) -> None:
        (self.top / "running").touch() if on else (self.top / "running").unlink(missing_ok=True)

    @property
    def backend(self) -> ScriptedBackend:
        return ScriptedBackend(self.top / "service")

    def end(self, job: str, state: str = "succeeded") -> None:
        self.backend.set_script(job, state)

    @property
    def states(self) -> list[str]:
        return [f"{job.id} {job.state}" for job in self.backend.jobs]

    @property
    def lock(self) -> Path:
        return self.root / "finetunes" / "ftctl.lock"

    @property
    def recorded(self) -> dict:
        return json.loads(self.lock.read_text())["finetunes"] if self.lock.exists() else {}

    def git(self, *arguments: str) -> None:
        options = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(
            ["git", "-C", str(self.root), *options, *arguments], check=True, capture_output=True
        )

    def commit(self) -> None:
        if not (self.root / ".git").exists():
            self.git("init", "-q")
            (self.root / ".gitignore").write_text(".ftctl/\n")
        self.git("add", "-A")
        self.git("commit", "-qm", "all")


@pytest.fixture
def shell(tmp_path, capsys, monkeypatch):
    for name in ("FTCTL_STATE_DIR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    packages = tmp_path / "packages"
    info = packages / "ftctl_odd-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ftctl-odd\nVersion: 1.0\n")
    entries = "[ftctl.backends]\nodd = odd_plugin:create\nscripted = backends.testing:create\n"
    (info / "entry_points.txt").write_text(entries)
    (packages / "odd_plugin.py").write_text(PLUGIN.format(folder=str(tmp_path)))
    monkeypatch.setattr(sys, "path", [str(packages), *sys.path])
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    root = tmp_path / "repository"
    (root / "finetunes/data").mkdir(parents=True)
    (root / "finetunes/data/faq.csv").write_text(ROWS)
    for folder in ("hooks", "faults"):
        (tmp_path / folder).mkdir()
    yield Shell(root=root, top=tmp_path, capsys=capsys)
    sys.modules.pop("odd_plugin", None)


@contextmanager
def background(shell, *arguments: str):
    environment = {
        **os.environ,
        "PYTHONPATH": f"{shell.top / 'packages'}:{Path(__file__).parents[3]}",
        "PYTHONUNBUFFERED": "1",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "controller", "--dir", str(shell.root), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)


def apply_saved(shell) -> tuple[int, str]:
    return shell("apply", str(shell.top / "p.json"), "--no-wait")


def save_plan(shell) -> None:
    assert shell("plan", "--out", str(shell.top / "p.json"))[0] == 0


# --- stale views ------------------------------------------------------------------------------


def test_a_pull_during_an_evaluation_is_not_overwritten(shell):
    """The lockfile that a `git pull` brought is lost when the pass folds its own records."""
    shell.declare("other", "seed: 3\n")
    assert shell("apply", "-y")[0] == 0
    pulled = shell.lock.read_text()
    del shell.recorded["other"]
    first = json.loads(pulled)
    first["finetunes"].pop("other")
    shell.lock.write_text(json.dumps(first))
    shell.spec("other").unlink()
    shell.declare("faq")
    (shell.top / "pulled.lock").write_text(pulled)
    shell.hook("complete", f"import shutil; shutil.copy(TOP / 'pulled.lock', {str(shell.lock)!r})")
    assert shell("apply", "-y")[0] == 0
    assert shell.recorded.keys() == {"faq", "other"}


# --- approval ---------------------------------------------------------------------------------


def test_a_saved_plan_is_refused_after_gpu_hours_rose(shell):
    shell.set("gpu_hours", [1, 2])
    shell.declare()
    save_plan(shell)
    shell.set("gpu_hours", [1000, 2000])
    code, text = apply_saved(shell)
    assert code == 6, text


def test_a_saved_plan_is_refused_after_its_server_was_changed(shell):
    settings = shell.root / "ftctl.yaml"
    settings.write_text("endpoints: {default: {base_url: 'http://127.0.0.1:9/v1'}}\n")
    shell.declare()
    save_plan(shell)
    settings.write_text("endpoints: {default: {base_url: 'http://127.0.0.1:10/v1'}}\n")
    code, text = apply_saved(shell)
    assert code == 6, text + (shell.top / "served_by").read_text()


def test_a_job_of_another_attempt_says_nothing_of_the_terms(shell):
    """Attempt 1 was approved without a gate and failed; attempt 2 with a strict one."""
    shell.endless()
    shell.declare()
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-1", "failed")
    shell("reconcile")
    assert shell("retry", "faq")[0] == 0
    shell.declare(more=STRICT)
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-2")
    shell.declare()
    code, text = shell("reconcile")
    assert "production" not in shell.recorded["faq"], text


def test_a_shared_job_is_promoted_on_terms_that_nobody_approved(shell):
    """b shares a's job; its gate is removed while the job runs."""
    shell.endless()
    shell.declare("a")
    shell.declare("b", STRICT)
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-1")
    shell.declare("b")
    code, text = shell("reconcile")
    assert "production" not in shell.recorded["b"], text


def test_a_renamed_job_is_promoted_on_terms_that_nobody_approved(shell):
    shell.endless()
    shell.declare("mm", STRICT)
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.spec("mm").rename(shell.spec("zz"))
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-1")
    shell.declare("zz")
    code, text = shell("reconcile")
    assert "production" not in shell.recorded["zz"], text


def test_terms_that_cannot_be_read_do_not_promote(shell):
    """The list of jobs is refused (training has ended there), answers still come."""
    shell.endless()
    shell.declare(more=STRICT)
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-1")
    shell.fault("complete", "overloaded")
    shell("reconcile")
    shell.fault("complete", None)
    shell.declare()
    shell.fault("find", "training_not_available")
    code, text = shell("reconcile")
    assert "production" not in shell.recorded["faq"], text


def test_a_rename_promotes_nothing(shell):
    """The first build failed its gate; a second job runs. Renaming puts the first in production."""
    shell.declare("mm", STRICT)
    assert shell("apply", "-y")[0] == 4
    shell.endless()
    shell.declare("mm", "seed: 7\n")
    assert shell("apply", "-y", "--no-wait")[0] == 0
    before = shell.recorded["mm"]
    shell.spec("mm").rename(shell.spec("zz"))
    _, plan = shell("plan")
    code, text = shell("apply", "-y", "--no-wait")
    assert shell.recorded["zz"].get("production") == before.get("production"), plan + text
