"""Gather what a reviewer sees beside a plan: the base commit's gates and data, and what is recorded."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from controller.errors import FtctlError
from controller.lockfile.model import Entry
from controller.lockfile.store import read_lockfile
from controller.plan.actions.building import BuildingAction
from controller.project.project import Project
from controller.render.comment.facts import DataDiff, GateChange, Review
from controller.render.comment.table import by_importance
from controller.resolve.git_checkout import Revision, commit_of, open_revision
from controller.review.data_diffs import Comparison
from controller.review.gates import gate_change
from controller.run.stages import PreparedRun
from controller.spec.load import LoadedSpec
from controller.spec.model import Spec

_COMPARED = 50
"""Maximum number of datasets to compare; a comment has no room for more."""


def commits_of(project: Project, base: str | None, head: str | None) -> Review:
    """Return a review that knows only its commits.

    Args:
        project: The repository.
        base: Revision that the pull request is compared with; None for none.
        head: Revision that is planned; None for the one that is checked out.

    Raises:
        FtctlError: git does not know a revision that was named.
    """
    against = None if base is None else commit_of(project, base)
    try:
        return Review(base=against, head=commit_of(project, head or "HEAD"))
    except FtctlError:
        if head is not None:
            raise
        return Review(base=against)


def review_of(prepared: PreparedRun, commits: Review) -> Review:
    """Return what a reviewer sees beside a plan.

    Args:
        prepared: The plan.
        commits: Its commits.
    """
    project = prepared.loaded.inputs.project
    recorded = read_lockfile(project.root, project.records)
    data: dict[str, DataDiff] = {}
    gates: dict[str, GateChange] = {}
    with _base(project, commits.base) as base:
        if base is not None:
            base.copy_specs(prepared.desired)
        comparison = Comparison(prepared=prepared, recorded=recorded, base=base)
        actions = by_importance(prepared.plan.actions)
        building = [one.name for one in actions if isinstance(one, BuildingAction)]
        comparison.fetch_earlier(building[:_COMPARED])
        for action in actions:
            desired = prepared.desired.get(action.name)
            if desired is None:
                continue
            entry = recorded.finetunes.get(action.name, Entry())
            old = _spec_at(base, prepared.loaded.specs[action.name])
            gates[action.name] = gate_change(action, desired, entry, old)
            if isinstance(action, BuildingAction) and len(data) < _COMPARED:
                diff = comparison.data_diff(action.name)
                data |= {action.name: diff} if diff is not None else {}
    return Review(
        head=commits.head,
        base=commits.base,
        production={
            name: entry.production
            for name, entry in recorded.finetunes.items()
            if entry.production is not None
        },
        data=data,
        gates=gates,
        approve_above_usd=prepared.loaded.settings.budget.approve_above_usd,
    )


@contextmanager
def _base(project: Project, commit: str | None) -> Iterator[Revision | None]:
    with ExitStack() as stack:
        yield None if commit is None else stack.enter_context(open_revision(project, commit))


def _spec_at(base: Revision | None, now: LoadedSpec) -> Spec | None:
    """Return a spec at the base commit; None if it was not there, was wrong, or is not here.

    Most pull requests leave most specs as they are: equal files are parsed once.
    """
    if base is None:
        return None
    if base.has_same(now):
        return now.spec
    try:
        return base.spec(now.name).spec
    except FtctlError:
        return None
