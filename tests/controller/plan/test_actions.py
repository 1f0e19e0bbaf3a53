"""Every kind of action, as a table: its words, what its approval covers, and that none is left out."""

import importlib
import inspect
import pkgutil

import pytest

from backends.contract.deployments import Hosting
from backends.contract.jobs import Estimate
from controller.plan import actions, rules
from controller.plan.actions import (
    KINDS,
    Adopt,
    Blocked,
    BlockReason,
    Deferred,
    Deploy,
    Evaluate,
    Judge,
    Promote,
    Prompt,
    Protect,
    Record,
    Restore,
    Resume,
    Retire,
    Reuse,
    Train,
    Wait,
)
from controller.plan.actions.base import BaseAction
from controller.plan.approval import identity
from controller.plan.order import heir_of, in_order

HOSTING = Hosting(usd_per_hour=1.7)


def modules_of(package):
    return [
        importlib.import_module(f"{package.__name__}.{module.name}")
        for module in pkgutil.iter_modules(package.__path__)
    ]


def test_the_union_names_every_kind():
    kinds = {
        kind
        for module in modules_of(actions)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, BaseAction) and not inspect.isabstract(kind)
    }
    assert kinds == set(KINDS)


def test_the_tuples_name_every_rule():
    found = {
        function
        for module in modules_of(rules)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
        if list(inspect.signature(function).parameters) == ["state"]
    }
    assert found == {*rules.WITH_SPEC, *rules.WITHOUT_SPEC}
    assert len(found) == len(rules.WITH_SPEC) + len(rules.WITHOUT_SPEC)


@pytest.fixture
def one_of_each(make):
    """Return an action of each kind, for the same fine-tune and inputs."""
    desired = make.desired()
    job, build, key = make.job(desired), make.build(desired), desired.fingerprint
    common = {"name": "faq", "reason": "x"}
    made = [
        Train(
            **common,
            fingerprint=key,
            attempt=1,
            changes=(),
            data_change=None,
            data=desired.data,
            estimate=Estimate(),
            retrain=False,
            hosting=HOSTING,
        ),
        Prompt(
            **common,
            fingerprint=key,
            base_model="acme/base",
            system=None,
            few_shot=0,
            changes=(),
            data=desired.data,
        ),
        Adopt(**common, job=job),
        Restore(**common, entry=make.entry(build)),
        Deploy(**common, fingerprint=key, deployment="d", hosting=HOSTING, needs_approval=True),
        Evaluate(**common, fingerprint=key),
        Promote(**common, fingerprint=key),
        Reuse(**common, fingerprint=key, source="faq", promote=True),
        Retire(**common),
        Resume(**common, job=job),
        Record(**common, job=job),
        Judge(**common, fingerprint=key),
        Protect(**common, protect=True),
        Wait(**common, job=job),
        Deferred(**common, remedy=""),
        Blocked(**common, remedy="", block_reason=BlockReason.GATE),
    ]
    assert tuple(map(type, made)) == KINDS
    return made


FOLLOWS = """
          Tra Pro Ado Res Dep Eva Pro Reu Ret Res Rec Jud Pro Wai Def Blo
Train      x   .   .   .   .   .   .   .   .   .   .   .   .   .   .   .
Prompt     .   x   .   .   .   .   .   .   .   .   .   .   .   .   .   .
Adopt      x   .   x   x   .   .   .   .   .   .   .   .   .   .   .   .
Restore    .   .   .   .   .   .   .   .   .   .   .   .   .   .   .   .
Deploy     x   .   .   .   x   .   .   .   .   .   .   .   .   .   .   .
Evaluate   x   x   x   x   x   x   x   x   .   x   x   x   .   x   x   x
Promote    x   x   x   x   x   x   x   x   .   x   x   x   .   x   x   x
Reuse      x   x   x   x   x   .   .   x   .   x   x   .   .   x   .   .
Retire     .   .   .   .   .   .   .   .   x   .   .   .   .   .   .   .
Resume     .   .   .   .   .   .   .   .   .   .   .   .   .   .   .   .
Record     .   .   .   .   .   .   .   .   .   .   .   .   .   .   .   .
Judge      x   x   x   x   x   x   x   x   .   x   x   x   .   x   x   x
Protect    x   x   x   x   x   x   x   x   .   x   x   x   x   x   x   x
Wait       .   .   .   .   .   .   .   .   .   .   .   .   .   .   .   .
Deferred   .   .   .   .   .   .   .   .   .   .   .   .   .   .   .   .
Blocked    .   .   .   .   .   .   .   .   .   .   .   .   .   .   .   .
"""


