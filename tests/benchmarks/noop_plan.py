"""`ftctl plan` over many fine-tunes, and `dvc status` over as many stages, on this machine.

A git repository of N specs, each with a CSV of 20 rows of its own and one base model for all. Whole
commands are timed, start of the process to its end: the first plan (empty state folder), then
validate, status and the plan of a repository in which everything is trained and recorded, which
must print "No changes". The medians count. DVC gets one stage for each spec, with one data file of
the same rows in and one file out, and must say that everything is up to date.

    python tests/benchmarks/noop_plan.py [--specs N] [--runs N] [--folder DIR] [--dvc]

The repositories lie below build/ unless --folder names another place. It must be on a real disk: in
memory nothing is forced to the disk, and the first plan costs a part of what it costs people. With
--dvc, DVC is installed into an environment of its own below the folder.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from typing import Any

from backends.atomic_files import write_atomic
from controller.lockfile.model import Build, Entry, Evaluation, Lockfile, Verdict, dump_lockfile
from controller.lockfile.store import LOCKFILE, read_lockfile
from controller.plan.desired import Desired
from controller.plan.plan import make_plan
from controller.project.project import known_blobs, open_project
from controller.render.plan import plan_text
from controller.resolve.inputs import Readings
from controller.resolve.recipes import Recorded
from controller.resolve.resolve import resolve
from controller.run.backends import backends_of
from controller.run.observe import observe
from controller.run.reconcile import prepare_run
from controller.spec.load import read_specs
from controller.spec.settings import load_settings

ROOT = Path(__file__).parents[2]
COMPILED = ROOT / "build" / "compiled"
DVC = "dvc==3.67.1"
ROWS = 20
COMMANDS = {"--version": "ftctl", "validate": "Valid", "status": "spec-", "plan": "No changes"}
"""Of ours, and what each prints."""
WHEN = "2026-01-01T00:00:00Z"


@dataclass(slots=True, kw_only=True)
class Line:
    """One line of the table: a command, measured again and again."""

    name: str
    command: list[str]
    folder: Path
    expected: str
    """What it must print."""
    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    """User and system, with all child processes: steadier on a machine with company."""

    def measure(self) -> None:
        """Run the command once more.

        Raises:
            SystemExit: It failed, or did not say what it must.
        """
        before, started = getrusage(RUSAGE_CHILDREN), time.perf_counter()
        output = run(self.command, self.folder)
        self.seconds.append(time.perf_counter() - started)
        after = getrusage(RUSAGE_CHILDREN)
        self.cpu_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if self.expected not in output:
            sys.exit(f"{self.expected!r} is not in what was said:\n{output[-2000:]}")


def main() -> None:
    """Measure everything and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--specs", type=int, default=1000)
    arguments.add_argument("--runs", type=int, default=5, help="first plans are half of them")
    arguments.add_argument("--folder", type=Path, default=Path("build/benchmarks/noop-plan"))
    arguments.add_argument("--dvc", action="store_true", help="compare with `dvc status`")
    given = arguments.parse_args()
    folder = given.folder.resolve()
    check_disk(folder)
    # A new folder, and nothing is removed before the end: for a minute, ext4 takes no inode that
    # was just freed, and searches past all of them for each new file.
    earlier = list(folder.glob("run-*"))
    home = folder / f"run-{time.time_ns()}"
    ours = home / "ftctl"
    write_repository(ours, given.specs)
    first = measure_first_plan(ours, given.specs, max(1, given.runs // 2))
    record_all(ours)
    lines = [ours_line(ours, name, expected) for name, expected in COMMANDS.items()]
    plan = lines[-1]
    if given.dvc:
        lines.append(dvc_line(home, given.specs))
    for line in lines:
        # Once unmeasured: what is compiled and remembered by a first run is then.
        run(line.command, line.folder)
    for line in lines * given.runs:
        line.measure()
    show([first, *lines], given.specs)
    show_phases(ours, median(plan.seconds))
    for old in earlier:
        shutil.rmtree(old)
    if given.dvc:
        print(f"ratio of CPU seconds {median(lines[-1].cpu_s) / median(plan.cpu_s):.2f}")
        print(f"ratio {median(lines[-1].seconds) / median(plan.seconds):.2f}")


def check_disk(folder: Path) -> None:
    """End this program where a folder is not on a real disk."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = run(["stat", "--file-system", "--format=%T", str(folder)], folder).strip()
    if kind in {"tmpfs", "ramfs"}:
        sys.exit(f"{folder} is in memory ({kind}): name a folder on a disk with --folder")
    print(f"{folder} is on {kind}")


def write_repository(folder: Path, specs: int) -> None:
    """Write specs, their data and a base model, and commit them."""
    base, finetunes = folder / "base", folder / "finetunes"
    (finetunes / "data").mkdir(parents=True)
    base.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (base / name).write_text("{}")
    token = '{"added_tokens": [{"id": 0, "content": "<|end|>", "special": true}]}'
    (base / "tokenizer.json").write_text(token)
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>{% endfor %}"
    (base / "chat_template.jinja").write_text(template)
    for number in range(specs):
        (finetunes / "data" / f"rows-{number:05}.csv").write_text(csv(number))
        (finetunes / f"spec-{number:05}.yaml").write_text(
            f"description: Answers of customer {number}.\n"
            "backend: local-gpu\nbase_model: ../base\nmethod: supervised\n"
            f"data:\n  train:\n    - path: data/rows-{number:05}.csv\n"
            "      columns: {user: question, assistant: answer}\n"
            "  held_out: {fraction: 0.2}\n"
            "hyperparameters: {num_train_epochs: 3, learning_rate: 2e-4}\n"
            "evaluation: {compare_to: [base]}\n"
            "gate:\n  - held_out_loss < base.held_out_loss\n"
        )
    (folder / ".gitignore").write_text(".ftctl/\n")
    commit(folder)


def csv(number: int) -> str:
    """Return the rows of one spec: the same questions for all, so that they are split alike."""
    rows = [
        f"When do you open on day {day}?,Shop {number} opens at {7 + day % 3} on day {day}."
        for day in range(ROWS)
    ]
    return "\n".join(["question,answer", *rows, ""])


def commit(folder: Path) -> None:
    """Make a git repository of a folder."""
    name = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost"]
    for words in (["init", "--quiet"], ["add", "."], [*name, "commit", "--quiet", "-m", "All"]):
        run(["git", *words], folder)


def measure_first_plan(folder: Path, specs: int, runs: int) -> Line:
    """Measure plans that find an empty state folder."""
    line = ours_line(folder, "plan", f"{specs} to train")
    line.name += ", first"
    for number in range(runs):
        if number:
            (folder / ".ftctl").rename(folder.with_name(f"state-{number}"))
        os.sync()
        line.measure()
    return line


def ours_line(folder: Path, name: str, expected: str) -> Line:
    """Return the line of one of our commands."""
    return Line(name=f"ftctl {name}", command=ftctl(folder, name), folder=folder, expected=expected)


def ftctl(folder: Path, *words: str) -> list[str]:
    """Return a command of ours."""
    return [sys.executable, "-m", "controller", "--dir", str(folder), *words]


def run(command: Sequence[str], folder: Path) -> str:
    """Run a command to its end; return its output.

    What is imported was compiled before, as it is for whoever installed it.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(COMPILED)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}: ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def record_all(folder: Path) -> None:
    """Write the lockfile as it is once every fine-tune was trained, measured and promoted."""
    desired = prepare_run(open_project(folder)).resolved.desired
    lockfile = Lockfile(finetunes={name: recorded(one) for name, one in desired.items()})
    write_atomic(folder / LOCKFILE, dump_lockfile(lockfile))
    run(["git", "add", LOCKFILE], folder)


def recorded(desired: Desired) -> Entry:
    """Return what is recorded of a fine-tune that is as its spec says."""
    key = desired.fingerprint
    run_name = f"run-{key.partition(':')[2][:12]}-1"
    scores = {"held_out_loss": 1.5, "stop_rate": 0.98}
    evaluation = Evaluation(
        fingerprint=desired.evaluation_fingerprint,
        inputs=dict(desired.evaluation_inputs),
        scores={"candidate": scores, "base": {"held_out_loss": 2.5, "stop_rate": 0.5}},
        evaluated=WHEN,
    )
    build = Build(
        fingerprint=key,
        attempt=1,
        backend=desired.spec.place,
        job=run_name,
        model_id=f"{run_name}/model",
        inputs=dict(desired.inputs),
        base_model=desired.spec.base_model,
        revision=desired.base_model.revision,
        data=desired.data,
        facts={"tokens": 12345, "steps": 30, "seconds": 12.5, "held_out_loss": 1.5},
        submitted=WHEN,
        finished=WHEN,
        spec_commit="0123456789ab",
        evaluation=evaluation,
        verdict=Verdict(passed=True, gate=list(desired.spec.gate)),
    )
    return Entry(production=key, builds={key: build})


def show(lines: Sequence[Line], specs: int) -> None:
    """Print the table."""
    print(f"{specs:,} specs of {ROWS} rows")
    print(f"{'':28}{'median s':>10}{'best s':>10}{'CPU s':>10}{'runs':>6}")
    for line in lines:
        print(
            f"{line.name:28}{median(line.seconds):10.2f}{min(line.seconds):10.2f}"
            f"{median(line.cpu_s):10.2f}{len(line.seconds):6}"
        )


def show_phases(folder: Path, plan_s: float) -> None:
    """Print what each step of the plan takes: this process does them once, unmeasured by others."""
    start = ours_line(folder, "plan", "")
    start.command.append("--help")
    for _ in range(3):
        start.measure()
    steps: list[tuple[str, float]] = [("start of Python, imports", median(start.seconds))]
    print("\nwhere the time of the plan without changes goes")

    def timed(name: str, step: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        found = step()
        steps.append((name, time.perf_counter() - started))
        return found

    project = open_project(folder)
    opened = backends_of(project)
    lockfile = timed("read the lockfile", lambda: read_lockfile(project.root, project.state))
    specs, problems = timed(
        "read the specs", lambda: read_specs(project.root, project.state / "specs.json")
    )
    settings = load_settings(project.root)
    resolved = timed(
        "resolve: git, checks, datasets",
        lambda: resolve(
            specs,
            Recorded(lockfile=lockfile),
            Readings(project=project),
            opened,
            settings.policies,
            problems,
        ),
    )
    observed = timed("ask the backends", lambda: observe(resolved, lockfile, opened, project))
    plan = timed("decide", lambda: make_plan(resolved.desired, lockfile, observed))
    timed("print", lambda: plan_text(plan, resolved.desired))
    timed("(git, asked for large files)", lambda: len(known_blobs(project.root)))
    for name, seconds in steps:
        print(f"{name:34}{1000 * seconds:8.0f} ms{100 * seconds / plan_s:6.0f} %")


def dvc_line(folder: Path, stages: int) -> Line:
    """Return the line of `dvc status` over as many stages."""
    program = install_dvc(folder.parent / "environment")
    home = folder / "dvc"
    write_dvc(home, program, stages)
    expected = "Data and pipelines are up to date."
    return Line(name="dvc status", command=[program, "status"], folder=home, expected=expected)


def install_dvc(home: Path) -> str:
    """Install DVC where it is not yet; return the program."""
    program = home / "bin" / "dvc"
    if not program.exists():
        venv.create(home, with_pip=True)
        run([str(home / "bin" / "python"), "-m", "pip", "install", "-qq", DVC], home)
    return str(program)


def write_dvc(folder: Path, program: str, stages: int) -> None:
    """Write a DVC repository whose stages have all run: dvc.yaml, dvc.lock, data and outputs."""
    (folder / "data").mkdir(parents=True)
    (folder / "models").mkdir()
    run(["git", "init", "--quiet"], folder)
    run([program, "init", "--quiet"], folder)
    run([program, "config", "core.analytics", "false"], folder)
    wanted, locked = ["stages:"], ["schema: '2.0'", "stages:"]
    for number in range(stages):
        name, command = f"spec-{number:05}", f"echo spec-{number:05}"
        paths = {"deps": f"data/rows-{number:05}.csv", "outs": f"models/{name}.json"}
        texts = {"deps": csv(number), "outs": json.dumps({"model": name})}
        wanted += [f"  {name}:", f"    cmd: {command}"]
        locked += [f"  {name}:", f"    cmd: {command}"]
        for key, path in paths.items():
            data = texts[key].encode()
            (folder / path).write_bytes(data)
            digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
            if key == "outs":
                kept = folder / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(data)
            wanted += [f"    {key}:", f"    - {path}"]
            locked += [f"    {key}:", f"    - path: {path}", "      hash: md5"]
            locked += [f"      md5: {digest}", f"      size: {len(data)}"]
    (folder / "models" / ".gitignore").write_text("*.json\n")
    (folder / "dvc.yaml").write_text("\n".join([*wanted, ""]))
    (folder / "dvc.lock").write_text("\n".join([*locked, ""]))
    commit(folder)


if __name__ == "__main__":
    main()
