"""Write builds of a fine-tune to trackers, with what the state folder and git know of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from controller.evaluate.curves.files import read_curve
from controller.lockfile.model import Build
from controller.project.project import Project, commit_page
from controller.track.record import Origin, RunRecord, run_record
from controller.track.send import Written, write_runs
from controller.track.targets import Target


@dataclass(frozen=True, kw_only=True)
class TrackedBuilds:
    """Builds to write."""

    name: str
    """The fine-tune."""
    builds: Sequence[Build]
    """Its builds; those without an evaluation are left out."""
    is_private: bool
    """True if its data is declared private, or nobody knows."""

    @cached_property
    def evaluated(self) -> list[Build]:
        """The builds with an evaluation."""
        return [build for build in self.builds if build.evaluation is not None]


def track_builds(
    tracked: TrackedBuilds, targets: Sequence[Target], project: Project, *, limit_s: float
) -> list[Written]:
    """Write builds to trackers; a build that a tracker has already is replaced.

    Args:
        tracked: The builds.
        targets: The trackers.
        project: The repository.
        limit_s: Longest time for all of them together.
    """
    origins = [_origin(build, tracked.name, project) for build in tracked.evaluated]

    def records_for(target: Target) -> list[RunRecord]:
        reduced = tracked.is_private and target.is_server
        return [
            run_record(build, build.evaluation, origin, reduced=reduced)
            for build, origin in zip(tracked.evaluated, origins, strict=True)
            if build.evaluation is not None
        ]

    return write_runs(targets, records_for, project.root, project.state, limit_s)


def _origin(build: Build, name: str, project: Project) -> Origin:
    commit = build.spec_commit
    return Origin(
        name=name,
        curve=read_curve(project.state, build),
        commit_url=None if commit is None else commit_page(project.root, commit),
    )
