"""Moves of whole runs: the gate that no spec writes, kept answers, and what is never stuck."""

import shutil

import pytest

from backends.contract.completions import Completion
from controller.errors import ExitCode
from controller.lockfile.model import Lockfile, dump_lockfile
from controller.plan.actions import Blocked, Train
from controller.plan.desired import Shutdown
from controller.plan.observed import Observed
from controller.plan.plan import make_plan
from controller.render.plan import plan_text
from controller.render.plan_json import plan_json
from tests.controller.conftest import rows
from tests.controller.run.runs import production

SURE = "exact_match >= production.exact_match - 0.02 @ 95%"
METRICS = {"evaluation": {"metrics": ["exact_match"]}}
NEW = {"base_model": "acme/larger", **METRICS}


def badly(model, prompt):
    del model, prompt
    return Completion(text="?", finish_reason="stop", reference_loss=0.5, reference_tokens=1)


@pytest.fixture
def large(repo):
    """A fine-tune in production, with held-out examples enough for a sure gate."""
    repo.write("finetunes/data/faq.csv", rows(1000))
    repo.declare(**METRICS)
    repo.settle()
    return repo


def planned(repo):
    return repo.planned().plan.of("faq")


def held_out(repo):
    """Return the number of held-out examples."""
    return repo.planned().desired["faq"].data.held_out.examples


def test_a_move_is_judged_by_production_without_a_gate_in_the_spec(large):
    old = production(large)
    large.declare(**NEW)
    action = planned(large)
    assert isinstance(action, Train)
    assert action.style.sentence == "will move to another base model"
    assert action.move.gate == (SURE,)
    assert action.move.implied
    assert (action.move.judges.prompts, action.move.judges.missing) == (held_out(large), 0)

    large.use(answer=badly)
    result = large.settle()

    assert result.exit_code == ExitCode.GATE_FAILED
    assert production(large) == old
    entry = large.lockfile.finetunes["faq"]
    assert entry.builds[entry.candidate].verdict.gate == [SURE]
    # Later runs change nothing, and say so.
    assert large.actions() == ["Blocked faq"]
    assert large.backend.submitted == 2


def test_a_move_that_passes_is_settled(large):
    old = production(large)
    large.declare(**NEW)
    assert large.settle().exit_code == ExitCode.DONE
    new = production(large)
    build = large.lockfile.finetunes["faq"].builds[new]
    assert new != old
    assert build.verdict.gate == [SURE]
    assert build.evaluation.production_build == old
    # Promoted, it moves nowhere any more; its gate and its scores stand all the same.
    assert large.actions() == []
    # A training at the same place is not a move, and has no such gate.
    large.declare(**NEW, seed=7)
    assert planned(large).move is None
    assert large.settle().exit_code == ExitCode.DONE
    newest = large.lockfile.finetunes["faq"].builds[production(large)]
    assert newest.verdict.gate == []
    assert newest.evaluation.production_build is None


def test_going_back_asks_for_no_gate_and_costs_nothing(large):
    old = production(large)
    large.declare(**NEW)
    large.settle()
    large.declare(**METRICS)
    assert large.settle().exit_code == ExitCode.DONE
    assert production(large) == old
    assert large.backend.submitted == 2
    assert large.actions() == []


def test_an_explicit_gate_asks_for_the_same_as_the_default(large):
    large.declare(**NEW)
    before = large.planned().desired["faq"]
    written = {"metrics": ["exact_match"], "compare_to": ["base", "production"]}
    large.declare(**{**NEW, "evaluation": written, "gate": [SURE]})
    after = large.planned().desired["faq"]
    assert after.evaluation_fingerprint == before.evaluation_fingerprint
    assert after.fingerprint == before.fingerprint
    assert not after.move.implied


def test_an_empty_gate_turns_it_off(large):
    large.declare(**NEW, gate=[])
    text = plan_text(large.planned().plan, large.planned().desired)
    assert "judged by  = nothing: `gate: []` promotes whatever is trained" in text
    assert "answers" not in text.partition("finetune")[2]
    large.use(answer=badly)
    assert large.settle().exit_code == ExitCode.DONE


def test_few_examples_are_compared_as_they_are(repo):
    repo.declare(**METRICS)
    repo.settle()
    repo.declare(**NEW)
    text = plan_text(repo.planned().plan, repo.planned().desired)
    assert f"judged by  = {SURE.removesuffix(' @ 95%')}  # implied: the spec writes no gate" in text
    assert f"! {held_out(repo)} held-out examples cannot show a margin of 0.02 at 95%" in text
    assert repo.settle().exit_code == ExitCode.DONE
    assert repo.actions() == []


