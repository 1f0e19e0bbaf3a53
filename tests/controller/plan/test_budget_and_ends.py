"""Money over all fine-tunes, the end of base models, and backends that could not be asked."""

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from backends.contract.jobs import Estimate
from controller.lockfile.model import DataFacts, Entry, Lockfile, PartFacts
from controller.plan.actions import Blocked, BlockReason, Train, Wait
from controller.plan.actions.base import Cancellation
from controller.plan.budget import within_budget
from controller.plan.desired import Shutdown
from controller.plan.observed import Observed
from controller.plan.plan import make_plan
from controller.render.plan import plan_text


def test_jobs_of_one_apply_share_a_budget_and_open_jobs_count(make):
    desired = {name: make.desired(name, seed=seed) for seed, name in enumerate("abc")}
    running = make.open_job(desired["a"], estimate_usd=(1.5, 2.25))
    recorded = Lockfile(finetunes={"a": Entry(job=running)})
    observed = Observed(jobs={"job-1": make.job(desired["a"])})

    plan = make_plan(desired, recorded, observed, budget_usd=5.0)

    assert [type(action) for action in plan.actions] == [Wait, Train, Blocked]
    assert plan.of("c").block_reason is BlockReason.BUDGET
    assert "up to $2.25, with $4.50 for open and earlier jobs" in plan.of("c").reason
    assert len(make_plan(desired, recorded, observed).actions) == 3
    assert not any(
        isinstance(action, Blocked) for action in make_plan(desired, recorded, observed).actions
    )


NO_DATA = DataFacts(
    train=PartFacts(digest="", examples=0), held_out=PartFacts(digest="", examples=0)
)


def job(name, usd):
    """Return the submission of a job of its own inputs."""
    return Train(
        name=name,
        reason="",
        fingerprint=f"ft1:{name}",
        attempt=1,
        estimate=Estimate(usd=(0.0, usd)),
        changes=(),
        data=NO_DATA,
        data_change=None,
        retrain=False,
    )


def budgeted(make, entries, jobs=(), budget_usd=5.0, **specs):
    desired = {name: make.desired(name, **spec) for name, spec in specs.items()}
    observed = Observed(jobs={job.id: job for job in jobs})
    plan = make_plan(desired, Lockfile(finetunes=entries), observed, budget_usd=budget_usd)
    return {action.name: type(action).__name__ for action in plan.actions}


def test_equal_inputs_under_two_names_are_paid_and_counted_once(make):
    same = {"seed": 1}
    assert budgeted(make, {}, budget_usd=2.25, a=same, b=same) == {"a": "Train", "b": "Train"}
    shared = make.open_job(make.desired(seed=1), estimate_usd=(1.5, 2.25))
    entries = {"a": Entry(job=shared), "b": Entry(job=shared)}
    jobs = [make.job(make.desired(seed=1))]
    assert budgeted(make, entries, jobs, budget_usd=4.5, a=same, b=same, c={"seed": 2}) == {
        "a": "Wait",
        "b": "Wait",
        "c": "Train",
    }


def test_a_job_that_is_about_to_be_cancelled_does_not_count(make):
    old = make.desired(seed=1)
    entries = {"a": Entry(job=make.open_job(old, estimate_usd=(1.5, 2.25)))}
    assert budgeted(make, entries, [make.job(old)], budget_usd=2.25, a={"seed": 2}) == {
        "a": "Train"
    }
    # Nor the one of a fine-tune that is forgotten.
    assert budgeted(make, entries, [make.job(old)], budget_usd=2.25, b={"seed": 2}) == {
        "a": "Retire",
        "b": "Train",
    }


def test_a_job_that_is_not_cancelled_after_all_counts(make):
    old = make.desired(seed=1)
    entries = {"a": Entry(job=make.open_job(old, estimate_usd=(1.5, 2.25)))}
    # What would cancel it is itself over the budget, and leaves too little for the next one.
    assert budgeted(
        make, entries, [make.job(old)], budget_usd=2.0, a={"seed": 2}, b={"seed": 3}
    ) == {"a": "Blocked", "b": "Blocked"}


