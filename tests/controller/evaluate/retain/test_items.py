"""Every item of every suite: its rules tell a right answer from a wrong one."""

import hashlib
import json
from pathlib import Path
from typing import get_args

import pytest

from backends.contract.completions import Completion
from controller.evaluate.answers import given_answer
from controller.evaluate.retain.items import count_items, read_items, suite_path
from controller.evaluate.retain.rules import RULES, Checks
from controller.evaluate.retain.suites import SUITES, SuiteName

ANSWERS = Path(__file__).parent / "answers"
ITEMS = [(suite, item) for suite in SUITES for item in read_items(suite).values()]
LEAST = 24
PUBLISHED = {
    ("arithmetic", 1): "e57cbca85cabe09e",
    ("json", 1): "2aa1c418f86eeaf6",
    ("instructions", 1): "5661da3b208afbb5",
    ("tool_calls", 1): "a43bcc2bbfa1f4e3",
    ("refusals", 1): "eb8cb4a6a238d45c",
    ("language", 1): "ee2676a01cb0ebe2",
}
"""Digests of the suites by version: a changed suite needs another version."""


def answer_of(written):
    """Return an answer: a text, or the calls of a tool."""
    if isinstance(written, str):
        return given_answer(Completion(text=written, finish_reason="stop"))
    calls = [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": one["name"], "arguments": json.dumps(one["arguments"])},
        }
        for number, one in enumerate(written)
    ]
    return given_answer(Completion(text="", finish_reason="stop", tool_calls=calls))


def answers_to(suite):
    return json.loads((ANSWERS / f"{suite}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("suite", "item"), ITEMS, ids=[item.id for _, item in ITEMS])
def test_a_right_answer_is_told_from_a_wrong_one(suite, item):
    answers = answers_to(suite)[item.id]
    assert list(item.checks.broken(answer_of(answers["right"]))) == []
    assert not item.checks.are_met(answer_of(answers["wrong"]))


@pytest.mark.parametrize(("suite", "item"), ITEMS, ids=[item.id for _, item in ITEMS])
def test_nobody_passes_by_silence_or_by_repeating_the_question(suite, item):
    assert not item.checks.are_met(answer_of(""))
    if suite not in {"language", "refusals"}:
        assert not item.checks.are_met(answer_of(item.messages[-1]["content"]))


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_has_enough_items_in_both_languages(suite):
    items = read_items(suite)
    assert len(items) == count_items(suite) >= LEAST
    assert items.keys() == answers_to(suite).keys()
    languages = [key.split("-")[1] for key in items]
    assert languages.count("ko") == languages.count("en") == len(items) / 2
    prompts = [item.messages[-1]["content"] for item in items.values()]
    assert len(set(prompts)) == len(prompts)


@pytest.mark.parametrize("suite", SUITES)
def test_a_changed_suite_has_another_version(suite):
    contents = suite_path(suite).read_bytes() + str(SUITES[suite].max_tokens).encode()
    digest = hashlib.sha256(contents).hexdigest()[:16]
    assert PUBLISHED.get((suite, SUITES[suite].version)) == digest, (
        "raise the suite's `version` and add its digest here: recorded scores are of the old items"
    )


def test_names_and_rules_are_complete():
    assert get_args(SuiteName) == tuple(SUITES)
    assert RULES.keys() == Checks.model_fields.keys()
    used = {name for _, item in ITEMS for name in item.checks.model_fields_set}
    assert used == RULES.keys(), "a rule that no item has is not needed"


def test_all_items_have_tools_only_where_they_are_asked_for():
    for suite, item in ITEMS:
        assert bool(item.tools) == (suite == "tool_calls"), item.id
