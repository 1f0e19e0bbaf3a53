"""Steps from example to example that a spec asks for, in the order of execution."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from controller.data.examples.example import Example, map_texts
from controller.data.extras import import_extra
from controller.data.report import StepName
from controller.data.suggestions import join_names
from controller.data.transforms.normalise import (
    collapse_whitespace,
    collapsed_text,
    normal_text,
    normalise,
    with_system,
    without_end,
)
from controller.spec.data import Data


class ExampleStep(NamedTuple):
    """A step, as the report names it."""

    name: StepName
    apply: Callable[[Example], Example]
    """Returns the same object for an example that the step does not change."""
    reason: str
    """Reason for a change in the report; empty if a change needs none."""


def chosen_steps(data: Data, end_marks: list[str], recipe: int) -> Iterator[ExampleStep]:
    """Yield the steps; normalisation always comes first.

    Raises:
        DataError: A package of an extra is missing.
    """
    yield ExampleStep("normalise", normalise, "written in Unicode NFC with \\n as line end")
    if end_marks:
        strip_end = partial(map_texts, change=without_end(end_marks))
        yield ExampleStep("strip_end", strip_end, f"end mark removed: {join_names(end_marks)}")
    if data.prepare.strip_html:
        html = import_extra(
            "controller.data.transforms.html_to_text", extra="data", what="strip_html"
        )
        strip_html = partial(map_texts, change=html.html_to_text, recipe=recipe)
        yield ExampleStep("strip_html", strip_html, "HTML turned into text")
    if data.prepare.collapse_whitespace:
        collapse = partial(collapse_whitespace, recipe=recipe)
        yield ExampleStep("collapse_whitespace", collapse, "blanks removed")
    if data.system is not None:
        # It is put into examples that these steps have already changed.
        system = normal_text(data.system)
        if data.prepare.collapse_whitespace:
            system = collapsed_text(system)
        yield ExampleStep("system", partial(with_system, system=system), "")
