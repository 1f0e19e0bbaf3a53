"""Conditions on fine-tunes: several values, numbers and null, and time in proportion to length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.pydantic_errors import InvalidValue
from controller.render.filters import NAMES, parse_filter

STATES = ("in production", "candidate", "running", "not trained")


def parse(text):
    return parse_filter(text, ("team", "a b", "환경"), STATES)


@pytest.mark.parametrize(
    ("text", "facts", "expected"),
    [
        ("state == candidate", {"state": ("candidate", "in production")}, True),
        ("state != candidate", {"state": ("candidate", "in production")}, False),
        ("state != candidate", {"state": ("running", "in production")}, True),
        ("state in [running, candidate]", {"state": ("candidate", "in production")}, True),
        ("state not in [running, 'not trained']", {"state": ("candidate",)}, True),
        ("state not in [running, candidate]", {"state": ("candidate", "in production")}, False),
        ("days_left < 30", {"days_left": (29,)}, True),
        ("days_left < 30", {"days_left": (30,)}, False),
        ("days_left < 30", {"days_left": (-37,)}, True),
        ("days_left < 30", {"days_left": ()}, False),
        ("days_left >= 30", {}, False),
        ("days_left == null", {}, True),
        ("days_left != null", {"days_left": (0,)}, True),
        ("days_left in [0, null]", {"days_left": ()}, True),
        ("labels.환경 == 운영", {"labels.환경": ("운영",)}, True),
        ("'labels.a b' == x", {"labels.a b": ("x",)}, True),
        ("labels.team == growth", {"labels.team": ("Growth",)}, False),
        ("owner == null", {"owner": ()}, True),
        ("name == 'faq'", {"name": ("faq",)}, True),
    ],
)
def test_conditions(text, facts, expected):
    assert parse(text).holds(facts) == expected


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("labels.team2 == x", "character 8, found 'team2'"),
        ("'labels.teem' == x", "character 9, found 'teem'"),
        ("  stat == x", "expected a name at character 1, found 'stat'"),
        ("state in [running, runing]", "a state at character 20, found 'runing'"),
        ("days_left in [1, many]", "a number or null at character 18, found 'many'"),
        ("owner >= x", "character 7, found '>='"),
        ("production == x", "expected a name at character 1"),
        ("== x", "has no operator"),
        ("", "has no operator"),
        ("state == ", "a state at character"),
        ("x" * 20_000, "20,000 characters long"),
    ],
)
def test_what_is_wrong_has_a_place_and_a_remedy(text, place):
    with pytest.raises(InvalidValue) as caught:
        parse(text)
    assert place in str(caught.value)
    assert caught.value.remedy
    assert len(str(caught.value)) < 400


def test_a_misspelled_name_is_suggested():
    with pytest.raises(InvalidValue) as caught:
        parse("days_lft < 3")
    assert caught.value.remedy == "Did you mean `days_left`?"


@given(st.text(max_size=60), st.sampled_from(["<", "==", "in [", "!="]), st.text(max_size=60))
def test_any_text_is_a_condition_or_a_clear_error(left, sign, right):
    try:
        found = parse(f"{left}{sign}{right}")
    except InvalidValue as error:
        found = error
    if isinstance(found, InvalidValue):
        assert found.remedy
    else:
        assert found.name in NAMES or found.name.startswith("labels.")
        assert found.holds({}) in {True, False}
