"""The script that Slurm runs on the first node of a job. Pure."""

import re
import shlex
from typing import Final

from backends.contract.errors import InvalidInput, Problem
from backends.launchers.launcher import Placement

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WAIT: Final = """\
status=0 signalled=yes
while [ "$signalled" ]; do
  signalled=
  wait "$child"
  again=$?
  [ "$again" = 127 ] || status=$again
done
"""
"""A trapped signal ends `wait` early. 127: the child's status was already read."""
_TASK: Final = f"""\
[ "$SLURM_NODEID" = 0 ] && exec "$@" --node 0
trap 'signalled=yes' TERM
"$@" --node "$SLURM_NODEID" &
child=$!
{_WAIT}
# Saved and stopped, as it was asked to. As a failure, it would end the first node, which may still
# be saving.
[ "$status" = 143 ] && exit 0
exit "$status"
"""
"""What each node of several runs; Slurm signals all processes of a task."""
_SEVERAL: Final = f"""\
# On SIGTERM, srun itself would kill the tasks at once: scancel only signals them. They may not have
# been started yet.
forward() {{
  until squeue --noheader --steps --jobs="$SLURM_JOB_ID" --format=%i | grep -Eq '[.][0-9]+$'; do
    kill -0 "$child" 2>/dev/null || return
    sleep 1
  done
  scancel --signal=TERM "$SLURM_JOB_ID"
}}
child=
stop() {{ signalled=yes; [ -z "$child" ] || forward; }}
[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"
trap stop TERM
srun --kill-on-bad-exit=1 bash -c {shlex.quote(_TASK)} bash COMMAND &
child=$!
{_WAIT}
exit "$status"
"""


def batch_script(placement: Placement, prologue: str) -> str:
    """Return the batch script of a job.

    SIGTERM for the script reaches the command on every node. The job fails if the command does on
    any node; on the first one, ending on SIGTERM counts as failing.

    Args:
        placement: The job.
        prologue: Lines of bash before the command.

    Raises:
        InvalidInput: A variable has a name that no shell can export.
    """
    lines = ["#!/bin/bash -l", "unset LC_ALL", *prologue.splitlines()]
    for name, value in placement.environment.items():
        if _VARIABLE.fullmatch(name) is None or "\0" in value:
            problem = Problem(field=name, message="is not a variable that a shell can export")
            raise InvalidInput([problem])
        lines.append(f"export {name}={shlex.quote(value)}")
    command = shlex.join(placement.command)
    if placement.nodes == 1:
        # The command is the batch process itself, which Slurm signals.
        lines.append(f"exec {command}")
    else:
        before, after = _SEVERAL.split("COMMAND")
        lines.append(f"{before}{command}{after}")
    return "\n".join(lines) + "\n"
