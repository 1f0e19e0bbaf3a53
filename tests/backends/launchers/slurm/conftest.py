"""Commands of Slurm as scripts, which answer what a test wants and note what they were given."""

import shlex
import shutil
import sys
from pathlib import Path

import pytest

from backends.launchers.launcher import Placement
from backends.launchers.slurm.commands import Commands
from backends.launchers.slurm.settings import parse
from backends.launchers.slurm.slurm import Slurm

JOBS = "ftctl|JOBID|STATE|REASON|NAME|COMMENT"
NODES = "ftctl|NODELIST|PARTITION|GRES"
NAME = "ftctl-cafe-0123456789ab"


TOOLS = (*("base64", "bash", "cat", "env", "id", "mkdir", "mv", "rm", "sh", "sleep", "tail"),)


class Host:
    """A machine of which the PATH is one folder, so that no Slurm of this machine is found."""

    def __init__(self, folder: Path) -> None:
        self.programs, self.noted, self.runs = (
            folder / one for one in ("programs", "noted", "runs")
        )
        for one in (self.programs, self.noted, self.runs):
            one.mkdir()
        for tool in TOOLS:
            (self.programs / tool).symlink_to(shutil.which(tool))
        self.install("python3", f'exec {sys.executable} "$@"')
        # A login shell begins with the PATH of the system.
        (folder / ".bash_profile").write_text(f"export PATH={self.programs}\n")
        self.environment = {
            "PATH": str(self.programs),
            "HOME": str(folder),
            "OPENAI_API_KEY": "secret",
            "SBATCH_PARTITION": "elsewhere",
        }

    def has(self, name: str, output: str = "", errors: str = "", status: int = 0, **more) -> None:
        """Install a command. `first` is run before it answers."""
        noted = shlex.quote(str(self.noted / name))
        self.install(
            name,
            f"printf '%s\\n' \"$@\" >{noted}.arguments; env >{noted}.environment; "
            f"cat >{noted}.input\necho {name} >>{shlex.quote(str(self.noted / 'calls'))}\n"
            f"{more.get('first', '')}\nprintf '%s' {shlex.quote(output)}\n"
            f"printf '%s' {shlex.quote(errors)} >&2\nexit {status}\n",
        )

    def install(self, name: str, script: str) -> None:
        """Install a command that is written out."""
        path = self.programs / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/bash\n{script}")
        path.chmod(0o755)

    def lists(self, *rows: str) -> None:
        """Let squeue list jobs."""
        self.has("squeue", "\n".join([JOBS, *(f"ftctl|{row}" for row in rows), ""]))

    def given(self, name: str, what: str = "arguments") -> list[str]:
        """Return the lines of what a command was last given."""
        return (self.noted / f"{name}.{what}").read_text().splitlines()

    def calls(self) -> list[str]:
        """Return the commands that ran, in their order."""
        path = self.noted / "calls"
        return path.read_text().split() if path.exists() else []

    def launcher(self, timeout_s: float = 20.0, **settings) -> Slurm:
        """Return a launcher on this machine."""
        parsed = parse({"runs": str(self.runs), **settings})
        return Slurm(parsed, Commands(self.environment, parsed.ssh, timeout_s))


@pytest.fixture
def host(tmp_path) -> Host:
    """Return a machine without any command of Slurm."""
    return Host(tmp_path)


@pytest.fixture
def placement() -> Placement:
    """Return a job for one node without a GPU."""
    return Placement(name=NAME, comment="ftctl abc 1", command=("/bin/true",), gpus=0)


@pytest.fixture
def login(host):
    """Return a machine whose `ssh` runs what it is given in a shell, as sshd does."""
    host.install(
        "ssh", f'printf "%s\\n" "$@" >{host.noted}/ssh.arguments\nshift 5\nexec sh -c "$*"'
    )
    return host
