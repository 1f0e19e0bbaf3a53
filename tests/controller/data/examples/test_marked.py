"""Answers marked as good or bad, in the forms that people have them, up to a dataset."""

import json

import pytest

from controller.data.dataset import build_dataset
from controller.data.errors import DataError
from controller.data.examples.compared_parts import rest_of
from controller.data.examples.example import parse, to_canonical
from controller.data.examples.marked import MARKS
from controller.data.examples.row_formats import row_converter
from controller.data.examples.validate_example import validate_example
from controller.data.reports.statistics import statistics_of
from controller.data.resolve_sources import DataPaths
from controller.errors import InvalidInput
from controller.evaluate.prompts.held_out import HeldOut
from controller.spec.data import Columns, Data

ASKED = {"role": "user", "content": "질문"}
SAID = {"role": "assistant", "content": "대답"}
SYSTEM = {"role": "system", "content": "너는"}

FORMS = {
    "TRL's texts": {"prompt": "질문", "completion": "대답", "label": True},
    "TRL's messages": {"prompt": [ASKED], "completion": [SAID], "label": True},
    "OpenAI's messages": {"messages": [ASKED, SAID], "label": True},
    "thumbs": {"messages": [ASKED, SAID], "thumbs": "up"},
    "a thumb up": {"messages": [ASKED, SAID], "thumbs_up": True},
    "Alpaca's, of LLaMA-Factory": {"instruction": "질문", "output": "대답", "kto_tag": True},
    "ShareGPT's, of LLaMA-Factory": {
        "conversations": [{"from": "human", "value": "질문"}, {"from": "gpt", "value": "대답"}],
        "kto_tag": "true",
    },
    "a cell of a table": {"prompt": "질문", "completion": "대답", "label": "1"},
    "as datasets are written": {"input": {"messages": [ASKED]}, "output": [SAID], "label": True},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_marked_answer_is_the_same_example(form):
    example = row_converter(None, None, "kto")(FORMS[form])
    assert (example.messages, example.label, example.unread) == ([ASKED, SAID], True, ())
    validate_example(example)
    line, question = to_canonical(example)
    assert json.loads(line) == {"input": {"messages": [ASKED]}, "output": [SAID], "label": True}
    assert parse(line) == example
    assert question == to_canonical(example._replace(label=False))[1]


@pytest.mark.parametrize("written", [False, 0, 0.0, -1, "false", "0", "No", " bad", "👎", "down"])
@pytest.mark.parametrize("key", MARKS)
def test_a_bad_answer_is_marked_in_many_ways(key, written):
    assert (
        row_converter(None, None, "kto")({"messages": [ASKED, SAID], key: written}).label is False
    )


@pytest.mark.parametrize("written", [2, 0.5, "", "maybe", [], {"up": 1}])
def test_a_mark_that_says_neither_is_refused(written):
    with pytest.raises(DataError, match="neither as good nor as bad") as told:
        row_converter(None, None, "kto")({"messages": [ASKED, SAID], "label": written})
    assert "Write true or false" in told.value.remedy


def test_columns_name_the_mark():
    columns = Columns(user="q", assistant="a", label="ok")
    convert = row_converter(columns, None, "kto")
    for written, label in (("yes", True), (True, True), (0, False), ("-1", False)):
        example = convert({"q": "질문", "a": "대답", "ok": written, "id": 3})
        assert (example.messages, example.label) == ([ASKED, SAID], label)
        assert example.unread == ("id",)
    with pytest.raises(DataError, match="there is no column") as told:
        convert({"q": "질문", "a": "대답"})
    assert told.value.field == "columns.label"


@pytest.mark.parametrize(
    ("row", "message", "remedy"),
    [
        ({"messages": [ASKED, SAID]}, "nothing says whether", '"label": true'),
        (
            {"messages": [ASKED, SAID], "label": True, "kto_tag": True},
            "'label' and 'kto_tag' both mark",
            "Remove all but one",
        ),
        ({"messages": [ASKED], "label": True}, "does not end with the answer", "End it"),
        ({"prompt": "가", "chosen": "나", "rejected": "다"}, "a preference pair", "`method: dpo`"),
        (
            {"question": "가", "answer": "나", "label": True},
            "question and answer are not recognised",
            "columns: {user: question, assistant: answer, label: label}",
        ),
        ({"input": {}, "output": [], "label": True}, "`messages` is neither|`output` is not", ""),
        (
            {"messages": [ASKED, SAID], "label": True, "score": 4},
            "`score` rates the row",
            "ignore: [score]",
        ),
    ],
)
def test_rows_that_are_no_marked_answers_are_refused(row, message, remedy):
    with pytest.raises(DataError, match=message) as told:
        row_converter(None, None, "kto")(row)
    assert remedy in told.value.remedy


def test_a_mark_is_named_to_those_who_train_on_good_answers():
    with pytest.raises(DataError, match="`label` tells whether the answer is good") as told:
        row_converter(None, None, "supervised")({"messages": [ASKED, SAID], "label": False})
    assert "method: kto" in told.value.remedy


def test_equal_answers_with_other_marks_are_not_the_same():
    good = row_converter(None, None, "kto")(FORMS["thumbs"])
    assert rest_of(good) != rest_of(good._replace(label=False))
    assert rest_of(good._replace(label=False)) != rest_of(good._replace(label=None))


@pytest.fixture
def build(tmp_path):
    def made(rows, **data):
        folder = tmp_path / "finetunes"
        folder.mkdir(exist_ok=True)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / "rows.jsonl").write_text(text)
        declared = {"train": [{"path": "rows.jsonl"}], "held_out": {"fraction": 0.3}, **data}
        return build_dataset(
            Data.model_validate(declared),
            file="finetunes/x.yaml",
            folder=folder,
            paths=DataPaths(root=tmp_path, cache=tmp_path / "cache"),
            method="kto",
        )

    return made


