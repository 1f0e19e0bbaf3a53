"""Conditions on keys that rows have, have not, or hold otherwise than a person thinks."""

import json

import pytest

from controller.data.pipeline.row_conditions import Conditions
from controller.data.recipes import FIRST
from controller.resolve.preflight import warnings_of
from controller.spec.model import Spec

COLUMNS = {"user": "q", "assistant": "a"}


class Silent:
    def warnings(self, *_: object) -> tuple[str, ...]:
        return ()


def jsonl(rows) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def rows(count: int = 40, **more) -> list[dict]:
    made = {
        key: value if callable(value) else (lambda _, v=value: v) for key, value in more.items()
    }
    return [
        {"q": f"질문 {n}", "a": f"답 {n}", **{key: make(n) for key, make in made.items()}}
        for n in range(count)
    ]


def remarks(dataset) -> list[str]:
    return [
        reason for step in dataset.report.steps if step.name == "where" for reason in step.reasons
    ]


@pytest.mark.parametrize("name", ["d.jsonl", "d.json"])
@pytest.mark.parametrize(
    "condition", ["stauts != rejected", "stauts == ok", "stauts not in [x, y]"]
)
def test_a_key_that_no_row_has_is_refused_with_the_nearest(repository, name, condition):
    some = rows(status=lambda n: "rejected" if n % 4 == 0 else "ok")
    repository.write(name, jsonl(some) if name == "d.jsonl" else json.dumps(some))
    (problem,) = repository.problems({"path": name, "columns": COLUMNS, "where": [condition]})
    assert problem.field == "data.train[0].where"
    assert problem.message == f"finetunes/{name}: '{condition}': no row has 'stauts'"
    assert problem.remedy == "Did you mean `status`? Use one of: q, a, status."


def test_rows_without_a_key_that_others_have_are_counted(repository):
    some = rows()
    for row in some[30:]:
        row["flag"] = "bad"
    repository.write("d.jsonl", jsonl(some))
    dataset = repository.build({"path": "d.jsonl", "columns": COLUMNS, "where": ["flag != bad"]})
    assert remarks(dataset) == [
        "finetunes/d.jsonl:1: 'flag != bad': 30 of 40 rows have no 'flag' and are kept"
    ]
    assert dataset.train.examples + dataset.held_out.examples == 30


def test_a_key_in_one_file_of_a_glob_is_enough(repository):
    repository.write("d/1.jsonl", jsonl(rows(20)))
    repository.write(
        "d/2.jsonl", jsonl([{**row, "q": "x" + row["q"], "ok": 1} for row in rows(20)])
    )
    dataset = repository.build({"path": "d/*.jsonl", "columns": COLUMNS, "where": ["ok != 0"]})
    assert remarks(dataset) == [
        "finetunes/d/1.jsonl:1: 'ok != 0': 20 of 20 rows have no 'ok' and are kept"
    ]


def test_rows_that_a_limit_left_unread_may_have_the_key(repository):
    some = [*rows(30), {"q": "x", "a": "y", "flag": 1}]
    repository.write("d.jsonl", jsonl(some))
    source = {"path": "d.jsonl", "columns": COLUMNS, "where": ["flag != 0"]}
    dataset = repository.build({**source, "limit": 20})
    assert remarks(dataset) == [
        "finetunes/d.jsonl:1: 'flag != 0': 20 of 20 rows have no 'flag' and are kept"
    ]


