"""A pattern of a spec is searched in every answer, and one without end is stopped."""

import pytest

from controller.errors import FtctlError
from controller.timed_search import found_in


def test_a_search_without_end_is_stopped_with_what_to_do():
    with pytest.raises(FtctlError, match=r"searched for longer than 0.5 s") as caught:
        found_in("(a+)+$", ["a" * 60 + "b"], timeout_s=0.5)
    assert "a+ instead of (a+)+" in caught.value.remedy


def test_every_text_is_searched_as_it_is():
    texts = ["ab12", "", "가 1\n2", "\ud800 x1", "no digits"]
    assert found_in("[0-9]$", texts) == [True, False, True, True, False]