def rows(count, label=lambda number: number % 2 == 0):
    return [
        {"prompt": f"질문 {n}", "completion": f"대답 {n}", "label": label(n)} for n in range(count)
    ]


def test_a_dataset_of_marked_answers(build, tmp_path):
    dataset = build(rows(40), prepare={"strip_html": True})
    lines = [json.loads(line) for line in dataset.train.path.read_text().splitlines()]
    assert {line["label"] for line in lines} == {True, False}
    counted = statistics_of(dataset.train, tmp_path / "cache")
    assert (counted.good, counted.bad) == tuple(
        sum(line["label"] is label for line in lines) for label in (True, False)
    )
    prompts = list(HeldOut(dataset.held_out))
    assert {prompt.reference is None for prompt in prompts} == {True, False}
    assert all((one.reference is None) != (one.rejected is None) for one in prompts)


@pytest.mark.parametrize(
    ("label", "told", "remedy"),
    [
        (True, "good answers and no bad one; kto learns from both", "label is false, or set `meth"),
        (False, "bad answers and no good one; kto learns from both", "whose label is true."),
    ],
)
def test_answers_of_one_kind_are_refused(build, label, told, remedy):
    with pytest.raises(InvalidInput) as error:
        build(rows(40, lambda _: label))
    (problem,) = error.value.problems
    assert problem.field == "data.train"
    assert told in problem.message
    assert remedy in problem.remedy


def test_the_same_answer_with_both_marks_is_a_contradiction(build, tmp_path):
    both = [{**row, "label": label} for row in rows(20) for label in (True, False)]
    dataset = build(both)
    counted = statistics_of(dataset.train, tmp_path / "cache")
    assert counted.contradicted == dataset.train.examples / 2


def test_other_answers_to_a_question_are_no_contradiction(build, tmp_path):
    many = [{**row, "completion": f"{n}"} for row in rows(20) for n in range(2)]
    dataset = build(many)
    assert statistics_of(dataset.train, tmp_path / "cache").contradicted == 0
