"""Progress of a run: live in a terminal, plain lines in CI, JSON lines for programs."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import click
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from backends.contract.jobs import Job, JobState
from controller.apply.context import Outcome
from controller.cli.common import is_interactive
from controller.errors import ExitCode
from controller.plan.actions import Action
from controller.render.text import (
    download_text,
    escape_control,
    progress_text,
    transfer_text,
)
from controller.run.result import ProgressReporter

_BAR = 24
PLAIN_EVERY_S = 10.0
"""Terraform's rhythm: a line for each job every ten seconds shows that it is alive."""


def open_screen(*, as_json: bool) -> ProgressReporter:
    """Return the screen that fits where the output goes."""
    if as_json:
        return JsonScreen()
    if is_interactive(sys.stdout):
        return LiveScreen()
    return PlainScreen()


class PlainScreen:
    """One line for each thing that happens."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[float, JobState]] = {}
        self._downloaded_s = 0.0
        self._moved = _Transfer()

    def starting(self, action: Action) -> None:
        """Report the start of an action that takes a while."""
        if action.style.running:
            click.echo(f"{action.name}: {action.style.running} …")

    def done(self, outcome: Outcome) -> None:
        """Report the outcome of an action."""
        mark = "!" if outcome.exit_code else outcome.action.style.symbol
        colour = "red" if outcome.exit_code else None
        click.secho(f"{mark} {outcome.action.name}: {escape_control(outcome.message)}", fg=colour)

    def progress(self, jobs: Mapping[str, Job]) -> None:
        """Report the progress of each job, every ten seconds and when its state changes."""
        now = time.monotonic()
        for name, job in jobs.items():
            told, state = self._told.get(name, (0.0, None))
            if now - told < PLAIN_EVERY_S and state == job.state:
                continue
            self._told[name] = (now, job.state)
            waits_for = job.error if job.state is JobState.QUEUED else None
            detail = progress_text(job.progress) or escape_control(waits_for or "")
            click.echo(f"» {name}: {job.state}{f', {detail}' if detail else ''}")

    def download(self, name: str, done: int, total: int) -> None:
        """Report a download, every ten seconds and at its end."""
        now = time.monotonic()
        if now - self._downloaded_s >= PLAIN_EVERY_S or done >= total:
            self._downloaded_s = now
            click.echo(f"» {name}: {download_text(done, total)}")

    def transfer(self, name: str, what: str, done: int, total: int) -> None:
        """Report a transfer, every ten seconds and at the end of a long one."""
        if _is_due(self._moved, done, total):
            click.echo(f"» {name}: {what}, {transfer_text(done, total)}")

    def told(self, message: str) -> None:
        """Report something that is done."""
        click.echo(f"= {escape_control(message)}")

    def notice(self, message: str) -> None:
        """Report something that concerns the run as a whole."""
        click.secho(f"! {escape_control(message)}", fg="yellow")


class LiveScreen:
    """Finished things scroll by; open jobs are redrawn below them."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._live: Live | None = None

    def starting(self, action: Action) -> None:
        """Show what is being done."""
        self._stop()
        if action.style.running:
            self._draw(Spinner("dots", text=f"{action.name}: {action.style.running} …"))

    def done(self, outcome: Outcome) -> None:
        """Report the outcome of an action."""
        self._stop()
        PlainScreen().done(outcome)

    def progress(self, jobs: Mapping[str, Job]) -> None:
        """Redraw the open jobs."""
        if not jobs:
            self._stop()
            return
        grid = Table.grid(padding=(0, 2))
        for name, job in jobs.items():
            grid.add_row(Spinner("dots"), name, str(job.state), *_cells(job))
        self._draw(grid)

    def download(self, name: str, done: int, total: int) -> None:
        """Redraw a download."""
        grid = Table.grid(padding=(0, 2))
        bar = _bar(done, total)
        grid.add_row(Spinner("dots"), name, "downloading", f"{bar} {download_text(done, total)}")
        self._draw(grid)

    def transfer(self, name: str, what: str, done: int, total: int) -> None:
        """Redraw a transfer."""
        grid = Table.grid(padding=(0, 2))
        bar = _bar(done, total)
        grid.add_row(Spinner("dots"), name, what, f"{bar} {transfer_text(done, total)}")
        self._draw(grid)

    def told(self, message: str) -> None:
        """Report something that is done."""
        self._stop()
        PlainScreen().told(message)

    def notice(self, message: str) -> None:
        """Report something that concerns the run as a whole."""
        self._stop()
        PlainScreen().notice(message)

    def _draw(self, what: Spinner | Table) -> None:
        if self._live is None:
            self._live = Live(console=self._console, transient=True, refresh_per_second=8)
            self._live.start()
        self._live.update(what)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


class JsonScreen:
    """One JSON object a line."""

    def __init__(self) -> None:
        self._downloaded_s = 0.0
        self._moved = _Transfer()

    def starting(self, action: Action) -> None:
        """Report the start of an action."""
        self._say(type="starting", name=action.name, action=type(action).__name__.lower())

    def done(self, outcome: Outcome) -> None:
        """Report the outcome of an action."""
        self._say(
            type="done" if outcome.exit_code == ExitCode.DONE else "error",
            name=outcome.action.name,
            action=type(outcome.action).__name__.lower(),
            message=outcome.message,
        )

    def progress(self, jobs: Mapping[str, Job]) -> None:
        """Report the progress of each job."""
        for name, job in jobs.items():
            step = job.progress.step if job.progress else None
            loss = job.progress.loss if job.progress else None
            self._say(type="progress", name=name, state=job.state, step=step, loss=loss)

    def download(self, name: str, done: int, total: int) -> None:
        """Report a download, every ten seconds and at its end."""
        now = time.monotonic()
        if now - self._downloaded_s >= PLAIN_EVERY_S or done >= total:
            self._downloaded_s = now
            self._say(type="download", name=name, bytes=done, of=total)

    def transfer(self, name: str, what: str, done: int, total: int) -> None:
        """Report a transfer, every ten seconds and at the end of a long one."""
        if _is_due(self._moved, done, total):
            self._say(type="transfer", name=name, what=what, bytes=done, of=total)

    def told(self, message: str) -> None:
        """Report something that is done."""
        self._say(type="told", message=message)

    def notice(self, message: str) -> None:
        """Report something that concerns the run as a whole."""
        self._say(type="notice", message=message)

    def _say(self, **fields: object) -> None:
        click.echo(json.dumps(fields, ensure_ascii=False))


@dataclass(slots=True)
class _Transfer:
    """Times of the reports on one transfer after another."""

    bytes: int = 0
    reported_s: float = 0.0
    is_long: bool = False


def _is_due(transfer: _Transfer, done: int, total: int) -> bool:
    """Return True every ten seconds, and at the end of a transfer that was reported before."""
    now, is_end = time.monotonic(), done >= total
    if not transfer.reported_s or done <= transfer.bytes:
        transfer.reported_s, transfer.is_long = now, False
    transfer.bytes = 0 if is_end else done
    if now - transfer.reported_s < PLAIN_EVERY_S and not (is_end and transfer.is_long):
        return False
    transfer.reported_s, transfer.is_long = now, not is_end
    return True


def _cells(job: Job) -> list[str]:
    progress = job.progress
    if progress is None or not progress.total_steps:
        return [job.error or ""]
    return [f"{_bar(progress.step, progress.total_steps)} {progress_text(progress)}"]


def _bar(done: int, total: int) -> str:
    full = round(_BAR * min(1.0, done / total)) if total else _BAR
    return f"[green]{'━' * full}[/][dim]{'━' * (_BAR - full)}[/]"
