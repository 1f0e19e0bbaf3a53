import csv
import io
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.contract.inspector import Limits
from backends.testing.words import WordInspector
from controller.data.dataset import Dataset, build_dataset
from controller.data.resolve_sources import DataPaths
from controller.errors import InvalidInput
from controller.spec.data import Data

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


def digests(dataset: Dataset) -> tuple[str, str]:
    return dataset.train.digest, dataset.held_out.digest


def examples(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


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


def test_tokens_are_counted_and_long_examples_dropped_when_asked(repository, chat_lines):
    long = {
        "messages": [
            {"role": "user", "content": "길어"},
            {"role": "assistant", "content": "x " * 99},
        ]
    }
    repository.write("a.jsonl", chat_lines + json.dumps(long))

    words = WordInspector()
    prepare = {"max_tokens": 50, "over_length": "drop"}
    dataset = repository.build("a.jsonl", prepare=prepare, inspector=words)
    assert dataset.train.tokens == sum(words.count(examples(dataset.train.path)))
    [step] = [step for step in dataset.report.steps if step.name == "max_tokens"]
    assert (step.kept, step.dropped) == (40, 1)
    assert step.reasons == ("finetunes/a.jsonl:41: 108 tokens, more than 50",)
    (problem,) = repository.problems("a.jsonl", prepare={"max_tokens": 50}, inspector=words)
    assert (problem.line, problem.message) == (41, "108 tokens; at most 50 are allowed")


def test_what_the_model_cannot_read_is_refused_or_cut_there(repository, chat_lines):
    long = {
        "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "x " * 99}]
    }
    repository.write("a.jsonl", chat_lines + json.dumps(long))
    refuses = WordInspector(limits=Limits(max_tokens=50))
    (problem,) = repository.problems("a.jsonl", inspector=refuses)
    assert (problem.line, problem.message) == (
        41,
        "108 tokens, and the base model reads at most 50",
    )
    allowed = {"max_tokens": 200}
    assert repository.problems("a.jsonl", inspector=refuses, prepare=allowed)[0].line == 41
    cuts = WordInspector(limits=Limits(max_tokens=50, truncates=True), warned=("other key",))
    repository.write("a.jsonl", chat_lines + json.dumps(long) + "\n")
    dataset = repository.build("a.jsonl", inspector=cuts)
    [step] = [step for step in dataset.report.steps if step.name == "max_tokens"]
    assert (step.dropped, step.noted) == (0, 1)
    assert dataset.train.examples + dataset.held_out.examples == 41


class WordyInspector(WordInspector):
    """An inspector with a template that begins with a preamble and indents definitions of tools."""

    def count(self, examples):
        """Return words, and 300 tokens of preamble, and two for each byte of a tool."""
        tools = (len(json.dumps(one["tools"])) if "tools" in one else 0 for one in examples)
        return [300 + n + 2 * size for n, size in zip(super().count(examples), tools, strict=True)]


@pytest.mark.parametrize(
    ("answer", "tools", "refused"),
    [("x " * 99, 0, None), ("x " * 220, 0, 529), ("x", 1, None), ("x", 5, 1430)],
)
def test_what_a_template_writes_by_itself_counts_as_well(
    repository, chat_lines, answer, tools, refused
):
    function = {"name": "look_up", "parameters": {"type": "object", "properties": {}}}
    tool = {"type": "function", "function": function}
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
    long = {"messages": messages} | ({"tools": [tool] * tools} if tools else {})
    repository.write("a.jsonl", chat_lines + json.dumps(long) + "\n")
    longest = 1024 if tools else 520
    inspector = WordyInspector(limits=Limits(max_tokens=longest))
    if refused is None:
        dataset = repository.build("a.jsonl", inspector=inspector)
        assert dataset.train.examples + dataset.held_out.examples == 41
    else:
        (problem,) = repository.problems("a.jsonl", inspector=inspector)
        said = f"{refused} tokens, and the base model reads at most {longest}"
        assert (problem.line, problem.message) == (41, said)


def test_nothing_is_counted_without_a_counter(repository, chat_lines):
    repository.write("a.jsonl", chat_lines)
    assert repository.build("a.jsonl").train.tokens is None


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


# --- the cache ---------------------------------------------------------------------------------


def content_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.name: (path.read_bytes(), path.stat().st_ino)
        for path in folder.iterdir()
        if path.name != "dataset.json"
    }


