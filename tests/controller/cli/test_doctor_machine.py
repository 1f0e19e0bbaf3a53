"""`ftctl doctor --machine`: one line a check for a healthy machine and for sick ones."""

import json
import re
import socket
import subprocess
import sys
import venv
from contextlib import contextmanager
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
import yaml

from backends.launchers import table
from backends.local_gpu.machines.check import from_here
from tests.backends.launchers.slurm.conftest import NODES, Host
from tests.backends.local_gpu.machines.scheduler import Scheduler
from tests.children import until
from tests.servers.ray_head import RayHead
from tests.servers.s3_server import BUCKET, KEYS, faulty, s3_server

ROOT = Path(__file__).parents[3]
SCHEDULERS = []
LATE = """\
import time
_now = time.time
time.time = lambda: _now() - 300
"""


def create(_settings, _environment):
    return SCHEDULERS[-1]


class Doctor:
    """A machine of real processes, and the command that checks it."""

    def __init__(self, shell, folder, scheduler) -> None:
        self.shell, self.folder, self.scheduler = shell, folder, scheduler
        self.runs = folder / "shared"
        self.runs.mkdir()
        self.settings = {
            "launcher": "processes",
            "runs": str(self.runs),
            "runtime": {"venv": str(Path(sys.executable).parent.parent)},
            "devices": "cpu",
            "environment": {"PYTHONPATH": str(ROOT), "FTCTL_SCRATCH": str(folder / "scratch")},
        }

    def declare(self, environment=(), **settings) -> None:
        environment = {**self.settings["environment"], **dict(environment)}
        cluster = {**self.settings, **settings, "environment": environment}
        text = yaml.safe_dump({"machines": {"cluster": cluster}})
        self.shell.write("ftctl.yaml", text)

    def __call__(self, *options, **settings) -> tuple[int, str]:
        """Return the exit code and what is said, without what differs between two runs."""
        self.declare(**settings)
        code, text = self.shell("doctor", "--machine", "cluster", *options)
        # What is waited for differs with the speed of this machine.
        text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("»"))
        text = re.sub(r"--probe [0-9a-f]{12}", "--probe ID", text)
        text = re.sub(r"ftctl-check-[0-9a-f]{12}", "ftctl-check-ID", text)
        text = re.sub(r"[\d,]+ GB", "N GB", text)
        text = re.sub(r"after \d+ s", "after N s", text)
        text = re.sub(r"\d+ CPUs", "N CPUs", text)
        text = re.sub(r"127\.0\.0\.1:\d\d+", "127.0.0.1:PORT", text)
        for value, name in (
            (str(self.folder), "/tmp"),
            (socket.gethostname(), "node7"),
            (f"{version('ftctl')}, Python {sys.version.split()[0]}", "1.0.0, Python 3.12.1"),
            (version("ftctl"), "1.0.0"),
        ):
            text = text.replace(value, name)
        return code, re.sub(r"(torch|transformers|peft) \d\S*?(?=,|\n)", r"\1 N", text)

    def nothing_is_left(self) -> bool:
        ended = all(process.poll() is not None for process, _ in self.scheduler.started.values())
        files = [
            path for path in self.runs.rglob("*") if path.is_file() and "code" not in path.parts
        ]
        return ended and not self.scheduler.queued and not files


@pytest.fixture
def doctor(shell, tmp_path, monkeypatch):
    folder = tmp_path / "machine"
    (folder / "scheduler").mkdir(parents=True)
    scheduler = Scheduler(folder / "scheduler")
    monkeypatch.setitem(table.BUILT_IN, "processes", f"{__name__}:create")
    monkeypatch.setattr(from_here, "_LATE_S", 1.0)
    SCHEDULERS.append(scheduler)
    yield Doctor(shell, folder, scheduler)
    scheduler.end()
    SCHEDULERS.pop()


def without_packages(folder: Path, name: str = "1.0") -> dict[str, str]:
    """Make a Python environment that has ftctl in some version, and nothing else."""
    venv.create(folder / "bare", with_pip=False, symlinks=True)
    found = folder / "packages" / f"ftctl-{name}.dist-info"
    found.mkdir(parents=True)
    text = distribution("ftctl").read_text("METADATA")
    text = re.sub(r"(?m)^Version: .*$", f"Version: {name}", text, count=1)
    (found / "METADATA").write_text(text)
    return {"PYTHONPATH": f"{folder / 'packages'}:{ROOT}"}


@contextmanager
def sick_store(monkeypatch):
    with s3_server() as address, faulty(address) as (proxy, fault):
        fault.ignores_conditions = True
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": proxy}.items():
            monkeypatch.setenv(name, value)
        yield f"s3://{BUCKET}/runs"


@pytest.mark.torch
def test_a_healthy_machine(doctor, golden):
    code, text = doctor()
    assert code == 0, text
    golden("doctor/healthy.txt", text)
    (placement,) = doctor.scheduler.submitted
    assert placement.gpus == 0
    assert doctor.nothing_is_left()


def test_the_answer_is_json_when_asked(doctor):
    doctor.declare()
    code, text = doctor.shell("doctor", "--machine", "cluster", "--json")
    found, _ = json.JSONDecoder().raw_decode(text)
    assert [one["subject"] for one in found][:3] == ["store", "scheduler", "job"]
    assert code == (0 if all(one["ok"] for one in found) else 1)


