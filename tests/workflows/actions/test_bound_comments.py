"""Comments with a plan: bound to their run, and replaced by newer ones."""

import json

import pytest

from tests.workflows.actions.action_scripts import BASE, HEAD, MARK, NAME, OTHER, body
from tests.workflows.harness.hub import BOT


def ended(steps, number, **changes):
    """Return the event at the end of a run."""
    repository = {"full_name": NAME, "owner": {"login": "acme"}}
    facts = {"head_branch": "more", "head_repository": repository, **changes}
    return {"workflow_run": steps.repository["runs"][number] | facts}


def finished(steps, text, **run):
    """Let a run end with a plan, and comment on it; return its number, and what the step came to."""
    number = steps.planned("ftctl-plan", {}, text=text, run_attempt=1, **run)
    code, said, _ = steps("comment/comment.py", ended(steps, number))
    return number, code, said


def ours(steps):
    (comment,) = [
        one for one in steps.repository["comments"].values() if one["user"]["login"] == BOT
    ]
    return comment["body"]


def test_a_comment_is_bound_to_its_run_and_replaced_by_newer_ones(steps):
    steps.pull()
    first, _, said = finished(steps, body(text="one"))
    assert said == "Commented.\n"
    bound = json.loads(ours(steps).splitlines()[1].removeprefix("<!-- ftctl:bound ")[:-4])
    expected = {"plan": "0123456789abcdef", "head": HEAD, "base": BASE}
    assert bound == {**expected, "run": first, "attempt": 1}
    assert finished(steps, body(text="two"))[2] == "Replaced the comment.\n"
    assert "two" in ours(steps)
    # The first run ends again, later: it is older all the same.
    said = steps("comment/comment.py", ended(steps, first, run_attempt=2))[1]
    assert said == "A newer run has commented on the same commit.\n"
    assert "two" in ours(steps)


def test_a_newer_commit_replaces_whatever_run_commented_before(steps):
    pull = steps.pull()
    finished(steps, body(text="one"))
    late = steps.planned("ftctl-plan", {}, text=body(head=OTHER, text="two"), head=OTHER)
    pull["head"]["sha"] = OTHER
    said = steps("comment/comment.py", ended(steps, late))[1]
    assert said == "Replaced the comment.\n"
    # A run for the commit before ends after that.
    assert "newer commit" in finished(steps, body(text="three"))[2]
    assert "two" in ours(steps)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (body(head=OTHER), "the plan is about another commit"),
        ("no mark", "does not start with"),
    ],
)
def test_a_plan_of_something_else_is_not_shown(steps, text, said):
    steps.pull()
    _, code, printed = finished(steps, text)
    assert code == 1
    assert said in printed
    assert steps.repository["comments"] == {}


def test_a_comment_of_problems_is_bound_too(steps):
    steps.pull()
    finished(steps, f'{MARK}\n<!-- ftctl:bound {{"head": null}} -->\n### ftctl plan\n')
    bound = json.loads(ours(steps).splitlines()[1].removeprefix("<!-- ftctl:bound ")[:-4])
    assert (bound["head"], bound["plan"], bound["attempt"]) == (HEAD, None, 1)


@pytest.mark.parametrize(
    "second",
    ["", "<!-- ftctl:bound {broken -->", "<!-- ftctl:bound [1] -->", "<!-- ftctl:bound {} -->"],
)
def test_what_is_no_bound_is_left_alone(steps, second):
    steps.pull()
    text = f"{MARK}\n{second}\n### ftctl plan\n"
    finished(steps, text)
    assert ours(steps) == text


def test_a_spec_cannot_keep_its_plan_from_being_shown(steps):
    steps.pull()
    assert finished(steps, body(text="`<!-- ftctl:nothing -->`"))[2] == "Commented.\n"


def test_a_comment_that_is_too_long_for_github_is_a_sentence(steps):
    steps.pull()
    finished(steps, body(text="🙂" * 33_000))
    assert "Too long for a comment" in ours(steps)


def test_a_plan_with_keys_is_commented_in_its_own_run(steps):
    steps.pull()
    automatic, _, _ = finished(steps, body(text="without keys"))
    number = steps.planned(
        f"ftctl-plan-{HEAD}", {}, text=body(text="keyed"), event="issue_comment", head=BASE
    )
    variables = {"PULL": "7", "HEAD": HEAD, "GITHUB_RUN_ID": str(number)}
    assert steps("comment/comment.py", **variables)[1] == "Replaced the comment.\n"
    assert "keyed" in ours(steps)
    # The automatic run for the same commit is started again: it knows less, and began before.
    assert "newer run" in steps("comment/comment.py", ended(steps, automatic, run_attempt=2))[1]
    assert "keyed" in ours(steps)
