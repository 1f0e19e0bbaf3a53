"""Git through its command line: with time limits, without questions, and without secrets in errors."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from urllib.parse import urlsplit

from controller.errors import FtctlError
from controller.watch.mask import masked, secrets_of

LOCAL_S = 300.0
"""Time limit of a command that asks no server; a filter of large files may fetch some."""
REMOTE_S = 600.0
"""Time limit of a command that asks a server."""
CREDENTIAL_VARIABLE = "FTCTL_GIT_TOKEN"
_HELPER = (
    '!f() { test "$1" = get && printf "username=x-access-token\\npassword=%s\\n" '
    f'"${CREDENTIAL_VARIABLE}"; }}; f'
)
"""Helper that answers git with the token, which stays in the environment."""
_SETTINGS = (
    "advice.detachedHead=false",
    "core.autocrlf=false",
    "core.eol=lf",
    "core.fsync=committed,loose-object,index,reference",
    "core.quotePath=false",
    # What runs on in the background would outlive this process, and hold files of the clone.
    "gc.autoDetach=false",
    "maintenance.autoDetach=false",
    # A connection that hangs is given up: less than a byte a second, for a minute.
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
)
_OF_ANOTHER = frozenset(
    f"GIT_{name}"
    for name in (
        *("DIR", "WORK_TREE", "COMMON_DIR", "INDEX_FILE", "PREFIX", "NAMESPACE"),
        *("OBJECT_DIRECTORY", "ALTERNATE_OBJECT_DIRECTORIES", "SHALLOW_FILE"),
    )
)
"""Variables that name another repository, where git itself started this process."""


class Trouble(Enum):
    """Kind of failure of a command of git."""

    RACE = auto()
    """Another push came first."""
    REFUSED = auto()
    """The server does not allow it, or does not take the credentials."""
    ABSENT = auto()
    """There is no such repository or branch."""
    OTHER = auto()
    """No answer, or anything else that may pass."""


_TROUBLES = {
    Trouble.RACE: r"\[rejected\]|cannot lock ref|failed to update ref|reference already exists",
    Trouble.REFUSED: (
        r"\[remote rejected\]|Authentication failed|could not read (?:Username|Password)|"
        r"Permission denied|Host key verification failed|returned error: 40[13]|protected branch"
    ),
    Trouble.ABSENT: (
        r"[Rr]epository .{0,300}not found|does not appear to be a git repository|"
        r"couldn't find remote ref|Remote branch .{0,300}not found"
    ),
}
"""What git says of each kind, tried in this order."""


class GitFailed(FtctlError):
    """A command of git failed, or took too long.

    Attributes:
        trouble: Kind of failure.
    """

    def __init__(self, message: str, remedy: str = "", *, trouble: Trouble = Trouble.OTHER) -> None:
        super().__init__(message, remedy)
        self.trouble = trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """Git in one folder."""

    folder: Path
    environment: Mapping[str, str]
    """Environment of its processes."""
    lock: int
    """Open lock file that commands which change the clone keep: a killed service may leave one."""

    def read(self, *arguments: str) -> str | None:
        """Return the output of a command; None if it fails, as it does where there is nothing.

        Raises:
            GitFailed: It took too long.
        """
        code, output, _ = self._call(arguments, b"", LOCAL_S, (self.lock,), {})
        return os.fsdecode(output) if code == 0 else None

    def run(
        self, *arguments: str, text: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> str:
        """Run a command in the clone, and return its output without white space around it.

        Raises:
            GitFailed: It failed, or took too long.
        """
        return self._checked(arguments, text, LOCAL_S, (self.lock,), environment or {})

    def ask(self, *arguments: str, timeout_s: float = REMOTE_S) -> str:
        """Run a command that asks the server, and return its output.

        Raises:
            GitFailed: It failed, or took too long.
        """
        # Not with the lock: a helper for credentials may outlive it in the background.
        return self._checked(arguments, b"", timeout_s, (), {})

    def _checked(
        self,
        arguments: Sequence[str],
        text: bytes,
        timeout_s: float,
        kept: Sequence[int],
        environment: Mapping[str, str],
    ) -> str:
        code, output, errors = self._call(arguments, text, timeout_s, kept, environment)
        if code == 0:
            return os.fsdecode(output).strip()
        said = masked(errors.decode(errors="replace").strip(), secrets_of(self.environment))
        raise GitFailed(
            f"git {arguments[0]} failed: {_last_lines(said) or f'exit code {code}'}",
            trouble=trouble_of(said),
        )

    def _call(
        self,
        arguments: Sequence[str],
        text: bytes,
        timeout_s: float,
        kept: Sequence[int],
        environment: Mapping[str, str],
    ) -> tuple[int, bytes, bytes]:
        git = shutil.which("git")
        if git is None:
            raise GitFailed("git is not installed here", "Install git, then run the command again.")
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        with subprocess.Popen(
            [git, "-C", str(self.folder), *settings, *arguments],
            env={**self.environment, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Without a terminal nothing can ask a question there, and Ctrl-C is ours alone.
            start_new_session=True,
            pass_fds=tuple(kept),
        ) as process:
            try:
                output, errors = process.communicate(text, timeout=timeout_s)
            except subprocess.TimeoutExpired:
                _kill(process)
                raise GitFailed(
                    f"git {arguments[0]} did not end within {timeout_s:g} seconds"
                ) from None
            except BaseException:
                _kill(process)
                raise
        return process.returncode, output, errors


def git_environment(environment: Mapping[str, str], url: str, token: str) -> dict[str, str]:
    """Return the environment of git's processes.

    Args:
        environment: Of this process.
        url: Address of the repository, whose server alone gets the token.
        token: Token for that server; empty to leave it to git's own credential helpers and ssh.
    """
    found = {name: value for name, value in environment.items() if name not in _OF_ANOTHER}
    found |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    parts = urlsplit(url)
    if not token or parts.scheme not in {"http", "https"}:
        return found
    # As a helper in the environment: a command line can be read by every process of the machine.
    count = found.get("GIT_CONFIG_COUNT", "0")
    number = int(count) if count.isdecimal() else 0
    found[f"GIT_CONFIG_KEY_{number}"] = f"credential.{parts.scheme}://{parts.netloc}.helper"
    found[f"GIT_CONFIG_VALUE_{number}"] = _HELPER
    return found | {"GIT_CONFIG_COUNT": str(number + 1), CREDENTIAL_VARIABLE: token}


def trouble_of(said: str) -> Trouble:
    """Return the kind of a failure, by what git said in English."""
    for trouble, pattern in _TROUBLES.items():
        if re.search(pattern, said):
            return trouble
    return Trouble.OTHER


def _last_lines(said: str) -> str:
    """Return the lines of an error that tell why, on one line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "!"))]
    return "; ".join((telling or lines)[-4:])


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process with all that it started: a child of git keeps its pipes open."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
