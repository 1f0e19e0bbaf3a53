"""Rules of `lifecycle`, one table each."""

import pytest

from controller.plan.actions import Blocked, BlockReason, Promote, Wait
from controller.plan.fingerprint import short_id
from controller.plan.rules import lifecycle


@pytest.mark.parametrize(
    ("pinned", "expected"),
    [
        (None, None),
        ("recorded", None),
        ("ffff", "Blocked: lifecycle.pin: ffff names no recorded builds"),
    ],
)
def test_require_pinned_build(make, state, shown, pinned, expected):
    builds = [make.build(make.desired(seed=seed)) for seed in (1, 2)]
    pin = short_id(builds[0].fingerprint) if pinned == "recorded" else pinned
    made = state(make.desired(lifecycle={"pin": pin}), make.entry(*builds))
    assert shown(lifecycle.require_pinned_build(made)) == expected


@pytest.mark.parametrize("suspend", [True, False])
@pytest.mark.parametrize("has_step", [True, False])
def test_hold_suspended(make, state, shown, *, suspend: bool, has_step: bool):
    step = Promote(name="faq", reason="the gate passed", fingerprint="x") if has_step else None
    held = lifecycle.hold_suspended(state(make.desired(lifecycle={"suspend": suspend})), step)
    if suspend and has_step:
        expected = "Blocked: lifecycle.suspend is set; without it: the gate passed"
        assert shown(held) == expected
        assert held.block_reason is BlockReason.SUSPENDED
    else:
        assert held is step


PROMOTE = Promote(name="faq", reason="the gate passed", fingerprint="x")
BLOCKED = Blocked(name="faq", reason="too dear", remedy="", block_reason=BlockReason.BUDGET)


@pytest.mark.parametrize(
    ("step", "protects", "expected"),
    [
        (None, (True, True), None),
        (None, (True, False), "Protect: lifecycle.protect was changed"),
        (None, (False, True), "Protect: lifecycle.protect was changed"),
        (BLOCKED, (True, False), "Protect: lifecycle.protect was changed; otherwise blocked: too dear"),
        (BLOCKED, (False, False), "Blocked: too dear"),
        (PROMOTE, (True, False), "Promote: the gate passed"),
        ("wait", (True, False), "Protect: lifecycle.protect was changed"),
    ],
)  # fmt: skip
def test_protect_first(make, state, shown, step, protects, expected):
    asked, recorded = protects
    job = make.job(make.desired())
    if step == "wait":
        step = Wait(name="faq", reason="", job=job)
    desired = make.desired(lifecycle={"protect": asked})
    entry = make.entry(make.build(desired), protect=recorded)
    action = lifecycle.protect_first(state(desired, entry), step)
    assert shown(action) == expected
    if isinstance(step, Wait):
        assert action.job == job


def test_a_fine_tune_without_an_entry_has_nothing_to_protect(make, state):
    assert lifecycle.protect_first(state(make.desired(lifecycle={"protect": True})), None) is None
