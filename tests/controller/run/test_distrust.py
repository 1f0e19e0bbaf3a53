"""What a distrustful engineer tries: through the real command line, one fault a test."""

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

import controller.evaluate.measure as evaluation
from backends.atomic_files import locked, write_atomic
from backends.testing import ScriptedBackend
from controller.cli import run
from tests import children

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
            timeout=60,
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


def background(shell, *arguments: str):
    return children.background(shell.root, shell.top / "packages", *arguments)


def until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)


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
    _code, text = shell("reconcile")
    assert "production" not in shell.recorded["faq"], text


def test_a_shared_job_is_promoted_on_terms_that_nobody_approved(shell):
    """b shares a's job; its gate is removed while the job runs."""
    shell.endless()
    shell.declare("a")
    shell.declare("b", STRICT)
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-1")
    shell.declare("b")
    _code, text = shell("reconcile")
    assert "production" not in shell.recorded["b"], text


def test_a_renamed_job_is_promoted_on_terms_that_nobody_approved(shell):
    shell.endless()
    shell.declare("mm", STRICT)
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.spec("mm").rename(shell.spec("zz"))
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-1")
    shell.declare("zz")
    _code, text = shell("reconcile")
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
    shell.fault("find_jobs", "training_not_available")
    _code, text = shell("reconcile")
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
    _code, text = shell("apply", "-y", "--no-wait")
    assert shell.recorded["zz"].get("production") == before.get("production"), plan + text


# --- second round -----------------------------------------------------------------------------


def test_what_follows_a_restore_is_not_called_an_edit(shell):
    shell.declare()
    assert shell("apply", "-y")[0] == 0
    shell.commit()
    shell.lock.unlink()
    shell.declare(more="seed: 7\n")
    _, plan = shell("plan")
    code, text = shell("apply", "-y")
    assert "the specs changed" not in text, plan + text
    assert code == 0, plan + text


def test_a_price_that_rose_is_not_called_an_edit(shell):
    shell.set("usd", [1, 2])
    shell.declare()
    shell.hook("find_jobs", "(TOP / 'usd').write_text('[5, 9]')")
    code, text = shell("apply", "-y")
    assert code == 6
    assert "the specs changed" not in text, text


def test_jobs_of_another_repository_are_not_ours(shell):
    """Two repositories at one service each have a fine-tune with the same name."""
    shell.declare()
    assert shell("apply", "-y")[0] == 0
    theirs = shell.top / "theirs"
    (theirs / "finetunes/data").mkdir(parents=True)
    (theirs / "finetunes/data/faq.csv").write_text(ROWS.replace("?", "!"))
    shell.declare(root=theirs)
    [foreign] = shell.recorded["faq"]["builds"]
    shell.root = theirs
    _, text = shell("apply", "-y")
    assert shell.recorded["faq"].get("production") != foreign, text


def test_protect_with_suspend_is_in_force(shell):
    shell.declare("keep", "seed: 1\n")
    shell.declare("faq")
    assert shell("apply", "-y")[0] == 0
    shell.declare("faq", "lifecycle: {protect: true, suspend: true}\n")
    assert shell("apply", "-y")[0] == 0
    shell.spec("faq").unlink()
    _code, text = shell("apply", "-y")
    assert "faq" in shell.recorded, text


def test_protect_while_an_evaluation_cannot_be_made_is_in_force(shell):
    shell.declare("keep", "seed: 1\n")
    assert shell("apply", "-y")[0] == 0
    shell.declare("faq")
    shell.fault("complete", "overloaded")
    assert shell("apply", "-y")[0] == 1
    shell.declare("faq", "lifecycle: {protect: true}\n")
    shell("apply", "-y")
    shell.spec("faq").unlink()
    _code, text = shell("apply", "-y")
    assert "faq" in shell.recorded, text


def test_a_plug_in_that_ends_the_process_stops_nobody_else(shell):
    shell.declare("a", "seed: 5\n")
    shell.declare("b")
    path = shell.spec("a")
    path.write_text(path.read_text().replace("backend: odd", "backend: scripted"))
    shell.fault("resolve_base_model", "raise SystemExit('no licence')")
    code, text = shell("apply", "-y")
    assert shell.recorded["a"]["production"], (code, text)


