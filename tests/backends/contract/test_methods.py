"""Forms of examples, and records of training methods."""

import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract import methods
from backends.contract.methods import (
    FORMS,
    MARKED,
    MESSAGES,
    METHODS,
    PREFERENCE,
    TEXT,
    MethodName,
    form_of,
)
from controller.data.examples.row_formats import row_converter
from controller.spec.data import Columns, Shape

USER = {"role": "user", "content": "몇 시에 여나요?"}
ANSWER = {"role": "assistant", "content": "아홉 시요."}
OTHER = {"role": "assistant", "content": "몰라요."}
TOOL = {"type": "function", "function": {"name": "hours"}}


@pytest.mark.parametrize(
    ("example", "form", "question", "reference", "tools"),
    [
        ({"messages": [USER, ANSWER]}, MESSAGES, [USER], ANSWER, ()),
        (
            {"messages": [USER, ANSWER, USER, OTHER], "tools": [TOOL]},
            MESSAGES,
            [USER, ANSWER, USER],
            OTHER,
            [TOOL],
        ),
        # Nobody wrote an answer; the grader's keys may have any name.
        ({"messages": [USER], "hour": "9"}, MESSAGES, [USER], None, ()),
        ({"messages": [USER], "text": "x", "preferred_output": "y"}, MESSAGES, [USER], None, ()),
        ({"messages": []}, MESSAGES, [], None, ()),
        ({"messages": [USER, ANSWER], "tools": None}, MESSAGES, [USER], ANSWER, ()),
        (
            {
                "input": {"messages": [USER], "tools": [TOOL]},
                "preferred_output": [ANSWER],
                "non_preferred_output": [OTHER],
            },
            PREFERENCE,
            [USER],
            ANSWER,
            [TOOL],
        ),
        # The conversation before the pair may end with an answer: it belongs to the question.
        (
            {
                "input": {"messages": [USER, ANSWER]},
                "preferred_output": [ANSWER],
                "non_preferred_output": [OTHER],
            },
            PREFERENCE,
            [USER, ANSWER],
            ANSWER,
            (),
        ),
        (
            {"input": {"messages": [USER]}, "output": [ANSWER], "label": True},
            MARKED,
            [USER],
            ANSWER,
            (),
        ),
        (
            {"input": {"messages": [USER], "tools": [TOOL]}, "output": [ANSWER], "label": False},
            MARKED,
            [USER],
            None,
            [TOOL],
        ),
        ({"text": "카페는 아홉 시에 엽니다."}, TEXT, [], {"text": "카페는 아홉 시에 엽니다."}, ()),
    ],
)
def test_question_reference_and_tools_by_form(example, form, question, reference, tools):
    assert form_of(example) is form
    assert form.question(example) == question
    assert form.reference(example) == reference
    assert form.tools(example) == tools


def test_both_answers_of_a_pair_in_order():
    pair = {
        "input": {"messages": []},
        "preferred_output": [ANSWER],
        "non_preferred_output": [OTHER],
    }
    assert PREFERENCE.answers(pair) == (ANSWER, OTHER)


def test_the_answer_that_is_not_wanted_by_form():
    asked = {"input": {"messages": [USER]}}
    pair = {**asked, "preferred_output": [ANSWER], "non_preferred_output": [OTHER]}
    assert PREFERENCE.unwanted(pair) == OTHER
    assert MARKED.unwanted({**asked, "output": [OTHER], "label": False}) == OTHER
    assert MARKED.unwanted({**asked, "output": [OTHER], "label": True}) is None
    assert MESSAGES.unwanted({"messages": [USER, ANSWER]}) is None
    assert [one.is_of_preferences for one in (MESSAGES, TEXT, PREFERENCE, MARKED)] == [
        False,
        False,
        True,
        True,
    ]


def test_an_example_of_no_form_is_named_by_its_keys():
    with pytest.raises(ValueError, match="an example with the keys prompt, completion"):
        form_of({"prompt": "a", "completion": "b"})


@given(st.lists(st.sampled_from([USER, ANSWER]), max_size=6))
def test_nothing_of_a_conversation_is_lost(messages):
    example = {"messages": messages}
    reference = MESSAGES.reference(example)
    together = [*MESSAGES.question(example), *([reference] if reference else [])]
    assert together == messages


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_the_samples_of_a_method_have_its_form(method):
    assert method.sample
    for example in method.sample:
        assert form_of(example) is method.form
        told = (method.form.reference(example), method.form.unwanted(example))
        assert any(one is not None for one in told) == method.learns_answers


def test_no_method_and_no_form_is_left_out_of_its_table():
    records = vars(methods).values()
    assert [one for one in records if isinstance(one, methods.Method)] == [*METHODS.values()]
    assert {one.key for one in records if isinstance(one, methods.Form)} == {
        form.key for form in FORMS
    }


def test_every_format_of_rows_can_be_written_and_read():
    named = [name for one in METHODS.values() if not one.read_as for name in one.row_formats]
    assert len(named) == len(set(named))
    assert set(named) == set(typing.get_args(Shape))
    for method in METHODS.values():
        for name in method.row_formats:
            assert callable(row_converter(None, name, method.name))
    keys = {key for method in METHODS.values() for key in method.columns or ()}
    assert keys | {"system", "user"} == set(Columns.model_fields)


def test_a_spec_may_name_every_method_and_no_other():
    assert typing.get_args(MethodName) == tuple(METHODS)
    assert {method.form for method in METHODS.values()} == set(FORMS)
    assert [name for name, method in METHODS.items() if method.is_of_texts] == [
        "continued-pretraining"
    ]
    assert [name for name, method in METHODS.items() if method.is_of_conversations] == [
        "supervised",
        "prompt",
    ]


def test_only_a_method_without_training_is_read_as_another():
    for method in METHODS.values():
        assert method.trains == (not method.read_as)
    of_prompts = METHODS["prompt"]
    read_as = METHODS[of_prompts.read_as]
    assert (of_prompts.form, of_prompts.row_formats) == (read_as.form, read_as.row_formats)
