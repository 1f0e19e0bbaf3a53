"""Scores hold under the version that gave them; a newer one is offered, never imposed."""

from dataclasses import replace

from controller.lockfile.model import Lockfile
from controller.plan.actions import Evaluate, Promote
from controller.plan.fingerprint import EVALUATION_SCHEME, fingerprint
from controller.plan.observed import Observed
from controller.plan.plan import make_plan
from controller.plan.versions import NEWEST, holds, newest_inputs, version_of
from controller.render.comment.comment import plan_comment
from controller.render.plan import plan_text
from controller.render.plan_json import plan_json
from controller.render.summary import no_changes


def plan_of(desired, entry):
    return make_plan({desired.name: desired}, Lockfile(finetunes={desired.name: entry}), Observed())


def newest(make, desired):
    inputs = newest_inputs(desired.evaluation_inputs)
    key = fingerprint(EVALUATION_SCHEME, inputs)
    return make.evaluation(desired).model_copy(update={"inputs": inputs, "fingerprint": key})


def test_scores_of_every_version_hold(make):
    desired = make.desired()
    first = make.evaluation(desired)
    assert (version_of(first), version_of(newest(make, desired))) == (1, NEWEST)
    assert holds(first, desired)
    assert holds(newest(make, desired), desired)
    assert not holds(newest(make, make.desired(evaluation={"max_tokens": 8})), desired)


def test_an_upgrade_measures_nothing(make):
    desired = replace(
        make.desired(), rescore_reason="calls of tools are compared as calls", paid=True
    )
    build = make.build(desired)
    plan = plan_of(desired, make.entry(build, production=build))
    assert plan.actions == ()
    candidate = plan_of(desired, make.entry(build, candidate=build.fingerprint)).of("faq")
    assert isinstance(candidate, Promote)


def test_the_newest_version_is_offered_in_one_line_where_it_matters(make):
    desired = replace(make.desired(), rescore_reason="calls of tools are compared as calls")
    build = make.build(desired)
    plan = plan_of(desired, make.entry(build, production=build))
    (note,) = plan.notes
    assert note == (
        "faq: scores of version 1 stand; version 2 may change them: calls of tools are compared "
        "as calls. To measure again: ftctl evaluate faq"
    )
    text = plan_text(plan, {})
    assert text == f"{no_changes(plan)}\nNote: {note}"
    assert "ftctl evaluate faq" in plan_comment(plan, {})
    assert plan_json(plan, {})["notes"] == [note]


def test_many_fine_tunes_are_offered_it_in_one_line(make):
    why = "calls of tools are compared as calls"
    declared, entries = {}, {}
    for number in range(12):
        desired = replace(make.desired(f"faq-{number:02}"), rescore_reason=why)
        build = make.build(desired)
        declared[desired.name] = desired
        entries[desired.name] = make.entry(build, production=build)
    (note,) = make_plan(declared, Lockfile(finetunes=entries), Observed()).notes
    assert note.startswith("faq-00, faq-01, ")
    assert "faq-09 and 2 more: scores of version 1 stand" in note
    assert note.endswith("ftctl evaluate NAME")


def test_there_is_no_line_where_versions_agree_or_the_newest_measured(make):
    desired = make.desired()
    build = make.build(desired)
    assert plan_of(desired, make.entry(build, production=build)).notes == ()
    told = replace(desired, rescore_reason="calls of tools are compared as calls")
    again = build.model_copy(update={"evaluation": newest(make, desired)})
    assert plan_of(told, make.entry(again, production=again)).notes == ()


def test_another_evaluation_is_due_whatever_the_version(make):
    desired = make.desired(evaluation={"max_tokens": 8})
    evaluation = newest(make, make.desired())
    build = make.build(desired).model_copy(update={"evaluation": evaluation})
    action = plan_of(desired, make.entry(build, production=build)).of("faq")
    assert isinstance(action, Evaluate)
    assert action.reason == "max_tokens changed"
