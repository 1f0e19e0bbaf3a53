"""Whole runs of `method: prompt`: nothing is trained, and all else is as for a trained model."""

import json
import shutil

import pytest

from backends.contract.errors import BackendError
from backends.testing.scripts import answer_well
from controller.errors import ExitCode
from controller.evaluate.compare import require_model
from controller.prompted.examples import find_shots
from controller.render.plan import plan_text
from controller.render.plan_json import plan_json
from tests.controller.run.runs import FASTER, SLOW, declared, production

SYSTEM = "카페 직원처럼 짧게 답하세요."
METRICS = {"metrics": ["exact_match"], "compare_to": ["base", "production"]}


def prompted(**changes):
    return {"method": "prompt", "prompt": {"system": SYSTEM, "few_shot": 2}, **changes}


class Asked:
    """Answers well where the system prompt and two examples stand before the question."""

    def __init__(self) -> None:
        self.prompts = []

    def __call__(self, model, prompt):
        self.prompts.append((model, [dict(one) for one in prompt.messages]))
        has_system = prompt.messages[0]["content"] == SYSTEM
        return answer_well("tuned" if model or has_system else None, prompt)


@pytest.fixture
def asked(repo) -> Asked:
    answer = Asked()
    repo.use(answer=answer)
    return answer


def declare_bare(repo, name="old", **changes):
    """Declare a hosted fine-tune of which nothing but its model is left."""
    value = {"backend": "scripted", "base_model": "ft:acme:old::Ab", "method": "prompt", **changes}
    repo.write(f"finetunes/{name}.yaml", json.dumps(value))


def build_of(repo, name="faq"):
    entry = repo.lockfile.finetunes[name]
    return entry.builds[entry.candidate or entry.production]


def kinds(repo):
    return [type(outcome.action).__name__ for outcome in repo.reporter.outcomes]


def test_from_nothing_to_production_without_a_job(repo, asked, golden):
    repo.declare(**prompted(evaluation=METRICS, gate=["exact_match > base.exact_match"]))
    planned = repo.planned()
    golden("render/plan-prompt.txt", plan_text(planned.plan, planned.desired))
    assert repo.run(planned=planned).exit_code == ExitCode.DONE
    assert kinds(repo) == ["Prompt", "Evaluate", "Promote"]
    assert (production(repo), repo.backend.submitted) == (declared(repo), 0)
    build = build_of(repo)
    assert build.model_id == f"prompt:acme/base:faq:{build.fingerprint[4:16]}"
    assert build.evaluation.scores["candidate"]["exact_match"] == 1
    assert build.evaluation.scores["base"]["exact_match"] == 0
    assert build.facts["examples"] == 2
    assert build.facts["prompt_tokens"] > 8
    assert build.estimate_usd == (0, 0)
    assert repo.actions() == []
    # Each held-out question was asked once with the prompt, and once without; no model was named.
    shown = [messages for _, messages in asked.prompts if len(messages) == 6]
    roles = ["system", "user", "assistant", "user", "assistant", "user"]
    assert [one["role"] for one in shown[0]] == roles
    assert len(shown) == build.data.held_out.examples == len(asked.prompts) / 2
    assert {model for model, _ in asked.prompts} == {None}


def test_the_plan_from_a_trained_model_to_a_prompt(repo, golden):
    repo.declare(evaluation=METRICS, hyperparameters=FASTER)
    repo.settle()
    repo.declare(**prompted(evaluation=METRICS, gate=["exact_match > 0.5"]))
    planned = repo.planned()
    golden("render/plan-prompt-instead.txt", plan_text(planned.plan, planned.desired))


def test_weighted_examples_are_shown_once(repo):
    columns = {"user": "question", "assistant": "answer"}
    train = [{"path": "data/faq.csv", "columns": columns, "weight": 3}]
    data = {"train": train, "held_out": {"fraction": 0.25}}
    repo.declare(**prompted(prompt={"few_shot": 8}, data=data))
    repo.run()
    shots = find_shots(build_of(repo), state=repo.project.state)
    assert len({question["content"] for question, _ in shots}) == 8


