"""Values of held-out columns as text, and columns that cannot be used."""

import pytest
from hypothesis import given

from controller.data.pipeline.held_out_columns import value_text
from controller.data.reports.traced_examples import read_traced_examples
from controller.errors import InvalidInput
from controller.spec.evaluation import evaluation_columns
from controller.spec.model import Evaluation
from controller.spec.where import parse_where
from tests.controller.data.pipeline.columned_rows import (
    NAMED,
    VALUES,
    as_csv,
    as_jsonl,
    as_messages,
    number_in,
    some_rows,
)


@given(VALUES)
def test_a_value_is_spelt_as_conditions_compare_it(value):
    text = value_text(value, is_cell=False)
    if isinstance(value, str):
        text = value if text == "" else text
    if text and "'" not in text and text == text.strip() and text.isprintable():
        condition = parse_where(f"x == '{text}'")
        assert condition.means(text, is_cell=False)
        if not isinstance(value, str) or value == text:
            assert condition.means(value, is_cell=False)


@pytest.mark.parametrize(
    ("value", "is_cell", "text"),
    [
        (None, False, "null"),
        (True, False, "true"),
        (False, False, "false"),
        (3, False, "3"),
        (3.0, False, "3"),
        (0.5, False, "0.5"),
        (1e300, False, "1e+300"),
        ("", False, ""),
        ("", True, "null"),
        ("TRUE", True, "true"),
        ("TRUE", False, "TRUE"),
        ("007", True, "007"),
        ("\u1112\u116a\u11ab\u1107\u116e\u11af", True, "환불"),
        ("a\r\nb", False, "a\nb"),
    ],
)
def test_values_as_text(value, is_cell, text):
    assert value_text(value, is_cell=is_cell) == text


def test_names_lead_into_objects_in_any_composition(repository):
    rows = [{"q": f"질문 {n}?", "a": "네", "\u110b\u1165\u11ab\u110b\u1165": {"주": n % 2}} for n in range(30)]  # fmt: skip
    repository.write("rows.jsonl", as_jsonl(rows))
    dataset = repository.build(
        {"path": "rows.jsonl", "columns": NAMED}, columns={"언어.주": "evaluation.slices[0]"}
    )
    for one in read_traced_examples(dataset.held_out):
        assert one.columns == {"언어.주": str(number_in(one.example["messages"][0]["content"]) % 2)}


def test_rows_without_a_column_are_counted_and_have_no_value(repository):
    rows = [{**row, **({} if n % 2 else {"vip": None})} for n, row in enumerate(some_rows())]
    repository.write("train.jsonl", as_jsonl(some_rows(200)[100:]))
    repository.write("held.jsonl", as_jsonl(rows))
    dataset = repository.build(
        {"path": "train.jsonl", "columns": NAMED},
        held_out=[{"path": "held.jsonl", "columns": NAMED}],
        columns={"vip": "evaluation.group_by"},
    )
    traced = list(read_traced_examples(dataset.held_out))
    assert [one.columns for one in traced] == [{"vip": "null"}, {}] * 30
    (step,) = [step for step in dataset.report.steps if step.name == "columns"]
    assert step.reasons == (
        "finetunes/held.jsonl:2: 'vip': 30 of 60 held-out examples have no value",
    )


@pytest.mark.parametrize(
    ("columns", "message", "remedy"),
    [
        (
            {"lnag": "evaluation.slices[1]"},
            "no row that may be held out has 'lnag'",
            "Did you mean `lang`? Use one of: q, a, lang, customer, meta.",
        ),
        (
            {"meta": "evaluation.slices[1]"},
            (
                "'meta' of finetunes/rows.jsonl:1 is an object or an array, which is not a value "
                "to compare"
            ),
            "Name a key in it, such as meta.id, or another column.",
        ),
        (
            {"meta.langs": "evaluation.slices[1]"},
            "no row that may be held out has 'meta.langs'",
            "Use one of: q, a, lang, customer, meta.",
        ),
    ],
)
def test_a_column_that_cannot_be_used_is_an_error_of_its_field(
    repository, columns, message, remedy
):
    repository.write("rows.jsonl", as_jsonl([{**row, "meta": {"id": 1}} for row in some_rows()]))
    source = {"path": "rows.jsonl", "columns": NAMED, "unusable": "drop"}
    (problem,) = repository.problems(source, columns=columns)
    assert (problem.file, problem.field) == ("finetunes/cafe.yaml", "evaluation.slices[1]")
    assert (problem.message, problem.remedy) == (message, remedy)


def test_texts_have_no_columns(repository):
    repository.write("text.md", "\n\n".join(f"문단 {n}입니다." for n in range(60)))
    source = {"path": "text.md", "chunk": "paragraph"}
    (problem,) = repository.problems(
        source, method="continued-pretraining", columns={"lang": "evaluation.group_by"}
    )
    assert problem.field == "evaluation.group_by"
    assert problem.message == (
        "'lang' is not there: the held-out rows are plain texts, without columns"
    )
    assert problem.remedy == 'Remove it, or give the texts as JSONL: {"text": "...", "lang": "..."}'


def test_keys_with_a_meaning_are_read_where_a_column_names_them(repository):
    rows = [{**as_messages(row), "score": n % 5} for n, row in enumerate(some_rows())]
    repository.write("rows.jsonl", as_jsonl(rows))
    assert "`score` rates the row" in repository.problems("rows.jsonl")[0].message
    dataset = repository.build("rows.jsonl", columns={"score": "evaluation.slices[0]"})
    for one in read_traced_examples(dataset.held_out):
        number = number_in(one.example["messages"][0]["content"])
        assert one.columns == {"score": str(number % 5)}


def test_training_sources_of_their_own_stay_checked(repository):
    rows = [{**as_messages(row), "score": n % 5} for n, row in enumerate(some_rows())]
    repository.write("rows.jsonl", as_jsonl(rows))
    repository.write("held.jsonl", as_jsonl(rows))
    columns = {"score": "evaluation.slices[0]"}
    problems = repository.problems("rows.jsonl", held_out=[{"path": "held.jsonl"}], columns=columns)
    assert {problem.file for problem in problems} == {"finetunes/rows.jsonl"}


@pytest.mark.parametrize(
    ("evaluation", "gate", "columns"),
    [
        ({}, (), {}),
        ({"group_by": "label", "slices": ["label"]}, {"label"}, {}),
        ({"slices": ["a", "m.b"]}, (), {"a": "evaluation.slices[0]", "m.b": "evaluation.slices[1]"}),
        ({"group_by": "a", "slices": ["a"]}, {"a"}, {"a": "evaluation.group_by"}),
        ({}, {"b", "a"}, {"a": "gate", "b": "gate"}),
        ({"slices": ["\u110b\u1165\u11ab\u110b\u1165"]}, {"언어"}, {"언어": "evaluation.slices[0]"}),
    ],
)  # fmt: skip
def test_columns_that_an_evaluation_names(evaluation, gate, columns):
    assert evaluation_columns(Evaluation.model_validate(evaluation), gate) == columns


def test_a_problem_of_a_column_has_no_field_of_the_data(repository):
    repository.write("rows.csv", as_csv(some_rows()))
    with pytest.raises(InvalidInput) as caught:
        repository.build({"path": "rows.csv", "columns": NAMED}, columns={"x": "gate"})
    assert [problem.field for problem in caught.value.problems] == ["gate"]
