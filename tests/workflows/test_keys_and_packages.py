"""Keys reach one step and no log; packages are pinned; records of a branch of their own."""

import json
import os
import re
import runpy
import subprocess
import tomllib

import pytest

from tests.workflows.repositories import (
    ENVIRONMENT,
    GITHUB,
    LOCKFILE,
    ROOT,
    Repository,
    entry,
    git,
)

RUN = GITHUB / "actions/run/run.sh"
FETCH = GITHUB / "actions/records/fetch.sh"
LOCKED = GITHUB / "actions/setup/locked"


def run(tmp_path, keys, **variables):
    """Run run.sh with an `ftctl` that prints what it was given."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    (folder / "ftctl").write_text(
        '#!/bin/sh\nprintf "%s|" "$@"; env | grep -E "^(OWN|A|B|OPENAI|KEYS)"\n'
    )
    (folder / "ftctl").chmod(0o755)
    done = subprocess.run(
        ["bash", str(RUN)],
        env={
            **ENVIRONMENT,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "COMMAND": "apply --auto-approve --no-wait",
            "FOLDER": "ml/a team",
            "KEYS": keys,
            **variables,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return done.returncode, done.stdout, done.stderr


def test_keys_are_variables_of_ftctl_and_masked_one_by_one(tmp_path):
    keys = '# of the team\n\nOWN_KEY=s3cret=with=signs\r\nA=it\'s "$(id)" `id`\nB='
    code, out, _ = run(tmp_path, keys, OPENAI_API_KEY="", OPENAI_BASE_URL="")
    lines = out.splitlines()
    assert code == 0
    assert lines[:2] == ["::add-mask::s3cret=with=signs", '::add-mask::it\'s "$(id)" `id`']
    assert lines[2].startswith("--no-color|--dir|ml/a team|apply|--auto-approve|--no-wait|")
    found = sorted([lines[2].rpartition("|")[2], *lines[3:]])
    assert found == ['A=it\'s "$(id)" `id`', "B=", "OWN_KEY=s3cret=with=signs"]


@pytest.mark.parametrize(
    "line",
    [
        "PATH=/evil",
        "LD_PRELOAD=x",
        "PYTHONPATH=x",
        "GIT_SSH_COMMAND=x",
        "BASH_ENV=x",
        "1A=x",
        "key",
    ],
)
def test_what_is_no_key_is_refused_without_quoting_it(tmp_path, line):
    code, out, error = run(tmp_path, f"A=1\n{line}\n")
    assert code == 1
    assert "Line 2 of the secret FTCTL_ENV" in error
    assert "x" not in error.replace("export", "").split("secret")[0]
    assert "|" not in out


def test_every_extra_that_a_workflow_may_need_is_locked_by_hash():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {*project["optional-dependencies"]} - {"all", "dev", "gguf"}
    closures = json.loads((LOCKED / "closures.json").read_text())
    assert set(closures) == {*extras, "core", "build"}, "Type `make lock`."
    blocks = re.split(r"\n(?=\S)", (LOCKED / "packages.txt").read_text().strip())
    pins = {re.match(r"^([\w.-]+)==(\S+)", one).groups(): one for one in blocks}
    assert all("--hash=sha256:" in one for one in blocks)
    assert {name for one in closures.values() for name in one} == {name for name, _ in pins}
    tested = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    normal = {name.lower().replace("_", "-"): version for name, version in tested.items()}
    other = {
        name: version for name, version in pins if normal.get(name.lower(), version) != version
    }
    assert other == {}, "Type `make lock`."


def test_every_requirement_of_an_extra_is_in_its_lock():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    closures = json.loads((LOCKED / "closures.json").read_text())
    optional = project["optional-dependencies"]
    for name, locked in closures.items():
        wanted = [] if name == "build" else [*project["dependencies"], *optional.get(name, [])]
        names = {re.match(r"[\w.-]+", one)[0].lower().replace("_", "-") for one in wanted}
        assert names <= {one.lower() for one in locked}, f"{name}: type `make lock`"


@pytest.mark.parametrize(
    "package", ["ftctl==0.1.0", "https://example.com/ftctl-0.1.0-py3-none-any.whl"]
)
def test_a_package_without_a_hash_is_refused(package, tmp_path):
    install = runpy.run_path(str(GITHUB / "actions/setup/install.py"))
    with pytest.raises(SystemExit, match="names no hash"):
        install["_install_package"](tmp_path, package)


# ---- a branch of records

RECORDS = "ftctl-records"


def fetch(repository, tmp_path):
    """Run fetch.sh with an `ftctl` that names the branch."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    (folder / "ftctl").write_text(f"#!/bin/sh\necho {RECORDS}\n")
    (folder / "ftctl").chmod(0o755)
    done = subprocess.run(
        ["bash", str(FETCH)],
        cwd=repository.folder,
        env={**ENVIRONMENT, "PATH": f"{folder}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def on_branch(repository):
    return json.loads(git(repository.origin, "show", f"{RECORDS}:{LOCKFILE}"))["finetunes"]


def test_records_of_two_runs_meet_on_their_branch(tmp_path):
    one, two = Repository(tmp_path, "one", "--depth=1"), Repository(tmp_path, "two", "--depth=1")
    before = git(one.origin, "rev-parse", "main")
    assert "the first record makes it" in fetch(one, tmp_path)
    fetch(two, tmp_path)
    one.write({"a": entry(1)})
    assert one.commit(RECORDS=RECORDS)[:2] == (0, "changed=true")
    two.write({"b": entry(2)})
    assert two.commit(RECORDS=RECORDS)[:2] == (0, "changed=true")
    # The first run records again: what the other recorded meanwhile is no deletion of its own.
    one.write({"a": entry(1, 3)})
    assert one.commit(RECORDS=RECORDS)[:2] == (0, "changed=true")
    assert on_branch(one) == {"a": entry(1, 3), "b": entry(2)}
    three = Repository(tmp_path, "three", "--depth=1")
    assert "Fetched the records" in fetch(three, tmp_path)
    three.write(on_branch(one))
    assert three.commit(RECORDS=RECORDS)[:2] == (0, "changed=false")
    assert git(one.origin, "rev-parse", "main") == before
    files = git(one.origin, "ls-tree", "-r", "--name-only", RECORDS)
    assert files == f"{LOCKFILE}\n"


def test_two_records_of_one_job_forget_nothing_of_another_run(tmp_path):
    one, two = Repository(tmp_path, "one"), Repository(tmp_path, "two")
    one.write({"a": entry(1)})
    assert one.commit()[1] == "changed=true"
    two.write({"b": entry(2)})
    assert two.commit()[1] == "changed=true"
    one.write({"a": entry(1, 3)})
    assert one.commit()[1] == "changed=true"
    assert one.recorded() == {"a": entry(1, 3), "b": entry(2)}
