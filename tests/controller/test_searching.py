"""A pattern of a spec is searched in every answer, and one without end is stopped."""

import pytest

from controller.errors import FtctlError
from controller.searching import found_in, is_quick

ENDLESS = [
    "(a+)+$",
    "(aa|a)*$",
    "(a{1,20}){20}b",
    "(a?){30}a{30}",
    "(?:(?:a|ab)(?:c|bcd)){9}",
    "(a*)*b",
    "(?:a+){2,}$",
    r"(a+)\1+$x",
    "a*a*a*a*a*a*b",
    "(?:a{1,99}){1,99}$",
]


@pytest.mark.parametrize("pattern", ENDLESS)
def test_a_pattern_that_may_take_for_ever_is_not_called_quick(pattern: str):
    assert not is_quick(pattern)


@pytest.mark.parametrize(
    "pattern",
    ["", "yes", "^(yes|no)$", "[A-Z]{2}[0-9]+", r"\d{4}-\d\d", "(?i)order.*", "(?=a+)", "a{3}b{2}"],
)
def test_a_plain_pattern_is_quick(pattern: str):
    assert is_quick(pattern)


def test_a_search_without_end_is_stopped_with_what_to_do():
    with pytest.raises(FtctlError, match=r"searched for longer than 0.5 s") as caught:
        found_in("(a+)+$", ["a" * 60 + "b"], timeout_s=0.5)
    assert "a+ instead of (a+)+" in caught.value.remedy


def test_both_ways_of_searching_find_the_same():
    texts = ["ab12", "", "가 1\n2", "\ud800 x1", "no digits"]
    assert (
        found_in("[0-9]", texts)
        == found_in("(?:[0-9]+)+", texts)
        == [True, False, True, True, False]
    )
