"""Options of `ftctl reconcile --watch`."""

from collections.abc import Callable
from typing import Any, TypedDict, TypeVar

import click
from click.core import ParameterSource

from controller.cli.common import project_of, wants_json
from controller.extras import import_extra
from controller.watch.interval import parse_interval

_Command = TypeVar("_Command", bound=Callable[..., Any])
_OF_WATCH = ("interval", "host", "port")
_OF_GIT = ("branch", "folder")


class ServiceValues(TypedDict):
    """Values of the options of a service, as click passes them."""

    url: str | None
    branch: str | None
    folder: str
    interval: float
    host: str
    port: int


class Interval(click.ParamType[float]):
    """An interval: `60s`, `5m`, `1h`."""

    name = "interval"

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Parse the interval."""
        if isinstance(value, float):
            return value
        try:
            return parse_interval(str(value))
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


def watch_options(command: _Command) -> _Command:
    """Add the options of `--watch` to a command."""
    options = (
        click.option("--watch", is_flag=True, help="Repeat until a signal ends it: a service."),
        click.option(
            "--git", "url", metavar="URL", help="Follow this repository; apply what is merged."
        ),
        click.option(
            "--branch", metavar="B", help="Branch to follow.  [default: the repository's]"
        ),
        click.option(
            "--folder", default="", help="Folder with finetunes/ in that repository.", metavar="F"
        ),
        click.option(
            "--interval",
            type=Interval(),
            default="60s",
            show_default=True,
            help="Time between passes.",
        ),
        click.option(
            "--host", default="127.0.0.1", show_default=True, help="Address of /healthz, /metrics."
        ),
        click.option("--port", default=9464, show_default=True, help="Port; 0 takes a free one."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def watch(ctx: click.Context, values: ServiceValues, lock_timeout: float) -> int:
    """Run the service that the options describe; return its exit code."""
    if values["url"] is None:
        project_of(ctx)
    parent = ctx.parent
    source = parent.get_parameter_source("folder") if parent is not None else None
    start = import_extra("controller.watch.start", extra="watch", what="reconcile --watch")
    options = start.WatchOptions(
        folder=ctx.obj["folder"],
        is_named=source is not ParameterSource.DEFAULT,
        url=values["url"],
        branch=values["branch"],
        subfolder=values["folder"],
        interval_s=values["interval"],
        host=values["host"],
        port=values["port"],
        lock_timeout_s=lock_timeout,
        as_json=wants_json(ctx),
    )
    return int(start.serve(options))


def refuse_without_watch(
    ctx: click.Context, *, watches: bool, waits: bool, url: str | None
) -> None:
    """Refuse options that would mean nothing.

    Raises:
        click.UsageError: With the option that is missing, or too much.
    """
    if watches and waits:
        raise click.UsageError("--watch repeats for ever; --wait ends with the jobs.", ctx)
    wanted: tuple[str, ...] = () if watches else (*_OF_WATCH, "url", *_OF_GIT)
    needed = "--watch"
    if watches and url is None:
        wanted, needed = _OF_GIT, "--git URL"
    for name in wanted:
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
            option = "--git" if name == "url" else f"--{name}"
            raise click.UsageError(f"{option} needs {needed}.", ctx)