def test_unchanged_sources_are_not_built_again(repository, chat_lines):
    repository.write("a.jsonl", chat_lines)
    first = repository.build("a.jsonl")
    before = content_of(first.train.path.parent)
    for _ in range(3):
        again = repository.build("a.jsonl")
        assert again == first
        assert content_of(again.train.path.parent) == before


@pytest.mark.parametrize(
    ("settings", "package"),
    [
        ({"pii": "mask"}, "phonenumbers"),
        ({"pii": "warn"}, "python-stdnum"),
        ({"pii": "reject"}, "detect-secrets"),
        ({"deduplicate": "near"}, "rensa"),
        ({"strip_html": True}, "selectolax"),
    ],
)
def test_another_release_of_a_package_builds_anew_what_it_prepared(
    repository, chat_lines, tmp_path, monkeypatch, settings, package
):
    repository.write("a.jsonl", chat_lines)
    with_it, without = repository.build("a.jsonl", prepare=settings), repository.build("a.jsonl")
    name = package.replace("-", "_")
    info = tmp_path / "site-packages" / f"{name}-999.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 999.0\n")
    monkeypatch.setattr(sys, "path", [str(info.parent), *sys.path])
    again = repository.build("a.jsonl", prepare=settings)
    assert again.train.path != with_it.train.path
    assert again.train.digest == with_it.train.digest
    assert repository.build("a.jsonl") == without
    # Gone altogether, but what it had to do was done.
    monkeypatch.setattr(sys, "path", [])
    gone = repository.build("a.jsonl", prepare=settings)
    assert gone.train.path not in {again.train.path, with_it.train.path}


def test_another_release_of_the_reader_of_pages_reads_them_anew(repository, tmp_path, monkeypatch):
    text = "".join(f"<p>질문 {n}번에 대한 긴 답이 여기에 있습니다.</p>" for n in range(40))
    repository.write("a.html", f"<html><body><article>{text}</article></body></html>")
    settings = {"method": "continued-pretraining"}
    built = repository.build({"path": "a.html", "chunk": "paragraph"}, **settings)
    info = tmp_path / "site-packages" / "trafilatura-999.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: trafilatura\nVersion: 999.0\n")
    monkeypatch.setattr(sys, "path", [str(info.parent), *sys.path])
    again = repository.build({"path": "a.html", "chunk": "paragraph"}, **settings)
    assert again.train.path != built.train.path
    assert again.train.digest == built.train.digest


def test_a_licence_builds_nothing_and_a_name_or_limit_does(repository, chat_lines):
    repository.write("a.jsonl", chat_lines)
    first = repository.build("a.jsonl")
    licensed = repository.build("a.jsonl", license="MIT", sensitivity="public")
    assert (licensed.train, licensed.held_out) == (first.train, first.held_out)
    assert [source.license for source in licensed.report.sources] == ["MIT"]
    shutil.copy(repository.folder / "a.jsonl", repository.folder / "b.jsonl")
    moved = repository.build("b.jsonl")
    assert digests(moved) == digests(first)
    assert moved.train.origins.read_text().startswith("finetunes/b.jsonl:")
    assert repository.build({"path": "a.jsonl", "limit": 30}) != first


