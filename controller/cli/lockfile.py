"""`ftctl lockfile`."""

from pathlib import Path

import click

from backends.atomic_files import write_atomic
from controller.cli.common import project_of
from controller.cli.group import Group
from controller.errors import FtctlError
from controller.lockfile.early import is_taken_over
from controller.lockfile.merge import merge_texts
from controller.lockfile.pulls import read_pulls
from controller.lockfile.store import read_lockfile
from controller.spec.settings import records_branch

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group("lockfile", cls=Group)
def command() -> None:
    """Merge lockfiles, and tell where the lockfile is: for git and CI."""


@command.command("merge")
@click.argument("base", type=_FILE)
@click.argument("ours", type=_FILE)
@click.argument("theirs", type=_FILE)
def merge(base: Path, ours: Path, theirs: Path) -> None:
    """Merge two lockfiles by fine-tune, into OURS: git's merge driver.

    `ftctl init --github` writes the line of `.gitattributes`; once in each clone, type:
    git config merge.ftctl.driver 'ftctl lockfile merge %O %A %B'
    """
    texts = (path.read_bytes() if path.exists() else b"" for path in (base, ours, theirs))
    merged = merge_texts(*texts)
    if merged is None:
        message = "one of the two sides is not a lockfile"
        remedy = "Take the other: git checkout --ours FILE, or git checkout --theirs FILE."
        raise FtctlError(message, remedy)
    write_atomic(ours.resolve(), merged)


@command.command("taken-over")
@click.pass_context
def taken_over(ctx: click.Context) -> None:
    """Print the pull requests whose early builds the lockfile has, a number a line."""
    project = project_of(ctx)
    recorded = read_lockfile(project.root, project.records)
    for record in read_pulls(project.root).records:
        if is_taken_over(record, recorded):
            click.echo(record.pull)


@command.command("branch")
@click.pass_context
def branch(ctx: click.Context) -> None:
    """Print the branch that `lockfile.branch` of ftctl.yaml names; nothing without one."""
    name = records_branch(project_of(ctx).root)
    if name is not None:
        click.echo(name)
