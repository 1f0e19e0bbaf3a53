"""Every situation of a fine-tune in every view: one small golden each, and the views themselves."""

import json

import pytest

from controller.plan.fingerprint import short_id
from controller.render.comment.comment import plan_comment
from controller.render.comment.facts import Review
from controller.render.plan import plan_text
from controller.render.plan_json import plan_json
from controller.render.status import status_json, status_text
from tests.controller.render.situations import SITUATIONS, plan_of

THREE = ("supersede", "train", "unpriced")
"""What the views as a whole are shown with."""


def pretty(value):
    return json.dumps(value, ensure_ascii=False, indent=2)


def comment_of(seen):
    production = {
        name: entry.production
        for name, entry in seen.lockfile.finetunes.items()
        if entry.production is not None
    }
    return plan_comment(seen.plan, seen.desired, Review(production=production))


def status_of(seen):
    return status_text(seen.lockfile, list(seen.desired), seen.jobs, {})


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_situation_in_every_view(make, golden, name):
    seen = plan_of(make, name)
    [_, *paragraphs] = plan_text(seen.plan, seen.desired).split("\n\n")
    terminal = [one for one in paragraphs if one.startswith(f"  # {name} ")]
    rows = comment_of(seen).splitlines()
    markdown = [row for row in rows if row.startswith(f"| `{name}` |")]
    actions = plan_json(seen.plan, seen.desired)["actions"]
    status = [line for line in status_of(seen).splitlines() if line.startswith(f"{name} ")]
    entry = status_json(seen.lockfile, list(seen.desired), seen.jobs, {})["finetunes"][name]

    assert terminal or [action["action"] for action in actions] == ["wait"]
    parts = {
        "plan": "\n\n".join(terminal),
        "plan in a pull request": "\n".join(markdown),
        "plan --json": "\n".join(map(pretty, actions)),
        "status": "\n".join(status),
        "status --json": pretty(entry),
    }
    golden(
        f"render/situations/{name}.txt",
        "\n\n".join(f"--- {title}\n{text}" for title, text in parts.items()),
    )


def test_actions_of_all_kinds_are_sorted_and_counted(make, golden):
    seen = plan_of(make, *SITUATIONS)
    text = plan_text(seen.plan, seen.desired)
    heads = [line for line in text.splitlines() if ' finetune "' in line[:12]]
    closing = text.rpartition("\n\n")[2]
    golden("render/summary.txt", "\n".join([*heads, "", closing]))


def test_the_plan_as_text(make, golden):
    seen = plan_of(make, *THREE)
    golden("render/plan.txt", plan_text(seen.plan, seen.desired))


def test_the_plan_as_markdown(make, golden):
    seen = plan_of(make, *THREE)
    golden("render/plan.md", comment_of(seen))


def test_the_plan_as_json(make, golden):
    seen = plan_of(make, *THREE)
    golden("render/plan.json", pretty(plan_json(seen.plan, seen.desired)))


def test_the_status(make, golden):
    seen = plan_of(make, "gate-failed", "retire", "wait")
    declared = [*seen.desired, "카페"]
    golden("render/status.txt", status_text(seen.lockfile, declared, seen.jobs, {}))


def test_the_status_as_json(make, golden):
    seen = plan_of(make, "wait")
    value = status_json(seen.lockfile, list(seen.desired), seen.jobs, {})
    golden("render/status.json", pretty(value))


def test_twelve_digits_of_a_build_are_enough(make):
    seen = plan_of(make, "reuse")
    assert short_id(seen.desired["reuse"].fingerprint) in plan_text(seen.plan, seen.desired)
