"""Rules for a recorded fine-tune whose spec is gone, one table each."""

import pytest

from controller.plan.actions import Deferred
from controller.plan.rules import without_spec


@pytest.mark.parametrize(
    ("protect", "expected"),
    [(False, None), (True, "Blocked: finetunes/faq.yaml is gone, but it is protected")],
)
def test_keep_protected(make, state, shown, *, protect: bool, expected):
    made = state(None, make.entry(protect=protect))
    assert shown(without_spec.keep_protected(made)) == expected


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        (0, "Blocked: no spec is left at all, which looks like a mistake"),
        (1, None),
    ],
)
def test_keep_all(make, state, shown, specs, expected):
    made = state(None, make.entry(), specs=[make.desired("keep")] * specs)
    assert shown(without_spec.keep_all(made)) == expected


@pytest.mark.parametrize(
    ("unreadable", "recorded", "expected"),
    [
        ([], [], None),
        (["new"], ["new"], None),
        (
            ["new"],
            [],
            "Blocked: finetunes/faq.yaml is gone, and new, which may be its new name, cannot be read",
        ),
    ],
)  # fmt: skip
def test_keep_while_unreadable(make, state, shown, unreadable, recorded, expected):
    made = state(
        None,
        make.entry(),
        others={name: make.entry() for name in recorded},
        unresolved={name: Deferred(name=name, reason="", remedy="") for name in unreadable},
    )
    assert shown(without_spec.keep_while_unreadable(made)) == expected


@pytest.mark.parametrize(("shared", "cancels"), [(False, True), (True, False)])
def test_retire(make, state, *, shared: bool, cancels: bool):
    build, wanted = make.build(make.desired(seed=7)), make.desired("other")
    entry = make.entry(build, production=build, job=make.open_job(wanted))
    action = without_spec.retire(state(None, entry, specs=[wanted] if shared else []))
    assert action.replaces == build.fingerprint
    assert (action.cancels is not None) is cancels
