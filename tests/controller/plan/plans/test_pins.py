"""Pins, protection, retirement, new names and lost entries."""

from dataclasses import replace

import pytest

from controller.plan.actions import (
    Blocked,
    BlockReason,
    Protect,
    Record,
    Restore,
    Retire,
    Reuse,
    Train,
)
from controller.plan.fingerprint import short_id
from controller.plan.observed import Lost
from tests.controller.plan.planning import SUCCEEDED, plan, step


def test_a_pinned_build_goes_to_production_whatever_its_scores(make):
    old, new = make.build(make.desired()), make.build(make.desired(seed=7))
    pinned = make.desired(
        seed=7, gate=["held_out_loss < 0"], lifecycle={"pin": short_id(old.fingerprint)}
    )
    action = step(pinned, make.entry(old, new, production=new))
    assert isinstance(action, Reuse)
    assert (action.fingerprint, action.promote) == (old.fingerprint, True)


def test_a_pin_keeps_changed_inputs_from_training(make):
    old = make.build(make.desired())
    pinned = make.desired(seed=7, lifecycle={"pin": old.fingerprint})
    assert step(pinned, make.entry(old, production=old)) is None


@pytest.mark.parametrize("pin", ["ffff", "f" * 70, "job-1"])
def test_a_pin_must_name_one_recorded_build(make, pin: str):
    old = make.build(make.desired())
    action = step(make.desired(lifecycle={"pin": pin}), make.entry(old, production=old))
    assert isinstance(action, Blocked)
    assert action.block_reason is BlockReason.LIFECYCLE
    assert short_id(old.fingerprint) in action.remedy


def test_a_pin_that_names_two_builds_is_refused(make):
    builds = [make.build(make.desired(seed=seed)) for seed in range(40)]
    digits = [build.fingerprint.partition(":")[2][0] for build in builds]
    twice = next(digit for digit in digits if digits.count(digit) > 1)
    action = step(make.desired(lifecycle={"pin": twice}), make.entry(*builds))
    assert isinstance(action, Blocked)
    assert f"names {digits.count(twice)} recorded builds" in action.reason


def test_a_build_from_another_base_model_is_not_measured_with_this_one(make):
    old = make.build(make.desired())
    pinned = make.desired(
        base="scripted:acme/other@1",
        evaluation={"metrics": ["accuracy"]},
        lifecycle={"pin": short_id(old.fingerprint)},
    )
    action = step(pinned, make.entry(old, production=old))
    assert not isinstance(action, Train)


@pytest.mark.parametrize("protect", [True, False])
def test_protection_is_remembered(make, *, protect: bool):
    desired = make.desired(lifecycle={"protect": protect})
    build = make.build(desired)
    action = step(desired, make.entry(build, production=build, protect=not protect))
    assert isinstance(action, Protect)
    assert action.protect is protect
    assert step(desired, make.entry(build, production=build, protect=protect)) is None


def test_a_fine_tune_without_spec_is_retired(make):
    build = make.build(make.desired())
    keep = make.desired("keep", seed=1)
    action = step([keep], make.entry(build, production=build))
    assert isinstance(action, Retire)
    assert action.replaces == build.fingerprint
    assert action.reason == "finetunes/faq.yaml was removed; its models are kept"


def test_a_protected_fine_tune_is_never_retired(make):
    build = make.build(make.desired())
    keep = make.desired("keep", seed=1)
    action = step([keep], make.entry(build, production=build, protect=True))
    assert isinstance(action, Blocked)
    assert "protect: false" in action.remedy


def test_nothing_is_retired_when_no_spec_is_left(make):
    build = make.build(make.desired())
    action = step([], make.entry(build, production=build))
    assert isinstance(action, Blocked)
    assert "looks like a mistake" in action.reason


def test_a_finished_job_is_recorded_before_its_fine_tune_is_retired(make):
    desired = make.desired()
    entry = make.entry(job=make.open_job(desired))
    keep = make.desired("keep", seed=1)
    assert isinstance(step([keep], entry, jobs=[make.job(desired, SUCCEEDED)]), Record)
    assert isinstance(step([keep], entry, jobs=[make.job(desired)]), Retire)
    assert isinstance(step([keep], entry), Retire)


