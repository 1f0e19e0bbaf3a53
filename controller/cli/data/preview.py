"""`ftctl data preview`."""

import json
import sys
from collections.abc import Iterator, Sequence
from functools import partial

import click

from controller.cli.common import json_option, print_json, wants_json
from controller.cli.data.context import DatasetContext, for_shell, open_data, parse_source_line
from controller.data.reports.provenance import ExamplePosition, find_positions, read_examples
from controller.errors import FtctlError
from controller.render.data import SPLIT_WORDS
from controller.render.preview import (
    CLOSING,
    OPENING,
    PreviewExample,
    bracketed,
    preview_json,
    preview_text,
)
from controller.spec.data import SplitName


@click.command("preview")
@click.argument("name")
@click.option(
    "-n",
    "count",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Number of examples to show.",
)
@click.option("--held-out", is_flag=True, help="Show held-out examples.")
@click.option("--example", type=click.IntRange(min=1), help="Show only this example, by number.")
@click.option("--line", metavar="FILE:LINE", help="Show only the examples of this row.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    name: str,
    *,
    count: int,
    held_out: bool,
    example: int | None,
    line: str | None,
) -> None:
    """Show examples exactly as the model sees them, and what it learns of them."""
    if line is not None and (example is not None or held_out):
        raise click.UsageError("--line names the example; leave --example and --held-out out")
    context = open_data(ctx, name)
    split: SplitName = "held_out" if held_out else "train"
    if line is not None:
        positions: Sequence[ExamplePosition] = _of_line(context, name, line)
    elif example is not None:
        positions = [_checked(context, ExamplePosition(split=split, number=example))]
    else:
        last = min(count, context.dataset.splits[split].examples)
        positions = [ExamplePosition(split=split, number=at) for at in range(1, last + 1)]
    examples = list(_read(context, positions))
    if wants_json(ctx):
        print_json(list(map(preview_json, examples)))
        return
    coloured = ctx.color is not False and sys.stdout.isatty()
    mark = partial(click.style, fg="green") if coloured else bracketed
    sign = mark("like this") if coloured else f"between {OPENING} and {CLOSING}"
    learns = f"The model learns what is {sign}, and only reads the rest."
    if not context.loaded.spec.trains:
        learns = f"Nothing is trained; training would learn what is {sign}."
    click.echo(f"{learns}\n")
    click.echo("\n\n".join(preview_text(example, mark) for example in examples))


def _read(
    context: DatasetContext, positions: Sequence[ExamplePosition]
) -> Iterator[PreviewExample]:
    inspector = context.built.inspector
    for name, split in context.dataset.splits.items():
        numbers = [position.number - 1 for position in positions if position.split == name]
        for number, stored in read_examples(split, numbers):
            example = json.loads(stored.line)
            yield PreviewExample(
                split=name,
                number=number + 1,
                origin=stored.origin,
                line=stored.line,
                tokens=inspector.count([example])[0],
                pieces=inspector.show(example),
            )


def _of_line(context: DatasetContext, name: str, line: str) -> Sequence[ExamplePosition]:
    origin = parse_source_line(context, line)
    positions = find_positions(context.dataset, origin)
    if not positions:
        remedy = f"See why: ftctl data explain {name} {for_shell(origin)}"
        raise FtctlError(f"no example of the dataset begins at {origin}", remedy)
    return positions


def _checked(context: DatasetContext, position: ExamplePosition) -> ExamplePosition:
    examples = context.dataset.splits[position.split].examples
    if position.number > examples:
        raise FtctlError(
            f"there is no example {position.number:,}: "
            f"{SPLIT_WORDS[position.split]} has {examples:,}",
            f"Name one from 1 to {examples}.",
        )
    return position
