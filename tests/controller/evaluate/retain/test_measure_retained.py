"""Retained ability measured: which prompts a model gets at once, and what is scored and kept."""

import json
import math
from pathlib import Path

import pytest

from backends.contract.completions import Completion, text_of
from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel
from controller.evaluate.compare import EvaluatedModel
from controller.evaluate.measure import read_evaluation_file
from controller.evaluate.prompts.held_out import HeldOut
from controller.evaluate.retain.items import read_items
from controller.evaluate.retain.measure import (
    measure_retained,
    retained_path,
    retained_sets,
    write_retained_file,
)
from controller.evaluate.retain.suites import SUITES
from controller.spec.evaluation import Evaluation
from tests.splits import split_of

ANSWERS = Path(__file__).parent / "answers"
BASE = BaseModel(reference="acme/base", revision="1", identity="scripted:acme/base@1")
CANDIDATE, PLAIN = (
    EvaluatedModel(role=role, place="scripted", base_model=BASE, model_id=None, identity=role)
    for role in ("candidate", "base")
)


def written_answers(suite: str) -> dict[str, dict]:
    return json.loads((ANSWERS / f"{suite}.json").read_text(encoding="utf-8"))


def completion(written) -> Completion:
    """Return an answer: a text, or calls of tools."""
    if isinstance(written, str):
        return Completion(text=written, finish_reason="stop")
    calls = [
        {"function": {"name": one["name"], "arguments": json.dumps(one["arguments"])}}
        for one in written
    ]
    return Completion(text="", finish_reason="tool_calls", tool_calls=calls)


def own_file(folder: Path, *pairs: tuple[str, str | None]):
    """Return a split of questions with their answers."""
    path = folder / "old.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for question, answer in pairs:
            messages = [{"role": "user", "content": question}]
            messages += [] if answer is None else [{"role": "assistant", "content": answer}]
            file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
    return split_of(path)


def settings_of(*retain, **more) -> Evaluation:
    return Evaluation.model_validate({"retain": list(retain), **more})


OLD = {"name": "old", "path": "old.jsonl", "metric": "accuracy"}


class Models:
    """Models whose answers are a function of their role and of the prompt."""

    def __init__(self, answer):
        self.answer = answer
        self.calls = []

    def ask(self, models, prompts):
        self.calls.append(([(one.role, one.sampling.max_tokens) for one in models], prompts))
        return lambda model: (self.answer(model.role, prompt) for prompt in prompts)


def by_key(suite: str):
    """Return a function that answers the candidate's items right, and the base model's wrong."""
    items = {text_of(one.messages[-1]): key for key, one in read_items(suite).items()}
    answers = written_answers(suite)

    def answer(role, prompt):
        return completion(
            answers[items[text_of(prompt.messages[-1])]][
                "right" if role == "candidate" else "wrong"
            ]
        )

    return answer


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_is_scored_by_its_items(suite):
    models = Models(by_key(suite))
    (one,) = sets = retained_sets(settings_of(suite), {})
    found = measure_retained(sets, [CANDIDATE, PLAIN], models.ask)
    name = f"retain.{suite}"
    assert found.names == [name]
    assert found.measured.scores == {"candidate": {name: 1.0}, "base": {name: 0.0}}
    assert models.calls[0][0] == [
        (role, SUITES[suite].max_tokens) for role in ("candidate", "base")
    ]
    assert [len(tallies[name]) for tallies in found.measured.tallies.values()] == [
        len(one.prompts)
    ] * 2
    assert all(bool(prompt.tools) == (suite == "tool_calls") for prompt in one.prompts)
    metric = one.metric.metric
    assert metric.description == f"Share of right answers of the suite: {SUITES[suite].words}."
    assert (metric.is_proportion, metric.higher_is_better) == (True, True)


