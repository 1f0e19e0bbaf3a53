"""Costs that need an approval of their own, at the limit and a little beyond it."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract.jobs import Estimate
from controller.errors import ExitCode
from controller.lockfile.model import DataFacts, PartFacts
from controller.plan.actions import Retire, Train
from controller.plan.approvals.held import cost_notes, held_by_cost

NO_DATA = DataFacts(
    train=PartFacts(digest="", examples=0), held_out=PartFacts(digest="", examples=0)
)
FREE = (0.0, 0.0)


def job(name, usd, fingerprint=None):
    """Return the submission of a job; of its own inputs if none are given."""
    return Train(
        name=name,
        reason="",
        fingerprint=fingerprint or f"ft1:{name}",
        attempt=1,
        estimate=Estimate(usd=usd),
        changes=(),
        data=NO_DATA,
        data_change=None,
        retrain=False,
    )


def names(actions, above, approved=None):
    return [one.action.name for one in held_by_cost(actions, above, approved)]


@pytest.mark.parametrize(
    ("jobs", "above", "approved", "held"),
    [
        ({"a": (1, 3)}, None, None, []),
        ({"a": (1, 3)}, 3, None, []),
        ({"a": (1, 3.01)}, 3, None, ["a"]),
        ({"a": (1, 3), "b": (0, 0.01)}, 3, None, ["b"]),
        ({"a": (1, 3), "b": (2, 3), "c": (0, 2)}, 5, None, ["b"]),
        ({"a": (1, 3), "b": (2, 3)}, 3, 6, []),
        ({"a": (1, 3), "b": (2, 3)}, 6, 3, []),
        ({"a": (1, 3), "b": (2, 3)}, 3, 5.99, ["b"]),
        ({"a": FREE, "b": (0, 0.0001)}, 0, None, ["b"]),
        ({"a": FREE}, 0, None, []),
        ({"a": None}, 1e6, 1e6, ["a"]),
        ({"a": None, "b": (1, 3)}, 3, None, ["a"]),
    ],
)
def test_jobs_beyond_the_limit_wait(jobs, above, approved, held):
    assert names([job(name, usd) for name, usd in jobs.items()], above, approved) == held


def test_equal_inputs_are_counted_once_and_wait_together():
    same = [job("a", (1, 3), "ft1:x"), job("b", (1, 3), "ft1:x")]
    assert names([*same, job("c", (0, 1))], 4) == []
    assert names([*same, job("c", (0, 1))], 2) == ["a", "b"]


def test_an_action_without_a_job_never_waits_for_its_cost():
    assert names([Retire(name="a", reason=""), job("b", (1, 1))], 0) == ["b"]


@given(st.lists(st.decimals(min_value="0.01", max_value="999.99", places=2), min_size=1))
def test_jobs_that_cost_exactly_the_limit_need_no_approval(parts):
    actions = [job(f"n{at}", (0.0, float(usd))) for at, usd in enumerate(parts)]
    exact = sum(parts)
    assert names(actions, float(exact)) == []
    assert names(actions, float(exact - Decimal("0.01"))) == [actions[-1].name]


def test_the_remedy_names_the_cost_of_all_jobs_in_whole_dollars():
    # As floats, thirty times ten cents are a little more than three dollars.
    thirty = [job(f"n{at}", (0.0, 0.1)) for at in range(30)]
    [*_, last] = held_by_cost(thirty, 2.0, 2.5)
    assert last.reason == (
        "up to $0.10 with $2.50 for other jobs exceed budget.approve_above_usd: 2, "
        "and $2.50 approved"
    )
    assert last.remedy == "Approve the cost of all jobs: ftctl apply --approve-cost 3"
    assert last.exit_code is ExitCode.REFUSED
    assert held_by_cost(thirty, 2.0, 3) == []
    [over] = held_by_cost([job("a", (0.0, 3.001))], 1234567.89 - 1234567.89, None)
    assert over.reason == "up to $3.01 exceed budget.approve_above_usd: 0"
    assert over.remedy.endswith("--approve-cost 4")


def test_an_unknown_price_is_named_with_where_to_write_it():
    [held] = held_by_cost([job("a", None)], 1234567.89, None)
    assert held.reason == (
        "its cost is not known, and ftctl.yaml has budget.approve_above_usd: 1234567.89"
    )
    assert held.remedy == "Add its price to ftctl.yaml: endpoints.NAME.prices."
    assert held.message == f"waits: {held.reason}\n    {held.remedy}"


def test_a_plan_names_five_jobs_that_need_an_approval_and_counts_the_rest():
    jobs = [job(f"n{at}", (1.0, 2.0)) for at in range(7)]
    [note] = cost_notes(jobs, 1.0)
    assert note == (
        "n0, n1, n2, n3, n4 and 2 more: up to $2.00 exceed budget.approve_above_usd: 1. "
        "Approve the cost of all jobs: ftctl apply --approve-cost 14"
    )
    assert cost_notes(jobs[:5], 1.0)[0].startswith("n0, n1, n2, n3, n4: up to $2.00 exceed")
    assert cost_notes(jobs, None) == []
    assert cost_notes(jobs, 14) == []
