"""Paths of sources: none leaves the repository, and none makes a build wait."""

import os

import pytest


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
