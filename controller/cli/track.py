"""`ftctl track`."""

import os
from collections.abc import Iterator
from typing import Final

import click

from backends.contract.inspector import Json
from controller.cli.common import json_option, not_evaluated, print_result, recorded_of
from controller.errors import ExitCode, FtctlError
from controller.spec.load import read_specs
from controller.spec.settings import FILE, load_settings
from controller.track.builds import TrackedBuilds, track_builds
from controller.track.send import Written
from controller.track.targets import Target, targets_of

LIMIT_S: Final = 300.0
"""Longest time for all trackers."""


@click.command("track")
@click.argument("name")
@click.option("--offline", is_flag=True, help="Write only to trackers on this machine.")
@json_option
@click.pass_context
def command(ctx: click.Context, name: str, *, offline: bool) -> int:
    """Write a fine-tune's evaluated builds to the trackers that `ftctl.yaml` names.

    `ftctl apply` does so after each evaluation. This command writes all recorded builds again, for a
    tracker that was down, or was added later. A build has one run, however often it is written.
    """
    project, name, entry = recorded_of(ctx, name)
    targets = list(targets_of(load_settings(project.root).tracking, os.environ))
    if not targets:
        remedy = "Add one, for example: `tracking: {tensorboard: {folder: runs}}`"
        raise FtctlError(f"{FILE} names no tracker", remedy)
    specs, _ = read_specs(project.root)
    tracked = TrackedBuilds(
        name=name,
        builds=list(entry.builds.values()),
        is_private=name not in specs or specs[name].spec.data.is_private,
    )
    if not tracked.evaluated:
        raise not_evaluated(name, entry)
    open_targets = [one for one in targets if not (offline and one.is_server)]
    written = track_builds(tracked, open_targets, project, limit_s=LIMIT_S)
    skipped = [one for one in targets if one not in open_targets]
    lines = "\n".join([*_lines(written), *_skipped(skipped)])
    print_result(ctx, _value(written, skipped), lines)
    return ExitCode.ERROR if any(one.problem for one in written) else ExitCode.DONE


def _lines(written: list[Written]) -> Iterator[str]:
    for one in written:
        if one.problem is not None:
            yield f"! {one.tracker}: {one.problem}"
        for link in one.links.values():
            yield f"{one.tracker}: {link}"


def _skipped(targets: list[Target]) -> Iterator[str]:
    for one in targets:
        yield f"{one.tracker}: not written, since it is a server and --offline is given"


def _value(written: list[Written], skipped: list[Target]) -> Json:
    trackers: dict[str, Json] = {
        one.tracker: {
            "runs": list(one.links.values()),
            "error": None if one.problem is None else one.problem.message,
        }
        for one in written
    }
    return trackers | {one.tracker: {"runs": [], "error": "--offline"} for one in skipped}