def test_sets_with_equal_limits_are_asked_at_once_and_read_back_apart(tmp_path):
    """A model may have to be loaded for each call."""
    split = own_file(tmp_path, ("하나", "1"), ("둘", "2"), ("셋", "3"))
    settings = settings_of(
        "json", OLD, "instructions", "arithmetic", max_tokens=SUITES["json"].max_tokens
    )
    sets = retained_sets(settings, {"old": split})
    assert [one.name for one in sets] == ["arithmetic", "json", "instructions", "old"]
    answers = {"하나": "1", "둘": "1", "셋": "3"}
    models = Models(
        lambda _, prompt: completion(answers.get(text_of(prompt.messages[-1]), "no answer"))
    )
    found = measure_retained(sets, [CANDIDATE], models.ask)
    limits = [asked for asked, _ in models.calls]
    assert limits == [
        [("candidate", SUITES["arithmetic"].max_tokens)],
        [("candidate", SUITES["json"].max_tokens)],
    ]
    assert [len(prompts) for _, prompts in models.calls] == [
        len(read_items("arithmetic")),
        len(read_items("json")) + len(read_items("instructions")) + 3,
    ]
    assert found.measured.scores["candidate"]["retain.old"] == pytest.approx(2 / 3)
    assert [one.text for one in found.answers["old"]["candidate"]()] == ["1", "1", "3"]
    assert list(found.answers["old"]["candidate"]()) == list(found.answers["old"]["candidate"]())


def test_the_prompts_of_several_sets_are_one_sequence(tmp_path):
    split = own_file(tmp_path, ("하나", "1"), ("둘", "2"))
    sets = retained_sets(
        settings_of("json", OLD, max_tokens=SUITES["json"].max_tokens), {"old": split}
    )
    models = Models(lambda *_: completion("?"))
    measure_retained(sets, [CANDIDATE], models.ask)
    ((_, joined),) = models.calls
    every = [*sets[0].prompts, *sets[1].prompts]
    assert list(joined) == every
    assert [joined[place] for place in range(len(joined))] == every
    assert [joined[place] for place in (-1, -2, -3)] == every[:-4:-1]
    assert list(joined[len(every) - 3 : len(every) - 1]) == every[-3:-1]
    assert list(joined[::-5]) == every[::-5]
    for place in (len(every), -len(every) - 1):
        with pytest.raises(IndexError):
            joined[place]


def test_a_file_of_the_teams_own_is_asked_as_the_spec_says(tmp_path):
    split = own_file(
        tmp_path, ("환불되나요?", "예"), ("그림이 있나요?", "아니요"), ("그리고요?", None)
    )
    sources = [OLD, {**OLD, "name": "labels", "metric": {"f1_macro": {"labels": ["예"]}}}]
    sets = retained_sets(settings_of(*sources, max_tokens=77), {"old": split, "labels": split})
    assert [one.metric.name for one in sets] == ["retain.old", "retain.labels"]
    assert {one.max_tokens for one in sets} == {77}
    # The labels are those of the file, unless the metric names them.
    assert [one.metric.settings.labels for one in sets] == [["예", "아니요"], ["예"]]
    places = list(sets[0].places())
    assert [one.origin for one in places] == ["old.jsonl:1", "old.jsonl:2", "old.jsonl:3"]
    assert [one.id for one in places] == [row.id for row in HeldOut(split).rows()]
    found = measure_retained(sets, [CANDIDATE], Models(lambda *_: completion(" 예\n")).ask)
    assert found.measured.scores["candidate"]["retain.old"] == pytest.approx(1 / 3)


