"""`ftctl record`."""

import sys
import time
from collections.abc import Sequence

import click

from controller.cli.aliases import finetune_called
from controller.cli.common import (
    check_names,
    is_interactive,
    json_option,
    print_json,
    project_of,
    wants_json,
)
from controller.cli.progress import PLAIN_EVERY_S
from controller.errors import ExitCode, FtctlError
from controller.lockfile.store import read_lockfile
from controller.project.project import Project
from controller.record.ask import Recorded, record
from controller.record.find import RecordOptions
from controller.record.lock import only_record
from controller.record.order import RecordOrder, SharedModel, plan_record
from controller.record.words import order_text, record_json, recorded_text
from controller.render.text import escape_control

_SAMPLE = 200


def _metadata(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """Parse `KEY=VALUE` pairs."""
    pairs = [one.partition("=") for one in given]
    for key, mark, _value in pairs:
        if not (key and mark):
            raise click.BadParameter(f"{key!r} is not KEY=VALUE.")
    return {key: value for key, _mark, value in pairs}


@click.command("record")
@click.argument("name", required=False)
@click.option("--all", "of_all", is_flag=True, help="Record every model in production.")
@click.option(
    "--train",
    type=click.IntRange(min=0),
    default=_SAMPLE,
    show_default=True,
    metavar="N",
    help="Number of training rows to sample.",
)
@click.option(
    "--stored",
    type=click.IntRange(min=0),
    default=None,
    metavar="N",
    help=f"Number of completions that the service stored to sample.  [default: {_SAMPLE}]",
)
@click.option(
    "--metadata",
    multiple=True,
    callback=_metadata,
    metavar="KEY=VALUE",
    help="Sample stored completions with these metadata, of any model.",
)
@click.option("-y", "--yes", is_flag=True, help="Approve the cost that this run shows.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    name: str | None,
    *,
    of_all: bool,
    train: int,
    stored: int | None,
    metadata: dict[str, str],
    yes: bool,
) -> int:
    """Keep what the model in production says, while it still speaks.

    Asks it for the answers to every held-out row, to sampled training rows and to sampled stored
    completions, once. Gates on `production.*` use the answers, also after the model is gone. Files
    to commit are written below finetunes/recorded/.
    """
    if (name is None) == (not of_all):
        raise click.UsageError("Give either the NAME of a fine-tune or --all.", ctx)
    project, as_json = project_of(ctx), wants_json(ctx)
    options = RecordOptions(
        train=train,
        stored=_SAMPLE if stored is None else stored,
        metadata=metadata,
        must_list=bool(stored),
    )
    names = None if name is None else _called(project, name)
    with only_record(project):
        order = plan_record(project, names, options)
        if as_json and order.needs_approval and not yes:
            raise FtctlError("--json cannot ask before spending", "Add --yes.")
        if not as_json:
            click.echo(order_text(order))
        if order.needs_approval and not yes:
            _confirm(name)
        done = _record(order, as_json=as_json)
    if as_json:
        print_json(record_json(order, done))
    else:
        click.echo(recorded_text(order, done))
    return ExitCode.ERROR if done.failures else ExitCode.DONE


def _record(order: RecordOrder, *, as_json: bool) -> Recorded:
    try:
        return record(order, (lambda *_: None) if as_json else _Progress())
    except KeyboardInterrupt:
        click.echo(
            "\nWhat was answered is kept. Type the same command again to continue.", err=True
        )
        raise


def _called(project: Project, name: str) -> Sequence[str]:
    """Return the fine-tune that a name or alias stands for.

    Raises:
        FtctlError: There is none.
    """
    lockfile = read_lockfile(project.root, project.records)
    found = finetune_called(project, lockfile, name)
    check_names([found], list(lockfile.finetunes))
    return [found]


def _confirm(name: str | None) -> None:
    """Ask for approval before anything is spent.

    Raises:
        FtctlError: The user did not approve, or there is no terminal.
    """
    if not is_interactive(sys.stdin):
        message = "there is no terminal to ask at"
        raise FtctlError(message, f"Approve beforehand: ftctl record {name or '--all'} --yes")
    click.echo("Do you want to ask for these answers? Only 'yes' will be accepted.")
    if click.prompt("  Enter a value", prompt_suffix=": ", default="", show_default=False) != "yes":
        raise FtctlError("record was not approved; nobody was asked")


class _Progress:
    """A line for each model every ten seconds, and after its last answer."""

    def __init__(self) -> None:
        self._told_s = time.monotonic()

    def __call__(self, model: SharedModel, count: int) -> None:
        """Report the number of answers of a model."""
        now_s = time.monotonic()
        if now_s - self._told_s < PLAIN_EVERY_S and count < model.missing:
            return
        self._told_s = now_s
        names = escape_control(", ".join(model.names))
        click.echo(f"» {names}: {count:,} of {model.missing:,} answers")
