"""Gates that ask how sure it is, in whole runs: luck, margins, prompts that do as well."""

import json

import pytest

from backends.contract.completions import Completion, text_of
from controller.errors import ExitCode
from tests.controller.run.runs import FASTER, production

HELD_OUT = 120
SOURCES = {
    "train": [{"path": "data/train.jsonl"}],
    "held_out": [{"path": "data/held_out.jsonl"}],
}
LEAD = ["accuracy > production.accuracy @ 95%"]
NOT_WORSE = ["accuracy >= production.accuracy - 0.1 @ 95%"]


def rows(name: str, count: int) -> str:
    labels = ("환불", "교환")
    lines = [
        {
            "messages": [
                {"role": "user", "content": f"{name} 문의 {number}"},
                {"role": "assistant", "content": labels[number % 2]},
            ]
        }
        for number in range(count)
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


@pytest.fixture
def declare(repo):
    repo.write("finetunes/data/train.jsonl", rows("훈련", 40))
    repo.write("finetunes/data/held_out.jsonl", rows("평가", HELD_OUT))

    def declare(gate, compare_to=("base", "production"), **changes):
        evaluation = {"metrics": ["accuracy"], "compare_to": list(compare_to)}
        repo.declare(data=SOURCES, evaluation=evaluation, gate=list(gate), **changes)

    return declare


def right_until(limits):
    """Answer right as far as a limit goes; the newest model has the last limit."""
    models = []

    def answer(model, prompt):
        if model is not None and model not in models:
            models.append(model)
        limit = 30 if model is None else limits[models.index(model)]
        if model is None and len(prompt.messages) > 1:
            limit = limits[-1]  # with examples before the question, the base does as well
        number = int(text_of(prompt.messages[-1]).rpartition(" ")[2])
        right = text_of(prompt.reference)
        text = right if number < limit else "모름"
        return Completion(text=text, finish_reason="stop", reference_loss=1.0, reference_tokens=2)

    return answer


@pytest.mark.parametrize(
    ("limits", "gate", "code", "said"),
    [
        ([80, 110], LEAD, ExitCode.DONE, "gate passed"),
        ([80, 82], LEAD, ExitCode.GATE_FAILED, "the examples cannot tell (accuracy > production.accuracy @ 95%: cannot tell: accuracy is 0.6833 (production.accuracy is 0.6667)"),
        ([110, 80], LEAD, ExitCode.GATE_FAILED, "gate failed (accuracy > production.accuracy @ 95%: worse"),
        ([100, 99], NOT_WORSE, ExitCode.DONE, "gate passed"),
        ([100, 60], NOT_WORSE, ExitCode.GATE_FAILED, "gate failed"),
    ],
)  # fmt: skip
def test_a_candidate_is_promoted_only_if_it_is_surely_so(repo, declare, limits, gate, code, said):
    repo.use(answer=right_until(limits))
    declare(gate)
    assert repo.settle().exit_code is ExitCode.DONE
    first = production(repo)
    declare(gate, hyperparameters=FASTER)
    result = repo.settle()
    assert result.exit_code is code
    assert said in repo.reporter.outcomes[-1 if code else -2].message
    assert (production(repo) != first) == (code is ExitCode.DONE)
    if code:
        (action,) = repo.planned().plan.actions
        assert action.reason.startswith("build ")
        entry = repo.lockfile.finetunes["faq"]
        verdict = entry.builds[entry.candidate].verdict
        assert bool(verdict.undecided) == ("cannot tell" in said)
        words = "Hold out more examples" if verdict.undecided else "Change the spec"
        assert words in action.remedy


def test_a_gate_that_asks_for_more_is_judged_from_what_is_recorded(repo, declare):
    repo.use(answer=right_until([80, 82]))
    declare([])
    repo.settle()
    declare(["accuracy > production.accuracy"], hyperparameters=FASTER)
    repo.settle()
    asked = repo.backend.calls["complete"]
    declare(NOT_WORSE, hyperparameters=FASTER)
    assert repo.actions() == ["Judge faq"]
    repo.settle()
    assert repo.backend.calls["complete"] == asked


def test_a_prompt_that_does_as_well_is_said(repo, declare):
    repo.use(answer=right_until([100]))
    declare(["accuracy > base.accuracy @ 95%"], ["base", "base_few_shot"])
    repo.settle()
    said = "a prompt does as well; training may not pay: base_few_shot has accuracy 0.8333"
    assert any(said in one.message for one in repo.reporter.outcomes)
    assert repo.planned().plan.notes[-1].startswith(f"faq: {said}")
    scores = repo.lockfile.finetunes["faq"].builds[production(repo)].evaluation.scores
    assert {role: one["accuracy"] for role, one in scores.items()} == {
        "candidate": 0.833333,
        "base": 0.25,
        "base_few_shot": 0.833333,
    }


def test_a_slice_is_measured_and_judged(repo, declare):
    repo.use(answer=right_until([60]))
    declare(["accuracy[label=환불] >= 0.9"])
    assert repo.settle().exit_code is ExitCode.GATE_FAILED
    entry = repo.lockfile.finetunes["faq"]
    scores = entry.builds[entry.candidate].evaluation.scores["candidate"]
    assert scores["accuracy[label=환불]"] == 0.5


def test_a_slice_without_examples_is_refused_before_anything_is_trained(repo, declare):
    declare(["accuracy[label=환블] >= 0.9"])
    (action,) = repo.planned().plan.actions
    assert action.reason == "gate[0]: no held-out example has '환블' in label"
    assert action.remedy == "Did you mean `환불`?"


def test_another_slice_of_the_gate_is_measured_without_asking_again(repo, declare):
    repo.use(answer=right_until([60]))
    declare(["accuracy[label=환불] >= 0.1"])
    repo.settle()
    asked = repo.backend.calls["complete"]
    declare(["accuracy[label=교환] >= 0.1"])
    assert repo.actions() == ["Evaluate faq"]
    assert repo.settle().exit_code is ExitCode.DONE
    scores = repo.lockfile.finetunes["faq"].builds[production(repo)].evaluation.scores
    assert scores["candidate"]["accuracy[label=교환]"] == 0.5
    assert repo.backend.calls["complete"] == asked


def test_where_answers_are_drawn_the_base_answers_twice(repo, declare):
    seen = []

    class Watching(type(repo.backend)):
        def complete(self, base_model, models, prompts, sampling, skip=()):
            seen.append((list(models), sampling.seed, sampling.temperature))
            return super().complete(base_model, models, prompts, sampling, skip)

    declare([])  # its data
    repo.backend = Watching(repo.service, answer=right_until([60]))
    evaluation = {"metrics": ["accuracy"], "temperature": 0.7}
    repo.declare(data=SOURCES, evaluation=evaluation)
    repo.settle()
    build = repo.lockfile.finetunes["faq"].builds[production(repo)]
    assert seen == [([build.model_id, None], 0, 0.7), ([build.model_id, None], 1, 0.7)]
    assert build.evaluation.scores["base_again"] == build.evaluation.scores["base"]
    said = "asked twice, the base model differs from itself in held_out_loss by 0, stop_rate by 0"
    assert any(said in one.message for one in repo.reporter.outcomes)