@pytest.mark.parametrize("new", ["a", "z"])
@pytest.mark.parametrize("state", ["build", "job", "pin"])
def test_a_renamed_fine_tune_keeps_everything_whatever_its_name(make, new: str, state: str):
    desired, old = make.desired(new), make.build(make.desired(seed=7))
    build = make.build(desired)
    entry = make.entry(old, build, production=old, protect=True)
    if state == "job":
        entry = make.entry(old, production=old, job=make.open_job(desired))
    elif state == "pin":
        desired = make.desired(new, seed=9, lifecycle={"pin": short_id(old.fingerprint)})
    made = plan(desired, entry, jobs=[make.job(desired)] if state == "job" else [])
    action = made.actions[0]
    assert isinstance(action, Restore)
    assert {one.name for one in made.actions} == {new}
    assert (action.name, action.source, action.entry) == (new, "faq", entry)
    assert action.reason == f"finetunes/faq.yaml was renamed to {new}.yaml"


def test_a_copy_is_no_new_name(make):
    build = make.build(make.desired())
    both = [make.desired(), make.desired("copy")]
    made = plan(both, make.entry(build, production=build))
    [action] = made.actions
    assert isinstance(action, Reuse)
    assert (action.name, action.source) == ("copy", "faq")


def test_a_lost_entry_is_restored_before_anything_else(make):
    desired, old = make.desired(), make.build(make.desired(seed=7))
    lost = {"faq": Lost(entry=make.entry(old, production=old), source="commit 1f24dc2")}
    action = step(desired, found=[make.job(desired)], lost=lost)
    assert isinstance(action, Restore)
    assert action.reason == "the lockfile has no entry for it; commit 1f24dc2 knows 1 build"
    assert step(desired, make.entry(old, production=old), lost=lost).name == "faq"
    assert isinstance(step(desired, make.entry(old, production=old), lost=lost), Train)


def test_protection_is_changed_while_a_candidate_is_blocked(make):
    desired = make.desired(gate=["held_out_loss < 1"], lifecycle={"protect": True})
    build = make.build(desired)
    entry = make.entry(build, candidate=build.fingerprint)
    action = step(desired, entry)
    assert isinstance(action, Protect)
    assert "otherwise blocked: build" in action.reason
    running = make.entry(job=make.open_job(desired))
    assert isinstance(step(desired, running, jobs=[make.job(desired)]), Protect)


def test_what_switches_production_by_an_edit_needs_approval(make):
    strict = make.build(make.desired(gate=["held_out_loss < 1"]))
    looser = make.desired(gate=["held_out_loss < 2"])
    candidate = make.entry(strict, candidate=strict.fingerprint)
    assert step(looser, candidate).needs_approval
    stricter = make.desired(gate=["held_out_loss < 0.5"])
    assert not step(stricter, candidate).needs_approval
    assert not step(looser, make.entry(strict, production=strict)).needs_approval
    measured = make.desired(evaluation={"metrics": ["accuracy"]})
    build = make.build(make.desired())
    assert step(measured, make.entry(build, candidate=build.fingerprint)).needs_approval
    assert not step(measured, make.entry(build, production=build)).needs_approval
    paid = replace(measured, paid=True)
    assert step(paid, make.entry(build, production=build)).needs_approval
    raw = make.build(make.desired(), evaluated=False)
    candidate = make.entry(raw, candidate=raw.fingerprint)
    assert step(paid, candidate).needs_approval  # on which terms it was approved is not known
    assert step(paid, candidate, found=[make.job(make.desired())]).needs_approval
    assert not step(make.desired(), candidate, found=[make.job(make.desired())]).needs_approval


def test_a_base_model_that_cannot_be_asked_is_left_out_with_a_warning(make):
    desired = make.desired(gate=["held_out_loss < base.held_out_loss", "stop_rate > 0.5"])
    silent = {(desired.spec.place, "acme/base"): "scripted cannot be asked for acme/base"}
    warnings = step(desired, unavailable_bases=silent).warnings
    assert "scripted cannot be asked for acme/base; `base` is left out" in warnings[0]
    assert "cannot hold: held_out_loss < base.held_out_loss" in warnings[1]
    left_out = make.desired(evaluation={"compare_to": []}, gate=["stop_rate > 0.5"])
    assert step(left_out, unavailable_bases=silent).warnings == ()
    raw = make.build(desired, evaluated=False)
    action = step(desired, make.entry(raw, candidate=raw.fingerprint), unavailable_bases=silent)
    assert action.without_base == "scripted cannot be asked for acme/base"
