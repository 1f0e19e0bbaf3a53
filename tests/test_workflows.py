"""The workflows: pinned, least permissions; and their scripts, really run."""

import base64
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
import yaml

from controller.lockfile.model import Build, OpenJob, dump_lockfile, parse_lockfile

ROOT = Path(__file__).parent.parent
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
ACTIONS = sorted((GITHUB / "actions").glob("*/action.yml"))
SCRIPTS = sorted(GITHUB.rglob("*.sh"))
COMMIT = GITHUB / "actions/commit-lockfile/commit.sh"
PLAN = GITHUB / "scripts/plan.sh"
INSTALL = GITHUB / "actions/setup/install.sh"
LOCKFILE = "finetunes/ftctl.lock"

pytestmark = pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("git") is None, reason="needs bash and git"
)


def read(path):
    """Read YAML with every value as text, so that `on:` stays `on`."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


def jobs():
    return [
        pytest.param(path, name, job, id=f"{path.stem}-{name}")
        for path in WORKFLOWS
        for name, job in read(path)["jobs"].items()
    ]


def steps(path):
    value = read(path)
    if "runs" in value:
        return value["runs"]["steps"]
    return [step for job in value["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: path.parent.name)
def test_actions_of_others_are_pinned_by_commit_with_their_release(path):
    pinned = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    for line in path.read_text().splitlines():
        if "uses:" in line and not re.search(r"uses: \./", line):
            assert pinned.search(line), f"{path.name}: {line.strip()}"


def test_one_release_of_each_action():
    text = "".join(path.read_text() for path in [*WORKFLOWS, *ACTIONS])
    used = {match[1]: set() for match in re.finditer(r"uses: ([\w-]+/[\w-]+)\S*@", text)}
    for match in re.finditer(r"uses: ([\w-]+/[\w-]+)\S*@(\S+ # \S+)", text):
        used[match[1]].add(match[2])
    assert {name: pins for name, pins in used.items() if len(pins) > 1} == {}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_gives_nothing_away_by_default(path):
    workflow = read(path)
    assert workflow["permissions"] == {}
    assert "concurrency" in workflow
    assert not {"pull_request_target", "workflow_run", "issue_comment"} & {*workflow["on"]}


@pytest.mark.parametrize(("path", "name", "job"), jobs())
def test_a_job_says_what_it_needs_and_how_long_it_may_take(path, name, job):
    writes = {key for key, value in job["permissions"].items() if value == "write"}
    allowed = {
        ("ftctl-plan", "comment"): {"pull-requests"},
        ("ftctl-apply", "apply"): {"contents"},
        ("ftctl-reconcile", "reconcile"): {"contents"},
    }
    assert writes == allowed.get((path.stem, name), set())
    assert 0 < int(job["timeout-minutes"]) < 360


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: path.parent.name)
def test_no_checkout_leaves_a_credential_and_no_script_is_built_from_text(path):
    for step in steps(path):
        if "actions/checkout@" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] == "false"
        assert "${{" not in step.get("run", "")
        assert "${{" not in step.get("with", {}).get("script", "")


def test_planning_runs_nothing_of_the_pull_request():
    job = read(GITHUB / "workflows/ftctl-plan.yml")["jobs"]["plan"]
    assert job["permissions"] == {"contents": "read"}
    assert job["runs-on"] == "ubuntu-latest"
    assert "secrets." not in json.dumps(job)
    base, head = (step for step in job["steps"] if "checkout@" in step.get("uses", ""))
    assert (base["with"]["ref"], base["with"]["path"]) == ("${{ github.base_ref }}", "base")
    assert head["with"]["path"] == "head"
    assert head["with"]["sparse-checkout"].split() == ["/finetunes/", "/ftctl.yaml"]
    assert head["with"]["sparse-checkout-cone-mode"] == "false"
    local = [step["uses"] for step in job["steps"] if step.get("uses", "").startswith("./")]
    assert local
    assert all(use.startswith("./base/") for use in local)
    assert all(
        step["run"].startswith("bash base/.github/") for step in job["steps"] if "run" in step
    )


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_strict_and_parse(path):
    assert "set -euo pipefail" in path.read_text()
    subprocess.run(["bash", "-n", str(path)], check=True, timeout=60)


# ---- ftctl in a repository that only uses it


def wheel(folder, version):
    """Write a package called ftctl whose command prints its version; return its address."""
    info = f"ftctl-{version}.dist-info"
    files = {
        "ftctl_stub.py": f"def main(): print('ftctl {version}')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: ftctl\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nftctl = ftctl_stub:main\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    path = folder / f"ftctl-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path.as_uri()


@pytest.mark.slow
def test_another_repository_names_the_ftctl_that_its_workflows_install(tmp_path):
    repository = tmp_path / "models"
    requirements = repository / ".github/ftctl-requirements.txt"
    requirements.parent.mkdir(parents=True)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "python").symlink_to(sys.executable)

    def install():
        path = tmp_path / "path"
        path.write_text("")
        done = subprocess.run(
            ["bash", str(INSTALL)],
            env={
                "PATH": f"{bin_folder}:{os.environ['PATH']}",
                "HOME": str(tmp_path),
                "SOURCE": str(repository),
                "GITHUB_PATH": str(path),
                "PIP_NO_INDEX": "1",
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.stdout + done.stderr, path.read_text()

    requirements.write_text(f"ftctl @ {wheel(tmp_path, '7.1')}\n")
    said, path = install()
    assert said == "Installed: ftctl 7.1\n"
    assert (Path(path.strip()) / "ftctl").exists()
    # The next job finds it ready: children that still train import from it.
    (tmp_path / "ftctl-7.1-py3-none-any.whl").unlink()
    assert install() == (said, path)


# ---- the lockfile as a commit of its own


class Repository:
    """A clone of a bare repository, in which the lockfile is changed and committed."""

    def __init__(self, folder, name, *options):
        self.folder = folder / name
        self.origin = folder / "origin.git"
        if not self.origin.exists():
            git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(self.origin))
            git(folder, "clone", "--quiet", str(self.origin), str(folder / "first"))
            (folder / "first/finetunes").mkdir()
            (folder / "first/README.md").write_text("Fine-tunes.\n")
            git(folder / "first", "add", ".")
            git(folder / "first", "commit", "--quiet", "--message", "Begin")
            git(folder / "first", "push", "--quiet", "origin", "HEAD:main")
        url = self.origin.as_uri()  # a path would ignore --depth
        git(folder, "clone", "--quiet", *options, url, str(self.folder))

    def write(self, entries):
        text = json.dumps({"_": "", "format": 1, "finetunes": entries}).encode()
        (self.folder / LOCKFILE).parent.mkdir(exist_ok=True)
        (self.folder / LOCKFILE).write_bytes(dump_lockfile(parse_lockfile(text, LOCKFILE)))

    def commit(self, cwd=None, **environment):
        output = self.folder.parent / f"{self.folder.name}.output"
        output.unlink(missing_ok=True)
        done = subprocess.run(
            ["bash", str(COMMIT)],
            cwd=cwd or self.folder,
            env=ENVIRONMENT
            | {"BRANCH": "main", "MESSAGE": "Record fine-tunes", "GITHUB_OUTPUT": str(output)}
            | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        said = output.read_text().strip() if output.exists() else ""
        return done.returncode, said, done.stdout + done.stderr

    def recorded(self):
        text = git(self.origin, "show", f"main:{LOCKFILE}").encode()
        lockfile = parse_lockfile(text, LOCKFILE)
        assert dump_lockfile(lockfile) == text, "not the form in which ftctl writes"
        return json.loads(text)["finetunes"]


ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
}
PEOPLE = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Someone"), ("EMAIL", "someone@example.com"))
}


def git(folder, *arguments):
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env=ENVIRONMENT | PEOPLE,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


def build(number):
    part = {"digest": f"sha256:{number}", "examples": number}
    return {
        "fingerprint": fingerprint(number),
        "attempt": 1,
        "backend": "local-gpu",
        "job": f"run-{number}",
        "model_id": f"model-{number}",
        "inputs": {},
        "base_model": "../models/small-ko",
        "data": {"train": part, "held_out": part},
        "facts": {},
        "submitted": "2026-11-01T00:00:00Z",
        "finished": "2026-11-01T00:01:00Z",
    }


def fingerprint(number):
    return f"ft1:{number:064x}"


def entry(*numbers):
    return {
        "production": fingerprint(numbers[-1]),
        "builds": {fingerprint(number): build(number) for number in numbers},
    }


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
    script = runpy.run_path(str(COMMIT.with_name("merge.py")))
    for model, wanted in ((Build, script["BUILD"]), (OpenJob, script["JOB"])):
        required = {name for name, field in model.model_fields.items() if field.is_required()}
        assert wanted == required


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


# ---- the plan as a comment


def plan(tmp_path, program):
    """Run plan.sh with an `ftctl` that is a shell script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ftctl").write_text(f"#!/usr/bin/env bash\n{textwrap.dedent(program)}")
    (folder / "ftctl").chmod(0o755)
    out, summary = tmp_path / "plan", tmp_path / "summary"
    done = subprocess.run(
        ["bash", str(PLAN), "head", str(out)],
        env=ENVIRONMENT
        | {"PATH": f"{folder}:{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": str(summary)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert summary.read_text() == (out / "plan.md").read_text()
    return done, (out / "plan.md").read_text()


def test_a_plan_goes_into_the_summary_and_not_into_the_log(tmp_path):
    done, text = plan(
        tmp_path,
        """
        case "$*" in
            *validate) echo Valid ;;
            *) echo '<!-- ftctl:plan -->'; echo '::warning::from a spec' ;;
        esac
        """,
    )
    assert done.returncode == 0
    assert text == "<!-- ftctl:plan -->\n::warning::from a spec\n"
    assert done.stdout + done.stderr == "ftctl ended with 0; the plan stands in the summary.\n"


def test_problems_become_the_comment_and_cannot_break_out_of_it(tmp_path):
    done, text = plan(
        tmp_path,
        r"""
        printf 'a.yaml:1: bad\r# heading\n```\n</details> @everyone\n::add-mask::x\n' >&2
        exit 1
        """,
    )
    assert done.returncode == 1
    assert "::" not in done.stdout + done.stderr
    assert text.split("\n") == [
        "<!-- ftctl:plan -->",
        "### ftctl plan",
        "",
        "**There is no plan: the fine-tunes have problems.**",
        "",
        "    a.yaml:1: bad# heading",
        "    ```",
        "    </details> @everyone",
        "    ::add-mask::x",
        "",
        "",
    ]


def test_very_many_problems_are_cut_between_letters(tmp_path):
    done, text = plan(
        tmp_path, "for i in $(seq 9000); do echo '가나다라마바사아자차카타파하'; done; exit 5\n"
    )
    assert done.returncode == 5
    assert 10_000 < len(text) < 65_536


COMMENT_TEST = """
const calls = [];
const context = {
  repo: {owner: 'o', repo: 'r'}, issue: {number: 7}, serverUrl: 'https://github.example', runId: 5,
};
const github = {
  paginate: async () => JSON.parse(process.env.COMMENTS),
  rest: {issues: {
    createComment: async (given) => calls.push(['create', given]),
    updateComment: async (given) => calls.push(['update', given]),
  }},
};
(async () => {
%s
})().then(() => console.log(JSON.stringify(calls)));
"""
MARK = "<!-- ftctl:plan -->"
OURS = {"id": 3, "user": {"login": "github-actions[bot]"}, "body": f"{MARK}\nold"}
OTHERS = [
    {"id": 1, "user": None, "body": f"{MARK}\nfrom a deleted user"},
    {"id": 2, "user": {"login": "somebody"}, "body": f"{MARK}\nforged"},
    {"id": 4, "user": {"login": "github-actions[bot]"}, "body": "of another workflow"},
]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize(
    ("comments", "expected"),
    [
        (OTHERS, ["create", {"owner": "o", "repo": "r", "issue_number": 7}]),
        ([*OTHERS, OURS], ["update", {"owner": "o", "repo": "r", "comment_id": 3}]),
    ],
)
@pytest.mark.parametrize("length", [10, 70_000])
def test_one_comment_is_kept_up_to_date(tmp_path, comments, expected, length):
    (script,) = (
        step["with"]["script"]
        for step in steps(GITHUB / "workflows/ftctl-plan.yml")
        if "script" in step.get("with", {})
    )
    (tmp_path / "plan").mkdir()
    text = f"{MARK}\n{'x' * length}"
    (tmp_path / "plan/plan.md").write_text(text)
    done = subprocess.run(
        ["node", "-e", COMMENT_TEST % script],
        cwd=tmp_path,
        env=ENVIRONMENT | {"COMMENTS": json.dumps(comments)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    ((verb, given),) = json.loads(done.stdout)
    body = given.pop("body")
    assert [verb, given] == expected
    if length < 65_536:
        assert body == text
    else:
        assert body.startswith(MARK)
        assert "https://github.example/o/r/actions/runs/5" in body
