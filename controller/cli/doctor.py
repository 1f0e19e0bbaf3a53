"""`ftctl doctor`."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version

import click

from backends.installation import install_command
from backends.registry import LOCAL, known_backends
from controller import __version__
from controller.cli.common import json_option, print_json, wants_json
from controller.cli.report import explained
from controller.errors import InvalidInput
from controller.lockfile.store import LOCKFILE, read_lockfile
from controller.project.project import Project, open_project
from controller.resolve.validate import check_specs
from controller.run.backends import backends_of
from controller.spec.load import FOLDER, all_problems, read_specs
from controller.spec.settings import load_settings
from controller.state_folder import MAKE_WRITABLE

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+).*; extra == '(?P<extra>\w+)'")
"""A requirement of an extra, in the metadata of an installed package."""
DRIVER_S = 20.0
"""A driver that has not answered by then hangs."""
LITTLE_DISK_GB = 5.0
"""A 0.6B model with checkpoints fits in that; less is worth a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at."""

    subject: str
    ok: bool
    detail: str
    remedy: str = ""


@click.command("doctor")
@json_option
@click.pass_context
def command(ctx: click.Context) -> int:
    """Check this machine and this repository; exit 1 when something needs mending."""
    findings = list(_look(open_project(ctx.obj["folder"])))
    if wants_json(ctx):
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            mark = click.style("ok", fg="green") if finding.ok else click.style("!!", fg="red")
            click.echo(f"{mark}  {finding.subject:<12} {finding.detail}")
            if finding.remedy and not finding.ok:
                click.echo(f"                 {' '.join(finding.remedy.split())}")
    return 0 if all(finding.ok for finding in findings) else 1


def _look(project: Project) -> Iterator[Finding]:
    yield Finding(
        subject="ftctl",
        ok=True,
        detail=f"{__version__}, Python {sys.version.split()[0]}, {platform.platform()}",
    )
    yield Finding(subject="backends", ok=True, detail=", ".join(known_backends()))
    yield _packages()
    yield _devices()
    yield _reported("state", lambda: _disk(project))
    if not (project.root / FOLDER).is_dir():
        detail = f"no {FOLDER}/ in {project.root}"
        yield Finding(subject="repository", ok=False, detail=detail, remedy="Type `ftctl init`.")
        return
    yield _reported("specs", lambda: _specs(project))
    yield _reported("lockfile", lambda: _lockfile(project))


def _reported(subject: str, look: Callable[[], Finding]) -> Finding:
    """Return what was found, or what stopped the look: one subject stops no other."""
    try:
        return look()
    except Exception as error:
        found = explained(error, None)
        if found is None:
            raise
        return Finding(subject=subject, ok=False, detail=found.message, remedy=found.remedy)


def _packages() -> Finding:
    found, missing = [], []
    for name in _required("local"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    parts = [", ".join(found), f"missing: {', '.join(missing)}" if missing else ""]
    detail = "; ".join(part for part in parts if part)
    remedy = f"Install them for training on this machine: {install_command('local')}"
    return Finding(subject=LOCAL, ok=not missing, detail=detail, remedy=remedy)


def _required(extra: str) -> list[str]:
    """Return the names of the packages that an extra of ftctl needs."""
    found = (_REQUIREMENT.fullmatch(line) for line in requires("ftctl") or [])
    return [one["name"] for one in found if one is not None and one["extra"] == extra]


def _devices() -> Finding:
    smi = shutil.which("nvidia-smi")
    listed = ""
    if smi is not None:
        # A driver that hangs, or a program that cannot be started, is no reason to end here.
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                [smi, "-L"], capture_output=True, text=True, check=True, timeout=DRIVER_S
            )
            listed = "; ".join(done.stdout.split("\n")).strip("; ")
    return Finding(
        subject="device", ok=True, detail=listed or "no NVIDIA GPU; small models train on the CPU"
    )


def _disk(project: Project) -> Finding:
    folder = project.state if project.state.exists() else project.root
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        detail = f"{project.state} cannot be written"
        return Finding(subject="state", ok=False, detail=detail, remedy=MAKE_WRITABLE)
    free_gb = shutil.disk_usage(folder).free / 1e9
    return Finding(
        subject="state",
        ok=free_gb >= LITTLE_DISK_GB,
        detail=f"{project.state}, {free_gb:,.0f} GB free",
        remedy="Make room, or set FTCTL_STATE_DIR to a larger disk.",
    )


def _specs(project: Project) -> Finding:
    try:
        specs, problems = read_specs(project.root)
        policies = load_settings(project.root).policies
        check_specs(specs, backends_of(project), policies, all_problems(problems))
    except InvalidInput as error:
        count = len(error.problems)
        detail = f"{count} problem{'' if count == 1 else 's'}"
        return Finding(subject="specs", ok=False, detail=detail, remedy="Type `ftctl validate`.")
    return Finding(subject="specs", ok=True, detail=f"{len(specs)} valid")


def _lockfile(project: Project) -> Finding:
    lockfile = read_lockfile(project.root, project.state)
    count = sum(len(entry.builds) for entry in lockfile.finetunes.values())
    return Finding(subject="lockfile", ok=True, detail=f"{LOCKFILE}, {count} builds recorded")
