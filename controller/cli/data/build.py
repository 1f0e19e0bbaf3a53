"""`ftctl data build`."""

from collections.abc import Mapping

import click

from backends.contract.errors import BackendError
from controller.cli.common import json_option, print_json, wants_json
from controller.cli.data.context import Opened, open_data
from controller.data.pipeline.write_splits import NAMES
from controller.data.report import SplitName
from controller.data.reports.token_counts import token_lengths
from controller.render.data import BuildSummary, build_json, build_text
from controller.resolve.preflight import warnings_of

PERSONAL = "personal data was not looked for (data.prepare.pii is off), and this data is uploaded"

_EPOCHS = ("n_epochs", "num_train_epochs")
"""What backends call the number of passes over the training examples."""


@click.command("build")
@click.argument("name")
@json_option
@click.pass_context
def command(ctx: click.Context, name: str) -> None:
    """Build a dataset, and say what became of every row."""
    opened = open_data(ctx, name)
    tokens, note = _tokens(opened)
    warnings = list(warnings_of(opened.loaded.spec, opened.dataset, opened.built.inspector))
    remote = opened.backend.capabilities().remote
    if remote and opened.loaded.spec.data.prepare.pii == "off":
        warnings.append(PERSONAL)
    summary = BuildSummary(
        name=name,
        dataset=opened.dataset,
        tokens=tokens,
        note=note,
        epochs=_epochs(opened),
        warnings=warnings,
    )
    if wants_json(ctx):
        print_json(build_json(summary))
    else:
        click.echo(build_text(summary))


def _tokens(opened: Opened) -> tuple[Mapping[SplitName, int] | None, str]:
    """Return the tokens of each part, or None and why they were not counted."""
    counts: dict[SplitName, int] = {}
    for name in NAMES:
        part = getattr(opened.dataset, name)
        try:
            counts[name] = (
                sum(token_lengths(part, opened.built.inspector, opened.cache))
                if part.tokens is None
                else part.tokens
            )
        except BackendError as error:
            return None, error.one_line
    return counts, ""


def _epochs(opened: Opened) -> int | str | None:
    for key in _EPOCHS:
        given = opened.built.hyperparameters.get(key)
        if isinstance(given, int | str):
            return given
    return None
