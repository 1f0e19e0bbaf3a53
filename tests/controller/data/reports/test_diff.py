"""How two datasets differ, in examples."""

import json
import random
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from controller.data.reports.diff import (
    LISTED,
    Counts,
    DatasetSplits,
    Difference,
    count_differences,
    earlier_datasets,
    show_differences,
)
from controller.plan.actions import Train

CSV = {"path": "a.csv", "columns": {"user": "q", "assistant": "a"}}


def rows(pairs) -> str:
    return "q,a\n" + "".join(f"{question},{answer}\n" for question, answer in pairs)


@pytest.fixture
def compare(parts, tmp_path):
    """Compare datasets of pairs of question and answer."""

    def halves(train, held_out):
        return DatasetSplits(
            *(parts(*(parts.chat(*pair) for pair in some)) for some in (train, held_out))
        )

    def run(old, new) -> Difference:
        return count_differences(halves(*old), halves(*new), tmp_path / "scratch")

    return run


PAIRS = [(f"질문 {n}", f"답 {n}") for n in range(40)]
OLD = (PAIRS[:30], PAIRS[30:])


@pytest.mark.parametrize(
    ("new", "train", "held_out", "moved"),
    [
        (OLD, Counts(), Counts(), 0),
        (([*PAIRS[:30], ("새", "답")], PAIRS[30:]), Counts(added=1), Counts(), 0),
        (([("새", "답"), *PAIRS[:30]], PAIRS[30:]), Counts(added=1), Counts(), 0),
        ((PAIRS[1:30], PAIRS[30:-1]), Counts(removed=1), Counts(removed=1), 0),
        ((PAIRS[:30][::-1], PAIRS[30:]), Counts(), Counts(), 0),
        (([("질문 0", "새 답"), *PAIRS[1:30]], PAIRS[30:]), Counts(changed=1), Counts(), 0),
        ((PAIRS[:29], PAIRS[29:]), Counts(), Counts(), 1),
        (([*PAIRS[:30], PAIRS[0]], PAIRS[30:]), Counts(added=1), Counts(), 0),
        ((PAIRS[30:], PAIRS[:30]), Counts(), Counts(), 40),
    ],
    ids=[
        "the same", "appended", "put first", "removed", "another order", "another answer", "moved",
        "twice", "sides exchanged",
    ],
)  # fmt: skip
def test_examples_are_counted_on_both_sides(compare, new, train, held_out, moved):
    found = compare(OLD, new)
    assert (found.train, found.held_out, found.moved) == (train, held_out, moved)


def test_another_system_prompt_changes_every_example(parts, tmp_path):
    plain = [parts.chat(*pair) for pair in PAIRS]
    kind = [parts.chat(*pair, system="친절하게") for pair in PAIRS]
    held_out = parts(parts.chat("h", "h"))
    found = count_differences(
        DatasetSplits(parts(*plain), held_out), DatasetSplits(parts(*kind), held_out), tmp_path
    )
    assert found == Difference(train=Counts(changed=40))


def test_texts_have_no_question_and_are_never_changed(parts, tmp_path):
    held_out = parts({"text": "h"})
    old, new = (DatasetSplits(parts({"text": text}), held_out) for text in ("하나", "둘"))
    assert count_differences(old, new, tmp_path).train == Counts(added=1, removed=1)


