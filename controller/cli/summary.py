"""End of a run that acts: a summary, the next command to type, and a note after Ctrl-C."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import click

from controller.cli.common import print_json_line
from controller.errors import ExitCode, FtctlError
from controller.lockfile.model import Lockfile
from controller.lockfile.store import read_lockfile
from controller.plan.actions import KINDS, Evaluate, Train
from controller.project.project import Project
from controller.render.status import score_table
from controller.run.result import ProgressReporter, RunResult


@dataclass(slots=True, kw_only=True)
class RunSummary:
    """Result of a run; the block that ran it sets it."""

    result: RunResult = field(default_factory=RunResult)
    interrupted: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """The run's exit code."""
        return ExitCode.INTERRUPTED if self.interrupted else self.result.exit_code


@contextmanager
def finish(project: Project, screen: ProgressReporter, *, as_json: bool) -> Iterator[RunSummary]:
    """Close a run: after it, or after Ctrl-C, say what is recorded and what goes on."""
    ending = RunSummary()
    try:
        yield ending
    except KeyboardInterrupt:
        ending.interrupted = True
    except FtctlError as error:
        screen.progress({})
        if as_json:
            print_json_line(
                {"type": "end", "exit_code": error.exit_code, "waiting": [], "held": []}
            )
        raise
    finally:
        screen.progress({})
    lockfile = read_lockfile(project.root, project.records)
    if as_json:
        held = [outcome.action.name for outcome in ending.result.held]
        waiting = sorted(ending.result.waiting)
        print_json_line(
            {"type": "end", "exit_code": ending.exit_code, "waiting": waiting, "held": held}
        )
    elif ending.interrupted:
        _say_interrupted(lockfile)
    else:
        _say_done(ending.result, lockfile)


def _say_interrupted(lockfile: Lockfile) -> None:
    running = [f"{name} ({e.job.id})" for name, e in lockfile.finetunes.items() if e.job]
    click.echo("\nInterrupted; everything done so far is recorded.", err=True)
    if running:
        click.echo(f"Still running: {', '.join(running)}", err=True)
        click.echo("Come back with `ftctl apply`, or stop one with `ftctl cancel NAME`.", err=True)


def _say_done(result: RunResult, lockfile: Lockfile) -> None:
    click.echo()
    if scores := score_table(lockfile):
        click.echo(f"{scores}\n")
    good = [outcome.action for outcome in result.outcomes if not outcome.exit_code]
    if any(isinstance(action, Train) for action in good):
        # A submitted job includes its evaluation.
        good = [action for action in good if not isinstance(action, Evaluate)]
    good.sort(key=lambda action: KINDS.index(type(action)))
    counts = Counter(action.style.done for action in good if action.style.done)
    counts |= {"failed": len(result.failed), "still open": len(result.waiting)}
    counts |= {"waiting for approval": len(result.held)}
    listed = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    word = "Complete" if result.exit_code == ExitCode.DONE else "Incomplete"
    click.echo(f"{word}: {listed or 'nothing had to be done'}.")
    if result.waiting:
        click.echo("Jobs continue by themselves; `ftctl reconcile` records what they come to.")
