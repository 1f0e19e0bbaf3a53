"""The lockfile as a commit of its own, and pushes that race."""

import base64
import json
import os
import shutil

import pytest

from tests.workflows.repositories import COMMIT, LOCKFILE, Repository, entry, fingerprint, git

pytestmark = pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("git") is None, reason="needs bash and git"
)


def test_an_unchanged_lockfile_is_not_committed(tmp_path):
    one = Repository(tmp_path, "one")
    assert one.commit() == (0, "changed=false", "The lockfile is unchanged.\n")
    one.write({"a": entry(1)})
    assert one.commit()[:2] == (0, "changed=true")
    two = Repository(tmp_path, "two")
    assert two.commit() == (0, "changed=false", "The lockfile is unchanged.\n")
    assert git(one.origin, "rev-list", "--count", "main").strip() == "2"


def test_the_commit_holds_the_lockfile_and_nothing_else(tmp_path):
    one = Repository(tmp_path, "one", "--depth=1")
    one.write({"a": entry(1)})
    (one.folder / "README.md").write_text("changed, and staged\n")
    git(one.folder, "add", "README.md")
    (one.folder / "stray.txt").write_text("stray")

    status, said, output = one.commit()

    assert (status, said) == (0, "changed=true")
    assert output.startswith("Recorded as ")
    assert git(one.origin, "show", "--format=%an: %s", "--name-only", "main").split("\n") == [
        "github-actions[bot]: Record fine-tunes",
        "",
        LOCKFILE,
        "",
    ]
    assert one.recorded() == {"a": entry(1)}
    # What was staged still is.
    assert git(one.folder, "diff", "--cached", "--name-only") == "README.md\n"


def test_a_push_in_between_is_taken_in(tmp_path):
    one = Repository(tmp_path, "one", "--depth=1")
    two = Repository(tmp_path, "two", "--depth=1")
    (two.folder / "finetunes").mkdir(exist_ok=True)
    (two.folder / "finetunes/new.yaml").write_text("backend: local-gpu\n")
    git(two.folder, "add", ".")
    git(two.folder, "commit", "--quiet", "--message", "A person's change")
    git(two.folder, "push", "--quiet", "origin", "HEAD:main")
    one.write({"a": entry(1)})

    assert one.commit()[:2] == (0, "changed=true")

    assert git(one.origin, "log", "--format=%s", "main").split("\n")[:3] == [
        "Record fine-tunes",
        "A person's change",
        "Begin",
    ]
    assert git(one.origin, "show", "main:finetunes/new.yaml") == "backend: local-gpu\n"
    assert one.recorded() == {"a": entry(1)}


def test_two_runs_that_recorded_at_the_same_time_are_merged(tmp_path):
    first = Repository(tmp_path, "start")
    first.write({"a": entry(1), "b": entry(2), "gone": entry(3), "same": entry(9)})
    first.commit()
    one, two = Repository(tmp_path, "one", "--depth=1"), Repository(tmp_path, "two", "--depth=1")
    two.write({"a": entry(1, 4), "b": entry(2, 5), "c": entry(6), "same": entry(9)})
    one.write({"a": entry(1), "b": entry(2, 7), "d": entry(8), "gone": entry(3), "same": entry(9)})

    assert two.commit()[:2] == (0, "changed=true")
    assert one.commit()[:2] == (0, "changed=true")

    both = entry(2, 5, 7)
    both["production"] = fingerprint(5)  # what the branch says stands, the other build is kept
    assert one.recorded() == {
        "a": entry(1, 4),
        "b": both,
        "c": entry(6),
        "d": entry(8),
        "same": entry(9),
    }


def test_the_same_record_twice_is_one_commit(tmp_path):
    one, two = Repository(tmp_path, "one"), Repository(tmp_path, "two")
    for repository in (one, two):
        repository.write({"a": entry(1)})
    assert one.commit()[:2] == (0, "changed=true")
    assert two.commit() == (0, "changed=true", "Another run recorded the same already.\n")
    assert git(one.origin, "rev-list", "--count", "main").strip() == "2"


