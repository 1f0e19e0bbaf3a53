"""What a spec says about which rows count: conditions, samples, weights, splits, leaks."""

import json
import unicodedata
from collections import Counter

import pytest

from controller.data.pipeline.batches import read_batches
from controller.data.pipeline.row_conditions import Conditions
from controller.data.sources.inspect_file import inspect_file
from controller.data.sources.source_file import SourceFile
from controller.spec.data import Source

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


def test_what_was_not_drawn_drops_nothing_else(repository):
    dataset = repository.build(source(sample={"fraction": 0.2}), source())
    assert dataset.train.examples + dataset.held_out.examples == 400
    held_out = repository.build(source(), held_out=[source(sample={"examples": 10})])
    assert (held_out.train.examples, held_out.held_out.examples) == (390, 10)


def test_limit_and_sample_are_of_all_files_of_a_source(repository):
    for number in range(5):
        rows = [(f"질문 {number} {n}", "답", "a", "c", n % 5) for n in range(30)]
        repository.write(f"many/{number}.csv", table(rows))
    limited = repository.build({"path": "many/*.csv", "columns": COLUMNS, "limit": 40})
    assert [one.rows for one in limited.report.sources] == [30, 10, 0, 0, 0]
    sampled = repository.build(
        {"path": "many/*.csv", "columns": COLUMNS, "sample": {"examples": 40}}
    )
    assert sampled.train.examples + sampled.held_out.examples == 40


def test_a_sample_has_no_more_when_examples_are_equal(repository):
    repository.write("a.csv", table([("같은 질문", "같은 답", "a", "c", 1)] * 100))
    repository.write("b.csv", table(ROWS[:3]))
    dataset = repository.build(
        source(sample={"examples": 20}),
        held_out=[{"path": "b.csv", "columns": COLUMNS}],
        prepare={"deduplicate": "off"},
    )
    assert (dataset.train.examples, dataset.held_out.examples) == (20, 3)


def test_a_weight_leaves_every_stratum_held_out_as_it_is(repository):
    split = {"fraction": 0.5, "stratify_by": "label"}
    plain = repository.build(source(), held_out=split)
    light = repository.build(source(weight=0.2), held_out=split)
    assert light.held_out.digest == plain.held_out.digest
    assert light.train.examples < plain.train.examples / 3


def test_too_many_strata_are_refused(repository):
    rows = [(f"q{n}", "a", f"label {n}", "c", 0) for n in range(10_050)]
    repository.write("a.csv", table(rows))
    (problem,) = repository.problems(source(), held_out={"fraction": 0.2, "stratify_by": "label"})
    assert problem.field == "data.held_out.stratify_by"
    assert problem.message == "'label' has more than 10,000 values"


def test_one_group_in_two_unicode_forms_is_one(repository):
    names = [unicodedata.normalize(form, "김") for form in ("NFC", "NFD")]
    rows = [(f"q{n}", "a", "l", names[n % 2], 0) for n in range(60)]
    others = [(f"r{n}", "a", "l", f"c{n}", 0) for n in range(60)]
    repository.write("a.csv", table(rows + others))
    for seed in range(6):
        split = {"fraction": 0.5, "group_by": "customer", "seed": seed}
        found = questions(repository.build(source(), held_out=split).held_out)
        assert sum(one.startswith("q") for one in found) in (0, 60)


def test_a_condition_on_no_column_is_said_with_a_limit_too(repository):
    (problem,) = repository.problems(source(where=["scor > 2"], limit=5))
    assert problem.field == "data.train[0].where"
    assert problem.remedy.startswith("Did you mean `score`? Use one of: ")


def test_an_example_of_marks_only_is_near_to_nothing(repository):
    lines = [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
        for q, a in [(f"질문 {n}번은 어떤가요?", f"{n}번 답은 이렇습니다.") for n in range(60)]
        + [("???", "!!!")]
    ]
    repository.write("a.jsonl", "".join(json.dumps(one) + "\n" for one in lines))
    dataset = repository.build("a.jsonl", prepare={"deduplicate": "near", "similarity": 0.95})
    assert dataset.train.examples + dataset.held_out.examples == 61


def test_a_message_without_a_role_is_a_problem_of_its_line(repository):
    rows = {"messages": [{"name": "x", "content": "a\r\nb"}, {"role": "assistant", "content": "a"}]}
    repository.write("a.jsonl", json.dumps(rows) + "\n")
    assert "a message has no role" in [one.message for one in repository.problems("a.jsonl")]


def test_an_answered_prompt_is_refused_for_reinforcement_either_way(repository):
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    repository.write("a.jsonl", json.dumps(row) + "\n")
    for prepare in ({}, {"collapse_whitespace": True}):
        problems = repository.problems("a.jsonl", method="reinforcement", prepare=prepare)
        assert problems[0].line == 1


def test_long_rows_are_handed_over_few_at_a_time(tmp_path):
    path = tmp_path / "a.json"
    row = {"prompt": "p", "completion": "x" * 300_000}
    path.write_text(json.dumps([row] * 40))
    info = inspect_file(path, tmp_path / "looks", file_format="json")
    file = SourceFile(
        path=path, display_path="a", format="json", info=info, source=Source(path="a")
    )
    batches = list(read_batches(file, None, Conditions([], file_format="json", is_table=False)))
    assert [len(batch.rows) for batch in batches] == [4] * 10
