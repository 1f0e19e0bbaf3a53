"""What people type and change, and jobs that run until a test ends them."""

import json

from backends.testing import ScriptedBackend

FAQ = "gate: ['held_out_loss < base.held_out_loss']\n"
STRICT = "gate: ['held_out_loss < 0.1']\n"
PLUGIN = '''
"""A backend whose jobs run until a test ends them, at a price that a file tells."""
import json
from pathlib import Path

from backends.contract.errors import BackendError
from backends.testing import ScriptedBackend


class Priced(ScriptedBackend):
    def _tell(self, call):
        fault = Path({folder!r}) / "fault"
        if fault.exists():
            text = fault.read_text()
            if text == "nonsense":
                return {{"job-1": "soon"}}
            raise ValueError(text) if text.startswith("bug") else BackendError(text, "try later")
        with (Path({folder!r}) / "calls").open("a") as file:
            file.write(call + "\\n")
        return None

    def observe(self, job_ids):
        return self._tell("observe") or super().observe(job_ids)

    def find_jobs(self, fingerprints):
        return self._tell("find_jobs") or super().find_jobs(fingerprints)


def create(state, endpoint):
    backend = Priced(state, script=["running"] * 100_000)
    price = Path({folder!r}) / "price"
    backend.usd = tuple(json.loads(price.read_text())) if price.exists() else (1.0, 2.0)
    backend.remote = True
    return backend
'''


def price(shell, low: float, high: float) -> None:
    (shell.packages.parent / "price").write_text(json.dumps([low, high]))


def fault(shell, text: str | None) -> None:
    path = shell.packages.parent / "fault"
    path.unlink(missing_ok=True)
    if text is not None:
        path.write_text(text)


def recorded(shell) -> dict:
    path = shell.root / "finetunes" / "ftctl.lock"
    return json.loads(path.read_text())["finetunes"] if path.exists() else {}


def trained(shell, name: str = "faq", more: str = "") -> str:
    """Train on the scripted backend, to the end; return the build in production."""
    shell.declare(name, more)
    assert shell("apply", "-y")[0] == 0
    return recorded(shell)[name]["production"]


def running(shell, name: str = "faq", more: str = "", *, usd=(40.0, 80.0)) -> str:
    """Submit a job that runs until a test ends it; return its ID."""
    price(shell, *usd)
    # Another backend is a move, which these tests let nothing judge.
    more = more if "gate:" in more else f"{more}gate: []\n"
    shell.declare(name, more, backend="priced")
    assert shell("apply", "-y", "--no-wait")[0] == 0
    return recorded(shell)[name]["job"]["id"]


def end(shell, job: str, state: str = "succeeded") -> None:
    shell.backend.set_script(job, state)


def states(shell) -> list[str]:
    return [str(job.state) for job in shell.backend.jobs]


def jobs(shell) -> int:
    return len(ScriptedBackend(shell.root / ".ftctl").jobs)