def test_a_push_that_loses_the_race_is_repeated(tmp_path):
    """Somebody else pushes after our fetch and before our push: the server refuses ours."""
    one, two = Repository(tmp_path, "one"), Repository(tmp_path, "two")
    two.write({"other": entry(2)})
    hook = one.folder / ".git/hooks/pre-push"
    once = tmp_path / "once"
    hook.write_text(
        f"#!/bin/sh\n[ -e {once} ] && exit 0\n: >{once}\ncd {two.folder} || exit 1\n"
        f"env -u GIT_DIR -u GITHUB_OUTPUT BRANCH=main MESSAGE=Faster bash {COMMIT} >&2\n"
    )
    hook.chmod(0o755)
    one.write({"a": entry(1)})

    status, said, output = one.commit()

    assert (status, said) == (0, "changed=true"), output
    assert one.recorded() == {"a": entry(1), "other": entry(2)}
    assert git(one.origin, "log", "--format=%s", "main").split("\n")[:2] == [
        "Record fine-tunes",
        "Faster",
    ]


def below(repository, folder="ml"):
    """Move the fine-tunes of a clone below its top level, and push that."""
    (repository.folder / folder / "finetunes").mkdir(parents=True)
    (repository.folder / folder / "finetunes/a.yaml").write_text("backend: local-gpu\n")
    git(repository.folder, "add", ".")
    git(repository.folder, "commit", "--quiet", "--message", "Fine-tunes in a folder")
    git(repository.folder, "push", "--quiet", "origin", "HEAD:main")
    return repository.folder / folder / LOCKFILE


@pytest.mark.parametrize("folder", ["ml", "a team/모델, ours"])
@pytest.mark.parametrize("how", ["folder", "from inside"])
def test_a_repository_below_the_top_level_is_recorded(tmp_path, folder, how):
    one = Repository(tmp_path, "one")
    lockfile = below(one, folder)
    one.write({"a": entry(1)})
    (one.folder / LOCKFILE).rename(lockfile)

    if how == "folder":
        status, said, output = one.commit(FOLDER=f"{folder}/.")
    else:
        status, said, output = one.commit(cwd=one.folder / folder)

    assert (status, said) == (0, "changed=true"), output
    text = git(one.origin, "show", f"main:{folder}/{LOCKFILE}")
    assert json.loads(text)["finetunes"] == {"a": entry(1)}
    # The top of the tree holds what it held.
    assert git(one.origin, "ls-tree", "--name-only", "main").split("\n")[0] == "README.md"
    assert Repository(tmp_path, "two").commit(FOLDER=folder)[1] == "changed=false"


def test_a_folder_that_was_forgotten_loses_no_record_silently(tmp_path):
    one = Repository(tmp_path, "one")
    lockfile = below(one)
    one.write({"a": entry(1)})
    (one.folder / LOCKFILE).rename(lockfile)
    status, said, output = one.commit()
    assert (status, said) == (1, "")
    assert f"another lockfile changed: ml/{LOCKFILE}. Set the input `folder`" in output


@pytest.mark.slow
def test_a_branch_that_takes_no_push_is_said_plainly(tmp_path):
    one = Repository(tmp_path, "one")
    hook = one.origin / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho protected >&2\nexit 1\n")
    hook.chmod(0o755)
    # No waiting here: a `sleep` of our own comes first on the path.
    quick = tmp_path / "bin"
    quick.mkdir()
    (quick / "sleep").write_text("#!/bin/sh\n")
    (quick / "sleep").chmod(0o755)
    one.write({"a": entry(1)})

    status, said, output = one.commit(PATH=f"{quick}:{os.environ['PATH']}")

    assert (status, said) == (1, "")
    assert "::error::The lockfile could not be pushed to main. Nothing is lost" in output
    assert "protected" in output


def test_the_token_reaches_git_through_the_environment_alone(tmp_path):
    one = Repository(tmp_path, "one")
    seen = tmp_path / "seen"
    hook = one.folder / ".git/hooks/pre-push"
    hook.write_text(
        f"#!/bin/sh\ngit config --get http.https://github.example/.extraheader >{seen}\n"
    )
    hook.chmod(0o755)
    one.write({"a": entry(1)})

    status, _, output = one.commit(TOKEN="s3cret", GITHUB_SERVER_URL="https://github.example")

    assert status == 0
    encoded = base64.b64encode(b"x-access-token:s3cret").decode()
    assert seen.read_text() == f"AUTHORIZATION: basic {encoded}\n"
    assert "s3cret" not in output
    assert encoded not in (one.folder / ".git/config").read_text()
