"""What a spec says about which rows count: conditions, samples, weights, splits, leaks."""

import json
from collections import Counter

import pytest

COLUMNS = {"user": "question", "assistant": "answer"}


def table(rows) -> str:
    lines = ["question,answer,label,customer,score"]
    return "\n".join(lines + [",".join(map(str, row)) for row in rows]) + "\n"


ROWS = [(f"질문 {n}", f"답 {n}", "ab"[n % 2], f"c{n % 20}", n % 5) for n in range(400)]


def source(**more) -> dict:
    return {"path": "a.csv", "columns": COLUMNS, **more}


def questions(part) -> list[str]:
    found = []
    for line in part.path.read_text().splitlines():
        messages = json.loads(line)["messages"]
        found.append(next(one["content"] for one in messages if one["role"] == "user"))
    return found


def steps(dataset) -> dict:
    return {step.name: step for step in dataset.report.steps}


@pytest.fixture
def repository(repository):
    repository.write("a.csv", table(ROWS))
    return repository


@pytest.mark.parametrize(
    ("conditions", "wanted"),
    [
        (["score >= 4"], lambda row: row[4] >= 4),
        (["score > 1", "score <= 3"], lambda row: 1 < row[4] <= 3),
        (["label == a"], lambda row: row[2] == "a"),
        (["label != 'a'"], lambda row: row[2] != "a"),
        (["score in [0, 2]"], lambda row: row[4] in (0, 2)),
        (["score not in [0, 2]", "label == b"], lambda row: row[4] not in (0, 2) and row[2] == "b"),
    ],
)
def test_only_rows_that_meet_every_condition_count(repository, conditions, wanted):
    dataset = repository.build(source(where=conditions))
    expected = [row[0] for row in ROWS if wanted(row)]
    assert sorted(questions(dataset.train) + questions(dataset.held_out)) == sorted(expected)
    assert steps(dataset)["where"].dropped == len(ROWS) - len(expected)


def test_the_limit_counts_rows_that_meet_the_conditions(repository):
    dataset = repository.build(source(where=["score >= 3"], limit=30))
    found = questions(dataset.train) + questions(dataset.held_out)
    assert sorted(found) == sorted([row[0] for row in ROWS if row[4] >= 3][:30])


def test_a_condition_on_a_column_that_is_not_there_is_said_once(repository):
    (problem,) = repository.problems(source(where=["stars > 2"]))
    assert problem.field == "data.train[0].where"
    assert "there is no column 'stars'" in problem.message


def test_a_sample_has_so_many_examples_and_the_seed_chooses(repository):
    def drawn(**sample):
        dataset = repository.build(source(sample=sample))
        return set(questions(dataset.train) + questions(dataset.held_out))

    assert len(drawn(examples=50)) == 50
    assert drawn(examples=50) == drawn(examples=50)
    assert drawn(examples=50) < drawn(examples=60)
    assert drawn(examples=50) != drawn(examples=50, seed=1)
    assert len(drawn(examples=4000)) == 400
    assert 70 < len(drawn(fraction=0.25)) < 130


def test_an_example_stays_drawn_when_others_are_added(repository):
    few = repository.build(source(sample={"fraction": 0.3}))
    more = [(f"새 질문 {n}", "답", "a", "c", 1) for n in range(200)]
    repository.write("a.csv", table([*more, *ROWS]))
    many = repository.build(source(sample={"fraction": 0.3}))
    assert set(questions(few.train)) <= set(questions(many.train))
    assert set(questions(few.held_out)) <= set(questions(many.held_out))


@pytest.mark.parametrize("weight", [0.5, 2, 2.5])
def test_a_weight_repeats_or_leaves_out_training_examples_only(repository, weight):
    plain, weighted = repository.build(source()), repository.build(source(weight=weight))
    assert questions(weighted.held_out) == questions(plain.held_out)
    counts = Counter(questions(weighted.train))
    assert set(counts.values()) <= {int(weight), int(weight) + 1} - {0}
    assert abs(counts.total() - weight * plain.train.examples) < 0.12 * plain.train.examples
    assert len(weighted.train.origins.read_text().splitlines()) == weighted.train.examples
    assert weighted.report.sources[0].examples == len(counts) + plain.held_out.examples


def test_a_weight_of_a_held_out_source_is_refused(repository):
    (problem,) = repository.problems(source(), held_out=[source(weight=2)])
    assert problem.field == "data.held_out[0].weight"


def test_a_group_is_never_on_both_sides(repository):
    dataset = repository.build(source(), held_out={"fraction": 0.3, "group_by": "customer"})
    customer = {row[0]: row[3] for row in ROWS}
    train = {customer[one] for one in questions(dataset.train)}
    held_out = {customer[one] for one in questions(dataset.held_out)}
    assert held_out
    assert not train & held_out


def test_a_group_by_a_column_that_is_not_there_is_named(repository):
    problems = repository.problems(source(), held_out={"fraction": 0.3, "group_by": "customers"})
    assert "there is no 'customers', which data.held_out.group_by names" in problems[0].message


@pytest.mark.parametrize("by", ["label", "assistant"])
def test_every_stratum_is_held_out_in_the_same_share(repository, by):
    rows = [(f"q{n}", ["흔한", "드문"][n % 40 == 0], n % 40 == 0, "c", 0) for n in range(400)]
    repository.write("a.csv", table(rows))
    dataset = repository.build(source(), held_out={"fraction": 0.2, "stratify_by": by})
    rare = {row[0] for row in rows if row[2]}
    held_out = set(questions(dataset.held_out))
    assert len(held_out & rare) == 2
    assert len(held_out - rare) == 78


def test_a_question_on_both_sides_of_a_split_into_groups_is_noted(repository):
    rows = [*ROWS, *(("흔한 질문", f"답 {n}", "a", f"c{n}", 0) for n in range(20))]
    repository.write("a.csv", table(rows))
    dataset = repository.build(source(), held_out={"fraction": 0.3, "group_by": "customer"})
    leak = steps(dataset)["leak"]
    assert leak.noted == questions(dataset.train).count("흔한 질문") > 0
    assert leak.reasons[0].endswith(": a held-out example asks the same, with another answer")


def test_two_hundred_added_rows_change_nobodys_side(repository):
    before = repository.build(source())
    more = [(f"새 질문 {n}", "답", "a", "c", 1) for n in range(200)]
    repository.write("a.csv", table([*ROWS[:100], *more, *ROWS[100:]]))
    after = repository.build(source())
    assert set(questions(before.train)) <= set(questions(after.train))
    assert set(questions(before.held_out)) <= set(questions(after.held_out))
    added = after.train.examples + after.held_out.examples
    assert added == before.train.examples + before.held_out.examples + 200