def test_without_a_metric_nothing_judges_and_the_plan_says_what_to_write(repo):
    repo.declare()
    repo.settle()
    repo.declare(base_model="acme/larger")
    action = planned(repo)
    assert isinstance(action, Blocked)
    (problem,) = action.problems
    assert str(problem) == (
        "finetunes/faq.yaml:1: gate: nothing can judge the move from acme/base to acme/larger: "
        "evaluation.metrics names no metric that both models have\n"
        "    Add a metric, such as `evaluation: {metrics: [exact_match]}` (`ftctl help metrics`), "
        "or write a gate, or write `gate: []` to promote whatever is trained."
    )
    for written in ({"gate": []}, {"gate": ["held_out_loss < 100"]}):
        repo.declare(base_model="acme/larger", **written)
        assert isinstance(planned(repo), Train)


def test_removing_the_metrics_promotes_no_candidate_that_failed(large):
    old = production(large)
    large.declare(**NEW)
    large.use(answer=badly)
    large.settle()
    large.declare(base_model="acme/larger")
    assert isinstance(planned(large), Blocked)
    large.settle()
    assert production(large) == old


def test_production_that_is_gone_without_answers_stops_the_move_before_it_costs(large):
    large.declare(**NEW)
    shutil.rmtree(large.project.state / "answers")
    assert planned(large).move.judges.asks == held_out(large)
    prepared = large.planned()
    end = Shutdown(date="2026-11-01", days_left=-28, source="test", model="m")
    observed = Observed(shutdowns={"faq": end})
    action = make_plan(prepared.desired, large.lockfile, observed).of("faq")
    assert isinstance(action, Blocked)
    assert action.exit_code == ExitCode.ERROR
    assert action.reason == (
        f"nothing can judge this move: {prepared.desired['faq'].move.model_id} is switched off, "
        f"and none of its {held_out(large)} answers is recorded"
    )
    assert "write `gate: []`" in action.remedy


def test_the_plan_for_programs_has_the_move(large):
    large.declare(**NEW)
    prepared = large.planned()
    (action,) = plan_json(prepared.plan, prepared.desired)["actions"]
    assert action["action"] == "train"
    move = action["move"]
    assert move["from"]["base_model"] == "acme/base"
    assert move["to"] == {"backend": "scripted", "base_model": "acme/larger"}
    assert move["gate"] == [SURE]
    assert move["answers"] == {
        "prompts": held_out(large),
        "missing": 0,
        "scored": False,
        "unopened": "",
        "asks": 0,
    }


def test_what_is_recorded_of_answers_changes_no_plan_id(large):
    large.declare(**NEW)
    before = large.planned().plan.id
    shutil.rmtree(large.project.state / "answers")
    assert large.planned().plan.id == before


def test_production_answers_again_where_its_answers_are_lost(large):
    large.declare(**NEW)
    shutil.rmtree(large.project.state / "answers")
    prepared = large.planned()
    text = plan_text(prepared.plan, prepared.desired)
    asked = f"scripted will be asked for {held_out(large)} answers of production"
    assert f"answers    = {asked}; `ftctl record` keeps them earlier" in text
    assert large.settle().exit_code == ExitCode.DONE


def test_a_candidate_of_an_older_ftctl_keeps_its_verdict(large):
    """A build that was judged without a gate is promoted as it was approved then."""
    large.declare(**NEW, gate=["exact_match > 2"])
    large.settle()
    entry = large.lockfile.finetunes["faq"]
    key = entry.candidate
    build = entry.builds[key]
    verdict = build.verdict.model_copy(update={"gate": [], "passed": True, "failures": []})
    large.declare(**NEW)
    assert large.planned().desired["faq"].spec.gate == [SURE]
    judged = build.model_copy(update={"verdict": verdict})
    changed = entry.model_copy(update={"builds": {**entry.builds, key: judged}})
    large.lockfile_path.write_bytes(dump_lockfile(Lockfile(finetunes={"faq": changed})))
    assert large.planned().desired["faq"].spec.gate == []


def test_answers_are_those_of_the_held_out_set_that_is_asked(large):
    large.write("finetunes/data/faq.csv", rows(1000, salt="x"))
    large.declare(**NEW)
    assert planned(large).move.judges.missing == held_out(large)
