"""Whole runs with `evaluation.retain`."""

import json
from pathlib import Path

import pytest

from backends.contract.completions import Completion
from backends.testing import WordInspector
from backends.testing.scripts import answer_well
from controller.errors import ExitCode
from controller.evaluate.measure import evaluation_path_of, read_evaluation_file
from controller.evaluate.retain.items import read_items
from controller.evaluate.retain.measure import retained_path
from controller.evaluate.retain.suites import SUITES
from controller.render.status import score_table
from controller.run.evaluations.evaluate import plan_evaluation
from tests.controller.run.runs import FASTER, production

ANSWERS = Path(__file__).parents[2] / "evaluate" / "retain" / "answers"
GATE = ["exact_match >= 0.9", "retain.json >= base.retain.json - 0.05"]
SUITES_OF_TWO_LIMITS = ["json", "arithmetic", "instructions"]
JSON = {"metrics": ["exact_match"], "retain": ["json", "arithmetic"]}


def known_answers(kind, *suites):
    """Return right or wrong answers by the prompts' texts."""
    return {
        item.messages[-1]["content"]: json.loads((ANSWERS / f"{suite}.json").read_text())[key][kind]
        for suite in suites
        for key, item in read_items(suite).items()
    }


def answering(*, forgets=(), fails=()):
    """Return the answers of models: the tuned one wins its task, and forgets some suites.

    Args:
        forgets: Suites that the tuned model answers wrongly.
        fails: Suites that the base model answers wrongly.
    """
    by_model = {}
    for is_tuned, lost in ((True, forgets), (False, fails)):
        kept = [suite for suite in SUITES if suite not in lost]
        by_model[is_tuned] = known_answers("right", *kept) | known_answers("wrong", *lost)

    def answer(model, prompt):
        text = by_model[model is not None].get(prompt.messages[-1]["content"])
        if text is None:
            return answer_well(model, prompt)
        calls = [] if isinstance(text, str) else text
        return Completion(
            text=text if isinstance(text, str) else "",
            finish_reason="stop",
            tool_calls=[
                {
                    "id": f"call_{number}",
                    "type": "function",
                    "function": {**one, "arguments": json.dumps(one["arguments"])},
                }
                for number, one in enumerate(calls)
            ],
        )

    return answer


def built(repo):
    entry = repo.lockfile.finetunes["faq"]
    return entry.builds[entry.candidate or entry.production]


def retained(repo):
    path = evaluation_path_of(repo.project.state, built(repo))
    return list(read_evaluation_file(retained_path(path)))


def test_a_model_that_wins_its_task_and_loses_its_json_is_stopped(repo, golden):
    repo.use(answer=answering())
    repo.declare(evaluation=JSON, gate=GATE)
    assert repo.settle().exit_code == ExitCode.DONE
    first = production(repo)
    assert built(repo).evaluation.scores["candidate"]["retain.json"] == 1.0

    repo.use(answer=answering(forgets=["json"]))
    repo.declare(evaluation=JSON, gate=GATE, hyperparameters=FASTER)
    converged = repo.settle()
    assert converged.exit_code == ExitCode.GATE_FAILED
    assert production(repo) == first
    scores = built(repo).evaluation.scores
    assert scores["candidate"]["exact_match"] == scores["base"]["retain.json"] == 1.0
    assert scores["candidate"]["retain.json"] == 0.0
    assert scores["candidate"]["retain.arithmetic"] == 1.0
    assert built(repo).verdict.failures == [
        "retain.json >= base.retain.json - 0.05: retain.json is 0 (base.retain.json is 1)"
    ]
    assert "retain.json is 0" in converged.outcomes[-1].message
    golden("render/retained.txt", score_table(repo.lockfile) + "\n")


