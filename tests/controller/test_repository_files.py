"""Files that ftctl opens by itself: never through a link out of the repository, never without end."""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from controller.errors import InvalidInput
from controller.project.project import Project
from controller.repository_files import CannotRead, read_inside
from controller.resolve.git_checkout import at_revision
from controller.spec.load import all_problems, read_specs, spec_names
from controller.spec.settings import load_settings
from tests.specs import load_specs

SECRET = "aws_secret_access_key: hunter2\n"
GOOD = """\
backend: local-gpu
base_model: acme/base
data:
  train: [{path: data/faq.csv}]
  held_out: {fraction: 0.1}
"""


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "repository"
    (root / "finetunes").mkdir(parents=True)
    (root / "finetunes/good.yaml").write_text(GOOD)
    (tmp_path / "secret.yaml").write_text(SECRET)
    return root


def refused(root, path, limit=1_000):
    with pytest.raises(CannotRead) as caught:
        read_inside(root, path, limit=limit)
    return caught.value.message


def pipe(path, _):
    os.mkfifo(path)


def device(path, _):
    path.symlink_to("/dev/zero")


def folder(path, _):
    path.mkdir()


def out(path, root):
    path.symlink_to("../../secret.yaml")
    assert (root / "finetunes/../../secret.yaml").exists()


def out_in_steps(path, root):
    (root / "step").symlink_to("..")
    path.symlink_to(root / "step/secret.yaml")


def itself(path, _):
    path.symlink_to(path.name)


def nothing(path, _):
    path.symlink_to("absent.yaml")


def keys(path, root):
    (root / ".env").write_text(SECRET)
    path.symlink_to("../.env")


def configuration(path, root):
    (root / ".git").mkdir()
    (root / ".git/config").write_text(SECRET)
    path.symlink_to("../.git/config")


def large(path, _):
    with path.open("wb") as file:
        file.truncate(1 << 40)


BAD = {
    pipe: "is a pipe or a device, not a file",
    device: "leaves the repository through a link",
    folder: "is a folder, not a file",
    out: "leaves the repository through a link",
    out_in_steps: "leaves the repository through a link",
    itself: "is a link to itself",
    nothing: "is a link to nothing",
    keys: "leads to a private file",
    configuration: "leads to a private file",
    large: "is 1,099,511,627,776 bytes long; at most 1,048,576 are read",
}
bad_files = pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)


@bad_files
def test_a_spec_that_is_no_plain_file_of_the_repository_is_refused(root, make):
    make(root / "finetunes/bad.yaml", root)
    specs, problems = read_specs(root)
    assert list(specs) == ["good"]
    (problem,) = problems["bad"]
    assert (problem.file, problem.line) == ("finetunes/bad.yaml", None)
    assert problem.message == BAD[make]
    assert problem.remedy


@bad_files
def test_so_are_settings(root, make):
    if make in (out, keys, configuration):
        (root / "inner").mkdir()
        root = root / "inner"  # one folder further down, where the links lead
    make(root / "ftctl.yaml", root.parent if root.name == "inner" else root)
    with pytest.raises(InvalidInput) as caught:
        load_settings(root)
    (problem,) = caught.value.problems
    assert problem.file == "ftctl.yaml"
    assert "hunter2" not in str(problem)
    assert "aws" not in str(problem)


def test_what_a_link_leads_to_is_never_quoted(root):
    out(root / "finetunes/bad.yaml", root)
    with pytest.raises(InvalidInput) as caught:
        load_specs(root)
    assert str(caught.value) == (
        "finetunes/bad.yaml: leaves the repository through a link\n    Copy the file in its place."
    )


def test_a_link_inside_the_repository_is_followed(root):
    (root / "common.yaml").write_text(GOOD)
    (root / "finetunes/linked.yaml").symlink_to("../common.yaml")
    assert list(load_specs(root)) == ["good", "linked"]


def test_a_repository_may_be_reached_through_a_link(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    assert list(load_specs(tmp_path / "link")) == ["good"]


def test_the_folder_of_specs_may_not_lead_out(tmp_path, root):
    other = tmp_path / "other"
    other.mkdir()
    (other / "finetunes").symlink_to(root / "finetunes")
    for read in (read_specs, load_specs, spec_names):
        with pytest.raises(InvalidInput, match="finetunes: leaves the repository through a link"):
            read(other)


def test_a_file_that_grows_is_not_read_beyond_the_limit(root):
    assert refused(root, root / "finetunes/good.yaml", limit=8).startswith("is ")
    # A file of /proc says that it is empty.
    with suppress(FileNotFoundError):
        assert refused(Path("/proc"), Path("/proc/self/status"), limit=8) == (
            "is 9 bytes long; at most 8 are read"
        )


def test_a_file_that_is_absent_is_said_to_be(root):
    with pytest.raises(FileNotFoundError):
        read_inside(root, root / "ftctl.yaml", limit=8)


def test_problems_are_kept_by_fine_tune(root):
    (root / "finetunes/b.yml").write_text(GOOD)
    (root / "finetunes/Bad Name.yaml").write_text(GOOD)
    (root / "finetunes/a.yaml").write_text("sed: 1\n")
    (root / "finetunes/a.yml").write_text("sed: 1\n")

    specs, problems = read_specs(root)

    assert list(specs) == ["good"]
    assert list(problems) == ["Bad Name", "a", "b"]
    assert {problem.file for problem in problems["a"]} == {
        "finetunes/a.yaml",
        "finetunes/a.yml",
    }
    assert [problem.file for problem in problems["b"]] == ["finetunes/b.yml"]
    assert len(all_problems(problems)) == sum(map(len, problems.values()))


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@pytest.mark.parametrize("absolute", [False, True])
def test_a_spec_of_a_revision_may_not_lead_out(root, tmp_path, absolute):
    secret = tmp_path / "secret.yaml"
    (root / "finetunes/bad.yaml").symlink_to(secret if absolute else "../../secret.yaml")
    for arguments in (
        ["init", "--quiet"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "-m", "a"],
    ):
        subprocess.run(["git", "-C", str(root), *arguments], check=True, timeout=110)
    project = Project(root=root, state=root / ".ftctl")
    with (
        pytest.raises(InvalidInput, match=r"HEAD:finetunes/bad\.yaml: leaves the repository"),
        at_revision(project, "bad", "HEAD"),
    ):
        pass
