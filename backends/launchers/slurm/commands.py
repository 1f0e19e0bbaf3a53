"""Commands of Slurm, typed on this machine or at a login node."""

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from backends.launchers.launcher import LauncherError, Unanswered

TIMEOUT_S: Final = 30.0
"""Seconds that a command may take."""
_CONNECT_S: Final = 10
_KEPT: Final = (
    *("HOME", "KRB5CCNAME", "LANG", "LOGNAME", "PATH", "SHELL", "SLURM_CONF", "SSH_AUTH_SOCK"),
    *("TZ", "USER"),
)
"""Variables that commands get. sbatch hands all that it has to the job, keys and passwords too, and
`SBATCH_PARTITION` or `SQUEUE_USERS` would change what the commands mean."""
_NO_SUCH_COMMAND: Final = 127
_SSH_FAILED: Final = 255
_PREFIXES: Final = ("SBATCH_", "SINFO_", "SQUEUE_", "SACCT_", "SCANCEL_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Output and exit status of a command."""

    status: int
    output: str
    errors: str

    @property
    def words(self) -> str:
        """The last line of its errors, or of its output."""
        lines = (self.errors.strip() or self.output.strip()).splitlines()
        return lines[-1].strip() if lines else f"exit status {self.status}"


@dataclass(frozen=True, slots=True)
class Commands:
    """Runs commands where Slurm is.

    Attributes:
        environment: Variables of this process.
        ssh: Login node; None for this machine.
        timeout_s: Seconds that a command may take.
    """

    environment: Mapping[str, str]
    ssh: str | None = None
    timeout_s: float = TIMEOUT_S

    @property
    def place(self) -> str:
        """Host of the commands, for messages."""
        return "this machine" if self.ssh is None else self.ssh

    def run(self, arguments: Sequence[str], text: str = "") -> Answer:
        """Run a command and return its answer, whatever its exit status is.

        Args:
            arguments: The command and its arguments.
            text: What it reads from its standard input.

        Raises:
            Unanswered: It took too long, was killed, or ssh lost its connection.
            LauncherError: There is no such command.
        """
        command, given = list(arguments), text
        if self.ssh is not None:
            # The login shell may be any: only bash reads the command line, from its input.
            command = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_S}"]
            command += [self.ssh, "bash", "-l"]
            given = _script(arguments, text)
        answer = self._run(command, given)
        if answer.status == _NO_SUCH_COMMAND:
            raise self._no_such_command(arguments[0])
        spoke = any(line.startswith(f"{arguments[0]}: ") for line in answer.errors.splitlines())
        if self.ssh is not None and answer.status == _SSH_FAILED and not spoke:
            raise Unanswered(
                f"ssh to {self.ssh} failed: {answer.words}",
                f"Type `ssh -o BatchMode=yes {self.ssh} sinfo`, and fix what it reports.",
            )
        return answer

    def _run(self, command: list[str], given: str) -> Answer:
        kept = {name: self.environment[name] for name in _KEPT if name in self.environment}
        try:
            done = subprocess.run(
                command,
                input=given.encode(),
                capture_output=True,
                timeout=self.timeout_s,
                env={**kept, "LC_ALL": "C"},
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unanswered(
                f"`{command[0]}` on {self.place} did not answer within {self.timeout_s:g} s",
                "Type `scontrol ping` there, and wait until the controller is up.",
            ) from None
        except FileNotFoundError:
            raise self._no_such_command(command[0]) from None
        except OSError as error:
            raise LauncherError(f"`{command[0]}` cannot be started: {error.strerror}") from error
        if done.returncode < 0:
            raise Unanswered(f"`{command[0]}` was ended by signal {-done.returncode}")
        return Answer(
            status=done.returncode,
            output=done.stdout.decode("utf-8", errors="replace"),
            errors=done.stderr.decode("utf-8", errors="replace"),
        )

    def _no_such_command(self, name: str) -> LauncherError:
        if name == "ssh":
            return LauncherError("this machine has no command `ssh`", "Install OpenSSH's client.")
        return LauncherError(
            f"{self.place} has no command `{name}`",
            "Install Slurm's commands there, or write `ssh: HOST`, a login node of the cluster.",
        )


def _script(arguments: Sequence[str], text: str) -> str:
    """Return the lines of bash that run a command with an input."""
    lines = [f"unset {' '.join(f'${{!{prefix}@}}' for prefix in _PREFIXES)}", "export LC_ALL=C"]
    command = f"exec {shlex.join(arguments)}"
    if not text:
        return "\n".join([*lines, f"{command} </dev/null", ""])
    end = "END"
    while end in text:
        end += "_"
    return "\n".join([*lines, f"{command} <<'{end}'", text.removesuffix("\n"), end, ""])