def test_a_gate_may_be_sure_of_what_is_retained(repo):
    repo.use(answer=answering())
    gate = ["retain.json >= base.retain.json - 0.2 @ 95%"]
    repo.declare(evaluation={"compare_to": [], "retain": ["json"]}, gate=gate)
    assert repo.settle().exit_code == ExitCode.DONE
    first, evaluation = production(repo), built(repo).evaluation
    assert evaluation.samples["candidate"]["retain.json"].right == 26
    assert list(evaluation.differences["base"]["retain.json"].pairs) == [26, 0, 0, 0]

    repo.use(answer=answering(forgets=["json"]))
    repo.declare(
        evaluation={"compare_to": [], "retain": ["json"]}, gate=gate, hyperparameters=FASTER
    )
    assert repo.settle().exit_code == ExitCode.GATE_FAILED
    assert production(repo) == first


def test_a_suite_that_is_too_small_for_its_gate_is_refused_by_the_plan(repo):
    gate = ["retain.json >= base.retain.json - 0.05 @ 95%"]
    repo.declare(evaluation={"retain": ["json"]}, gate=gate)
    (problem,) = repo.planned().resolved.problems
    assert problem.message == (
        f"26 prompts of retain.json cannot show `{gate[0]}`, whatever the models answer"
    )
    assert problem.remedy == "Ask for a wider margin, or be less sure."


def test_every_suite_is_measured_and_its_answers_are_kept(repo):
    repo.use(answer=answering(fails=["refusals"]))
    repo.declare(evaluation={"compare_to": [], "retain": ["all"]}, gate=["retain.json >= 1"])
    assert repo.settle().exit_code == ExitCode.DONE
    scores = built(repo).evaluation.scores
    every = {f"retain.{suite}": 1.0 for suite in SUITES}
    assert every.items() <= scores["candidate"].items()
    # The base model answers nothing else.
    assert scores["base"] == {**every, "retain.refusals": 0.0}
    lines = retained(repo)
    assert len(lines) == sum(len(read_items(suite)) for suite in SUITES)
    line = next(one for one in lines if one["origin"] == "json-ko-01")
    assert line["suite"] == "json"
    assert line["answers"]["candidate"] == '{"이름": "김민수", "나이": 31}'
    assert line["values"] == {"base": {"retain.json": 1}, "candidate": {"retain.json": 1}}
    call = next(one for one in lines if one["origin"] == "tools-en-01")
    assert call["calls"]["candidate"][0]["function"]["name"] == "get_weather"


def test_each_suite_has_its_own_longest_answer(repo):
    limits = []

    class Watching(type(repo.backend)):
        def complete(self, base_model, models, prompts, sampling, *rest):
            limits.append((len(prompts), sampling.max_tokens, len(models)))
            return super().complete(base_model, models, prompts, sampling, *rest)

    repo.backend = Watching(repo.service, answer=answering())
    repo.declare(evaluation={"max_tokens": 7, "retain": SUITES_OF_TWO_LIMITS})
    repo.settle()
    # Suites with the same limit are asked in one call.
    assert limits[1:] == [(28, 128, 2), (26 + 28, 192, 2)]
    # Kept answers are scored again, and nobody is asked.
    limits.clear()
    settings = {"max_tokens": 7, "retain": SUITES_OF_TWO_LIMITS, "metrics": ["exact_match"]}
    repo.declare(evaluation=settings)
    repo.settle()
    assert limits == []
    assert built(repo).evaluation.scores["candidate"].keys() > {"exact_match", "retain.json"}


def test_the_plan_says_that_other_abilities_are_asked(repo):
    repo.declare()
    repo.settle()
    repo.declare(evaluation={"retain": ["json", "language"]})
    (action,) = repo.planned().plan.actions
    assert action.reason == "retain.json, retain.language changed"
    order = plan_evaluation("faq", repo.lockfile, repo.planned())
    assert "104 answers to the prompts of retain (json, language)" in order.action.asks


OLD = [
    {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
    for q, a in (("영업시간은?", "아홉 시부터요."), ("주차되나요?", "네, 됩니다."))
]


def old_lines(rows):
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows)


