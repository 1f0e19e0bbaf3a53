"""Lockfiles with conflict markers, broken lockfiles, and lockfiles that git mixed."""

import json
import shutil
import subprocess

import pytest

from controller.lockfile.merge import BUILD, JOB, merge
from controller.lockfile.model import Build, OpenJob
from tests.workflows.repositories import LOCKFILE, Repository, entry, fingerprint, git

pytestmark = pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("git") is None, reason="needs bash and git"
)


def text_of(entries):
    value = {"_": "", "format": 1, "finetunes": entries}
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def marked(first, second, base=None):
    middle = "" if base is None else f"||||||| before\n{base}"
    return f"<<<<<<< HEAD\n{first}{middle}=======\n{second}>>>>>>> other\n"


BROKEN = {
    "conflict": marked(text_of({"a": entry(1), "b": entry(2)}), text_of({"c": entry(3)})),
    "three sides": marked(text_of({"b": entry(2)}), text_of({"c": entry(3)}), text_of({})),
    "one side": marked(text_of({"b": entry(2)}), "{"),
    "cut off": text_of({"b": entry(2)})[:-40],
    "nothing": "",
    "a list": "[]",
    "twice": '{"format": 1, "finetunes": {"a": {}, "a": {}}}',
    "no format": '{"finetunes": {}}',
}


@pytest.mark.parametrize("depth", [[], ["--depth=1"]], ids=["whole", "shallow"])
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_lockfile_on_the_branch_loses_no_record(tmp_path, broken, depth):
    first = Repository(tmp_path, "first-run")
    first.write({"a": entry(1), "old": entry(9)})
    first.commit()
    one = Repository(tmp_path, "one", *depth)
    two = Repository(tmp_path, "two")
    for text in (BROKEN[broken], "{"):  # broken, and then broken again
        (two.folder / LOCKFILE).write_text(text)
        git(two.folder, "commit", "--quiet", "--all", "--message", "By hand")
    git(two.folder, "reset", "--quiet", "--hard", "HEAD~1")
    git(two.folder, "push", "--quiet", "origin", "HEAD:main")
    one.write({"a": entry(1, 4), "old": entry(9), "new": entry(5)})

    status, said, output = one.commit()

    assert (status, said) == (0, "changed=true"), output
    assert "could not be read on the branch" in output
    recorded = one.recorded()
    assert recorded["a"] == entry(1, 4)
    assert recorded["old"] == entry(9)
    assert recorded["new"] == entry(5)
    if broken in ("conflict", "three sides", "one side"):
        assert recorded["b"] == entry(2)
    if broken in ("conflict", "three sides"):
        assert recorded["c"] == entry(3)


def test_a_merge_that_was_committed_with_its_markers_keeps_both_parents(tmp_path):
    first = Repository(tmp_path, "first-run")
    first.write({"a": entry(1)})
    first.commit()
    one, two = Repository(tmp_path, "one"), Repository(tmp_path, "two")
    git(two.folder, "checkout", "--quiet", "-b", "side")
    two.write({"a": entry(1, 2)})
    git(two.folder, "commit", "--quiet", "--all", "--message", "Side")
    git(two.folder, "checkout", "--quiet", "main")
    two.write({"a": entry(1, 3)})
    git(two.folder, "commit", "--quiet", "--all", "--message", "Main")
    with pytest.raises(subprocess.CalledProcessError):
        git(two.folder, "merge", "side")
    assert b"<<<<<<<" in (two.folder / LOCKFILE).read_bytes()
    git(two.folder, "commit", "--quiet", "--all", "--message", "Merge, as it is")
    git(two.folder, "push", "--quiet", "origin", "HEAD:main")
    one.write({"a": entry(1, 4)})

    assert one.commit()[:2] == (0, "changed=true")

    assert set(one.recorded()["a"]["builds"]) == {fingerprint(number) for number in (1, 2, 3, 4)}


def test_conflict_markers_here_are_resolved(tmp_path):
    one = Repository(tmp_path, "one")
    one.write({"a": entry(1)})
    one.commit()
    one = Repository(tmp_path, "again", "--depth=1")
    (one.folder / LOCKFILE).write_text(
        marked(text_of({"a": entry(1, 2)}), text_of({"a": entry(1, 3), "b": entry(4)}))
    )

    status, said, output = one.commit()

    assert (status, said) == (0, "changed=true"), output
    assert "held conflict markers here" in output
    recorded = one.recorded()
    assert set(recorded["a"]["builds"]) == {fingerprint(number) for number in (1, 2, 3)}
    assert recorded["b"] == entry(4)


@pytest.mark.parametrize("text", ["{", "", marked("{", "}")])
def test_what_cannot_be_recovered_here_is_not_written(tmp_path, text):
    one = Repository(tmp_path, "one")
    one.write({"a": entry(1)})
    one.commit()
    one = Repository(tmp_path, "again")
    (one.folder / LOCKFILE).write_text(text)
    status, said, output = one.commit()
    assert (status, said) == (1, "")
    assert "is not a lockfile here" in output
    assert one.recorded() == {"a": entry(1)}


def test_a_record_that_git_mixed_is_not_taken_for_one(tmp_path):
    mixed = entry(2)
    del mixed["builds"][fingerprint(2)]["model_id"]
    one = Repository(tmp_path, "one")
    one.write({"a": entry(1)})
    one.commit()
    two = Repository(tmp_path, "two")
    (two.folder / LOCKFILE).write_text(marked(text_of({"a": mixed}), text_of({"b": mixed})))
    git(two.folder, "commit", "--quiet", "--all", "--message", "By hand")
    git(two.folder, "push", "--quiet", "origin", "HEAD:main")
    one = Repository(tmp_path, "again")
    one.write({"a": entry(1, 3)})
    assert one.commit()[:2] == (0, "changed=true")
    assert one.recorded() == {"a": entry(1, 3), "b": {}}  # and it is read as a lockfile


def test_merging_requires_what_the_lockfile_requires():
    for model, wanted in ((Build, BUILD), (OpenJob, JOB)):
        required = {name for name, field in model.model_fields.items() if field.is_required()}
        assert wanted == required


def test_a_copy_in_the_store_that_only_we_know_stays_known():
    build = {"model_id": "ft:a", "evaluation": 1}
    stored = {"model": f"sha256:{'a' * 64}"}

    def side(**changes):
        entry = {"production": "ft1:a", "builds": {"ft1:a": {**build, **changes}}}
        return {"format": 1, "finetunes": {"faq": entry}}

    def merged(ours, theirs):
        return merge(side(), ours, theirs)["finetunes"]["faq"]["builds"]["ft1:a"]

    assert merged(side(stored=stored), side(evaluation=2)) == {
        **build,
        "evaluation": 2,
        "stored": stored,
    }
    pruned = {"pruned": True}
    assert merged(side(stored=stored), side(stored=pruned))["stored"] == pruned
    assert "stored" not in merged(side(stored=stored), side(model_id="ft:other"))
