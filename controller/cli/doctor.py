"""`ftctl doctor`."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, requires, version

import click

from backends.installation import install_command
from backends.registry import LOCAL, known_backends
from controller import __version__
from controller.cli.aliases import clashing_aliases
from controller.cli.common import json_option, print_json, wants_json
from controller.cli.error_report import explained
from controller.errors import InvalidInput
from controller.lockfile.store import LOCKFILE, read_lockfile
from controller.project.project import Project, open_project
from controller.resolve.validate import check_specs
from controller.run.backends import backends_of
from controller.spec.load import FOLDER, all_problems, read_specs
from controller.spec.settings import load_settings
from controller.state_folder import MAKE_WRITABLE
from controller.store.builds import ModelStore
from controller.store.declared import require_store

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]++)[^;]*; extra == '(?P<extra>\w+)'")
"""A requirement of an extra, in the metadata of an installed package."""
DRIVER_S = 20.0
"""A driver that has not answered by then hangs."""
LITTLE_DISK_GB = 5.0
"""A 0.6B model with checkpoints fits in that; less is worth a warning."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of a check."""

    ok: bool = field(default=True, kw_only=True)
    detail: str
    remedy: str = ""


@click.command("doctor")
@json_option
@click.pass_context
def command(ctx: click.Context) -> int:
    """Check this machine and this repository; exit 1 when something needs mending."""
    findings = dict(_look(open_project(ctx.obj["folder"])))
    if wants_json(ctx):
        print_json([{"subject": name, **asdict(finding)} for name, finding in findings.items()])
    else:
        for subject, finding in findings.items():
            mark = click.style("ok", fg="green") if finding.ok else click.style("!!", fg="red")
            click.echo(f"{mark}  {subject:<12} {finding.detail}")
            if finding.remedy and not finding.ok:
                click.echo(f"                 {' '.join(finding.remedy.split())}")
    return 0 if all(finding.ok for finding in findings.values()) else 1


def _look(project: Project) -> Iterator[tuple[str, Finding]]:
    has_specs = (project.root / FOLDER).is_dir()
    of_repository = _OF_REPOSITORY | (_STORE if _has_store(project) else {})
    for subject, check in (_OF_MACHINE | (of_repository if has_specs else _WITHOUT)).items():
        try:
            yield subject, check(project)
        except Exception as error:
            # One subject stops no other.
            found = explained(error, None)
            if found is None:
                raise
            yield subject, Finding(found.message, found.remedy, ok=False)


def _version(_: Project) -> Finding:
    return Finding(f"{__version__}, Python {sys.version.split()[0]}, {platform.platform()}")


def _backends(_: Project) -> Finding:
    return Finding(", ".join(known_backends()))


def _packages(_: Project) -> Finding:
    found, missing = [], []
    for name in _required("local"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    parts = [", ".join(found), f"missing: {', '.join(missing)}" if missing else ""]
    detail = "; ".join(filter(None, parts))
    remedy = f"Install them for training on this machine: {install_command('local')}"
    return Finding(detail, remedy, ok=not missing)


def _required(extra: str) -> list[str]:
    """Return the names of the packages that an extra of ftctl needs."""
    found = (_REQUIREMENT.fullmatch(line) for line in requires("ftctl") or [])
    return [one["name"] for one in found if one is not None and one["extra"] == extra]


def _devices(_: Project) -> Finding:
    smi = shutil.which("nvidia-smi")
    listed = ""
    if smi is not None:
        # Continue if a driver hangs, or a program cannot be started.
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                [smi, "-L"], capture_output=True, text=True, check=True, timeout=DRIVER_S
            )
            listed = "; ".join(done.stdout.split("\n")).strip("; ")
    return Finding(listed or "no NVIDIA GPU; small models train on the CPU")


def _disk(project: Project) -> Finding:
    folder = project.state if project.state.exists() else project.root
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding(f"{project.state} cannot be written", MAKE_WRITABLE, ok=False)
    free_gb = shutil.disk_usage(folder).free / 1e9
    remedy = "Make room, or set FTCTL_STATE_DIR to a larger disk."
    return Finding(f"{project.state}, {free_gb:,.0f} GB free", remedy, ok=free_gb >= LITTLE_DISK_GB)


def _specs(project: Project) -> Finding:
    try:
        specs, problems = read_specs(project.root)
        settings = load_settings(project.root)
        found = [*all_problems(problems), *clashing_aliases(project, specs, problems, settings)]
        check_specs(specs, backends_of(project), settings.policies, found)
    except InvalidInput as error:
        count = len(error.problems)
        detail = f"{count} problem{'' if count == 1 else 's'}"
        return Finding(detail, "Type `ftctl validate`.", ok=False)
    return Finding(f"{len(specs)} valid")


def _lockfile(project: Project) -> Finding:
    lockfile = read_lockfile(project.root, project.records)
    count = sum(len(entry.builds) for entry in lockfile.finetunes.values())
    return Finding(f"{LOCKFILE}, {count} builds recorded")


def _has_store(project: Project) -> bool:
    try:
        return load_settings(project.root).store is not None
    except InvalidInput:
        return False  # the specs' check reports it


def _store(project: Project) -> Finding:
    settings = require_store(load_settings(project.root))
    store = ModelStore(project=project, settings=settings).trusted
    return Finding(f"{store.url}, keeps to conditions")


def _no_repository(project: Project) -> Finding:
    return Finding(f"no {FOLDER}/ in {project.root}", "Type `ftctl init`.", ok=False)


_OF_MACHINE: dict[str, Callable[[Project], Finding]] = {
    "ftctl": _version,
    "backends": _backends,
    LOCAL: _packages,
    "device": _devices,
    "state": _disk,
}
_OF_REPOSITORY = {"specs": _specs, "lockfile": _lockfile}
_STORE = {"store": _store}
_WITHOUT = {"repository": _no_repository}
