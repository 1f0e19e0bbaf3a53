"""`ftctl data diff`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import click

from controller.cli.common import json_option, print_json, wants_json
from controller.cli.data.context import Opened, open_data
from controller.data.dataset import build_dataset
from controller.data.reports.diff import DatasetSplits, earlier_datasets, show_differences
from controller.data.resolve_sources import DataPaths
from controller.errors import FtctlError, InvalidInput
from controller.lockfile.model import Build, Entry
from controller.plan.fingerprint import short_id
from controller.render.data import difference_json, difference_text
from controller.resolve.git_checkout import at_revision

_COLOURS = {"+ ": "green", "- ": "red", "~ ": "yellow"}


@click.command("diff")
@click.argument("name")
@click.argument("revision", required=False)
@json_option
@click.pass_context
def command(ctx: click.Context, name: str, *, revision: str | None) -> None:
    """Count the examples that were added, removed and changed since a build or git revision.

    Without REVISION the build in production is compared with, else the newest one. Spec and files
    are taken from the revision; what lies in databases, stores and hubs is read as it is now.
    """
    opened = open_data(ctx, name)
    dataset = opened.dataset
    if revision is None:
        old, against = _recorded(opened)
    else:
        old, against = _of_revision(opened, revision), f"revision {revision}"
    difference, shown = show_differences(
        old, DatasetSplits(dataset.train, dataset.held_out), opened.cache
    )
    if wants_json(ctx):
        print_json(difference_json(name, against, difference, shown))
    else:
        for line in difference_text(name, against, difference, shown).splitlines():
            click.secho(line, fg=_COLOURS.get(line[:2]))


def _recorded(opened: Opened) -> tuple[DatasetSplits, str]:
    build = _newest(opened.entry)
    name = opened.loaded.name
    if build is None:
        remedy = f"Name a git revision: ftctl data diff {name} HEAD~1"
        raise FtctlError(f"no build of {name} is recorded", remedy)
    digests = build.data.train.digest, build.data.held_out.digest
    old = earlier_datasets(opened.cache).get(digests)
    called = f"build {short_id(build.fingerprint)}"
    if old is None:
        commit = (build.spec_commit or "HEAD~1").removesuffix("-dirty")
        raise FtctlError(
            f"the dataset of {called} is not on this machine",
            f"Name the git revision that it was made from: ftctl data diff {name} {commit}",
        )
    where = " in production" if build.fingerprint == opened.entry.production else ""
    return old, f"{called}{where}"


def _newest(entry: Entry) -> Build | None:
    for key in (entry.production, entry.candidate):
        if key is not None and key in entry.builds:
            return entry.builds[key]
    return max(entry.builds.values(), key=lambda build: build.finished, default=None)


def _of_revision(opened: Opened, revision: str) -> DatasetSplits:
    spec = opened.loaded.spec
    with at_revision(opened.project, opened.loaded.name, revision) as (root, past):
        # Base models are not in git: the one of today measures, unless it learns otherwise.
        inspector = opened.built.inspector if past.spec.method == spec.method else None
        with _blaming(revision):
            dataset = build_dataset(
                past.spec.data,
                file=past.file,
                folder=past.folder,
                places=DataPaths(root=root, cache=opened.cache, environment=os.environ),
                inspector=inspector,
                method=past.spec.method,
            )
    return DatasetSplits(dataset.train, dataset.held_out)


@contextmanager
def _blaming(revision: str) -> Iterator[None]:
    """Say of which revision the files are that have problems."""
    try:
        yield
    except InvalidInput as error:
        raise type(error)(
            [
                replace(problem, file=f"{revision}:{problem.file.removeprefix(f'{revision}:')}")
                for problem in error.problems
            ]
        ) from None