def test_a_change_of_one_letter_is_seen_even_with_the_old_times(repository, chat_lines):
    path = repository.write("a.jsonl", chat_lines)
    first = repository.build("a.jsonl")
    times = path.stat()
    path.write_text(chat_lines.replace("질문 7,", "질문 X,"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert digests(repository.build("a.jsonl")) != digests(first)


@pytest.mark.parametrize("spoil", ["append", "flip", "remove", "manifest", "no manifest"])
def test_a_broken_cache_entry_is_built_anew(repository, chat_lines, spoil):
    repository.write("a.jsonl", chat_lines)
    first = repository.build("a.jsonl")
    good = first.train.path.read_bytes()
    path = first.train.path
    if spoil == "append":
        path.write_bytes(good + b"{}\n")
    elif spoil == "flip":
        path.write_bytes(good.replace("질문".encode(), "칠문".encode(), 1))
    elif spoil == "remove":
        path.unlink()
    elif spoil == "manifest":
        (path.parent / "dataset.json").write_bytes(b'{"files": {}, "to')
    else:
        (path.parent / "dataset.json").unlink()
    assert repository.build("a.jsonl") == first
    assert path.read_bytes() == good
    assert [left.name for left in path.parent.parent.iterdir()] == [path.parent.name]


def test_broken_memos_are_ignored(repository, chat_lines):
    repository.write("a.jsonl", chat_lines * 50)
    first = repository.build("a.jsonl")
    memos = list((repository.cache / "looks").iterdir())
    assert memos
    for memo in memos:
        memo.write_bytes(b"")
    assert repository.build("a.jsonl") == first


def test_a_failed_build_leaves_nothing(repository):
    repository.write("a.jsonl", "{}\n")
    repository.problems("a.jsonl")
    assert list((repository.cache / "datasets").iterdir()) == []


def test_what_a_killed_build_left_is_swept_away_after_a_day(repository, chat_lines):
    repository.write("a.jsonl", chat_lines)
    old, new = (repository.cache / "datasets" / name for name in (".build-old", ".build-new"))
    for left in (old, new):
        left.mkdir(parents=True)
        (left / "train.jsonl").write_text("half")
    os.utime(old, (0, 0))
    repository.build("a.jsonl")
    assert (old.exists(), new.exists()) == (False, True)


def _build(repository) -> tuple[str, str]:
    return digests(repository.build("a.jsonl"))


def test_processes_that_build_at_once_agree(repository, chat_lines):
    repository.write("a.jsonl", chat_lines * 50)
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert set(pool.map(_build, [repository] * 8)) == {digests(repository.build("a.jsonl"))}
    assert len(list((repository.cache / "datasets").iterdir())) == 1


# --- paths -------------------------------------------------------------------------------------


def test_a_link_inside_the_repository_is_followed(repository, chat_lines):
    repository.write("shared/a.jsonl", chat_lines)
    (repository.folder / "link.jsonl").symlink_to("shared/a.jsonl")
    dataset = repository.build("link.jsonl")
    assert dataset.train.origins.read_text().startswith("finetunes/link.jsonl:")


@pytest.mark.parametrize("path", ["../../secret.jsonl", "link.jsonl", "folder/secret.jsonl"])
def test_no_path_leaves_the_repository(repository, chat_lines, path):
    secret = repository.root.parent / "secret.jsonl"
    secret.write_text(chat_lines)
    (repository.folder / "link.jsonl").symlink_to(secret)
    (repository.folder / "folder").symlink_to(secret.parent)
    (problem,) = repository.problems(path)
    assert (problem.file, problem.field) == ("finetunes/cafe.yaml", "data.train[0].path")
    by = "" if path.startswith("..") else " through a link"
    assert problem.message == f"{path!r} leaves the repository{by}"
    assert list(repository.root.rglob("looks")) == []


def test_a_pipe_is_refused_without_waiting_for_it(repository):
    os.mkfifo(repository.folder / "pipe.jsonl")
    (problem,) = repository.problems("pipe.jsonl")
    assert problem.message == "'finetunes/pipe.jsonl' is not a file"


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


class RowsInspector(WordInspector):
    """An inspector that reads both answers of a pair apart, as the local trainer does."""

    identity = "rows"

    def longest(self, examples):
        return [count * 2 // 3 for count in self.count(examples)]


def test_limits_are_for_the_longest_text_of_an_example_and_totals_for_all(repository):
    pairs = [{"prompt": f"q{n} {'w ' * n}", "chosen": "a", "rejected": "b"} for n in range(40)]
    repository.write("a.jsonl", "".join(json.dumps(row) + "\n" for row in pairs))
    build = {"method": "dpo", "prepare": {"max_tokens": 40, "over_length": "drop"}}
    whole = repository.build("a.jsonl", inspector=WordInspector(), **build)
    apart = repository.build("a.jsonl", inspector=RowsInspector(), **build)
    assert apart.train.examples > whole.train.examples
    counts = WordInspector().count(
        [json.loads(line) for line in apart.train.path.read_text().splitlines()]
    )
    assert 40 < max(counts) <= 60
    assert apart.train.tokens == sum(counts)
    refuses = RowsInspector(limits=Limits(max_tokens=30))
    told = [one.message for one in repository.problems("a.jsonl", inspector=refuses, method="dpo")]
    assert all(
        "tokens, and the base model reads at most 30" in one for one in told if "more" not in one
    )
