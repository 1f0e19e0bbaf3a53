"""Jobs as a launcher is to place them: the command of a module of ftctl on another machine."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backends.contract.jobs import Hardware, Machine
from backends.launchers.launcher import Placement
from backends.local_gpu.machines.claims import LOST
from backends.local_gpu.machines.own_code import code_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A module of ftctl, to be run on a machine, over the machine's store."""

    module: str
    arguments: Sequence[str]


def placement_on(
    machine: Machine,
    state: Path,
    command: Command,
    hardware: Hardware,
    *,
    name: str,
    comment: str,
) -> Placement:
    """Return the job that runs a command on a machine.

    Args:
        machine: The machine.
        state: Folder of this machine for a zip file with ftctl's own code.
        command: The command.
        hardware: Hardware for the job.
        name: Name of the job.
        comment: Comment of the job.

    Raises:
        OSError: ftctl's own code cannot be made ready.
    """
    python = "python3"
    environment = {**machine.environment}
    code = None
    if LOST in os.environ:
        environment[LOST] = os.environ[LOST]
    if machine.venv is not None:
        python = f"{machine.venv.rstrip('/')}/bin/python"
    elif machine.ships:
        code = code_folder(machine, state, environment)
    if not machine.has_gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    over = ("--store", machine.runs, *command.arguments)
    return Placement(
        name=name,
        comment=comment,
        command=(python, "-P", "-m", command.module, *over),
        environment=environment,
        gpus=hardware.gpus // hardware.nodes if machine.has_gpus else 0,
        nodes=hardware.nodes,
        memory_bytes=hardware.memory_bytes,
        code=code,
        image=machine.image,
    )
