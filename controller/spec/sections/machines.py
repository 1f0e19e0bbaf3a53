"""The section `machines` of `ftctl.yaml`: where jobs are placed besides the machine of ftctl."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias, cast

from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator

from backends.contract.errors import InvalidInput, Problem
from backends.contract.inspector import Json
from backends.contract.jobs import Machine
from backends.excerpt import excerpt
from backends.launchers.table import MANUAL, open_launcher
from backends.pydantic_errors import InvalidValue
from controller.spec.base import NonEmpty, Strict
from controller.spec.sections.store import store_address

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RUNS: Final = "runs"


class Venv(Strict):
    """A Python environment of the machine."""

    venv: NonEmpty
    """Its folder there; it has this version of ftctl, with the extra `local`."""


class Image(Strict):
    """A container image."""

    image: NonEmpty
    """Its name; it has this version of ftctl, with the extra `local`."""


def _form(value: object) -> str:
    if isinstance(value, Venv) or (isinstance(value, dict) and "venv" in value):
        return "<venv>"
    return "<image>" if isinstance(value, dict | Image) else "<wheel>"


Runtime: TypeAlias = Annotated[
    Annotated[Literal["wheel"], Tag("<wheel>")]
    | Annotated[Venv, Tag("<venv>")]
    | Annotated[Image, Tag("<image>")],
    Discriminator(_form),
]


class MachineSettings(Strict):
    """A machine that jobs are placed on. The other keys are its launcher's own."""

    model_config = ConfigDict(extra="allow")

    launcher: NonEmpty
    """Launcher that places jobs there: `ray`, `slurm`, an installed plug-in, or `manual`: jobs wait until
    somebody starts them by a file of `ftctl export NAME --job KIND`."""
    runs: NonEmpty
    """Folder that this machine and that one share, or `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`,
    `az://CONTAINER/PREFIX`: home of the run folders, which tell what is true of every job."""
    runtime: Runtime = "wheel"
    """ftctl on that machine: `{venv: FOLDER}`, `{image: NAME}`, or `wheel`: this ftctl's own code is
    sent along, and that machine's Python has the packages of the extra `local`."""
    devices: Literal["gpu", "cpu"] = "gpu"
    """Kind of devices that it trains on."""
    private: bool = False
    """True if only people who may see private data can read `runs` and use the machine. Fine-tunes
    with `sensitivity: private` data are placed nowhere else."""
    environment: dict[NonEmpty, str] = Field(default_factory=dict)
    """Variables of its jobs, such as `HF_HOME`. No secrets: a scheduler shows them to others."""

    @field_validator("environment")
    @classmethod
    def _names_variables(cls, environment: dict[str, str]) -> dict[str, str]:
        for name in environment:
            if not _VARIABLE.fullmatch(name):
                remedy = "Write letters, digits and _, as in HF_HOME."
                raise InvalidValue(f"{excerpt(name)} is not the name of a variable", remedy)
        return environment

    @field_validator("runs")
    @classmethod
    def _is_shared(cls, runs: str) -> str:
        if runs.lower().startswith("hf://"):
            raise InvalidValue(
                "a hub repository cannot be written every few seconds",
                "Name a shared folder, or a bucket.",
            )
        if "://" not in runs and not Path(runs).is_absolute():
            raise InvalidValue(
                "is a relative folder, which is another one on another machine",
                "Write its absolute path, the same on both machines.",
            )
        return store_address(runs)


def machine_problems(machines: Mapping[str, MachineSettings]) -> list[Problem]:
    """Return what is wrong with the settings that are the launchers' own."""
    problems = []
    for name, settings in machines.items():
        machine = machine_of(name, settings)
        try:
            open_launcher(machine.launcher, machine.settings, {})
        except InvalidInput as error:
            problems += [
                Problem(
                    field=f"machines.{name}.{one.field}", message=one.message, remedy=one.remedy
                )
                for one in error.problems
            ]
    return problems


def machines_of(machines: Mapping[str, MachineSettings]) -> dict[str, Machine]:
    """Return machines as backends know them, by their names."""
    return {name: machine_of(name, settings) for name, settings in machines.items()}


def machine_of(name: str, settings: MachineSettings) -> Machine:
    """Return a machine as backends know it."""
    runtime = settings.runtime
    own = cast("Mapping[str, Json]", settings.model_extra or {})
    is_bucket = "://" in settings.runs
    return Machine(
        name=name,
        launcher=settings.launcher,
        runs=settings.runs,
        venv=runtime.venv if isinstance(runtime, Venv) else None,
        image=runtime.image if isinstance(runtime, Image) else None,
        ships=runtime == "wheel",
        has_gpus=settings.devices == "gpu",
        is_private=settings.private,
        environment=settings.environment,
        settings=own
        if is_bucket and settings.launcher != MANUAL
        else {**own, _RUNS: settings.runs},
    )