def test_a_machine_that_nobody_declared(doctor):
    doctor.declare()
    code, text = doctor.shell("doctor", "--machine", "clustre")
    assert (code, text.strip().splitlines()[-1].strip()) == (1, "Did you mean `cluster`?")


def test_a_machine_whose_jobs_others_start_is_checked_from_here(doctor):
    code, text = doctor(launcher="manual")
    assert code == 0, text
    assert [line[4:13].strip() for line in text.splitlines()] == ["store", "scheduler", "job"]
    assert doctor.nothing_is_left()


# --- sick machines: each is told apart --------------------------------------------------------


def unreachable(doctor, _):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    return doctor(launcher="ray", address=f"http://127.0.0.1:{port}")


def wants_a_token(doctor, _):
    with RayHead(doctor.folder / "ray") as head:
        head.token = "right"
        found = doctor(launcher="ray", address=head.url)
        assert not head.jobs
    return found


def no_such_partition(doctor, monkeypatch):
    host = Host(doctor.folder)
    host.has("squeue", "ftctl|JOBID|STATE|REASON|NAME|COMMENT\n")
    host.has("sinfo", f"{NODES}\n", first="case \"$*\" in *%R*) printf 'gpu\\ncpu\\n'; exit;; esac")
    monkeypatch.setenv("PATH", str(host.programs))
    return doctor(launcher="slurm", partition="gpus", runs=str(doctor.runs))


def ignores_conditions(doctor, monkeypatch):
    pytest.importorskip("obstore")
    pytest.importorskip("moto")
    with sick_store(monkeypatch) as url:
        found = doctor(runs=url)
    assert not doctor.scheduler.submitted
    return found


def not_shared(doctor, _):
    doctor.scheduler.elsewhere = str(doctor.folder / "own")
    Path(doctor.scheduler.elsewhere).mkdir()
    found = doctor()
    assert not list(Path(doctor.scheduler.elsewhere).rglob("*"))
    return found


def not_mounted(doctor, _):
    doctor.scheduler.elsewhere = str(doctor.folder / "nothing")
    return doctor()


def late_clock(doctor, _):
    (doctor.folder / "sitecustomize.py").write_text(LATE)
    return doctor(environment={"PYTHONPATH": f"{doctor.folder}:{ROOT}"})


def another_version(doctor, _):
    return doctor(environment=without_packages(doctor.folder, "0.0.1"))


def no_torch(doctor, _):
    environment = without_packages(doctor.folder, version("ftctl"))
    return doctor(environment=environment, runtime={"venv": str(doctor.folder / "bare")})


def no_gpu(doctor, _):
    return doctor(environment={"CUDA_VISIBLE_DEVICES": ""}, devices="gpu")


def no_python(doctor, _):
    with RayHead(doctor.folder / "ray") as head:
        return doctor(launcher="ray", address=head.url, runtime={"venv": "/opt/absent"})


def queued(doctor, _):
    doctor.scheduler.is_full = True
    return doctor("--timeout", "1")


def no_gpu_to_wait_for(doctor, _):
    with RayHead(doctor.folder / "ray") as head:
        return doctor("--timeout", "1", launcher="ray", address=head.url, devices="gpu")


SICK = {
    "head unreachable": unreachable,
    "a token is wanted": wants_a_token,
    "no such partition": no_such_partition,
    "a store that ignores conditions": ignores_conditions,
    "a folder that is not shared": not_shared,
    "a folder that is not mounted": not_mounted,
    "a clock that is late": late_clock,
    "another version of ftctl": another_version,
    "no torch": no_torch,
    "no GPU": no_gpu,
    "no Python": no_python,
    "queued": queued,
    "queued for ever": no_gpu_to_wait_for,
}


@pytest.mark.torch
@pytest.mark.parametrize("what", SICK)
def test_sick_machines(doctor, golden, monkeypatch, what):
    code, text = SICK[what](doctor, monkeypatch)
    sick = [line for line in text.splitlines() if not line.startswith("ok")]
    assert (code, sick != []) == (1, True), text
    golden(f"doctor/{re.sub('[^a-z]+', '_', what.lower())}.txt", "\n".join(sick))
    # A job that was killed a moment ago may not have ended yet.
    until(doctor.nothing_is_left)


def test_a_full_store_is_refused_before_anything_is_placed(doctor):
    doctor.declare(launcher="ray", address="http://127.0.0.1:9")
    # The limit is that of a full disk to whoever writes: the system refuses.
    command = f"ulimit -f 0; exec {sys.executable} -m controller --dir {doctor.shell.root} "
    done = subprocess.run(
        ["bash", "-c", command + "doctor --machine cluster"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=100,
    )
    assert done.returncode == 1, done.stderr
    assert "cannot be used: File too large" in done.stdout + done.stderr


def test_a_store_that_was_never_reached_has_nothing_to_remove(doctor):
    code, text = doctor(runs=str(doctor.folder / "unmounted"))
    assert code == 1
    assert [line[4:13].strip() for line in text.splitlines()] == ["store", ""], text
    assert "/tmp/unmounted is not there" in text


def test_ctrl_c_ends_the_job(doctor, monkeypatch):
    doctor.scheduler.is_full = True
    found = doctor.scheduler.find
    asked = []

    def find(names):
        asked.append(names)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return found(names)

    monkeypatch.setattr(doctor.scheduler, "find", find)
    assert doctor()[0] == 130
    assert doctor.nothing_is_left()
