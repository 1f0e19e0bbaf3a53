"""`ftctl help`."""

import sys
from collections.abc import Sequence

import click
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown
from rich.padding import Padding
from rich.syntax import Syntax
from rich.theme import Theme

from backends.did_you_mean import did_you_mean
from controller.cli import COMMANDS
from controller.cli.common import json_option, print_json, wants_json
from controller.help import TOPICS, read_topic

WIDEST = 100
"""Maximum width of a page, in columns: longer lines of prose are hard to read."""
_CODE_THEME = "ansi_dark"
"""Colours of code: the terminal's own, without a background."""
_THEME = Theme(
    {
        "markdown.h1": "bold underline",
        "markdown.h2": "bold",
        "markdown.h3": "bold",
        "markdown.code": "cyan",
        "markdown.item.bullet": "none",
        "markdown.item.number": "none",
        "markdown.table.border": "dim",
        "markdown.table.header": "bold",
    }
)


class _Heading(Heading):
    """A heading at the left margin, in every version of rich."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.text


class _Code(CodeBlock):
    """Code, indented, in colours but without a background."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # Where a line does not fit, it is folded: nothing of a command may be cut off.
        syntax = Syntax(str(self.text), self.lexer_name, theme=_CODE_THEME, word_wrap=True)
        code = syntax.highlight(syntax.code)
        code.rstrip()
        yield Padding(code, (0, 0, 0, 4))


class _Page(Markdown):
    """Markdown as a page of a terminal."""

    elements = Markdown.elements | {"heading_open": _Heading, "fence": _Code}


@click.command("help")
@click.argument("words", nargs=-1, metavar="[TOPIC | COMMAND]")
@json_option
@click.pass_context
def command(ctx: click.Context, words: Sequence[str]) -> None:
    """Show a topic, or the help of a command. Without either, list the topics."""
    if not words:
        _list_topics(ctx)
        return
    usage = _usage(ctx, words)
    # People type `ftctl help exit codes`, too.
    name = "-".join(words)
    topic = read_topic(name) if name in TOPICS else None
    if usage is None and topic is None:
        hint = did_you_mean(name, [*TOPICS, *COMMANDS]) or "Type `ftctl help` for the list."
        raise click.UsageError(f"{' '.join(words)!r} is not a topic or a command. {hint}", ctx)
    if wants_json(ctx):
        print_json({"name": name, "usage": usage, "text": topic.text if topic else None})
        return
    if usage is not None:
        click.echo(usage if topic is None else f"{usage}\n")
    if topic is not None:
        _show(topic.text, in_colour=ctx.color is not False)


def _list_topics(ctx: click.Context) -> None:
    topics = [read_topic(name) for name in TOPICS]
    if wants_json(ctx):
        print_json([{"topic": topic.name, "summary": topic.summary} for topic in topics])
        return
    formatter = ctx.make_formatter()
    formatter.write_usage("ftctl help", "[TOPIC | COMMAND]")
    with formatter.section("Topics, in reading order"):
        formatter.write_dl([(topic.name, topic.summary.replace("`", "")) for topic in topics])
    click.echo(formatter.getvalue())
    click.echo("`ftctl --help` lists the commands.")


def _usage(ctx: click.Context, words: Sequence[str]) -> str | None:
    """Return what `ftctl COMMAND --help` prints; None if there is no such command."""
    inner = ctx.find_root()
    for word in words:
        if not isinstance(inner.command, click.Group):
            return None
        found = inner.command.get_command(inner, word)
        if found is None:
            return None
        inner = click.Context(found, info_name=word, parent=inner)
    return inner.get_help()


def _show(text: str, *, in_colour: bool) -> None:
    """Print Markdown: as a page in a terminal, as it is written elsewhere."""
    if not sys.stdout.isatty():
        click.echo(text, nl=False)
        return
    console = Console(theme=_THEME, highlight=False, color_system="auto" if in_colour else None)
    console.width = min(console.width, WIDEST)
    console.print(_Page(text, hyperlinks=False))
