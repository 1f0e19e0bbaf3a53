"""`ftctl data build`."""

from collections.abc import Mapping

import click

from backends.base import BackendError
from controller.cli.common import json_option, print_json, wants_json
from controller.cli.data.opened import Opened, open_data
from controller.data.lengths import token_lengths
from controller.data.parts import NAMES
from controller.data.report import PartName
from controller.foresight import warnings_of
from controller.render.data import PART_WORDS, BuildSummary, build_json, build_text

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
    tokens, over, note = _tokens(opened)
    warnings = list(warnings_of(opened.loaded.spec, opened.dataset, opened.built.encoder))
    if any(over.values()):
        warnings.append(_too_long(over, opened))
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


def _tokens(
    opened: Opened,
) -> tuple[Mapping[PartName, int] | None, Mapping[PartName, int], str]:
    """Return the tokens of each part, or None; how many are too long; and why none were counted."""
    most = opened.built.encoder.limits.max_tokens
    allowed = opened.loaded.spec.data.prepare.max_tokens
    counts: dict[PartName, int] = {}
    over: dict[PartName, int] = {}
    for name in NAMES:
        part = getattr(opened.dataset, name)
        known = part.tokens
        try:
            if known is None or (most is not None and allowed is not None and allowed > most):
                lengths = token_lengths(part, opened.built.encoder, opened.cache)
                known = sum(lengths)
                over[name] = 0 if most is None else sum(length > most for length in lengths)
        except BackendError as error:
            return None, {}, f"{error.message} ({error.remedy})" if error.remedy else error.message
        counts[name] = known
    return counts, over, ""


def _too_long(over: Mapping[PartName, int], opened: Opened) -> str:
    most = opened.built.encoder.limits.max_tokens
    found = ", ".join(f"{count:,} {PART_WORDS[name]}" for name, count in over.items())
    return (
        f"examples longer than the {most:,} tokens that the model reads: {found}; "
        f"set data.prepare.max_tokens: {most}, and over_length: drop or truncate"
    )


def _epochs(opened: Opened) -> int | str | None:
    for key in _EPOCHS:
        given = opened.built.hyperparameters.get(key)
        if isinstance(given, int | str):
            return given
    return None