def test_what_an_approved_action_implies(one_of_each):
    """Rows: what is planned now. Columns: what a person approved, of the same inputs."""
    head = " ".join(type(action).__name__[:3] for action in one_of_each)
    lines = [f"{'':10}{head}"]
    for action in one_of_each:
        marks = "   ".join("x" if action.follows(seen) else "." for seen in one_of_each)
        lines.append(f"{type(action).__name__:10} {marks}")
    assert "\n".join(lines) == FOLLOWS.strip("\n")


FACTS = """
Train     + approval acts leads_on FIRST job=yes
Prompt    + approval acts leads_on FIRST job=no
Adopt     = approval acts leads_on FIRST job=yes
Restore   = approval acts leads_on LAST job=no
Deploy    + approval acts leads_on LAST job=no
Evaluate  ~ - acts leads_on LAST job=no
Promote   ~ - acts leads_on FIRST job=no
Reuse     = approval acts leads_on FIRST job=no
Retire    . approval acts leads_on AFTER_OTHERS job=no
Resume    » - acts - FIRST job=yes
Record    ~ - acts leads_on FIRST job=yes
Judge     ~ - acts leads_on FIRST job=no
Protect   ~ approval acts leads_on FIRST job=no
Wait      » - - - FIRST job=yes
Deferred  ? - - - FIRST job=no
Blocked   ! - - - FIRST job=no
"""


def test_facts_of_each_kind(one_of_each):
    """Symbol, approval, whether it acts and may lead to more, turn, and whether it has a job."""
    lines = []
    for action in one_of_each:
        words = [
            action.style.symbol,
            "approval" if action.needs_approval else "-",
            "acts" if action.acts else "-",
            "leads_on" if action.leads_on else "-",
            action.turn.name,
            f"job={'no' if action.own_job is None else 'yes'}",
        ]
        lines.append(f"{type(action).__name__:9} {' '.join(words)}")
    assert "\n".join(lines) == FACTS.strip("\n")


def test_ids_of_plans_rest_on_the_names_of_the_classes(one_of_each):
    assert [identity(action)["action"] for action in one_of_each] == [
        kind.__name__ for kind in KINDS
    ]


def test_ranks_are_places_in_a_summary(one_of_each):
    styles = [action.style for action in one_of_each]
    assert len({style.rank for style in styles}) == len({style.verb for style in styles})


def test_actions_of_one_fine_tune_stay_in_their_order(one_of_each):
    names = [type(action).__name__ for action in in_order(one_of_each)]
    assert names[-4:] == ["Retire", "Restore", "Deploy", "Evaluate"]
    rest = [type(action).__name__ for action in one_of_each]
    assert names[:-4] == [name for name in rest if name not in names[-4:]]


@pytest.mark.parametrize(("source", "heir"), [("faq", "other"), ("another", None)])
def test_a_build_is_taken_before_its_fine_tune_is_forgotten(source: str, heir: str | None):
    retire = Retire(name="faq", reason="x")
    reuse = Reuse(name="other", reason="x", fingerprint="y", source=source, promote=True)
    assert heir_of(retire, [retire, reuse]) == heir
    assert heir_of(reuse, [retire, reuse]) is None
