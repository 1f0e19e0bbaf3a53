"""Metrics of other packages. Such a package names each in the entry-point group `ftctl.metrics`.

An entry's name is the metric's, and its value is a `Metric`: `my_package.metrics:METRIC`. The
package is imported when a spec names the metric. What it returns is checked, so that a fault of
another package is not taken for one of ftctl.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from pydantic import TypeAdapter, ValidationError

from controller.errors import FtctlError
from controller.evaluate.metric import (
    AnsweredExample,
    AnyMetric,
    Metric,
    MetricSettings,
    ScoreName,
    Tally,
)
from controller.evaluate.metrics import BUILT_IN_METRICS, MODULES

GROUP: Final = "ftctl.metrics"


class BrokenPlugin(FtctlError):
    """A metric of another package that cannot be loaded, or does not do what a metric must."""


@cache
def plugin_entries() -> dict[str, EntryPoint]:
    """Return the entries of all installed packages, but for names that ftctl uses itself."""
    own = {*MODULES, *(one.name for one in BUILT_IN_METRICS)}
    return {one.name: one for one in entry_points(group=GROUP) if one.name not in own}


def plugin_names() -> list[str]:
    """Return the names of installed metrics of other packages, sorted."""
    return sorted(plugin_entries())


def plugin_version(name: str) -> str:
    """Return the package of a metric with its version: `my-metrics 1.2`."""
    package = plugin_entries()[name].dist
    return f"{package.name} {package.version}" if package is not None else "?"


@cache
def load_plugin(name: str) -> AnyMetric:
    """Return a metric of another package, with its functions guarded.

    Raises:
        BrokenPlugin: It cannot be imported, or is not a metric of that name.
        KeyError: No installed package has a metric of that name.
    """
    entry = plugin_entries()[name]
    with _named(name, "cannot be loaded"):
        metric: object = entry.load()
    if not isinstance(metric, Metric):
        wrong = f"is {type(metric).__name__}, not a controller.evaluate.metric.Metric"
        raise BrokenPlugin(f"{name} cannot be used: {entry.value} {wrong}", _remedy(name))
    if wrong := _wrong(name, metric):
        raise BrokenPlugin(f"{name} cannot be used: {entry.value} {wrong}", _remedy(name))
    return _guarded(metric)


def _wrong(name: str, metric: AnyMetric) -> str:
    if metric.name != name:
        return f"is called {metric.name}"
    try:
        TypeAdapter(ScoreName).validate_python(name)
    except ValidationError:
        return "has a name that gates cannot write: use small letters, digits and _"
    if not (isinstance(metric.settings, type) and issubclass(metric.settings, MetricSettings)):
        return "has settings that are not a subclass of MetricSettings"
    return "" if metric.description else "has no text: give its settings a docstring"


def _guarded(metric: AnyMetric) -> AnyMetric:
    """Return a metric whose faults are errors that name it."""

    def tally(settings: MetricSettings, examples: Sequence[AnsweredExample]) -> list[Tally | None]:
        with _named(metric.name, "failed to score answers"):
            found = list(metric.tally(settings, examples))
            _check(found, len(examples))
        return found

    def combine(sums: Sequence[float]) -> float | None:
        with _named(metric.name, "failed to combine tallies"):
            return metric.combine(sums)

    return replace(metric, tally=tally, combine=combine)


@contextmanager
def _named(name: str, what: str) -> Iterator[None]:
    """Turn whatever another package raises into an error that names its metric.

    Raises:
        BrokenPlugin: Something was raised.
    """
    try:
        yield
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise BrokenPlugin(f"{name} {what}: {reason}", _remedy(name)) from error


def _remedy(name: str) -> str:
    return f"Correct the package {plugin_version(name)}, or remove the metric."


def _check(tallies: Iterable[Tally | None], examples: int) -> None:
    """Check tallies.

    Raises:
        ValueError: They are not one for each example, not of one length, or not finite numbers.
    """
    found = list(tallies)
    if len(found) != examples:
        raise ValueError(f"{len(found)} tallies for {examples} examples")
    counted = [one for one in found if one is not None]
    if len({len(one) for one in counted}) > 1:
        raise ValueError("tallies of different lengths")
    if not all(math.isfinite(number) for one in counted for number in one):
        raise ValueError("a tally is not a finite number")
