"""The line that a spec gets when nothing says which columns hold question and answer."""

import pytest
import yaml

from controller.data.examples.column_proposal import proposed_columns
from controller.spec.data import Columns


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (
            ["instruction", "context", "response", "category"],
            {"user": "{context}\n{instruction}", "assistant": "response"},
        ),
        (["id", "Question", "Answer"], {"user": "Question", "assistant": "Answer"}),
        (
            ["sentence1", "sentence2", "label"],
            {"user": "{sentence1}\n{sentence2}", "assistant": "label"},
        ),
        (["지문", "질문", "답변"], {"user": "{지문}\n{질문}", "assistant": "답변"}),
        (["input", "label"], {"user": "input", "assistant": "label"}),
    ],
)
def test_columns_are_proposed_as_a_spec_takes_them(names, columns):
    written = yaml.safe_load(proposed_columns(names))
    assert Columns.model_validate(written) == Columns(**columns)


@pytest.mark.parametrize(
    "names", [["x", "y"], ["question"], ["answer"], ["question", "답: 변"], []]
)
def test_where_no_name_says_what_it_holds_there_are_gaps(names):
    assert proposed_columns(names) == "{user: ..., assistant: ...}"
