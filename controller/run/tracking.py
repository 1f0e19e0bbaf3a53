"""Evaluated builds of a run, written to the trackers. Trackers never fail a run."""

import os
from typing import Final

from controller.apply.context import ApplyContext, Outcome
from controller.errors import ExitCode
from controller.plan.actions import Evaluate, Judge
from controller.plan.fingerprint import short_id
from controller.run.state import Run
from controller.track.builds import TrackedBuilds, track_builds
from controller.track.send import Written
from controller.track.targets import targets_of

LIMIT_S: Final = 30.0
"""Longest time that a run spends on the trackers for one build."""


def track(outcome: Outcome, context: ApplyContext, run: Run) -> None:
    """Write the build of an evaluation to every tracker; report those that fail, in a line each.

    A tracker that failed is not tried again in the same run, so a server that is down costs a run
    no more than `LIMIT_S`.
    """
    action, project = outcome.action, context.project
    if not isinstance(action, Evaluate | Judge):
        return
    if outcome.exit_code not in {ExitCode.DONE, ExitCode.GATE_FAILED}:
        return
    targets = [
        one
        for one in targets_of(run.prepared.loaded.settings.tracking, os.environ)
        if one.tracker not in run.failed_trackers and not (project.offline and one.is_server)
    ]
    if not targets:
        return
    build = context.entry(action.name).builds[action.fingerprint]
    is_private = context.desired(action.name).spec.data.is_private
    builds = TrackedBuilds(name=action.name, builds=[build], is_private=is_private)
    for one in track_builds(builds, targets, project, limit_s=LIMIT_S):
        if one.problem is not None:
            run.failed_trackers.add(one.tracker)
            run.reporter.notice(_warning(one, action.name, short_id(build.fingerprint)))


def _warning(written: Written, name: str, build: str) -> str:
    problem = written.problem
    reason = problem.message.rstrip(".") if problem is not None else ""
    advice = f" {problem.remedy}" if problem is not None and problem.remedy else ""
    return (
        f"{name}: build {build} is not at {written.tracker}: {reason}.{advice} "
        f"This run does not try again; type `ftctl track {name}` later."
    )
