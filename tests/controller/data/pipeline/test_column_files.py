"""Files of held-out columns: no personal data, digests of each column, and a cache."""

import pytest

from controller.data.reports.traced_examples import read_traced_examples
from tests.controller.data.pipeline.columned_rows import NAMED, WANTED, as_csv, as_jsonl, some_rows


@pytest.mark.parametrize("pii", ["mask", "reject"])
def test_personal_data_never_leaves_through_a_column(repository, pii):
    rows = [{**row, "customer": f"kim{n}@example.com"} for n, row in enumerate(some_rows())]
    repository.write("rows.jsonl", as_jsonl(rows))
    source = {"path": "rows.jsonl", "columns": NAMED, "unusable": "drop"}
    problems = repository.problems(source, prepare={"pii": pii}, columns=WANTED)
    assert problems[0].message == (
        "column 'customer', which evaluation.group_by names, holds personal data: 1 email"
    )
    assert (problems[0].file, problems[0].line) == ("finetunes/rows.jsonl", 1)
    assert "kim" not in str(problems)
    dataset = repository.build(
        source, prepare={"pii": pii}, columns={"lang": "evaluation.slices[0]"}
    )
    assert dataset.held_out.columns.read_text().count("lang") == dataset.held_out.examples


def test_personal_data_that_a_spec_only_warns_of_is_counted(repository):
    rows = [{**row, "customer": f"kim{n}@example.com"} for n, row in enumerate(some_rows())]
    repository.write("rows.jsonl", as_jsonl(rows))
    source = {"path": "rows.jsonl", "columns": NAMED}
    dataset = repository.build(source, prepare={"pii": "warn"}, columns=WANTED)
    (step,) = [step for step in dataset.report.steps if step.name == "columns"]
    (reason,) = step.reasons
    assert reason == (
        "finetunes/rows.jsonl:1: 'customer': 60 values with personal data, which the files of the "
        "evaluation show"
    )


def test_digests_are_of_each_column_and_of_nothing_else(repository):
    def build(rows, columns=WANTED):
        repository.write("rows.csv", as_csv(rows))
        source = {"path": "rows.csv", "columns": NAMED}
        return repository.build(source, columns=columns).held_out

    first = build(some_rows())
    assert first.column_digests == {
        "customer": "sha256:eeedd929eb3cd7af0bd34fca556f8483a929b4eaa6355aa8ca1544205ea75d2d",
        "lang": "sha256:3e17f1c63fa982e0d4908dd6396e7f206b1270e2c8ded9b7993bd4f29fc2ed77",
    }
    other = build([{**row, "lang": "ko"} for row in some_rows()])
    assert other.digest == first.digest
    assert other.column_digests["customer"] == first.column_digests["customer"]
    assert other.column_digests["lang"] != first.column_digests["lang"]
    alone = build(some_rows(), {"lang": "evaluation.slices[0]"})
    assert alone.column_digests == {"lang": first.column_digests["lang"]}


def test_the_cached_dataset_has_its_columns_again(repository):
    repository.write("rows.csv", as_csv(some_rows()))
    source = {"path": "rows.csv", "columns": NAMED}
    first, second = (repository.build(source, columns=WANTED) for _ in range(2))
    assert first == second
    # The field that names a column is for messages only.
    renamed = dict.fromkeys(WANTED, "gate")
    assert repository.build(source, columns=renamed).held_out.path == first.held_out.path
    first.held_out.columns.write_bytes(b"{}\n")
    again = repository.build(source, columns=WANTED)
    assert again.held_out.columns.read_bytes() != b"{}\n"


def test_files_that_do_not_belong_together_are_noticed(repository):
    repository.write("rows.csv", as_csv(some_rows()))
    dataset = repository.build({"path": "rows.csv", "columns": NAMED}, columns=WANTED)
    with dataset.held_out.columns.open("a") as file:
        file.write("{}\n")
    with pytest.raises(ValueError, match="longer"):
        list(read_traced_examples(dataset.held_out))
