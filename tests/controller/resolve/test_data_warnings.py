"""Warnings and problems of held-out data, as a plan gives them."""

import json

import pytest

from tests.controller.resolve.sources_of_specs import COLUMNS, with_source


def warnings(repo) -> tuple[str, ...]:
    [action] = repo.planned().plan.actions
    return action.warnings


def test_a_held_out_set_too_small_to_decide_the_gate_is_said(repo):
    repo.declare(gate=["exact_match >= 0.8"], evaluation={"metrics": ["exact_match"]})
    [warning] = warnings(repo)
    assert "held-out examples decide `exact_match >= 0.8` to within ±0." in warning
    assert warning.endswith("62 would to within ±0.1")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["환불", "교환", "배송"], None),
        (["환불 ", "교환", "배송", "기타"], None),
        (["환불", "교환"], "wrong whatever is answered: 2, whose answers are 배송"),
        (["환불", "교환", "배달"], "wrong whatever is answered: 2, whose answers are 배송"),
        (["환불"], "wrong whatever is answered: 4, whose answers are 교환, 배송"),
        (None, None),
    ],
)
def test_held_out_answers_that_are_no_label_are_said(repo, labels, said):
    rows = [f"{name} {n},{name}\n" for n in range(2) for name in ("환불", "교환", "배송")]
    repo.write("finetunes/data/held.csv", "question,answer\n" + "".join(rows))
    rows = [f"train {n} {one}" for n in range(4) for one in rows]
    repo.write("finetunes/data/own.csv", "question,answer\n" + "".join(rows))
    own = {"path": "data/own.csv", "columns": COLUMNS}
    data = {"train": [own], "held_out": [{"path": "data/held.csv", "columns": COLUMNS}]}
    settings = {"labels": labels} if labels else {}
    repo.declare(data=data, evaluation={"metrics": [{"accuracy": settings}]})
    found = warnings(repo)
    if said is None:
        assert found == ()
    else:
        [warning] = found
        assert warning.startswith("held-out examples that `accuracy` counts as")
        assert warning.endswith(said)


def test_leaks_and_personal_data_are_said(repo):
    rows = "question,answer\n" + "".join(f"q{n}?,mail me: a{n}@example.com\n" for n in range(30))
    repo.write("finetunes/data/own.csv", rows)
    repo.write("finetunes/data/held.csv", "question,answer\nq1?,other\nq2?,other\n")
    own = {"path": "data/own.csv", "columns": COLUMNS}
    held_out = [{"path": "data/held.csv", "columns": COLUMNS}]
    data = {"train": [own], "held_out": held_out, "prepare": {"pii": "warn"}}
    repo.declare(data=data)
    said = "\n".join(warnings(repo))
    assert "examples with personal data or secrets, which stay as they are: 30" in said
    assert "examples that ask what a held-out example asks, which flatters the scores: 2" in said


def test_a_column_that_no_row_has_is_a_problem_at_its_line(repo):
    rows = "question,answer,lang\n" + "".join(f"q{n}?,a{n},ko\n" for n in range(30))
    repo.write("finetunes/data/own.csv", rows)
    source = {"path": "data/own.csv", "columns": COLUMNS}
    repo.declare(**with_source(source), evaluation={"slices": ["lang", "lnag"], "group_by": "x"})
    (blocked,) = repo.planned().plan.actions
    slices, group = sorted(blocked.problems, key=lambda one: one.field, reverse=True)
    lines = (repo.root / "finetunes/faq.yaml").read_text().splitlines()
    assert slices.message == "no row that may be held out has 'lnag'"
    assert slices.remedy == "Did you mean `lang`? Use one of: question, answer, lang."
    assert (slices.file, slices.field) == ("finetunes/faq.yaml", "evaluation.slices[1]")
    assert "lnag" in lines[slices.line - 1]
    assert group.field == "evaluation.group_by"
    assert '"group_by"' in lines[group.line - 1]


def test_other_groups_are_another_evaluation_and_no_other_training(repo):
    def declared(customers):
        rows = "".join(f"q{n}?,a{n},{customer}\n" for n, customer in enumerate(customers))
        repo.write("finetunes/data/own.csv", f"question,answer,customer\n{rows}")
        source = {"path": "data/own.csv", "columns": COLUMNS}
        repo.declare(**with_source(source), evaluation={"group_by": "customer"})
        (desired,) = repo.planned().resolved.desired.values()
        return desired

    one, other = declared(range(30)), declared([n // 2 for n in range(30)])
    assert one.fingerprint == other.fingerprint
    assert one.evaluation_inputs["columns"].keys() == {"customer"}
    assert one.evaluation_fingerprint != other.evaluation_fingerprint


def test_rows_without_a_column_and_a_key_that_label_does_not_mean_are_said(repo):
    rows = [{"question": f"q{n}?", "answer": f"a{n}", "label": n} for n in range(30)]
    rows[0]["lang"] = "ko"
    repo.write("finetunes/data/own.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    source = {"path": "data/own.jsonl", "columns": COLUMNS}
    repo.declare(**with_source(source), evaluation={"slices": ["label", "lang"]})
    said = "\n".join(warnings(repo))
    assert "held-out examples have no value" in said
    assert (
        "`label` in `evaluation` and `gate` means the expected answer, not the key `label` of "
        "finetunes/data/own.jsonl; rename that key to use it"
    ) in said
