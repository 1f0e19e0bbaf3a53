"""`ftctl data stats`."""

from collections.abc import Iterator

import click

from backends.contract.errors import BackendError
from controller.cli.common import json_option, print_json, wants_json
from controller.cli.data.context import DatasetContext, open_data
from controller.data.dataset import Split
from controller.data.reports.provenance import read_examples
from controller.data.reports.statistics import Statistics, labels, statistics_of
from controller.data.reports.token_counts import histogram, length_stats, token_lengths
from controller.render.stats import Limit, StatsSummary, stats_json, stats_text
from controller.spec.data import SplitName


@click.command("stats")
@click.argument("name")
@json_option
@click.pass_context
def command(ctx: click.Context, name: str) -> None:
    """Show the lengths of examples, and the answers, languages and turns in them."""
    summary = summary_of(open_data(ctx, name), name)
    if wants_json(ctx):
        print_json(stats_json(summary))
    else:
        click.echo(stats_text(summary))


def summary_of(context: DatasetContext, name: str) -> StatsSummary:
    """Return the statistics of a fine-tune's dataset.

    Args:
        context: The dataset.
        name: The fine-tune.
    """
    dataset, inspector = context.dataset, context.built.inspector
    statistics = {key: statistics_of(split, context.cache) for key, split in dataset.splits.items()}
    note, lengths = "", None
    try:
        lengths = {
            key: token_lengths(split, inspector, context.cache)
            for key, split in dataset.splits.items()
        }
    except BackendError as error:
        note = error.one_line
    limit = min(_limits(context), key=lambda limit: limit.tokens, default=None)
    over: dict[SplitName, int] | None = None
    if lengths is not None and limit is not None:
        over = {
            key: sum(length > limit.tokens for length in of_split)
            for key, of_split in lengths.items()
        }
    return StatsSummary(
        name=name,
        statistics=statistics,
        lengths=None
        if lengths is None
        else {key: length_stats(of_split) for key, of_split in lengths.items()},
        note=note,
        histogram=histogram(lengths or {}),
        limit=limit,
        over=over,
        labels=labels(statistics),
        steps=dataset.report.steps,
        sources=dataset.report.sources,
        contradictions={
            key: _origins(split, statistics[key]) for key, split in dataset.splits.items()
        },
    )


def _origins(split: Split, statistics: Statistics) -> list[list[str]]:
    numbers = {number for group in statistics.contradictions for number in group}
    origins = {number: example.origin for number, example in read_examples(split, numbers)}
    return [[origins[number] for number in group] for group in statistics.contradictions]


def _limits(context: DatasetContext) -> Iterator[Limit]:
    of_model = context.built.inspector.limits.max_tokens
    if of_model is not None:
        yield Limit(tokens=of_model, of="the model")
    of_spec = context.loaded.spec.data.prepare.max_tokens
    if of_spec is not None:
        yield Limit(tokens=of_spec, of="data.prepare.max_tokens")