def test_a_cancelled_call_of_a_plug_in_stops_nobody_else(shell):
    shell.declare("a", "seed: 5\n")
    shell.declare("b")
    path = shell.spec("a")
    path.write_text(path.read_text().replace("backend: odd", "backend: scripted"))
    shell.fault("resolve_base_model", "raise __import__('asyncio').CancelledError()")
    code, text = shell("apply", "-y")
    assert shell.recorded["a"]["production"], (code, text)


def test_cancel_says_whose_job_it_is_too(shell):
    shell.endless()
    shell.declare("a")
    shell.declare("b")
    assert shell("apply", "-y", "--no-wait")[0] == 0
    code, text = shell("cancel", "a")
    assert "b" in text.replace("job-1", "").split(), (code, text, shell.states)


def test_retry_of_a_failed_unrecorded_job_names_reconcile(shell):
    shell.endless()
    shell.declare()
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-1", "failed")
    _code, text = shell("retry", "faq")
    assert "reconcile" in text, text


@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_json_of_every_command_is_json(shell, command):
    shell.endless()
    shell.declare()
    assert shell("apply", "-y", "--no-wait")[0] == 0
    if command == "retry":
        shell.end("job-1", "failed")
        shell("reconcile")
    code, text = shell("--json", command, "faq")
    assert code == 0
    json.loads(text)


def test_a_job_that_only_a_suspended_fine_tune_wants_is_not_left_running(shell):
    shell.endless()
    shell.declare("a")
    shell.declare("b", "lifecycle: {suspend: true}\n")
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.declare("a", "seed: 7\n")
    _, plan = shell("plan")
    assert shell("apply", "-y", "--no-wait")[0] == 0
    followed = {entry["job"]["id"] for entry in shell.recorded.values() if "job" in entry}
    running = {line.split()[0] for line in shell.states if line.endswith("running")}
    assert running <= followed, plan + str(shell.states)


def test_protection_waits_for_the_job(shell):
    """`apply` waits for the job although protection was changed too."""
    shell.endless()
    shell.declare()
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.declare(more="lifecycle: {protect: true}\n")
    with background(shell, "apply", "-y") as process:
        still_looks(shell, process)


def test_reconcile_of_policies_is_no_error(shell):
    shell.declare()
    assert shell("apply", "-y")[0] == 0
    (shell.root / "ftctl.yaml").write_text("policies: {require_license: true}\n")
    code, text = shell("reconcile")
    assert code == 0, text


def test_only_a_held_retirement_says_why(shell):
    shell.declare("a")
    shell.declare("b", "seed: 7\n")
    assert shell("apply", "-y")[0] == 0
    shell.spec("a").unlink()
    shell.declare("b")
    code, text = shell("apply", "-y", "--only", "a")
    assert "a" not in shell.recorded or "needs" in text or code != 0, text


def test_drift_makes_not_every_reconcile_red(shell):
    shell.endless()
    shell.declare()
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-1", "vanished")
    codes = [shell("reconcile")[0] for _ in range(3)]
    assert codes[1:] == [0, 0], codes


# --- third round ------------------------------------------------------------------------------

NAN_LOSS = """
from dataclasses import replace
old = backend.answer
backend.answer = lambda model, prompt: replace(old(model, prompt), reference_loss=float('nan'))
"""
NAN_FACTS = """
from dataclasses import replace
seen = backend.__class__.observe
def observe(self, ids):
    jobs = seen(self, ids)
    facts = {'train_loss': float('nan')}
    return {key: replace(job, result=replace(job.result, facts=facts)) for key, job in jobs.items()}
backend.__class__.observe = observe
"""


def test_a_model_that_diverged_stops_nobody(shell):
    """Its held-out loss is not a number."""
    shell.declare("a")
    shell.hook("complete", NAN_LOSS)
    code, text = shell("apply", "-y")
    assert code in {1, 4}, (code, text[-300:])


