"""What merged pull requests showed, who may ask for a plan with keys, and which comment stays."""

import pytest

from tests.workflows.actions.action_scripts import BASE, HEAD, MERGE, OTHER, approved, plan


def test_the_newest_plan_before_the_merge_is_what_was_approved(steps):
    steps.pull(merged=0)
    steps.planned("ftctl-plan", plan(1), at=-30)
    steps.planned("ftctl-plan", plan(2), at=-20)
    steps.planned("ftctl-plan", plan(3), at=5)  # nobody had seen it
    steps.planned("ftctl-plan", plan(4), at=-20, head=OTHER)  # of an earlier commit
    steps.planned("another", plan(5), at=-1)
    assert approved(steps) == ([2], [])


def test_every_pull_request_that_was_merged_lately_counts(steps):
    steps.pull(1, head=HEAD, merged=-5)
    steps.pull(2, head=OTHER, merged=0)
    steps.pull(3, head=BASE, merged=0, merged_at=None)  # closed without a merge
    steps.pull(4, head=MERGE)  # open
    steps.pull(5, head="e" * 40, merged=-60 * 24 * 31)
    heads = {HEAD: 1, OTHER: 2, BASE: 3, MERGE: 4, "e" * 40: 5}
    for head, number in heads.items():
        steps.planned("ftctl-plan", plan(number), at=-60 * 24 * 32, head=head)
    assert sorted(approved(steps)[0]) == [1, 2]


def test_a_plan_with_keys_counts_as_the_newer_one(steps):
    steps.pull(merged=0)
    steps.planned("ftctl-plan", plan(1), at=-30)
    steps.planned(f"ftctl-plan-{HEAD}", plan(2), at=-20, event="issue_comment", head=BASE)
    assert approved(steps) == ([2], [])


@pytest.mark.parametrize("fork", [True, None], ids=["fork", "fork that is gone"])
def test_of_a_fork_only_a_plan_that_a_person_asked_for_counts(steps, fork):
    steps.pull(merged=0, fork=fork)
    steps.planned("ftctl-plan", plan(1), at=-30)
    # A fork may name an artifact as it likes; it cannot make it in such a run.
    steps.planned(f"ftctl-plan-{HEAD}", plan(2), at=-5)
    assert approved(steps) == ([], [])
    steps.planned(f"ftctl-plan-{HEAD}", plan(3), at=-4, event="issue_comment", head=BASE)
    assert approved(steps) == ([3], [])


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("writer", ["--approve-cost", "42"]),
        ("owner", ["--approve-cost", "42"]),
        ("reader", []),
        ("nobody", []),
    ],
)
def test_a_label_approves_the_cost_if_its_author_may(steps, by, expected):
    event = {"event": "labeled", "label": {"name": "ftctl/approve-cost"}, "actor": {"login": by}}
    earlier = {**event, "actor": {"login": "owner" if by in {"reader", "nobody"} else "reader"}}
    labels = [{"name": "ftctl/approve-cost"}]
    steps.pull(merged=0, labels=labels, events=[earlier, event])
    steps.planned("ftctl-plan", plan(1, usd=41.5))
    steps.pull(8, head=OTHER, merged=-1)  # without the label
    steps.planned("ftctl-plan", plan(2, usd=900.0), head=OTHER, at=-30)
    assert approved(steps)[1] == expected


@pytest.mark.parametrize("usd", [float("nan"), float("inf"), "1", None, True, -5, [1]])
def test_a_cost_that_is_not_one_approves_nothing(steps, usd):
    event = {
        "event": "labeled",
        "label": {"name": "ftctl/approve-cost"},
        "actor": {"login": "owner"},
    }
    steps.pull(merged=0, labels=[{"name": "ftctl/approve-cost"}], events=[event])
    steps.planned("ftctl-plan", {**plan(1), "cost": {"usd": [0, usd]}})
    assert approved(steps) == ([1], [])


def test_a_repository_without_pull_requests_approves_everything_itself(steps):
    assert steps("approved/approved.py", APPROVE="everything")[2] == {"options": "--auto-approve"}
    code, said, _ = steps("approved/approved.py", APPROVE="all")
    assert code == 1
    assert "::error::`approve: all` is neither `plan` nor `everything`" in said