@given(
    some.lists(some.tuples(some.integers(0, 5), some.integers(0, 2)), max_size=12),
    some.lists(some.tuples(some.integers(0, 5), some.integers(0, 2)), max_size=12),
    some.integers(0, 12),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_what_is_counted_adds_up(compare, old, new, cut):
    old, new = ([(f"q{q}", f"a{a}") for q, a in pairs] for pairs in (old, new))
    found = compare((old[:cut], old[cut:]), (new[cut:], new[:cut]))
    before, after = Counter(old), Counter(new)
    assert found.total.added + found.total.changed == (after - before).total()
    assert found.total.removed + found.total.changed == (before - after).total()
    lost, won = (
        Counter(question for question, _ in (one - other).elements())
        for one, other in ((before, after), (after, before))
    )
    assert found.total.changed == (lost & won).total()


def test_the_first_examples_are_shown_with_their_places(parts, tmp_path):
    held_out = parts(parts.chat("h", "h"))
    old = DatasetSplits(parts(*(parts.chat(*pair) for pair in PAIRS)), held_out)
    changed = [(question, f"새 {answer}") for question, answer in PAIRS[5:]]
    new = DatasetSplits(
        parts(parts.chat("새 질문", "답"), *(parts.chat(*one) for one in changed)), held_out
    )
    counted, shown = show_differences(old, new, tmp_path)
    assert counted.train == Counts(added=1, removed=5, changed=35)
    assert [one.origin for one in shown.added] == ["a.csv:2"]
    assert [one.origin for one in shown.removed] == [f"a.csv:{n}" for n in range(2, 7)]
    assert len(shown.changed) == LISTED
    assert [one.origin for one in shown.changed] == [f"a.csv:{n}" for n in range(3, 23)]
    first = shown.changed[0]
    assert "새 답 5".encode() in first.line
    assert "답 5".encode() in first.before
    assert "질문 5".encode() in first.before


def test_two_hundred_new_rows_are_two_hundred_new_examples(repository):
    pairs = [(f"질문 {n}?", f"답 {n}.") for n in range(10_000)]
    repository.write("a.csv", rows(pairs))
    old = repository.build(CSV, held_out={"fraction": 0.1})
    more = [(f"새 질문 {n}?", "새 답.") for n in range(200)]
    both = [*pairs, *more]
    random.Random(7).shuffle(both)
    repository.write("a.csv", rows(both))
    new = repository.build(CSV, held_out={"fraction": 0.1})
    known = earlier_datasets(repository.cache)
    found = count_differences(
        known[old.train.digest, old.held_out.digest],
        DatasetSplits(new.train, new.held_out),
        repository.cache,
    )
    assert (found.total, found.moved) == (Counts(added=200), 0)
    assert found.train.added + found.held_out.added == 200
    assert 5 <= found.held_out.added <= 40


def test_nothing_is_left_behind(compare, tmp_path):
    compare(OLD, (PAIRS[:20], PAIRS[30:]))
    assert list((tmp_path / "scratch").iterdir()) == []


def test_datasets_that_cannot_be_read_are_passed_over(repository, pairs):
    repository.write("a.csv", rows(pairs).replace(", 어때요", " 어때요"))
    built = repository.build(CSV)
    for name, content in {"torn": '{"files"', "empty": "{}", "list": "[]"}.items():
        folder = repository.cache / "datasets" / name
        folder.mkdir()
        (folder / "dataset.json").write_text(content)
    assert list(earlier_datasets(repository.cache)) == [(built.train.digest, built.held_out.digest)]


@pytest.mark.parametrize("half", ["train.jsonl", "held_out.jsonl"])
@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_bytes(path.read_bytes()[:-7]),
        lambda path: path.write_bytes(b"\xff" * path.stat().st_size),
        lambda path: path.write_bytes(path.read_bytes().replace(b"{", b"[", 1)),
    ],
    ids=["lost", "torn", "no text", "no JSON"],
)
def test_datasets_that_are_damaged_are_passed_over(repository, pairs, half, damage):
    repository.write("a.csv", rows(pairs).replace(", 어때요", " 어때요"))
    old, new = repository.build(CSV), repository.build(CSV, system="짧게 답한다.")
    damage(old.train.path.with_name(half))
    assert list(earlier_datasets(repository.cache)) == [(new.train.digest, new.held_out.digest)]


def test_a_dataset_that_is_being_built_is_passed_over(repository, pairs):
    repository.write("a.csv", rows(pairs).replace(", 어때요", " 어때요"))
    folder = repository.build(CSV).train.path.parent
    folder.rename(folder.with_name(".build-x"))
    assert earlier_datasets(repository.cache) == {}


OTHER = {
    "data": {
        "train": [{"path": "data/faq.csv", "columns": {"user": "question", "assistant": "answer"}}],
        "held_out": {"fraction": 0.25},
        "system": "짧게 답한다.",
    }
}


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"\xff{\n" * 40)])
def test_a_plan_needs_no_earlier_dataset(repo, damage):
    repo.declare()
    repo.settle()
    (old,) = (repo.root / ".ftctl" / "data" / "datasets").glob("*/train.jsonl")
    damage(old)
    repo.declare(**OTHER)
    [action] = repo.planned().plan.actions
    assert (type(action), action.data_change) == (Train, None)


def test_a_plan_needs_no_earlier_dataset_that_can_be_compared(repo):
    repo.declare()
    repo.settle()
    (old,) = (repo.root / ".ftctl" / "data" / "datasets").glob("*/train.jsonl")
    manifest = old.with_name("dataset.json")
    known = json.loads(manifest.read_bytes())
    # Whole, and recorded so, but not what this release writes.
    content = old.read_bytes().replace(b"{", b"\xff")
    recorded, digest = known["files"]["train.jsonl"]["sha256"], sha256(content).hexdigest()
    old.write_bytes(content)
    known["files"]["train.jsonl"]["sha256"] = digest
    known["files"]["train.jsonl"]["size"] = len(content)
    manifest.write_text(json.dumps(known))
    lockfile = repo.lockfile_path
    lockfile.write_text(lockfile.read_text().replace(recorded, digest))
    repo.declare(**OTHER)
    [action] = repo.planned().plan.actions
    assert (type(action), action.data_change) == (Train, None)