def test_the_plan_for_programs_names_the_prompt(repo):
    repo.declare(**prompted())
    planned = repo.planned()
    (action,) = plan_json(planned.plan, planned.desired)["actions"]
    assert action["action"] == "prompt"
    assert (action["system"], action["few_shot"]) == (SYSTEM, 2)


def test_what_was_recorded_is_recorded_again_after_the_lockfile_is_lost(repo, asked):
    repo.declare(**prompted())
    repo.run()
    before, count = build_of(repo), len(asked.prompts)
    repo.lockfile_path.unlink()
    (repo.project.state / "journal.jsonl").unlink(missing_ok=True)
    assert repo.actions() == ["Prompt faq"]
    repo.run()
    after = build_of(repo)
    same = {"submitted", "finished", "evaluation"}
    assert after.model_dump(exclude=same) == before.model_dump(exclude=same)
    assert len(asked.prompts) == count


def test_nothing_is_recorded_without_approval(repo):
    repo.declare(**prompted())
    repo.reconcile()
    assert repo.lockfile.finetunes == {}


def test_another_prompt_is_another_build_and_the_old_one_is_used_again(repo):
    repo.declare(**prompted())
    repo.run()
    first = production(repo)
    repo.declare(**prompted(prompt={"system": "Be brief."}))
    assert repo.actions() == ["Prompt faq"]
    repo.run()
    assert production(repo) != first
    repo.declare(**prompted())
    assert repo.actions() == ["Reuse faq"]
    repo.run()
    assert production(repo) == first


def test_examples_do_not_matter_where_none_are_shown(repo):
    repo.declare(**prompted(prompt={"system": SYSTEM}))
    repo.run()
    more = {"path": "data/more.csv", "columns": {"user": "question", "assistant": "answer"}}
    repo.write("finetunes/data/more.csv", "question,answer\n새 질문?,새 답.\n")
    train = {"path": "data/faq.csv", "columns": {"user": "question", "assistant": "answer"}}
    data = {"train": [train, more], "held_out": {"fraction": 0.25}}
    held_out = {**data, "held_out": {"fraction": 0.5}}
    repo.declare(**prompted(prompt={"system": SYSTEM}, data=data))
    assert "Prompt faq" not in repo.actions()
    repo.declare(**prompted(data=held_out))
    assert repo.actions() == ["Prompt faq"]


@pytest.mark.usefixtures("asked")
def test_a_trained_model_is_compared_with_the_prompt_in_production_and_the_other_way_round(repo):
    gate = ["exact_match >= production.exact_match"]
    repo.declare(**prompted(evaluation=METRICS, gate=gate))
    repo.run()
    of_prompt = production(repo)
    repo.declare(evaluation=METRICS, gate=gate)
    repo.settle()
    trained = build_of(repo)
    assert trained.evaluation.production_build == of_prompt
    assert trained.evaluation.scores["production"]["exact_match"] == 1
    assert production(repo) == trained.fingerprint
    repo.declare(**prompted(prompt={"system": "Be brief."}, evaluation=METRICS, gate=gate))
    result = repo.run()
    assert result.exit_code == ExitCode.GATE_FAILED
    candidate = build_of(repo)
    assert candidate.evaluation.scores["candidate"]["exact_match"] == 0
    assert candidate.evaluation.scores["production"]["exact_match"] == 1
    assert production(repo) == trained.fingerprint


def test_production_is_asked_with_its_own_prompt_where_its_answers_are_gone(repo, asked):
    repo.declare(**prompted(evaluation=METRICS))
    repo.run()
    shutil.rmtree(repo.project.state / "answers")
    asked.prompts.clear()
    evaluation = {"metrics": ["exact_match", "chrf"], "compare_to": ["production"]}
    repo.declare(evaluation=evaluation)
    repo.settle()
    scores = build_of(repo).evaluation.scores
    assert scores["production"]["exact_match"] == 1
    assert any(len(messages) == 6 for _, messages in asked.prompts)


