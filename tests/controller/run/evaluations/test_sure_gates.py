"""Gates that ask how sure it is, in whole runs: luck, margins, prompts that do as well."""

import json
import re

import pytest
from ruamel.yaml import YAML

from backends.contract.completions import Completion, text_of
from controller.errors import ExitCode
from tests.controller.run.runs import FASTER, production

HELD_OUT = 120
EMPTY: dict = {}
yaml = YAML(typ="safe")
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

    def declare(gate, compare_to=("base", "production"), evaluation_more=EMPTY, **changes):
        evaluation = {"metrics": ["accuracy"], "compare_to": list(compare_to), **evaluation_more}
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
        last = text_of(prompt.messages[-1]).rpartition(" ")[2]
        number = int(last) if last.isdigit() else limit
        right = text_of(prompt.reference or {})
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


def said_of_rivals(repo) -> str:
    """Return what `apply` said last of rivals, which the plan says as well."""
    (note,) = [one for one in repo.planned().plan.notes if "To declare it" in one or "But" in one]
    text = note.removeprefix("faq: ")
    assert any(text in one.message for one in repo.reporter.outcomes)
    return text


def test_a_prompt_that_passes_the_same_gate_needs_no_training(repo, declare):
    repo.use(answer=right_until([100]))
    declare(
        ["accuracy > base.accuracy @ 95%"],
        ["base", "base_few_shot"],
        hyperparameters=FASTER,
        seed=7,
    )
    repo.settle()
    assert said_of_rivals(repo) == (
        "no training is needed: base_few_shot passes the same gate, and this build is not shown to "
        "be better: base_few_shot has accuracy 0.8333, this build 0.8333; the difference is between "
        "-0.03102 and 0.03102. To declare it, write in the spec: `method: prompt`, "
        "`prompt: {few_shot: 4}`; and remove `hyperparameters`, `seed`"
    )
    scores = repo.lockfile.finetunes["faq"].builds[production(repo)].evaluation.scores
    assert {role: one["accuracy"] for role, one in scores.items()} == {
        "candidate": 0.833333,
        "base": 0.25,
        "base_few_shot": 0.833333,
    }


def test_the_declared_choice_is_the_same_as_the_rival_and_asks_nobody(repo, declare):
    repo.use(answer=right_until([100]))
    luna = {"name": "luna", "model": "acme/luna", "prompt": "한 단어로 답하세요.", "few_shot": 2}
    gate = ["accuracy > base.accuracy @ 95%"]
    declare(gate, ["base", luna])
    repo.settle()
    text = said_of_rivals(repo)
    spec = text.partition("write in the spec: ")[2]
    assert spec == (
        '`method: prompt`, `base_model: "acme/luna"`, '
        '`prompt: {system: "한 단어로 답하세요.", few_shot: 2}`'
    )
    trained = repo.lockfile.finetunes["faq"].builds[production(repo)]
    repo.backend.calls.clear()
    written = {}
    for key in re.findall("`(.+?)`", spec):
        written |= yaml.load(key)
    declare(["accuracy > 0.5"], [], **written)
    repo.settle()
    prompted = repo.lockfile.finetunes["faq"].builds[production(repo)]
    assert prompted.prompt is not None
    assert prompted.evaluation.scores["candidate"] == trained.evaluation.scores["luna"]
    assert (repo.backend.calls["complete"], repo.backend.calls["submit"]) == (0, 0)


@pytest.mark.parametrize(
    ("few_shot", "gate", "said"),
    [
        (60, ["accuracy >= 0.4"], "no training is needed for this gate: base_few_shot passes it too. This build is better, though: base_few_shot has accuracy 0.5, this build 0.8333; the difference is between 0.2553 and 0.4217. To declare it, write in the spec: `method: prompt`, `prompt: {few_shot: 4}`"),
        (99, ["accuracy >= 0.8 @ 95%"], "a prompt does as well; training may not pay: base_few_shot has accuracy 0.825, this build 0.8333; the difference is between -0.02294 and 0.0457. Whether base_few_shot passes the gate cannot be told (accuracy >= 0.8 @ 95%: cannot tell: accuracy is 0.825"),
        (99, ["accuracy >= 0.83"], "a prompt does as well; training may not pay: base_few_shot has accuracy 0.825, this build 0.8333; the difference is between -0.02294 and 0.0457. But base_few_shot does not pass the gate either (accuracy >= 0.83: accuracy is 0.825)"),
        (99, [], "a prompt does as well; training may not pay: base_few_shot has accuracy 0.825, this build 0.8333; the difference is between -0.02294 and 0.0457. To declare it"),
        (99, ["accuracy > base_few_shot.accuracy"], "a prompt does as well; training may not pay"),
        (99, ["stop_rate >= 0.9", "retain.json >= 0"], "a prompt does as well; training may not pay: base_few_shot has stop_rate 1, this build 1; the difference is between -0.03102 and 0.03102. Whether base_few_shot passes the gate cannot be told (retain.json >= 0: retain.json was not measured)"),
        (60, ["accuracy >= 0.6"], None),
    ],
)  # fmt: skip
def test_what_is_said_of_a_rival_follows_the_same_gate(repo, declare, few_shot, gate, said):
    # Declared without retain in the evaluation, a gate cannot name it.
    retain = {"retain": ["json"]} if any("retain" in one for one in gate) else {}
    repo.use(answer=right_until([100, few_shot]))
    declare(gate, ["base", "base_few_shot"], evaluation_more=retain)
    repo.settle()
    notes = [one for one in repo.planned().plan.notes if "base_few_shot" in one]
    assert [one.removeprefix("faq: ")[: len(said or "")] for one in notes] == (
        [said] if said else []
    )


def test_a_prompt_itself_is_not_told_that_it_needs_no_training(repo, declare):
    repo.use(answer=right_until([100]))
    declare(["accuracy > 0.2"], ["base_few_shot"], method="prompt", prompt={"few_shot": 2})
    repo.settle()
    assert [one for one in repo.planned().plan.notes if "base_few_shot" in one] == []


def test_a_gate_on_production_is_judged_for_the_rival_example_by_example(repo, declare):
    repo.use(answer=right_until([80, 110]))
    declare([])
    repo.settle()
    declare(LEAD, ["production", "base_few_shot"], hyperparameters=FASTER)
    repo.settle()
    entry = repo.lockfile.finetunes["faq"]
    recorded = entry.builds[entry.production].evaluation.rival_differences
    assert recorded["base_few_shot"]["production"]["accuracy"].n == HELD_OUT
    assert said_of_rivals(repo).startswith("no training is needed: base_few_shot passes the same")


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
