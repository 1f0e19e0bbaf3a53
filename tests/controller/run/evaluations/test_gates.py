"""Evaluations and gates of a whole run."""

from backends.contract.completions import Completion
from controller.errors import ExitCode
from tests.controller.run.runs import FASTER, production


def badly(model, prompt):
    del model, prompt
    return Completion(text="?", finish_reason="length", reference_loss=9.0, reference_tokens=1)


def test_a_gate_that_fails_keeps_production(repo):
    repo.declare(gate=["held_out_loss < 1"])
    repo.settle()
    first = production(repo)
    repo.use(answer=badly)
    repo.declare(gate=["held_out_loss < 1"], hyperparameters=FASTER)
    converged = repo.settle()
    assert converged.exit_code == ExitCode.GATE_FAILED
    assert "held_out_loss is 9" in converged.outcomes[-1].message
    assert production(repo) == first
    repo.declare(hyperparameters=FASTER)
    assert repo.settle().exit_code == ExitCode.DONE
    assert production(repo) != first
    assert repo.backend.submitted == 2


def test_changed_metrics_are_measured_without_training(repo):
    repo.declare()
    repo.settle()
    repo.declare(evaluation={"metrics": ["exact_match"]})
    repo.settle()
    scores = repo.lockfile.finetunes["faq"].builds[production(repo)].evaluation.scores
    assert scores["candidate"]["exact_match"] == 1.0
    assert scores["base"]["exact_match"] == 0.0
    assert repo.backend.submitted == 1


def test_production_is_measured_with_the_base_model_it_was_trained_from(repo):
    asked = []
    repo.declare(evaluation={"compare_to": ["base", "production"]})
    repo.settle()
    old = repo.lockfile.finetunes["faq"].builds[production(repo)].model_id

    class Watching(type(repo.backend)):
        def complete(self, base_model, models, prompts, sampling, skip=()):
            asked.append((base_model.reference, list(models)))
            return super().complete(base_model, models, prompts, sampling, skip)

    repo.backend = Watching(repo.service)
    settings = {"compare_to": ["base", "production"], "max_tokens": 7}
    repo.declare(base_model="acme/larger", evaluation=settings, gate=[])
    repo.settle()
    new = repo.lockfile.finetunes["faq"].builds[production(repo)].model_id
    assert ("acme/larger", [new, None]) in asked
    assert ("acme/base", [old]) in asked


def test_production_is_not_asked_again_while_its_scores_stand(repo):
    settings = {"compare_to": ["production"]}
    repo.declare(evaluation=settings)
    repo.settle()
    old = production(repo)
    repo.declare(base_model="acme/larger", evaluation=settings, gate=[])
    repo.backend.missing = frozenset({"acme/base"})
    assert repo.settle().exit_code == ExitCode.DONE
    builds = repo.lockfile.finetunes["faq"].builds
    evaluation = builds[production(repo)].evaluation
    assert evaluation.production_build == old
    assert evaluation.scores["production"] == builds[old].evaluation.scores["candidate"]


def test_a_base_model_that_is_gone_is_said(repo):
    repo.declare(evaluation={"compare_to": ["production"]})
    repo.settle()
    settings = {"compare_to": ["production"], "max_tokens": 7}
    repo.declare(base_model="acme/larger", evaluation=settings, gate=[])
    repo.backend.missing = frozenset({"acme/base"})
    converged = repo.settle()
    assert converged.exit_code == ExitCode.ERROR
    assert "acme/base is not here" in converged.outcomes[-1].message


def test_a_pinned_build_is_measured_with_its_own_base_model(repo):
    repo.declare()
    repo.settle()
    old = production(repo)
    pin = {"pin": old.partition(":")[2][:12]}
    repo.declare(base_model="acme/larger", lifecycle=pin, evaluation={"metrics": ["exact_match"]})
    assert repo.settle().exit_code == ExitCode.DONE
    assert production(repo) == old
    assert repo.backend.submitted == 1
