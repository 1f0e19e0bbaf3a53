"""`ftctl doctor`."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version

import click

from backends.did_you_mean import did_you_mean, use_one_of
from backends.excerpt import excerpt
from backends.installation import install_command, packages_of
from backends.registry import LOCAL, known_backends
from controller import __version__
from controller.cli.aliases import clashing_aliases
from controller.cli.common import Finite, json_option, print_json, wants_json
from controller.cli.error_report import explained
from controller.errors import FtctlError, InvalidInput
from controller.lockfile.store import LOCKFILE, read_lockfile
from controller.project.project import Project, open_project
from controller.render.text import escape_control
from controller.resolve.validate import check_specs
from controller.run.backends import backends_of
from controller.spec.load import FOLDER, all_problems, read_specs
from controller.spec.settings import FILE, load_settings
from controller.state_folder import MAKE_WRITABLE
from controller.store.builds import ModelStore
from controller.store.declared import require_store

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
@click.option("--machine", metavar="NAME", help="Check this machine of ftctl.yaml, by a short job.")
@click.option(
    "--timeout",
    "timeout_s",
    type=Finite(min=1),
    default=300.0,
    show_default=True,
    help="Seconds to wait for that job.",
)
@json_option
@click.pass_context
def command(ctx: click.Context, *, machine: str | None, timeout_s: float) -> int:
    """Check this machine and this repository; exit 1 when something needs mending.

    With --machine, check another machine instead: its store and scheduler from here, and from
    inside what jobs need there, by a job of seconds that leaves nothing behind.
    """
    project, as_json = open_project(ctx.obj["folder"]), wants_json(ctx)
    found = _look(project) if machine is None else _look_at(project, machine, timeout_s)
    shown = []
    for subject, finding in found:
        shown.append({"subject": subject, **asdict(finding)})
        if not as_json:
            _print(subject, finding)
    if as_json:
        print_json(shown)
    return 0 if all(one["ok"] for one in shown) else 1


def _print(subject: str, finding: Finding) -> None:
    mark = click.style("ok", fg="green") if finding.ok else click.style("!!", fg="red")
    click.echo(f"{mark}  {subject:<12} {escape_control(finding.detail)}")
    if finding.remedy and not finding.ok:
        click.echo(f"                 {' '.join(finding.remedy.split())}")


def _look_at(project: Project, name: str, timeout_s: float) -> Iterator[tuple[str, Finding]]:
    """Yield what is found of another machine; what is waited for goes to standard error."""
    known = load_settings(project.root).machines
    if name not in known:
        declare = f"Declare it in {FILE}: `ftctl help machines`."
        raise FtctlError(
            f"{FILE} declares no machine called {excerpt(name)}",
            did_you_mean(name, known) or (use_one_of(known) if known else declare),
        )
    for check in backends_of(project)(LOCAL).check_machine(name, timeout_s):
        if check.is_waiting:
            click.echo(f"»   {check.subject:<12} {escape_control(check.detail)}", err=True)
        else:
            yield check.subject, Finding(check.detail, check.remedy, ok=check.ok)


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
    for name in packages_of("local"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    parts = [", ".join(found), f"missing: {', '.join(missing)}" if missing else ""]
    detail = "; ".join(filter(None, parts))
    remedy = f"Install them for training on this machine: {install_command('local')}"
    return Finding(detail, remedy, ok=not missing)


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
