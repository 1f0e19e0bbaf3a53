"""`ftctl data diff`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import click

from controller.cli.common import json_option, print_json, wants_json
from controller.cli.data.context import DatasetContext, open_data
from controller.data.dataset import build_dataset
from controller.data.reports.diff import DatasetSplits, earlier_datasets, show_differences
from controller.data.resolve_sources import DataPaths
from controller.errors import FtctlError, InvalidInput
from controller.evaluate.gate import gate_columns
from controller.lockfile.model import Build, Entry
from controller.plan.fingerprint import short_id
from controller.render.data import difference_json, difference_text
from controller.resolve.git_checkout import at_revision
from controller.spec.evaluation import evaluation_columns

_COLOURS = {"+ ": "green", "- ": "red", "~ ": "yellow"}


@click.command("diff")
@click.argument("name")
@click.argument("revision", required=False)
@json_option
@click.pass_context
def command(ctx: click.Context, name: str, *, revision: str | None) -> None:
    """Count the examples that were added, removed and changed since a build or git revision.

    Without REVISION, compare with the build in production, else with the newest build. Spec and
    files are taken from the revision; databases, stores and hubs are read as they are now.
    """
    context = open_data(ctx, name)
    dataset = context.dataset
    if revision is None:
        old, against = _recorded(context)
    else:
        old, against = _of_revision(context, revision), f"revision {revision}"
    difference, samples = show_differences(
        old, DatasetSplits(dataset.train, dataset.held_out), context.cache
    )
    if wants_json(ctx):
        print_json(difference_json(name, against, difference, samples))
    else:
        for line in difference_text(name, against, difference, samples).splitlines():
            click.secho(line, fg=_COLOURS.get(line[:2]))


def _recorded(context: DatasetContext) -> tuple[DatasetSplits, str]:
    build = _newest(context.entry)
    name = context.loaded.name
    if build is None:
        remedy = f"Name a git revision: ftctl data diff {name} HEAD~1"
        raise FtctlError(f"no build of {name} is recorded", remedy)
    digests = build.data.train.digest, build.data.held_out.digest
    old = earlier_datasets(context.cache).get(digests)
    against = f"build {short_id(build.fingerprint)}"
    if old is None:
        commit = (build.spec_commit or "HEAD~1").removesuffix("-dirty")
        raise FtctlError(
            f"the dataset of {against} is not on this machine",
            f"Name the git revision that it was made from: ftctl data diff {name} {commit}",
        )
    where = " in production" if build.fingerprint == context.entry.production else ""
    return old, f"{against}{where}"


def _newest(entry: Entry) -> Build | None:
    for key in (entry.production, entry.candidate):
        if key is not None and key in entry.builds:
            return entry.builds[key]
    return max(entry.builds.values(), key=lambda build: build.finished, default=None)


def _of_revision(context: DatasetContext, revision: str) -> DatasetSplits:
    spec = context.loaded.spec
    with at_revision(context.project, context.loaded.name, revision) as (root, past):
        # Base models are not in git: use the present inspector, unless the method differs.
        inspector = context.built.inspector if past.spec.method == spec.method else None
        with _problems_of(revision):
            dataset = build_dataset(
                past.spec.data,
                file=past.file,
                folder=past.folder,
                paths=DataPaths(root=root, cache=context.cache, environment=os.environ),
                inspector=inspector,
                method=past.spec.method,
                columns=evaluation_columns(past.spec.evaluation, gate_columns(past.spec.gate)),
            )
    return DatasetSplits(dataset.train, dataset.held_out)


@contextmanager
def _problems_of(revision: str) -> Iterator[None]:
    """Name the revision of the files that have problems."""
    try:
        yield
    except InvalidInput as error:
        raise type(error)(
            [
                replace(problem, file=f"{revision}:{problem.file.removeprefix(f'{revision}:')}")
                for problem in error.problems
            ]
        ) from None
