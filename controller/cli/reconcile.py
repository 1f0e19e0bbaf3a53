"""`ftctl reconcile`."""

from collections import Counter
from typing import Unpack

import click

from controller.cli.common import (
    json_option,
    lock_timeout_option,
    print_json_line,
    project_of,
    wants_json,
)
from controller.cli.progress import open_screen
from controller.cli.summary import finish
from controller.cli.watching import ServiceValues, refuse_without_watch, watch_options
from controller.cli.watching import watch as run_service
from controller.plan.actions import Blocked, BlockReason
from controller.render.plan_json import plan_json
from controller.render.summary import no_changes
from controller.run.reconcile import prepare_run, run_until_settled
from controller.run.result import RunResult
from controller.run.stages import require_readable
from controller.run.state import RunOptions
from controller.run.store.store_builds import is_to_store


@click.command("reconcile")
@click.option("--wait", is_flag=True, help="Continue until no job is open.")
@watch_options
@lock_timeout_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    wait: bool,
    watch: bool,
    lock_timeout: float,
    **service: Unpack[ServiceValues],
) -> int:
    """Record what open jobs came to; evaluate, judge and promote it.

    Does only what needs no approval: no new job is submitted; nothing is cancelled, reused or
    forgotten. Safe to run at any time, from anywhere, as often as you like.

    With --watch it is a service that repeats this. With --watch --git URL the service follows a
    branch in a clone of its own, applies what is merged there, within the budgets, and pushes the
    lockfile: `ftctl help service`.
    """
    refuse_without_watch(ctx, watches=watch, waits=wait, url=service["url"])
    if watch:
        return run_service(ctx, service, lock_timeout)
    project, as_json = project_of(ctx), wants_json(ctx)
    prepared = prepare_run(project)
    if any(
        isinstance(action, Blocked) and action.block_reason is BlockReason.INPUT
        for action in prepared.plan.actions
    ):
        require_readable(prepared)
    if not prepared.plan.actions and not is_to_store(prepared):
        if as_json:
            print_json_line(plan_json(prepared.plan, {}))
        else:
            click.echo(no_changes(prepared.plan))
        return 0
    screen = open_screen(as_json=as_json)
    options = RunOptions(approval=None, wait=wait, lock_timeout_s=lock_timeout)
    with finish(project, screen, as_json=as_json) as ending:
        ending.result = run_until_settled(prepared, screen, options)
    if not as_json:
        _print_left(ending.result)
    return ending.exit_code


def _print_left(result: RunResult) -> None:
    counts = Counter(action.style.verb for action in result.left)
    if counts:
        left = ", ".join(f"{count} {verb}" for verb, count in counts.items())
        click.echo(f"{left}: that is for `ftctl apply`.")
