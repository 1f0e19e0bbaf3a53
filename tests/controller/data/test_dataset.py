import csv
import io
import json
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.data.dataset import build_dataset
from controller.data.resolve_sources import DataPaths
from controller.errors import InvalidInput
from controller.spec.data import Data
from tests.controller.data.built import digests, examples

COLUMNS = {"user": "Q", "assistant": "A"}


# The canonical bytes of forty pairs. These digests are in lockfiles: they never change.
TRAIN = "sha256:43f7bff64383e56af2a377140e28a018d4908b3e33f016f92798b40e36db0075"
HELD_OUT = "sha256:c910a155606b1d990159c3a334627a3d3d13fd698766c98d661eb4e07ba61334"


def as_table(pairs, *, delimiter=",", line_end="\n", quoting=csv.QUOTE_MINIMAL) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writerow(["Q", "A"])
    writer.writerows(pairs)
    return text.getvalue()


@pytest.mark.parametrize(
    ("encoding", "line_end", "quoting"),
    [
        ("utf-8", "\n", csv.QUOTE_MINIMAL),
        ("utf-8-sig", "\r\n", csv.QUOTE_MINIMAL),
        ("utf-16", "\n", csv.QUOTE_ALL),
        ("utf-16-le-bom", "\r\n", csv.QUOTE_ALL),
        ("cp949", "\r\n", csv.QUOTE_MINIMAL),
        ("utf-8", "\r", csv.QUOTE_ALL),
    ],
)
def test_the_same_rows_have_the_same_digests_in_every_table(
    repository, pairs, encoding, line_end, quoting
):
    text = as_table(pairs, line_end=line_end, quoting=quoting)
    if encoding == "utf-16-le-bom":
        content = b"\xff\xfe" + text.encode("utf-16-le")
    else:
        content = text.encode(encoding)
    repository.write("cafe.csv", content)
    dataset = repository.build({"path": "cafe.csv", "columns": COLUMNS})
    assert digests(dataset) == (TRAIN, HELD_OUT)


def test_tabs_another_place_and_decomposed_letters_change_no_digest(repository, pairs):
    text = unicodedata.normalize("NFD", as_table(pairs, delimiter="\t"))
    repository.write("deep/er/rows.tsv", text)
    dataset = repository.build({"path": "deep/er/rows.tsv", "columns": COLUMNS})
    assert digests(dataset) == (TRAIN, HELD_OUT)
    assert dataset.report.steps[0].changed == 40


def test_json_lines_with_other_key_order_blanks_and_escapes_change_no_digest(repository, pairs):
    rows = [
        {"id": n, "messages": [{"content": q, "role": "user"}, {"content": a, "role": "assistant"}]}
        for n, (q, a) in enumerate(pairs)
    ]
    repository.write("a.jsonl", "\n\n  ".join(json.dumps(row, indent=None) for row in rows))
    assert digests(repository.build("a.jsonl")) == (TRAIN, HELD_OUT)
    repository.write("b.json", json.dumps(rows, indent=3, ensure_ascii=False))
    assert digests(repository.build("b.json")) == (TRAIN, HELD_OUT)
    repository.write("c.json", "\r\n".join(json.dumps(row) for row in rows))
    assert digests(repository.build("c.json")) == (TRAIN, HELD_OUT)


def test_prompt_and_completion_are_the_same_examples_as_chat(repository, pairs):
    rows = "\n".join(json.dumps({"prompt": q, "completion": a}) for q, a in pairs)
    repository.write("a.jsonl", rows)
    assert digests(repository.build("a.jsonl")) == (TRAIN, HELD_OUT)


def test_numbers_are_spelt_in_json_as_in_a_table(repository):
    rows = [(f"q{number}", number % 3) for number in range(30)]
    repository.write("a.csv", as_table(rows))
    repository.write("a.jsonl", "\n".join(json.dumps({"Q": q, "A": a}) for q, a in rows))
    table = repository.build({"path": "a.csv", "columns": COLUMNS})
    lines = repository.build({"path": "a.jsonl", "columns": COLUMNS})
    assert digests(table) == digests(lines)


def test_origins_name_the_line_a_record_starts_on(repository):
    rows = "".join(f'"q{n}\nmore","a\n\n{n}"\n\n' for n in range(20))
    repository.write("data/cafe.csv", f"Q,A\n{rows}")
    dataset = repository.build({"path": "data/cafe.csv", "columns": COLUMNS})
    for part in (dataset.train, dataset.held_out):
        origins = part.origins.read_text().splitlines()
        assert len(origins) == part.examples
        for origin, example in zip(origins, examples(part.path), strict=True):
            number = int(example["messages"][1]["content"].split()[-1])
            assert origin == f"finetunes/data/cafe.csv:{2 + 5 * number}"