@pytest.mark.parametrize("command", [["plan"], ["reconcile"], ["apply", "-y"]])
def test_a_job_whose_figures_are_no_numbers_stops_nobody(shell, command):
    shell.endless()
    shell.declare("a")
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-1")
    shell.hook("capabilities", NAN_FACTS)
    code, text = shell(*command)
    assert code in {0, 1}, (code, text[-300:])


def test_one_answers_file_that_cannot_be_written_stops_nobody_else(shell):
    shell.declare("a")
    shell.declare("b", "seed: 5\n")
    assert shell("apply", "-y")[0] == 0
    shell.declare("a", STRICT + "evaluation: {max_tokens: 8}\n")
    shell.declare("b", "seed: 5\nevaluation: {max_tokens: 8}\n")
    digits = shell.recorded["a"]["production"].partition(":")[2][:16]
    folder = str(shell.root / ".ftctl/evaluations")
    before = shell.recorded["b"]
    shell.hook(
        "complete",
        "import os, pathlib\n"
        f"for path in list(pathlib.Path({folder!r}).glob('{digits}-*')):\n"
        "    path.unlink()\n"
        f"import controller.evaluate.measure as module\n"
        "make = module.write_atomic\n"
        "def write(path, data):\n"
        f"    if path.name.startswith('{digits}'):\n"
        "        raise OSError(28, 'No space left on device', str(path))\n"
        "    make(path, data)\n"
        "module.write_atomic = write\n",
    )
    code, text = shell("apply", "-y")
    evaluation.write_atomic = write_atomic
    assert shell.recorded["b"]["builds"] != before["builds"], (code, text)


def test_reconcile_submits_nothing_when_an_interrupted_job_vanishes(shell):
    shell.endless()
    shell.declare()
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-1", "interrupted")
    shell.hook("submit", "backend.set_script('job-1', 'vanished')")
    _, text = shell("reconcile")
    assert (
        shell.recorded["faq"]["job"]["id"]
        in {j.id for j in shell.backend.jobs if j.state == "running"}
        or len(shell.states) == 1
    ), (text, shell.states)


def test_settings_that_break_while_a_run_acts_are_not_called_nothing_done(shell):
    shell.declare()
    path = str(shell.root / "ftctl.yaml")
    shell.hook("submit", f"import pathlib; pathlib.Path({path!r}).write_text('budgt: 3\\n')")
    _code, text = shell("apply", "-y")
    assert "Nothing was done" not in text, text


def test_a_json_stream_of_a_run_that_acted_ends_with_its_end(shell):
    shell.declare()
    path = str(shell.root / "ftctl.yaml")
    shell.hook("submit", f"import pathlib; pathlib.Path({path!r}).write_text('budgt: 3\\n')")
    _code, text = shell("apply", "-y", "--json")
    assert any(json.loads(line).get("type") == "end" for line in text.splitlines()), text


def test_a_finished_job_is_recorded_although_the_settings_are_broken(shell):
    shell.endless()
    shell.declare()
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-1")
    (shell.root / "ftctl.yaml").write_text("policies: {require_licence: true}\n")
    _code, text = shell("reconcile")
    assert shell.recorded["faq"].get("builds"), text


def test_a_plan_to_judge_shows_and_binds_what_it_replaces(shell):
    for seed in (0, 1):
        shell.declare(more=f"seed: {seed}\n")
        assert shell("apply", "-y")[0] == 0
    shell.declare(more="seed: 2\n" + STRICT)
    assert shell("apply", "-y")[0] == 4
    shell.declare(more="seed: 2\n")
    save_plan(shell)
    _, plan = shell("plan")
    value = json.loads(shell.lock.read_text())
    entry = value["finetunes"]["faq"]
    [other] = entry["builds"].keys() - {entry["production"], entry["candidate"]}
    entry["production"] = other
    shell.lock.write_text(json.dumps(value))
    code, text = apply_saved(shell)
    assert "production" in plan, plan
    assert code == 6, text


