"""Evaluations of a run: what is compared, and what is promoted of it."""

import json
import shutil

from backends.contract.completions import Completion
from controller.lockfile.store import lock_lockfile
from controller.plan.fingerprint import EVALUATION_SCHEME, fingerprint

CALL = {"id": "call_1", "type": "function", "function": {"name": "book", "arguments": "{}"}}
ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"{n}일에 예약"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
        ],
        "tools": [{"type": "function", "function": {"name": "book"}}],
    }
    for n in range(24)
]


def ruined(model, _prompt):
    return Completion(
        text="?",
        finish_reason="stop",
        reference_loss=6.5 if model is None else 19.9,
        reference_tokens=4,
    )


def first_version(repo) -> None:
    """Let every recorded evaluation be of the first version."""
    with lock_lockfile(repo.root, repo.project.state, timeout_s=5, purpose="test") as locked:
        entry = locked.entries["faq"]
        builds = {}
        for key, build in entry.builds.items():
            inputs = {k: v for k, v in build.evaluation.inputs.items() if k != "version"}
            old = {"inputs": inputs, "fingerprint": fingerprint(EVALUATION_SCHEME, inputs)}
            evaluation = build.evaluation.model_copy(update=old)
            builds[key] = build.model_copy(update={"evaluation": evaluation})
        locked.record("faq", entry.model_copy(update={"builds": builds}))


def test_a_ruined_model_is_not_promoted_without_a_gate(repo):
    repo.use(answer=ruined)
    repo.declare()
    repo.settle()
    entry = repo.lockfile.finetunes["faq"]
    assert (entry.production, len(entry.builds)) == (None, 1)
    message = repo.reporter.outcomes[-1].message
    assert "worse than the base model" in message
    assert "write `gate: []`" in message
    repo.declare(gate=[])
    assert repo.actions() == ["Judge faq"]
    repo.settle()
    entry = repo.lockfile.finetunes["faq"]
    assert entry.production is not None
    assert entry.builds[entry.production].verdict.allowed_worse


def test_an_evaluation_without_losses_says_that_nothing_was_compared(repo):
    repo.use(answer=lambda _model, _prompt: Completion(text="yes", finish_reason="stop"))
    repo.declare()
    repo.settle()
    said = [outcome.message for outcome in repo.reporter.outcomes]
    assert any("the base's held-out loss is not known" in message for message in said)
    assert repo.lockfile.finetunes["faq"].production is not None


def compared(repo, **changes) -> dict:
    """Declare another model beside a production of the first version, and return its scores."""
    repo.declare(
        seed=7,
        evaluation={"metrics": ["exact_match"], "compare_to": ["base", "production"]},
        gate=["exact_match >= production.exact_match"],
        **changes,
    )
    repo.settle()
    (build,) = (
        one for one in repo.lockfile.finetunes["faq"].builds.values() if one.inputs["seed"] == 7
    )
    return build.evaluation.scores


def with_calls(repo) -> dict:

    repo.write("finetunes/data/calls.jsonl", "\n".join(json.dumps(row) for row in ROWS))
    return {"data": {"train": [{"path": "data/calls.jsonl"}], "held_out": {"fraction": 0.25}}}


def test_production_of_an_older_scoring_is_measured_again_where_that_is_free(repo):
    calls = with_calls(repo)
    repo.declare(evaluation={"metrics": ["exact_match"]}, **calls)
    repo.settle()
    first_version(repo)
    assert compared(repo, **calls)["production"]["exact_match"] == 1.0


def test_where_asking_costs_scores_of_another_version_are_not_compared(repo):
    calls = with_calls(repo)
    repo.backend.usd = (1.0, 2.0)
    repo.declare(evaluation={"metrics": ["exact_match"]}, **calls)
    repo.settle()
    first_version(repo)
    shutil.rmtree(repo.root / ".ftctl" / "answers")
    before = repo.lockfile.finetunes["faq"].production
    assert compared(repo, **calls)["production"] == {}
    entry = repo.lockfile.finetunes["faq"]
    assert entry.production == before
    message = repo.reporter.outcomes[-1].message
    assert "production.exact_match was not measured" in message
    assert "ftctl evaluate faq" in message


def test_kept_answers_of_production_are_scored_again_where_asking_costs(repo):
    calls = with_calls(repo)
    repo.backend.usd = (1.0, 2.0)
    repo.declare(evaluation={"metrics": ["exact_match"]}, **calls)
    repo.settle()
    first_version(repo)
    assert compared(repo, **calls)["production"]["exact_match"] == 1.0