PARTS = st.lists(
    st.decimals(min_value="0.01", max_value="999.99", places=2), min_size=1, max_size=12
)


@given(PARTS)
def test_jobs_that_cost_exactly_the_budget_are_within_it(parts):
    actions = [job(f"n{at:02}", float(usd)) for at, usd in enumerate(parts)]
    exact, short = sum(parts), sum(parts) - Decimal("0.01")

    assert list(within_budget(float(exact), actions, Lockfile())) == actions
    *before, last = within_budget(float(short), actions, Lockfile())
    assert before == actions[:-1]
    assert isinstance(last, Blocked)


def test_what_other_jobs_cost_is_never_less_than_nothing(make):
    old = make.desired(seed=1)
    entry = Entry(job=make.open_job(old, estimate_usd=(0.1, 0.1 + 0.2)))
    other = Entry(job=make.open_job(make.desired(seed=2), id="job-2", estimate_usd=(0, 0.3)))
    cancels = Cancellation(job=entry.job.id, backend="b", submitted="", usd=(0.1, 0.3))
    actions = [replace(job("a", 0.3), cancels=cancels), job("b", 0.3)]

    recorded = Lockfile(finetunes={"a": entry, "z": other})
    [first, second] = within_budget(0.6, actions, recorded)

    assert isinstance(first, Train)
    assert "up to $0.30, with $0.60 for open and earlier jobs of this plan" in second.reason
    freed = Lockfile(finetunes={"a": entry})
    [only] = within_budget(0.0, actions[:1], freed)
    assert "up to $0.30, with $0.00 for open and earlier jobs" in only.reason


def test_a_budget_of_millions_is_shown_with_every_digit():
    [over] = within_budget(1234567.89, [job("a", 1234567.891)], Lockfile())
    assert over.reason == (
        "up to $1,234,567.90, with $0.00 for open and earlier jobs of this plan, "
        "exceed budget.max_usd: 1234567.89"
    )


def test_what_has_no_known_price_is_no_reason_to_refuse(make):
    unknown = replace(make.desired(), estimate=Estimate())

    plan = make_plan({"faq": unknown}, Lockfile(), Observed(), budget_usd=0.0)

    assert isinstance(plan.of("faq"), Train)


def test_a_base_model_that_ends_is_said_where_it_is_chosen(make):
    desired = replace(make.desired(), shutdown=Shutdown(date="2027-01-14", days_left=54))

    plan = make_plan({"faq": desired}, Lockfile(), Observed())

    text = plan_text(plan, {"faq": desired})
    assert (
        "! the base model, and every model made from it, is switched off on 2027-01-14 (54" in text
    )


def test_without_a_key_open_jobs_are_taken_as_recorded(make):
    desired = make.desired()
    recorded = Lockfile(finetunes={"faq": Entry(job=make.open_job(desired))})
    place = desired.spec.place

    plan = make_plan({"faq": desired}, recorded, Observed(skipped={place: "no key is set"}))

    assert isinstance(plan.of("faq"), Wait)
    text = plan_text(plan, {"faq": desired})
    assert f"Not asked: {place}: no key is set" in text
    assert "relies on the specs and the lockfile alone" in text


def test_moving_says_what_the_new_model_is_judged_against(make):
    old = make.desired()
    build = make.build(old)
    moved = make.desired(
        backend="openai", endpoint="own", evaluation={"compare_to": ["base", "production"]}
    )
    entry = Entry(production=build.fingerprint, builds={build.fingerprint: build})

    action = make_plan({"faq": moved}, Lockfile(finetunes={"faq": entry}), Observed()).of("faq")

    assert isinstance(action, Train)
    assert "backend" in [change.field for change in action.changes]
    assert action.judged_against.startswith("judged against build ")
