"""The walk from files to actions, and the passes of a run. Read this file first.

A pass holds the lockfile, reads specs and settings again, and acts only on the plan that it makes of
them. What it may carry out follows from the approval of the run's first plan; a run that nobody
approved does what needs no approval.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import TypeVar

from controller.lockfile.model import Lockfile
from controller.lockfile.store import LockedLockfile, read_lockfile
from controller.project.project import Project
from controller.run.backends import OpenFor, backend_opener
from controller.run.carry_out import carry_out_plan
from controller.run.load import RunInputs, load
from controller.run.result import ProgressReporter, RunResult
from controller.run.stages import PreparedRun, observe_all, plan_pass, resolve_specs
from controller.run.state import Run, RunOptions
from controller.run.store.store_builds import store_builds
from controller.run.waiting import follow, wait_for_change

_Done = TypeVar("_Done")


def walk(
    inputs: RunInputs, read: Callable[[], Lockfile], apply: Callable[[PreparedRun], _Done]
) -> _Done:
    """Go from files to actions; every run goes this way.

    Args:
        inputs: What every pass of the run starts from.
        read: Reads the lockfile.
        apply: Carries out the plan.
    """
    loaded = load(inputs)
    recorded = read()
    resolved = resolve_specs(loaded, recorded)
    resolved, observed = observe_all(loaded, recorded, resolved)
    prepared = plan_pass(loaded, recorded, resolved, observed)
    return apply(prepared)


def prepare_run(
    project: Project,
    open_for: OpenFor | None = None,
    *,
    replace: Collection[str] = (),
    display_only: bool = False,
) -> PreparedRun:
    """Make the plan of a run's first pass. Writes only the cache of built datasets.

    Args:
        project: The repository.
        open_for: Opens backends; None for the installed backends.
        replace: Fine-tunes whose builds of an older recipe to replace.
        display_only: True if the plan is only displayed; see `observe`.

    Raises:
        InvalidInput: There is no folder of specs.
        LockfileInvalid: The lockfile cannot be read.
    """
    inputs = RunInputs(
        project=project,
        open_for=open_for or backend_opener(project, fetches=not display_only),
        replace=replace,
        display_only=display_only,
    )
    return walk(inputs, partial(read_lockfile, project.root, project.records), lambda plan: plan)


def run_until_settled(
    first: PreparedRun, reporter: ProgressReporter, options: RunOptions
) -> RunResult:
    """Carry out passes until there is nothing left to do but wait, and wait if asked to.

    Args:
        first: The run's first plan, which was approved.
        reporter: Receives progress reports.
        options: How far to go.

    Raises:
        LockHeld: Another run held the lock during the whole wait.
    """
    run = Run(options=options, reporter=reporter, prepared=first)
    while True:
        if _one_pass(run):
            continue
        reporter.progress(run.result.waiting)
        may_wait = options.wait and run.prepared.loaded.settings_error is None
        if not (may_wait and run.result.waiting):
            return run.result
        wait_for_change(run)


def _one_pass(run: Run) -> bool:
    """Carry out one pass; return True if another one now may find something to do."""
    inputs = run.prepared.loaded.inputs
    with run.lock("apply" if run.options.approval is not None else "reconcile") as lockfile:
        moved = walk(inputs, lambda: lockfile.lockfile, partial(_apply, run, lockfile))
    run.passes += 1
    return moved


def _apply(run: Run, lockfile: LockedLockfile, prepared: PreparedRun) -> bool:
    run.prepared = prepared
    moved = carry_out_plan(run, lockfile)
    store_builds(run, lockfile)
    follow(run, lockfile.entries)
    return moved
