"""Built datasets are kept, built anew when anything changes, and survive damage."""

import multiprocessing
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.controller.data.built import digests


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