@pytest.mark.parametrize("name", ["d.csv", "d.jsonl"])
def test_text_where_numbers_are_compared_is_counted_and_refused_where_all_is(repository, name):
    def write(score) -> None:
        some = rows(score=score)
        table = "q,a,score\n" + "".join(f"{r['q']},{r['a']},{r['score']}\n" for r in some)
        repository.write(name, table if name == "d.csv" else jsonl(some))

    source = {"path": name, "columns": COLUMNS, "where": ["score >= 3"]}
    write(lambda n: n if n % 2 else "high")
    dataset = repository.build(source)
    place = f"finetunes/{name}:{2 if name == 'd.csv' else 1}"
    what = "'score >= 3': 20 of 40 rows have no number in 'score' and are left out"
    assert remarks(dataset) == [f"{place}: {what}"]
    # A plan says so too, not only `ftctl data build`.
    spec = Spec.model_validate(
        {
            "backend": "b",
            "base_model": "m",
            "data": {"train": [source], "held_out": {"fraction": 0.2}},
        }
    )
    assert f"{place}: {what}" in list(warnings_of(spec, dataset, Silent()))
    write("high".format)
    (problem,) = repository.problems(source)
    assert "no row has a number in 'score'" in problem.message


def test_a_condition_leads_into_objects(repository):
    repository.write("d.jsonl", jsonl(rows(meta=lambda n: {"score": n})))
    source = {"path": "d.jsonl", "columns": COLUMNS, "where": ["meta.score >= 20"]}
    dataset = repository.build(source)
    assert dataset.train.examples + dataset.held_out.examples == 20
    (problem,) = repository.problems({**source, "where": ["meta.scroe >= 20"]})
    assert "no row has 'meta.scroe'" in problem.message


def test_columns_and_groups_lead_into_objects(repository):
    nested = [{"m": {"q": f"q{n}", "a": f"a{n}", "who": n % 8}} for n in range(80)]
    repository.write("d.jsonl", jsonl(nested))
    dataset = repository.build(
        {"path": "d.jsonl", "columns": {"user": "{m.who}: {m.q}", "assistant": "m.a"}},
        held_out={"fraction": 0.3, "group_by": "m.who"},
    )
    sides = []
    for part in (dataset.train, dataset.held_out):
        lines = part.path.read_text().splitlines()
        texts = [json.loads(line)["messages"][0]["content"] for line in lines]
        assert all(": q" in text for text in texts)
        sides.append({text.partition(":")[0] for text in texts})
    assert sides[0].isdisjoint(sides[1])


@pytest.mark.parametrize(
    ("condition", "cell", "is_met"),
    [
        ("x == 4", "4", True),
        ("x == 4", "4.0", True),
        ("x == 4.0", "4", True),
        ("x == 4", " 4 ", True),
        ("x != 4", "4.0", False),
        ("x == true", "true", True),
        ("x == true", "TRUE", True),
        ("x == True", "true", True),
        ("x != true", "True", False),
        ("x in [true, maybe]", "TRUE", True),
        ("x == true", "false", False),
        ("x == true", "1", False),
        ("x == null", "", True),
        ("x != null", "", False),
        ("x != null", "a", True),
        ("x == ''", "", True),
        ("x != ''", "", False),
        ("x in ['', null]", "", True),
        ("x not in [null, a]", "", False),
        ("x == a", "A", False),
    ],
)
def test_cells_of_a_table_are_compared_as_people_mean_them(condition, cell, is_met):
    conditions = Conditions([condition], file_format="csv", is_table=True)
    assert conditions.meet({"x": cell}, 1) is is_met


@pytest.mark.parametrize(
    ("condition", "value", "is_met"),
    [
        ("x == true", True, True),
        ("x == True", True, True),
        ("x == true", "TRUE", False),
        ("x == null", "", False),
        ("x == null", None, True),
    ],
)
def test_values_of_json_keep_their_types(condition, value, is_met):
    assert (
        Conditions([condition], file_format="jsonl", is_table=False).meet({"x": value}, 1) is is_met
    )


@pytest.mark.parametrize(
    ("condition", "row", "before", "now"),
    [
        ("x == true", {"x": "TRUE"}, False, True),
        ("x != null", {"x": ""}, True, False),
        ("m.x != 1", {"m": {"x": 1}}, True, False),
    ],
)
def test_the_first_recipe_compares_as_it_did(condition, row, before, now):
    for recipe, is_met in ((FIRST, before), (FIRST + 1, now)):
        conditions = Conditions([condition], file_format="csv", is_table=False, recipe=recipe)
        assert conditions.meet(row, 1) is is_met
