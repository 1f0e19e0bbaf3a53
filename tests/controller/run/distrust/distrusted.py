"""A command line whose backend has hooks and faults."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from backends.testing import ScriptedBackend
from controller.cli import run
from tests.children import until

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

from backends.contract.errors import BackendError
from backends.testing import ScriptedBackend
from tests.children import until

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


for name in ("observe", "find_jobs", "find_jobs_by_name", "cancel", "complete", "verify_job", "resolve_base_model"):
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

    def endless(self, *, on: bool = True) -> None:
        (self.top / "running").touch() if on else (self.top / "running").unlink(missing_ok=True)

    @property
    def packages(self) -> Path:
        return self.top / "packages"

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
            ["git", "-C", str(self.root), *options, *arguments],
            check=True,
            capture_output=True,
            timeout=110,
        )

    def commit(self) -> None:
        if not (self.root / ".git").exists():
            self.git("init", "-q")
            (self.root / ".gitignore").write_text(".ftctl/\n")
        self.git("add", "-A")
        self.git("commit", "-qm", "all")


def looks(shell) -> int:
    """Return how often a backend was asked about jobs."""
    calls = shell.top / "calls"
    return calls.read_text().count("observe") if calls.exists() else 0


def still_looks(shell, process) -> None:
    """Wait until a process has looked at its jobs many times more, and not ended."""
    seen = looks(shell)
    until(lambda: looks(shell) > seen + 8 or process.poll() is not None)
    assert process.poll() is None, process.communicate(timeout=20)[0]


def apply_saved(shell) -> tuple[int, str]:
    return shell("apply", str(shell.top / "p.json"), "--no-wait")


def save_plan(shell) -> None:
    assert shell("plan", "--out", str(shell.top / "p.json"))[0] == 0
