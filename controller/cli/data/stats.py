"""`ftctl data stats`."""

from collections.abc import Iterator

import click

from backends.contract.errors import BackendError
from controller.cli.common import json_option, print_json, wants_json
from controller.cli.data.context import Opened, open_data
from controller.data.dataset import Split
from controller.data.pipeline.write_splits import NAMES
from controller.data.report import SplitName
from controller.data.reports.provenance import read_examples
from controller.data.reports.statistics import Statistics, labels, statistics_of
from controller.data.reports.token_counts import histogram, length_stats, token_lengths
from controller.render.stats import Limit, StatsSummary, stats_json, stats_text


@click.command("stats")
@click.argument("name")
@json_option
@click.pass_context
def command(ctx: click.Context, name: str) -> None:
    """Show how long examples are, how answers, languages and turns are spread."""
    summary = _summary(open_data(ctx, name), name)
    if wants_json(ctx):
        print_json(stats_json(summary))
    else:
        click.echo(stats_text(summary))


def _summary(opened: Opened, name: str) -> StatsSummary:
    dataset, inspector = opened.dataset, opened.built.inspector
    halves = {part: getattr(dataset, part) for part in NAMES}
    statistics = {part: statistics_of(half, opened.cache) for part, half in halves.items()}
    note, lengths = "", None
    try:
        lengths = {
            part: token_lengths(half, inspector, opened.cache) for part, half in halves.items()
        }
    except BackendError as error:
        note = error.one_line
    limit = min(_limits(opened), key=lambda one: one.tokens, default=None)
    over: dict[SplitName, int] | None = None
    if lengths is not None and limit is not None:
        over = {
            part: sum(length > limit.tokens for length in some) for part, some in lengths.items()
        }
    return StatsSummary(
        name=name,
        statistics=statistics,
        spreads=None
        if lengths is None
        else {part: length_stats(some) for part, some in lengths.items()},
        note=note,
        histogram=histogram(lengths or {}),
        limit=limit,
        over=over,
        labels=labels(statistics),
        steps=dataset.report.steps,
        sources=dataset.report.sources,
        contradictions={part: _places(half, statistics[part]) for part, half in halves.items()},
    )


def _places(part: Split, statistics: Statistics) -> list[list[str]]:
    numbers = {number for group in statistics.contradictions for number in group}
    origins = {number: kept.origin for number, kept in read_examples(part, numbers)}
    return [[origins[number] for number in group] for group in statistics.contradictions]


def _limits(opened: Opened) -> Iterator[Limit]:
    of_model = opened.built.inspector.limits.max_tokens
    if of_model is not None:
        yield Limit(tokens=of_model, of="the model")
    of_spec = opened.loaded.spec.data.prepare.max_tokens
    if of_spec is not None:
        yield Limit(tokens=of_spec, of="data.prepare.max_tokens")
