"""Ends of models in words: one line for each day and source."""

import json
from dataclasses import replace

import pytest

from controller.plan.desired import Shutdown
from controller.render.comment.comment import LIMIT, plan_comment
from controller.render.comment.escape import length
from controller.render.plan import plan_text
from controller.render.plan_json import plan_json
from controller.render.shutdowns import days_cell, shutdown_json, shutdown_lines
from controller.render.status import status_text
from tests.controller.render.situations import plan_of

LIVE = "shutdown_date of default (https://api.openai.com/v1)"
TABLE = "table of ftctl: OpenAI deprecations page, entries up to 2026-10-14"


def end(days_left=46, date="2027-01-14", source=LIVE, **more):
    return Shutdown(date=date, days_left=days_left, source=source, model="ft:m", **more)


ENDS = {
    "카페": end(),
    "faq": end(),
    "gone": end(0, None, "default (https://api.openai.com/v1) does not have it", gone=True),
    "off": end(-37, "2026-10-23", TABLE),
    "today": end(0, "2026-11-29"),
    "base": replace(end(1, "2026-11-30", TABLE), is_base=True, model="gpt-4o-mini"),
    "forgotten": end(-1, "2026-11-28", "default does not have it", gone=True),
}


def test_days_left_in_every_view(make, golden):
    seen = plan_of(make, "wait")
    ends = ENDS | {"wait": end(), "zz-as-declared": end(1_000, "2029-08-25")}
    plan = replace(seen.plan, shutdowns=ends)
    declared = [*seen.desired, *ENDS]
    views = {
        "plan": plan_text(plan, seen.desired),
        "plan without actions": plan_text(replace(plan, actions=()), {}),
        "plan in a pull request": plan_comment(plan, seen.desired),
        "status": status_text(seen.lockfile, declared, seen.jobs, {}, ends),
        "--json": json.dumps(plan_json(plan, {})["shutdowns"], ensure_ascii=False, indent=2),
    }
    golden(
        "render/days-left.txt", "\n\n".join(f"--- {name}\n{text}" for name, text in views.items())
    )


def test_ends_change_no_id(make):
    plan = plan_of(make, "train").plan
    assert replace(plan, shutdowns=ENDS).id == plan.id


def test_many_ends_are_a_few_lines():
    same = {f"n{n:04}": end() for n in range(1_000)}
    (line,) = shutdown_lines(same)
    assert line == (
        "! n0000, n0001, n0002, n0003, n0004 and 995 more: the models in production are switched "
        f"off on 2027-01-14, in 46 days ({LIVE})"
    )
    lines = shutdown_lines({f"n{n:04}": end(n, f"day {n}") for n in range(1_000)})
    assert len(lines) == 11
    assert lines[-1] == "! and 990 more: ftctl status --json"


def test_a_long_plan_with_ends_fits_into_a_comment(make):
    names = [f"{'카' * 40}{n}" for n in range(1_000)]
    ends = {name: end(n, source="한" * 400 + str(n)) for n, name in enumerate(names)}
    plan = replace(plan_of(make, "train").plan, shutdowns=ends)
    assert length(plan_comment(plan, {})) < LIMIT


def test_hostile_text_stays_on_its_line():
    hostile = end(source="x\x1b[2J\n! faq: safe\u202e")
    (line,) = shutdown_lines({"faq": hostile})
    assert "\n" not in line
    assert "\x1b" not in line
    assert "\u202e" not in line


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, "-"), (end(), "46"), (end(1_234), "1,234"), (end(0), "0"), (end(-9), "off")],
)
def test_days_in_a_table(given, expected):
    assert days_cell(given) == expected


def test_an_end_for_programs():
    assert shutdown_json(None) is None
    assert shutdown_json(end()) == {
        "model": "ft:m",
        "date": "2027-01-14",
        "days_left": 46,
        "source": LIVE,
        "is_base": False,
        "gone": False,
    }
