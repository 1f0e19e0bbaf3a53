"""How a run that acts ends: a summary, a hint what to type next, Ctrl-C said plainly."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import click

from controller.apply import Outcome
from controller.cli.common import print_json
from controller.errors import ExitCode
from controller.lock.model import Lockfile
from controller.lock.store import read_lockfile
from controller.plan.actions import Adopt, Promote, Reuse, Train
from controller.project import Project
from controller.reconcile import Converged, Screen
from controller.render.status import score_table


@dataclass(slots=True, kw_only=True)
class Ending:
    """What a run came to; set by the block that ran it."""

    converged: Converged = field(default_factory=Converged)
    interrupted: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """The run's exit code."""
        return ExitCode.INTERRUPTED if self.interrupted else self.converged.exit_code


@contextmanager
def finish(project: Project, screen: Screen, *, as_json: bool) -> Iterator[Ending]:
    """Close a run: after it, or after Ctrl-C, say what is recorded and what goes on."""
    ending = Ending()
    try:
        yield ending
    except KeyboardInterrupt:
        ending.interrupted = True
    finally:
        screen.progress({})
    lockfile = read_lockfile(project.root, project.state)
    if as_json:
        print_json({"exit_code": ending.exit_code, "waiting": sorted(ending.converged.waiting)})
    elif ending.interrupted:
        _say_interrupted(lockfile)
    else:
        _say_done(ending.converged, lockfile)


def _say_interrupted(lockfile: Lockfile) -> None:
    running = [f"{name} ({e.job.id})" for name, e in lockfile.finetunes.items() if e.job]
    click.echo("\nInterrupted; everything done so far is recorded.", err=True)
    if running:
        click.echo(f"Still running: {', '.join(running)}", err=True)
        click.echo("Come back with `ftctl apply`, or stop one with `ftctl cancel NAME`.", err=True)


def _say_done(converged: Converged, lockfile: Lockfile) -> None:
    click.echo()
    if scores := score_table(lockfile):
        click.echo(f"{scores}\n")
    counts = {
        "submitted": sum(isinstance(o.action, Train) for o in _good(converged)),
        "adopted": sum(isinstance(o.action, Adopt) for o in _good(converged)),
        "promoted": sum(isinstance(o.action, Promote) for o in _good(converged)),
        "reused": sum(isinstance(o.action, Reuse) for o in _good(converged)),
        "failed": len(converged.stuck),
        "still open": len(converged.waiting),
    }
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    word = "Complete" if converged.exit_code == ExitCode.DONE else "Incomplete"
    click.echo(f"{word}: {said or 'nothing had to be done'}.")
    if converged.waiting:
        click.echo("Jobs go on by themselves; `ftctl reconcile` records what they come to.")


def _good(converged: Converged) -> list[Outcome]:
    return [outcome for outcome in converged.outcomes if not outcome.exit_code]
