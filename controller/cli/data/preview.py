"""`ftctl data preview`."""

import json
import sys
from collections.abc import Iterator, Sequence
from functools import partial

import click

from controller.cli.common import json_option, print_json, wants_json
from controller.cli.data.context import Opened, open_data, origin_of, typed
from controller.data.pipeline.write_splits import NAMES
from controller.data.report import SplitName
from controller.data.reports.provenance import ExamplePosition, find_places, read_examples
from controller.errors import FtctlError
from controller.render.data import PART_WORDS
from controller.render.preview import CLOSING, OPENING, Seen, bracketed, preview_json, preview_text


@click.command("preview")
@click.argument("name")
@click.option(
    "-n",
    "count",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="So many examples.",
)
@click.option("--held-out", is_flag=True, help="Of the held-out set.")
@click.option("--example", type=click.IntRange(min=1), help="Only this one, by its number.")
@click.option("--line", metavar="FILE:LINE", help="Only what became of this row.")
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
        raise click.UsageError("--line says which example; leave --example and --held-out out")
    opened = open_data(ctx, name)
    part: SplitName = "held_out" if held_out else "train"
    if line is not None:
        places: Sequence[ExamplePosition] = _of_line(opened, name, line)
    elif example is not None:
        places = [_checked(opened, ExamplePosition(part=part, number=example))]
    else:
        most = min(count, getattr(opened.dataset, part).examples)
        places = [ExamplePosition(part=part, number=number) for number in range(1, most + 1)]
    seen = list(_look(opened, places))
    if wants_json(ctx):
        print_json([preview_json(one) for one in seen])
        return
    coloured = ctx.color is not False and sys.stdout.isatty()
    mark = partial(click.style, fg="green") if coloured else bracketed
    learnt = mark("like this") if coloured else f"between {OPENING} and {CLOSING}"
    click.echo(f"What is learnt stands {learnt}; all else is only read.\n")
    click.echo("\n\n".join(preview_text(one, mark) for one in seen))


def _look(opened: Opened, places: Sequence[ExamplePosition]) -> Iterator[Seen]:
    inspector = opened.built.inspector
    for name in NAMES:
        part = getattr(opened.dataset, name)
        numbers = [place.number - 1 for place in places if place.part == name]
        for number, kept in read_examples(part, numbers):
            example = json.loads(kept.line)
            yield Seen(
                part=name,
                number=number + 1,
                origin=kept.origin,
                line=kept.line,
                tokens=inspector.count([example])[0],
                pieces=inspector.show(example),
            )


def _of_line(opened: Opened, name: str, line: str) -> Sequence[ExamplePosition]:
    origin = origin_of(opened, line)
    places = find_places(opened.dataset, origin)
    if not places:
        remedy = f"See why: ftctl data explain {name} {typed(origin)}"
        raise FtctlError(f"no example of the dataset begins at {origin}", remedy)
    return places


def _checked(opened: Opened, place: ExamplePosition) -> ExamplePosition:
    examples = getattr(opened.dataset, place.part).examples
    if place.number > examples:
        what = f"there is no example {place.number:,}: {PART_WORDS[place.part]} has {examples:,}"
        raise FtctlError(what, f"Name one from 1 to {examples}.")
    return place