def test_a_saved_plan_is_refused_after_its_tracking_was_changed(shell):
    shell.declare()
    save_plan(shell)
    shell.declare(more="tracking: {wandb: {project: elsewhere}}\n")
    code, text = apply_saved(shell)
    assert code == 6, text


def test_a_saved_plan_goes_ahead_for_whom_the_dead_server_does_not_concern(shell):
    shell.declare("a")
    shell.declare("b", "seed: 2\n")
    path = shell.spec("a")
    path.write_text(path.read_text().replace("backend: odd", "backend: scripted"))
    save_plan(shell)
    shell.fault("find_jobs", "503")
    code, text = shell("apply", str(shell.top / "p.json"))
    assert "a" in shell.recorded, (code, text)


def test_a_job_that_is_taken_over_is_waited_for(shell):
    """A colleague's attempt 2 runs when `apply`, which showed attempt 1, gets the lock."""
    theirs, mine = shell.top / "theirs", shell.root
    (theirs / "finetunes/data").mkdir(parents=True)
    (theirs / "finetunes/data/faq.csv").write_text(ROWS)
    shell.endless()
    shell.declare()
    shell.declare(root=theirs)
    (mine / ".ftctl").mkdir()
    calls = shell.top / "calls"
    with ExitStack() as stack:
        with locked(mine / ".ftctl/lock") as held:
            assert held
            process = stack.enter_context(background(shell, "apply", "-y"))
            until(lambda: calls.exists() and "find_jobs" in calls.read_text())
            time.sleep(1)
            shell.root = theirs
            assert shell("apply", "-y", "--no-wait")[0] == 0
            shell.end("job-1", "failed")
            shell("reconcile")
            shell("retry", "faq")
            assert shell("apply", "-y", "--no-wait")[0] == 0
            shell.root = mine
        still_looks(shell, process)


def test_a_rename_is_that_of_the_fine_tune_that_was_in_production(shell):
    """aa and bb have equal inputs; aa was removed, bb renamed."""
    shell.declare("aa", STRICT)
    shell.declare("bb")
    assert shell("apply", "-y")[0] == 4
    shell.spec("aa").unlink()
    shell.spec("bb").rename(shell.spec("cc"))
    _, plan = shell("plan")
    assert "finetunes/bb.yaml was renamed to cc.yaml" in plan, plan


def test_a_pin_of_one_digit_makes_no_ancestor(shell):
    shell.declare("old", "seed: 5\n")
    assert shell("apply", "-y")[0] == 0
    digit = shell.recorded["old"]["production"].partition(":")[2][0]
    shell.spec("old").unlink()
    shell.declare("new", f"seed: 9\nlifecycle: {{pin: '{digit}'}}\n")
    _, plan = shell("plan")
    assert "renamed" not in plan, plan


def test_a_name_that_was_retired_starts_anew(shell):
    """The old model, which was forgotten on purpose, goes back into production."""
    shell.declare("keep", "seed: 1\n")
    shell.declare()
    assert shell("apply", "-y")[0] == 0
    [forgotten] = shell.recorded["faq"]["builds"]
    shell.spec("faq").unlink()
    assert shell("apply", "-y")[0] == 0
    shell.declare(more="seed: 9\n")
    _, text = shell("apply", "-y")
    assert shell.recorded["faq"].get("production") != forgotten, text


def test_a_reader_beside_a_run_sees_its_records(shell):
    """The journal is folded in between the reading of the lockfile and of the journal."""
    shell.declare()
    assert shell("apply", "-y")[0] == 0
    journal = shell.root / ".ftctl/journal.jsonl"
    journal.write_bytes(b"")
    armed = [True]

    def fold(event, arguments):
        if event == "open" and armed and str(arguments[0]) == str(journal):
            armed.clear()
            journal.unlink()

    sys.addaudithook(fold)
    code, text = shell("status")
    assert code == 0, text


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": 1e999}'])
def test_any_file_can_be_refused_as_a_plan(shell, text):
    shell.declare()
    (shell.top / "p.json").write_text(text)
    code, said = apply_saved(shell)
    assert code == 1, said[-300:]
