"""`ftctl data build`."""

from collections.abc import Mapping

import click

from backends.contract.errors import BackendError
from controller.cli.common import json_option, print_json, wants_json
from controller.cli.data.context import DatasetContext, open_data
from controller.data.reports.token_counts import token_lengths
from controller.render.data import BuildSummary, build_json, build_text
from controller.resolve.check_metrics import fit_warnings
from controller.resolve.preflight import warnings_of
from controller.spec.data import SplitName

PERSONAL = "personal data was not searched (data.prepare.pii is off), and this data is uploaded"

_EPOCHS = ("n_epochs", "num_train_epochs")
"""Names of backends for the number of passes over the training examples."""


@click.command("build")
@click.argument("name")
@json_option
@click.pass_context
def command(ctx: click.Context, name: str) -> None:
    """Build a dataset, and report what happened to every row."""
    context = open_data(ctx, name)
    tokens, note = _tokens(context)
    spec = context.loaded.spec
    warnings = list(warnings_of(spec, context.dataset, context.built.inspector))
    warnings += fit_warnings(spec, context.dataset)
    remote = context.backend.capabilities().remote
    if remote and spec.data.prepare.pii == "off":
        warnings.append(PERSONAL)
    summary = BuildSummary(
        name=name,
        dataset=context.dataset,
        tokens=tokens,
        note=note,
        trains=spec.trains,
        epochs=_epochs(context),
        warnings=warnings,
    )
    if wants_json(ctx):
        print_json(build_json(summary))
    else:
        click.echo(build_text(summary))


def _tokens(context: DatasetContext) -> tuple[Mapping[SplitName, int] | None, str]:
    """Return the tokens of each split, or None and why they were not counted."""
    counts: dict[SplitName, int] = {}
    for name, split in context.dataset.splits.items():
        counted = split.tokens
        try:
            if counted is None:
                counted = sum(token_lengths(split, context.built.inspector, context.cache))
        except BackendError as error:
            return None, error.one_line
        counts[name] = counted
    return counts, ""


def _epochs(context: DatasetContext) -> int | str | None:
    for key in _EPOCHS:
        epochs = context.built.hyperparameters.get(key)
        if isinstance(epochs, int | str):
            return epochs
    return None
