"""Plans with keys, which a person with write access asks for."""

import pytest

from tests.workflows.actions.action_scripts import HEAD, MARK, MERGE, NAME, OTHER, keyed


def asked(body="/ftctl plan", author="writer", **changes):
    return {
        "action": "created",
        "issue": {"number": 7, "pull_request": {}},
        "comment": {"body": body, "user": {"login": author}, "author_association": "OWNER"},
        "repository": {"default_branch": "main"},
        **changes,
    }


def test_somebody_with_write_access_gets_a_plan_with_keys(steps):
    steps.pull()
    code, said, found = steps("request/request.py", asked())
    assert (code, found) == (0, {"pull": "7", "head": HEAD, "merge": MERGE}), said
    assert steps("request/request.py", asked(f" /ftctl plan {HEAD[:7]}\n"))[2] == found


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (asked(author="reader"), "may not push"),
        (asked(author="nobody"), "may not push"),
        (asked(author="../../../user"), "may not push"),
        (asked("/ftctl plan; rm -rf"), "asks for nothing"),
        (asked("please /ftctl plan"), "asks for nothing"),
        (asked("/ftctl plan\n@team"), "asks for nothing"),
        (asked("/ftctl planned"), "asks for nothing"),
        (asked("> /ftctl plan"), "asks for nothing"),
        (asked(action="edited"), "asks for nothing"),
        (asked(issue={"number": 7}), "asks for nothing"),
        (asked(f"/ftctl plan {OTHER[:8]}"), "has another newest commit"),
    ],
)
def test_nobody_else_and_nothing_else_does(steps, event, said):
    steps.pull()
    code, text, found = steps("request/request.py", event)
    assert (code, found) == (0, {})
    assert said in text


def test_for_a_fork_the_commit_that_was_read_is_named(steps):
    steps.pull(fork=True)
    code, said, found = steps("request/request.py", asked())
    assert (code, found) == (0, {})
    assert f"name the commit that you have read: /ftctl plan {HEAD[:12]}" in said
    assert steps("request/request.py", asked(f"/ftctl plan {HEAD[:12]}"))[2]["head"] == HEAD


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "closed"},
        {"mergeable": False},
        {"base": {"ref": "old", "repo": {"full_name": NAME}}},
    ],
)
def test_what_cannot_be_merged_is_not_planned(steps, changes):
    steps.pull(**changes)
    assert steps("request/request.py", asked())[2] == {}


def test_a_plan_with_keys_asks_servers_and_prints_nothing(tmp_path):
    done, text = keyed(tmp_path, "finetunes/a.yaml")
    assert done.returncode == 0, done.stderr
    assert "--offline" not in text
    assert "--format github" in text
    assert "--base HEAD^1 --head HEAD^2" in text
    assert "key-1 key-2" in text
    assert "key-1" not in done.stdout + done.stderr
    assert done.stdout.count("key-2") == done.stdout.count("::add-mask::key-2") == 1


@pytest.mark.parametrize("changed", ["ftctl.yaml", ".env"])
def test_what_decides_where_keys_go_is_not_taken_from_a_pull_request(tmp_path, changed):
    done, text = keyed(tmp_path, changed)
    assert done.returncode == 1
    assert text.startswith(f"{MARK}\n")
    assert "which decide where keys are sent" in text
    assert "key-" not in text + done.stdout + done.stderr


def test_a_commit_that_nobody_asked_for_is_not_planned_with_keys(tmp_path):
    done, text = keyed(tmp_path, "finetunes/a.yaml", head=OTHER)
    assert done.returncode == 1
    assert "got another commit meanwhile" in text