def test_examples_of_ones_own_are_asked_and_scored(repo):
    repo.write("finetunes/data/old.jsonl", old_lines([*OLD, OLD[0]]))
    own = {"name": "faq_old", "path": "data/old.jsonl", "metric": "exact_match"}
    settings = {"retain": [own]}
    gate = ["retain.faq_old > base.retain.faq_old"]
    repo.declare(evaluation=settings, gate=gate)
    assert repo.settle().exit_code == ExitCode.DONE
    scores = built(repo).evaluation.scores
    assert scores["candidate"]["retain.faq_old"] == 1.0
    assert scores["base"]["retain.faq_old"] == 0.0
    lines = retained(repo)
    assert [one["origin"] for one in lines] == [f"finetunes/data/old.jsonl:{n}" for n in (1, 2, 3)]
    assert lines[0]["reference"] == "아홉 시부터요."

    # Other examples are another measurement, without training.
    repo.write("finetunes/data/old.jsonl", old_lines(OLD[:1]))
    repo.settle()
    assert len(retained(repo)) == 1
    assert repo.backend.submitted == 1


def test_a_table_of_ones_own_names_its_columns(repo):
    repo.write("finetunes/data/old.csv", "질문,답\n영업시간은?,아홉 시부터요.\n")
    own = {
        "name": "faq_old",
        "path": "data/old.csv",
        "columns": {"user": "질문", "assistant": "답"},
        "metric": {"regex_match": {"pattern": "아홉"}},
    }
    repo.declare(evaluation={"retain": [own]})
    assert repo.settle().exit_code == ExitCode.DONE
    assert built(repo).evaluation.scores["candidate"]["retain.faq_old"] == 1.0


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("data/none.jsonl", None, "none.jsonl"),
        ("data/old.jsonl", "", "the file is empty"),
        ("data/old.jsonl", '{"messages": [{"role": "user", "content": "q"}]}\n', "assistant"),
        ("../../elsewhere.jsonl", None, "leaves the repository"),
    ],
)
def test_a_wrong_file_of_ones_own_is_refused_by_the_plan(repo, path, content, message):
    if content is not None:
        repo.write(f"finetunes/{path}", content)
    own = {"name": "faq_old", "path": path, "metric": "exact_match"}
    repo.declare(evaluation={"retain": ["json", own]})
    (problem,) = repo.planned().resolved.problems
    assert message in problem.message
    # A problem of the spec has the source's field and line, a problem of its rows their file.
    at_spec = problem.field.startswith("evaluation.retain[1]") and problem.line
    assert at_spec or problem.file == "finetunes/data/old.jsonl"


def test_tools_are_not_asked_of_a_model_that_cannot_read_them(repo):
    repo.use(words=WordInspector(refused="get_time"))
    repo.declare(evaluation={"retain": ["json", "tool_calls"]})
    (problem,) = repo.planned().resolved.problems
    assert problem.field == "evaluation.retain[1]"
    assert "cannot answer the prompts of tool_calls" in problem.message
    assert problem.remedy == "Remove tool_calls."
    repo.declare(evaluation={"retain": ["all"]})
    (problem,) = repo.planned().resolved.problems
    assert problem.remedy == (
        "Leave it out: write arithmetic, json, instructions, refusals, language instead of all."
    )
    repo.declare(evaluation={"retain": ["json"]})
    assert repo.planned().resolved.problems == ()


def test_a_base_model_that_cannot_answer_is_left_out(repo):
    repo.use(answer=answering(), silent_bases=["acme/base"])
    repo.declare(evaluation={"compare_to": [], "retain": ["json"]}, gate=["retain.json >= 0.9"])
    (action,) = repo.planned().plan.actions
    assert any("`base` is left out" in remark for remark in action.warnings)
    assert repo.settle().exit_code == ExitCode.DONE
    assert "base" not in built(repo).evaluation.scores


def test_scores_of_production_have_no_retained_ability(repo):
    settings = {"compare_to": ["production"], "retain": ["json"]}
    repo.use(answer=answering())
    repo.declare(evaluation=settings)
    repo.settle()
    repo.declare(evaluation=settings, hyperparameters=FASTER)
    repo.settle()
    scores = built(repo).evaluation.scores
    assert "stop_rate" in scores["production"]
    assert "retain.json" not in scores["production"]
    assert scores["candidate"]["retain.json"] == 1.0
