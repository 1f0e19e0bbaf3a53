"""Settings of a machine whose launcher is Slurm."""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from backends.contract.errors import InvalidInput
from backends.contract.inspector import Json
from backends.excerpt import excerpt
from backends.pydantic_errors import InvalidValue, in_our_words

SIGNAL_S: Final = 120
"""Seconds before its time limit at which a job receives SIGTERM."""
_SHORTEST_MINUTES: Final = 10
_TIME: Final = re.compile(
    r"(?P<m>\d+)(?::(?P<s>\d\d?))?"
    r"|(?P<h2>\d+):(?P<m2>\d\d?):(?P<s2>\d\d?)"
    r"|(?P<d>\d+)-(?P<h>\d\d?)(?::(?P<m3>\d\d?)(?::(?P<s3>\d\d?))?)?",
    re.ASCII,
)
_MINUTES: Final = {"m": 1, "h2": 60, "m2": 1, "d": 1440, "h": 60, "m3": 1}
_OWN: Final = (
    *("array", "batch", "chdir", "clusters", "comment", "dependency", "error", "export"),
    *("export-file", "gpus", "gpus-per-node", "gpus-per-socket", "gpus-per-task", "input"),
    *("job-name", "mem", "mem-per-cpu", "mem-per-gpu", "no-requeue", "nodes", "ntasks"),
    *("ntasks-per-core", "ntasks-per-gpu", "ntasks-per-node", "ntasks-per-socket", "open-mode"),
    *("output", "parsable", "quiet", "requeue", "signal", "test-only", "wait", "wrap"),
)
"""Long options of `sbatch` that ftctl sets, or that change what it relies on."""
_FIELDS: Final = {"account": "account", "partition": "partition", "qos": "qos", "time": "time"}
_HARDWARE: Final = {"gpus": "gpus", "mem": "memory", "nodes": "nodes"}


def _is_one_word(text: str) -> str:
    """Refuse what Slurm would read as something else than one name."""
    if text.startswith("-") or not text.isprintable() or any(one.isspace() for one in text):
        raise InvalidValue(f"{excerpt(text)} is not a name", "Write it without spaces.")
    return text


def _is_absolute(text: str) -> str:
    """Refuse a folder that means another one on another machine."""
    # In the name of a log, sbatch reads `\` as an order to replace nothing.
    if not text.startswith("/") or not text.isprintable() or "\\" in text:
        raise InvalidValue(
            f"{excerpt(text)} is not an absolute path",
            "Write the path of a folder that every node of the cluster has: /shared/ftctl.",
        )
    return text.rstrip("/") or "/"


def _is_a_time(text: str) -> str:
    """Refuse what Slurm would not read as a time, and times too short to save in."""
    remedy = "Write hours:minutes:seconds, or days-hours: 12:00:00 or 2-00."
    written = _TIME.fullmatch(text)
    if written is None:
        raise InvalidValue(f"{excerpt(text)} is not a time", remedy)
    parts = {key: int(part) for key, part in written.groupdict().items() if part}
    minutes = sum(_MINUTES.get(key, 0) * part for key, part in parts.items())
    if minutes < _SHORTEST_MINUTES:
        raise InvalidValue(
            f"{excerpt(text)} is less than {_SHORTEST_MINUTES} minutes", f"Give it more. {remedy}"
        )
    return text


Word = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_is_one_word)]
Folder = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_is_absolute)]


class SlurmSettings(BaseModel):
    """Settings of a Slurm cluster, or of a part of it."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    partition: Word | None = None
    """Partition; Slurm's default when absent."""
    account: Word | None = None
    """Account that the job is charged to; the user's own when absent."""
    qos: Word | None = None
    """Quality of service."""
    gpu_type: Word | None = None
    """Type of the GPUs, as the cluster calls it: `h100`. Any type when absent."""
    time: Annotated[str, AfterValidator(_is_a_time)] | None = None
    """Time limit: `12:00:00`, `2-00`; the partition's when absent. A job that reaches it saves its
    work, and is placed again."""
    options: list[str] = []
    """Further options of `sbatch`, as written there: `--constraint=h100`."""
    prologue: str = ""
    """Lines of bash before the command, such as `module load cuda`."""
    ssh: Word | None = None
    """Login node, as `ssh` knows it, to type Slurm's commands at; this machine when absent."""
    logs: Folder | None = None
    """Folder for the output of jobs, which all nodes share; `logs` in the machine's `runs` when
    absent."""
    runs: Folder | None = None
    """The machine's `runs`, where it is a folder."""

    @field_validator("options")
    @classmethod
    def _options(cls, options: list[str]) -> list[str]:
        for index, option in enumerate(options):
            _check_option(option, index)
        return options

    @field_validator("prologue")
    @classmethod
    def _prologue(cls, prologue: str) -> str:
        if "\0" in prologue:
            raise InvalidValue("holds a zero byte", "Remove it.")
        return prologue

    @model_validator(mode="after")
    def _has_logs(self) -> Self:
        if self.logs is None and self.runs is None:
            raise InvalidValue(
                "is missing: `runs` is not a folder",
                "Write `logs: /shared/ftctl-logs`, a folder that all nodes share.",
                "logs",
            )
        return self

    @property
    def log_folder(self) -> str:
        """The folder for the output of jobs."""
        return self.logs or f"{self.runs}/logs"


def parse(raw: Mapping[str, Json]) -> SlurmSettings:
    """Check the settings of a machine.

    Args:
        raw: The settings as written.

    Raises:
        InvalidInput: With every problem; `field` is the path of a key.
    """
    try:
        return SlurmSettings.model_validate(dict(raw))
    except ValidationError as error:
        wrong = in_our_words(error, dict(raw), [SlurmSettings])
        raise InvalidInput([one.problem() for one in wrong]) from None


def _check_option(option: str, index: int) -> None:
    """Refuse an option that ftctl sets itself, however it is abbreviated."""
    name = option.partition("=")[0].removeprefix("--")
    form = "Write its long form with `=`: --constraint=h100."
    if not re.fullmatch(r"--[a-z][a-z0-9-]*(=.*)?", option) or not option.isprintable():
        raise InvalidValue(f"{excerpt(option)} is not an option of sbatch", form, index)
    if name in _FIELDS:
        remedy = f"Write `{name}: …` beside `options`."
        raise InvalidValue(f"--{name} has a field of its own", remedy, index)
    if name == "gres" and "gpu" in option:
        remedy = "Write `gpus` in the spec's `hardware`, and `gpu_type` beside `options`."
        raise InvalidValue("ftctl asks for GPUs itself", remedy, index)
    # sbatch takes every beginning of a name that no other name has.
    own = next((own for own in (*_OWN, *_FIELDS) if own.startswith(name)), None)
    if own is not None:
        field = _HARDWARE.get(own.partition("-")[0])
        remedy = f"Write `{field}` in the spec's `hardware`." if field else "Remove it."
        raise InvalidValue(f"ftctl sets --{own} itself", remedy, index)
