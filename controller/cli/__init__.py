"""The command line. Each command is a module of its own, imported only when it is called.

`main` is the one place that turns errors into messages and exit codes.
"""

import gc
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from controller import __version__
from controller.cli.error_report import STREAMING, explained, print_error
from controller.cli.group import Group
from controller.errors import ExitCode, FtctlError

# The help stands here too, so that `ftctl --help` imports no command.
COMMANDS = {
    "init": "Make a repository of fine-tunes, or a complete demo.",
    "validate": "Check every spec without reading data.",
    "data": "Show what the model reads: build, stats, preview, diff, explain.",
    "adopt": "Take over models that a server holds; train nothing.",
    "plan": "Show what would be done, why, and what it costs.",
    "move": "Edit specs for another backend, endpoint or base model.",
    "apply": "Train, evaluate, judge and promote until specs and models agree.",
    "train": "Train what a pull request declares, before its merge.",
    "record": "Keep what models in production say, while they speak.",
    "evaluate": "Measure a fine-tune's model again, by the newest scoring.",
    "reconcile": "Record and promote what open jobs came to; submit nothing.",
    "status": "Show every fine-tune: state, production model, scores.",
    "show": "Show one fine-tune in full: builds, scores, answers.",
    "report": "Write a page about each fine-tune, for people.",
    "export": "Write weights for other programs, or answers as a log.",
    "store": "Keep models where other machines and clones find them.",
    "track": "Write evaluated builds to MLflow, W&B, TensorBoard, trackio.",
    "logs": "Show the log of a fine-tune's job.",
    "wait": "Wait for open jobs to end.",
    "cancel": "Cancel a fine-tune's open job.",
    "retry": "Allow a failed fine-tune another attempt.",
    "model": "Print the model ID in production, for scripts.",
    "chat": "Talk to a model.",
    "serve": "Serve fine-tuning and chat to OpenAI clients.",
    "extras": "Print the extras that the specs need, for CI.",
    "lockfile": "Merge lockfiles by fine-tune: git's merge driver.",
    "schema": "Print the JSON Schema of specs.",
    "doctor": "Check this machine and this repository.",
    "help": "Explain a topic (start, spec, data, …) or a command.",
}
_OBJECTS = 100_000
"""New objects after which cycles are looked for. A command makes thousands of records and keeps
them to its end: looking among them after every few hundred takes a tenth of its time."""
# Commands that need the packages of an extra.
EXTRAS = {"report": "report", "serve": "serve"}


class Commands(Group):
    """A group that imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        try:
            command: click.Command = import_module(f"controller.cli.{cmd_name}").command
        except ModuleNotFoundError as error:
            if cmd_name not in EXTRAS:
                raise
            message = f"ftctl {cmd_name} needs the package {error.name}"
            installation = import_module("backends.installation")
            remedy: str = installation.install_command(EXTRAS[cmd_name])
            raise FtctlError(message, remedy) from None
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ftctl", message="%(prog)s %(version)s")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Repository to work in.  [default: this folder]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--no-color", is_flag=True, help="Print without colours (as NO_COLOR does).")
@click.pass_context
def cli(ctx: click.Context, folder: Path, *, as_json: bool, no_color: bool) -> None:
    """GitOps for fine-tuned models: one YAML file per model, plan, apply, gate, lockfile.

    New here? `ftctl help start` leads from an empty folder to a model in production.
    """
    # The same object for as long as the command runs: `run` reads it when the command fails.
    ctx.obj |= {"folder": folder, "json": as_json, "command": ctx.invoked_subcommand}
    if no_color or os.environ.get("NO_COLOR"):
        ctx.color = False


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    gc.set_threshold(_OBJECTS)
    exit_code = run(arguments)
    # Python looks for cycles twice as it ends, which frees nothing that the system does not.
    gc.freeze()
    sys.exit(exit_code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; those of the process when None.

    Returns:
        The exit code.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    options: dict[str, Any] = {}
    try:
        result = cli.main(args=given, prog_name="ftctl", standalone_mode=False, obj=options)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.UsageError as error:
        error.show()
        return ExitCode.USAGE
    except click.ClickException as error:
        error.show()
        return ExitCode.ERROR
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nInterrupted.", err=True)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`ftctl plan | head`); that is not our failure.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    except Exception as error:  # noqa: BLE001 - whatever is left is a defect, and said to be one
        found = explained(error, options.get("state"))
        if found is not None:
            as_json = options.get("json", "--json" in given)
            print_error(found, as_json=as_json, one_line=options.get("command") in STREAMING)
            return found.exit_code
        click.echo(
            "This is a defect of ftctl, not your mistake. Please report what follows, with the "
            "command you typed.\n",
            err=True,
        )
        traceback.print_exc()
        return ExitCode.DEFECT
    return int(result) if isinstance(result, int) else ExitCode.DONE
