"""A report as one page of HTML that needs nothing from outside. Pure.

Whatever is put into a page is escaped, and control characters are shown, by the environment: a
template cannot forget it. The page's own policy allows its own style and script only.
"""

import base64
import hashlib
from collections.abc import Collection, Sequence
from functools import cache
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from controller.render.text import escape_control, one_line
from controller.report.build import page_name
from controller.report.charts import Bar, bars, curve, length_shares, shade
from controller.report.model import IndexRow, LengthBin, Report, ScoreBlock, role_name
from controller.report.words import (
    CHANGE_NAMES,
    CHANGE_TONES,
    changes_of,
    curve_words,
    interval_words,
    moment_words,
    plain_words,
    score_words,
    signed_words,
)

PAGE: Final = 25
"""Examples that are folded together."""
_SHORT: Final = 40


def report_html(report: Report, *, has_index: bool, formats: Collection[str]) -> str:
    """Return the page of a fine-tune.

    Args:
        report: The report.
        has_index: True if the page stands beside an index, which it then links to.
        formats: Formats that stand beside the page: `markdown`, `json`.
    """
    return _render(
        "page.html.jinja",
        report=report,
        file=page_name(report.name),
        has_index=has_index,
        formats=formats,
        sections=sections_of(report),
        with_intervals=any(row.interval for block in report.scores for row in block.rows),
    )


def index_html(rows: Sequence[IndexRow], commit: str | None) -> str:
    """Return the page that lists all fine-tunes.

    Args:
        rows: One row for each fine-tune.
        commit: Commit of the repository that the reports were made from.
    """
    return _render("index.html.jinja", rows=rows, commit=commit)


def sections_of(report: Report) -> list[tuple[str, str]]:
    """Return the sections that a page has: their anchors and titles."""
    answers = report.answers
    sections = (
        ("gate", "Gate", report.gate),
        ("scores", "Scores", report.scores),
        ("answers", "Answers", answers or report.no_answers),
        ("confusion", "Confusion", answers and answers.matrices),
        ("slices", "Slices", answers and answers.slices),
        ("retained", "Retained", report.retained),
        ("curves", "Loss", report.curve),
        ("data", "Data", report.data),
        ("declared", "Declared", report.declared or report.trained),
        ("cost", "Cost", report.costs),
        ("lineage", "Builds", report.builds or report.failures),
    )
    return [(anchor, title) for anchor, title, content in sections if content]


def _render(template: str, **values: object) -> str:
    environment = _environment()
    text: str = environment.get_template(template).render(
        style=_asset("style.css"), script=_asset("script.js"), **values
    )
    return text.lstrip()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("controller.report"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "bars": _bar,
        "csp": _policy_source,
        "curve": curve,
        "curve_words": curve_words,
        "interval": interval_words,
        "moment": moment_words,
        "plain": plain_words,
        "prose": _prose,
        "role": role_name,
        "score": score_words,
        "shade": shade,
        "share": _length_share,
        "short": lambda text: one_line(text, _SHORT),
        "signed": signed_words,
        # Only for style and script, which are files of this package.
        "trusted": Markup,
    }
    environment.globals |= {
        "changes_of": changes_of,
        "names": CHANGE_NAMES,
        "page_size": PAGE,
        "tones": CHANGE_TONES,
    }
    return environment


def _prose(text: str) -> Markup:
    """Return sentences with the parts between backticks as code."""
    parts = map(escape, escape_control(text).split("`"))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part
        for number, part in enumerate(parts)
    )


def _shown(value: object) -> object:
    """Return what an expression writes: texts with their control characters shown."""
    return escape_control(value) if isinstance(value, str) and not _is_markup(value) else value


def _is_markup(value: str) -> bool:
    return isinstance(value, Markup)


@cache
def _asset(name: str) -> str:
    environment = _environment()
    if environment.loader is None:
        raise AssertionError("the environment has a loader")
    return str(environment.loader.get_source(environment, name)[0])


def _policy_source(text: str) -> str:
    """Return the source by which a policy allows an inline text: the digest of its bytes."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _bar(block: ScoreBlock, index: int) -> Bar | None:
    return bars(block)[index]


def _length_share(bins: Sequence[LengthBin], index: int) -> float:
    return length_shares(bins)[index]