def test_the_file_has_a_line_for_each_prompt_with_its_set_and_values(tmp_path):
    split = own_file(tmp_path, ("하나", "1"), ("둘", "2"))
    sets = retained_sets(settings_of("tool_calls", OLD), {"old": split})
    called = by_key("tool_calls")

    def answer(role, prompt):
        if text_of(prompt.messages[-1]) in {"하나", "둘"}:
            return completion("1")
        return called(role, prompt)

    found = measure_retained(sets, [CANDIDATE, PLAIN], Models(answer).ask)
    path = retained_path(tmp_path / "b-e.jsonl")
    assert path == tmp_path / "b-e-retain.jsonl"
    write_retained_file(path, found)
    lines = list(read_evaluation_file(path))
    items = read_items("tool_calls")
    assert [(one["suite"], one["origin"]) for one in lines] == [
        *(("tool_calls", key) for key in items),
        ("old", "old.jsonl:1"),
        ("old", "old.jsonl:2"),
    ]
    first, last = lines[0], lines[-1]
    item = items[first["origin"]]
    assert (first["id"], first["messages"], first["tools"]) == (
        item.digest,
        item.messages,
        item.tools,
    )
    assert first["values"] == {
        "candidate": {"retain.tool_calls": 1.0},
        "base": {"retain.tool_calls": 0.0},
    }
    assert first["columns"] == {}
    assert first["reference"] is None
    assert last["answers"] == {"candidate": "1", "base": "1"}
    assert last["values"]["candidate"] == {"retain.old": 0.0}
    assert last["reference"] == "2"
    with_calls = [
        one for one in lines if one["answers"]["candidate"] == "" and one["suite"] != "old"
    ]
    assert with_calls
    assert all(one["calls"]["candidate"] for one in with_calls)


def test_nothing_is_written_where_nothing_is_retained(tmp_path):
    found = measure_retained([], [CANDIDATE], Models(None).ask)
    assert found.measured.scores == {"candidate": {}}
    write_retained_file(tmp_path / "x.jsonl", found)
    assert not (tmp_path / "x.jsonl").exists()


@pytest.mark.parametrize("loss", [math.inf, math.nan, 1e6])
def test_a_candidate_that_diverged_is_refused_and_a_base_model_left_out(tmp_path, loss):
    """The perplexity of a loss of a million is beyond every number."""
    split = own_file(tmp_path, ("하나", "1"))
    sets = retained_sets(settings_of({**OLD, "metric": "perplexity"}), {"old": split})

    def asked(diverged):
        good, bad = (
            Completion(text="1", finish_reason="stop", reference_loss=one, reference_tokens=3)
            for one in (1.0, loss)
        )
        return Models(lambda role, _: bad if role == diverged else good).ask

    with pytest.raises(
        BackendError, match=r"retain\.old of the trained model is not a finite number"
    ) as caught:
        measure_retained(sets, [CANDIDATE, PLAIN], asked("candidate"))
    assert caught.value.remedy == "Lower the learning rate, or look for odd examples."
    found = measure_retained(sets, [CANDIDATE, PLAIN], asked("base"))
    assert found.measured.scores == {"candidate": {"retain.old": round(math.e, 6)}, "base": {}}
    write_retained_file(tmp_path / "x.jsonl", found)
    (line,) = read_evaluation_file(tmp_path / "x.jsonl")
    assert line["values"]["base"] == {"retain.old": None}


def test_a_metric_by_question_knows_the_question_of_each_prompt(tmp_path):
    split = own_file(tmp_path, ("하나", "1"), ("둘", "2"), ("셋", "3"))
    tests = [
        {"vars": {"question": asked}, "assert": [{"type": "equals", "value": said}]}
        for asked, said in (("하나", "1"), ("둘", "9"))
    ]
    metric = {"promptfoo": {"inline": {"tests": tests}}}
    (one,) = retained_sets(settings_of({**OLD, "metric": metric}), {"old": split})
    assert one.tally([completion("1"), completion("2"), completion("3")]) == [(1, 1), (0, 1), None]


def test_an_answer_too_few_is_a_defect(tmp_path):
    (one,) = retained_sets(
        settings_of(OLD), {"old": own_file(tmp_path, ("하나", "1"), ("둘", "2"))}
    )
    for answers in ([], [completion("1")], [completion("1")] * 3):
        with pytest.raises(ValueError, match="zip"):
            one.tally(answers)
    assert one.tally([completion("1")] * 2) == [(1, 1), (0, 1)]
