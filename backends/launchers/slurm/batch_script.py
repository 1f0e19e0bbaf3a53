"""The script that Slurm runs on the first node of a job. Pure."""

import re
import shlex
from typing import Final

from backends.contract.errors import InvalidInput, Problem
from backends.launchers.launcher import Placement

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STOPPED: Final = 143
"""Exit status of a command that SIGTERM has stopped, and that has saved its work."""
_TASK: Final = f"""\
# Slurm signals all processes of a task; this one only has to survive.
trap : TERM
"$@" --node "$SLURM_NODEID"
status=$?
# Saved and stopped, as it was asked to. As a failure, it would end the nodes that still save.
[ "$status" = {_STOPPED} ] && exit 0
exit "$status"
"""
"""Shell command that runs on each of several nodes."""
_ONE: Final = """\
child= stopped=0 asked=
stop() { asked=yes; [ -z "$child" ] || kill -TERM "$child"; }
trap stop TERM
COMMAND &
child=$!
[ -z "$asked" ] || kill -TERM "$child"
"""
"""The command on one node."""
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
child= stopped=0
stop() {{ stopped={_STOPPED}; [ -z "$child" ] || forward; }}
[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"
trap stop TERM
srun --kill-on-bad-exit=1 bash -c {shlex.quote(_TASK)} bash COMMAND &
child=$!
[ "$stopped" = 0 ] || forward
"""
"""The command on several nodes."""
_END: Final = f"""\
# bash may lose the status of a process when a signal ends `wait` for it.
while kill -0 "$child" 2>/dev/null; do sleep 0.5 & wait $!; done
wait "$child"
status=$?
[ "$status" != 0 ] || status=$stopped
# Slurm puts a job back into the queue that it preempts, unless the job ends by itself, having saved:
# then, and at its time limit, the job does so. One that somebody cancels is completing by now.
taken() {{
  job=$(scontrol show job "$SLURM_JOB_ID") || return
  echo "$job" | grep -q 'JobState=RUNNING' || return
  echo "$job" | grep -q 'PreemptTime=[0-9]' && return
  squeue --noheader --jobs="$SLURM_JOB_ID" --format=%L | grep -Eq '^([0-2]:[0-5][0-9]|3:00)$'
}}
if [ "$status" = {_STOPPED} ] && taken; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$status"
"""


def batch_script(placement: Placement, prologue: str, code: str | None = None) -> str:
    """Return the batch script of a job.

    SIGTERM for the script reaches the command on every node. The job fails if the command fails on
    any node, or was stopped by SIGTERM; a job that Slurm preempts, or that reaches its time limit,
    goes back into the queue once it has saved.

    Args:
        placement: The job.
        prologue: Lines of bash before the command.
        code: Folder that Python also imports from.

    Raises:
        InvalidInput: A variable has a name that no shell can export.
    """
    lines = ["#!/bin/bash -l", "unset LC_ALL", *prologue.splitlines()]
    for name, value in placement.environment.items():
        if _VARIABLE.fullmatch(name) is None or "\0" in value:
            problem = Problem(field=name, message="is not a variable that a shell can export")
            raise InvalidInput([problem])
        lines.append(f"export {name}={shlex.quote(value)}")
    if code is not None:
        lines.append(f"export PYTHONPATH={shlex.quote(code)}${{PYTHONPATH:+:$PYTHONPATH}}")
    before, after = (_ONE if placement.nodes == 1 else _SEVERAL).split("COMMAND")
    lines.append(f"{before}{shlex.join(placement.command)}{after}{_END}")
    return "\n".join(lines) + "\n"