def test_the_report_counts_every_row(repository, chat_lines):
    first = chat_lines.splitlines(keepends=True)[0]
    repository.write("a.jsonl", chat_lines)
    repository.write("b.jsonl", first + first)
    report = repository.build("a.jsonl", {"path": "b.jsonl", "limit": 1}).report
    assert [(s.path, s.encoding, s.rows, s.examples) for s in report.sources] == [
        ("finetunes/a.jsonl", "UTF-8", 40, 40),
        ("finetunes/b.jsonl", "UTF-8", 1, 0),
    ]
    normalise, deduplicate = report.steps
    assert (normalise.kept, normalise.dropped, normalise.changed) == (41, 0, 0)
    assert (deduplicate.kept, deduplicate.dropped, deduplicate.changed) == (40, 1, 0)
    reason = "finetunes/b.jsonl:1: the same as finetunes/a.jsonl:1"
    assert deduplicate.reasons == (reason,)
    assert report.reasons.read_text() == reason.replace(":1: ", ":1: deduplicate: ") + "\n"


def test_every_reason_is_in_the_file_and_twenty_in_the_report(repository, chat_lines):
    repository.write("a.jsonl", chat_lines + chat_lines)
    report = repository.build("a.jsonl").report
    assert len(report.steps[1].reasons) == 20
    assert len(report.reasons.read_text().splitlines()) == 40


def test_duplicates_stay_when_deduplicating_is_off(repository, chat_lines):
    repository.write("a.jsonl", chat_lines + chat_lines)
    dataset = repository.build("a.jsonl", prepare={"deduplicate": "off"})
    assert dataset.train.examples + dataset.held_out.examples == 80
    assert [step.name for step in dataset.report.steps] == ["normalise"]


def test_an_example_of_both_lists_is_only_held_out(repository, chat_lines):
    repository.write("a.jsonl", chat_lines)
    repository.write("b.jsonl", chat_lines.splitlines()[6] + "\n")
    dataset = repository.build("a.jsonl", held_out=[{"path": "b.jsonl"}])
    assert (dataset.train.examples, dataset.held_out.examples) == (39, 1)
    assert dataset.report.steps[1].reasons == (
        "finetunes/a.jsonl:7: the same as the held-out finetunes/b.jsonl:1",
    )
    assert [source.split for source in dataset.report.sources] == ["train", "held_out"]


def test_the_system_prompt_is_put_before_examples_without_one(repository, chat_lines):
    own = json.loads(chat_lines.splitlines()[0])
    own["messages"].insert(0, {"role": "system", "content": "Mine."})
    repository.write("a.jsonl", chat_lines + json.dumps(own))
    dataset = repository.build("a.jsonl", system="카페\r\n상담원")
    prompts = {
        example["messages"][0]["content"]
        for part in (dataset.train, dataset.held_out)
        for example in examples(part.path)
        if example["messages"][0]["role"] == "system"
    }
    assert prompts == {"카페\n상담원", "Mine."}
    assert dataset.report.steps[1].changed == 40


def test_another_system_prompt_moves_no_example_across_the_split(repository, chat_lines):
    repository.write("a.jsonl", chat_lines)
    without = repository.build("a.jsonl").held_out.origins.read_text()
    assert repository.build("a.jsonl", system="Be kind.").held_out.origins.read_text() == without


def test_an_example_keeps_its_side_when_rows_are_added(repository, chat_lines):
    repository.write("a.jsonl", chat_lines)
    before = set(repository.build("a.jsonl").held_out.path.read_text().splitlines())
    more = chat_lines.replace("질문", "문의")
    repository.write("a.jsonl", more + "".join(reversed(chat_lines.splitlines(keepends=True))))
    dataset = repository.build("a.jsonl")
    assert before < set(dataset.held_out.path.read_text().splitlines())
    assert not before & set(dataset.train.path.read_text().splitlines())


rows_with_repetitions = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 2)), max_size=40
)


@settings(max_examples=30, deadline=None)
@given(rows_with_repetitions, rows_with_repetitions)
def test_every_example_is_once_on_one_side_in_the_order_of_the_rows(first, second):
    base = [(f"base {number}", 0) for number in range(60)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "a.csv").write_text(as_table(base + first))
        (root / "b.csv").write_text(as_table(second or base[:1]))
        sources = [{"path": name, "columns": COLUMNS} for name in ("a.csv", "b.csv")]
        data = Data.model_validate({"train": sources, "held_out": {"fraction": 0.4}})
        paths = DataPaths(root=root, cache=root / "cache")
        dataset = build_dataset(data, file="x", folder=root, paths=paths)
        train, held_out = (
            [
                tuple(message["content"] for message in one["messages"])
                for one in examples(part.path)
            ]
            for part in (dataset.train, dataset.held_out)
        )
    distinct = list(dict.fromkeys((q, str(a)) for q, a in base + first + second))
    sides = {question for question, _ in held_out}
    assert train == [pair for pair in distinct if pair[0] not in sides]
    assert held_out == [pair for pair in distinct if pair[0] in sides]


def test_problems_of_all_sources_come_at_once(repository):
    repository.write("a.jsonl", "{}\n")
    repository.write("empty.csv", "")
    with pytest.raises(InvalidInput) as caught:
        repository.build("missing.csv", "b.xlsx", "empty.csv", held_out=[{"path": "/etc/passwd"}])
    assert [(p.file, p.field) for p in caught.value.problems] == [
        ("finetunes/cafe.yaml", "data.held_out[0].path"),
        ("finetunes/cafe.yaml", "data.train[0].path"),
        ("finetunes/cafe.yaml", "data.train[1].path"),
        ("finetunes/empty.csv", ""),
    ]
