"""`ftctl train`."""

from dataclasses import replace

import click

from backends.atomic_files import write_atomic
from backends.contract.errors import BackendError
from controller.cli.approved import approve_cost_option, split_held
from controller.cli.common import (
    ask,
    backend_for,
    json_option,
    lock_timeout_option,
    print_coloured,
    print_json_line,
    project_of,
    wants_json,
)
from controller.cli.progress import open_screen
from controller.cli.summary import finish
from controller.errors import ExitCode, FtctlError
from controller.lockfile.early import PullRecord, begin, joined, own_records
from controller.lockfile.model import Entry, Lockfile, OpenJob, dump_lockfile
from controller.lockfile.pulls import PREFIX, read_pulls, write_pull
from controller.lockfile.store import OWN_LOCKFILE, lock_lockfile, read_lockfile
from controller.plan.actions import TRAINING, Blocked, Deferred
from controller.plan.approval import approve
from controller.plan.plan import Plan
from controller.project.project import Project
from controller.render.plan import plan_text
from controller.render.plan_json import plan_json
from controller.run.reconcile import prepare_run, run_until_settled
from controller.run.stages import PreparedRun, require_readable
from controller.run.state import RunOptions


@click.command("train")
@click.argument("pull", type=click.IntRange(min=1))
@click.option("-y", "--auto-approve", is_flag=True, help="Approve the plan that this run shows.")
@click.option("--no-wait", is_flag=True, help="Submit, record and end; type it again to follow up.")
@approve_cost_option
@click.option("--cancel", is_flag=True, help="Cancel its open jobs; what is trained stays.")
@lock_timeout_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    pull: int,
    *,
    auto_approve: bool,
    no_wait: bool,
    approve_cost: float | None,
    cancel: bool,
    lock_timeout: float,
) -> int:
    """Train what pull request PULL declares, before its merge.

    Trains and measures the models that the specs here ask for and that nobody trained yet, within
    the budgets. Changes neither production nor the lockfile. What is trained is recorded in git as
    refs/ftctl/pr-PULL: push that, and any later run takes it over, so that merging costs nothing.
    Typed again, it continues.
    """
    project, as_json = replace(project_of(ctx), pull=pull), wants_json(ctx)
    _begin(project, pull, lock_timeout)
    try:
        if cancel:
            return _cancel(project, lock_timeout)
        prepared = prepare_run(project)
        require_readable(prepared)
        plan = _training(prepared, read_lockfile(project.root, project.state))
        if as_json and not auto_approve:
            raise FtctlError("--json cannot ask before spending", "Add --auto-approve.")
        if not plan.actions:
            _print_nothing(plan, as_json=as_json)
            return ExitCode.DONE
        if not as_json:
            print_coloured(plan_text(plan, prepared.desired))
            click.echo()
        options = RunOptions(
            approval=None, wait=not no_wait, trains_only=True, lock_timeout_s=lock_timeout
        )
        return _carry_out(
            prepared, plan, options, approve_cost, asks=not auto_approve, json=as_json
        )
    finally:
        _publish(project, pull, quiet=as_json)


def _carry_out(
    prepared: PreparedRun,
    plan: Plan,
    options: RunOptions,
    approve_cost: float | None,
    *,
    asks: bool,
    json: bool,
) -> ExitCode:
    project, screen = prepared.loaded.inputs.project, open_screen(as_json=json)
    above_usd = prepared.loaded.settings.budget.approve_above_usd
    parts = split_held(plan, None, (), above_usd, approve_cost)
    for outcome in parts.held:
        screen.done(outcome)
    if asks:
        ask(parts.actions, again=f"ftctl train {project.pull}")
    approval = approve(parts.actions, plan.decisions, plan.settings)
    with finish(project, screen, as_json=json) as ending:
        ending.result = run_until_settled(prepared, screen, replace(options, approval=approval))
        ending.result.held = parts.held
    return ending.exit_code


def _print_nothing(plan: Plan, *, as_json: bool) -> None:
    if as_json:
        print_json_line(plan_json(plan, {}))
    else:
        click.echo("Nothing to train: every model that the specs ask for is trained.")


def _training(prepared: PreparedRun, recorded: Lockfile) -> Plan:
    """Return the part of a plan that trains and measures what the repository has no build of."""
    wanted = {
        name
        for name, desired in prepared.desired.items()
        if desired.fingerprint not in recorded.finetunes.get(name, Entry()).builds
    } | prepared.resolved.unresolved.keys()
    actions = [one for one in prepared.plan.actions if one.name in wanted]
    return replace(
        prepared.plan,
        actions=tuple(one for one in actions if isinstance(one, (*TRAINING, Blocked, Deferred))),
    )


def _begin(project: Project, pull: int, lock_timeout: float) -> None:
    """Write the lockfile that the run works on: what is recorded, and what is of the pull request."""
    recorded = read_lockfile(project.root, project.state)
    found = read_pulls(project.root)
    if why := found.unreadable.get(f"{PREFIX}{pull}"):
        remedy = f"Remove it, and train again: git update-ref -d {PREFIX}{pull}"
        raise FtctlError(why, remedy)
    fetched = next((one.lockfile for one in found.records if one.pull == pull), Lockfile())
    own = project.records / OWN_LOCKFILE
    project.records.mkdir(parents=True, exist_ok=True)
    with lock_lockfile(
        project.root, project.records, timeout_s=lock_timeout, purpose=f"train {pull}"
    ) as lockfile:
        here = own_records(lockfile.lockfile, recorded) if own.exists() else Lockfile()
        write_atomic(own, dump_lockfile(begin(recorded, joined(fetched, here))))


def _cancel(project: Project, lock_timeout: float) -> ExitCode:
    """Cancel the open jobs of the pull request that the repository does not follow as well."""
    recorded = read_lockfile(project.root, project.state)
    shared = {entry.job.id for entry in recorded.finetunes.values() if entry.job is not None}
    with lock_lockfile(
        project.root, project.records, timeout_s=lock_timeout, purpose="train --cancel"
    ) as lockfile:
        for name, entry in lockfile.lockfile.finetunes.items():
            if entry.job is None:
                continue
            if entry.job.id in shared:
                click.echo(f"{name}: job {entry.job.id} continues: the repository follows it too")
            else:
                _stop(project, name, entry.job)
            lockfile.record(name, entry.model_copy(update={"job": None}))
    return ExitCode.DONE


def _stop(project: Project, name: str, job: OpenJob) -> None:
    """Cancel a job; one that cannot be is named, and recorded no longer."""
    try:
        backend_for(project, job.backend).cancel(job.id)
    except BackendError as error:
        click.echo(f"{name}: job {job.id} could not be cancelled: {error.one_line}", err=True)
    else:
        click.echo(f"{name}: asked job {job.id} to stop")


def _publish(project: Project, pull: int, *, quiet: bool) -> None:
    """Write what is recorded for the pull request into git."""
    now = read_lockfile(project.root, project.records)
    own = own_records(now, read_lockfile(project.root, project.state))
    changed = write_pull(project.root, PullRecord(pull=pull, lockfile=own))
    if changed and not quiet:
        click.echo(f"Recorded as {PREFIX}{pull}. Push it: git push origin +{PREFIX}{pull}")