def test_an_open_job_of_the_old_method_is_cancelled(repo):
    repo.use(script=SLOW)
    repo.declare()
    repo.run()
    assert repo.lockfile.finetunes["faq"].job is not None
    repo.declare(**prompted())
    (action,) = repo.planned().plan.actions
    assert action.cancels is not None
    repo.run()
    assert repo.lockfile.finetunes["faq"].job is None
    assert repo.backend.submitted == 1


def test_a_base_model_that_does_not_answer_is_refused_before_it_is_recorded(repo):
    repo.use(silent_bases=["acme/base"])
    repo.declare(**prompted())
    (action,) = repo.planned().plan.actions
    assert action.style.symbol == "!"
    assert "cannot be asked for acme/base" in action.reason
    assert "Name another base model" in action.remedy


def test_nobody_looks_for_jobs_of_a_fine_tune_without_training(repo):
    repo.declare(**prompted())
    repo.run()
    assert {"find_jobs", "find_jobs_by_name", "submit"}.isdisjoint(repo.backend.calls)


class TestExamples:
    def test_they_are_found_again_on_another_machine(self, repo):
        repo.declare(**prompted())
        repo.run()
        build, state = build_of(repo), repo.project.state
        shots = find_shots(build, state=state)
        assert len(shots) == 2
        shutil.rmtree(state)
        with pytest.raises(BackendError, match="its dataset is not on this machine") as caught:
            find_shots(build, state=state)
        assert "ftctl plan" in caught.value.remedy
        repo.planned()
        assert find_shots(build, state=state) == shots
        assert find_shots(build, state=state) == shots

    def test_a_damaged_file_is_chosen_again(self, repo):
        repo.declare(**prompted())
        repo.run()
        build, state = build_of(repo), repo.project.state
        shots = find_shots(build, state=state)
        (path,) = (state / "prompts").iterdir()
        for damage in (b"", b"[[1]]", b'[[{"role": "user"}, {}]]', b"null"):
            path.write_bytes(damage)
            assert find_shots(build, state=state) == shots

    def test_a_trained_model_shows_none(self, repo):
        repo.declare()
        repo.settle()
        assert find_shots(build_of(repo), state=repo.project.state) == ()

    def test_more_than_there_are_is_refused_by_the_plan(self, repo):
        repo.declare(**prompted(prompt={"few_shot": 60}))
        (problem,) = repo.planned().resolved.problems
        assert problem.field == "prompt.few_shot"
        assert "asks for 60 training examples" in problem.message


class TestWithoutData:
    def test_it_is_the_base_model_itself_and_nothing_measures_it(self, repo, golden):
        declare_bare(repo, aliases=["ft:acme:old::Ab"])
        planned = repo.planned()
        golden("render/plan-prompt-bare.txt", plan_text(planned.plan, planned.desired))
        repo.run(planned=planned)
        assert kinds(repo) == ["Prompt", "Promote"]
        build = build_of(repo, "old")
        assert build.evaluation is None
        assert production(repo, "old") == build.fingerprint
        assert repo.actions() == []

    def test_held_out_examples_that_come_later_measure_it(self, repo):
        declare_bare(repo)
        repo.run()
        columns = {"user": "question", "assistant": "answer"}
        held_out = [{"path": "data/faq.csv", "columns": columns}]
        declare_bare(repo, data={"held_out": held_out}, evaluation={"metrics": ["exact_match"]})
        assert repo.actions() == ["Evaluate old"]
        repo.run()
        assert build_of(repo, "old").evaluation.scores["candidate"]["exact_match"] == 0
        assert repo.actions() == []


def test_a_model_that_is_gone_is_named(repo):
    repo.declare(**prompted())
    repo.run()
    build = build_of(repo)
    require_model(build, lambda _: repo.backend)
    gone = repo.use(silent_bases=["acme/base"])
    with pytest.raises(BackendError, match="is not at scripted any more"):
        require_model(build, lambda _: gone)
