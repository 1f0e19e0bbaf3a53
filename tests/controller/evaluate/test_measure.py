"""Held-out examples → prompts → scores, with a backend that answers by script."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from backends.contract.completions import Completion, text_of
from backends.contract.errors import BackendError, ModelMissing
from backends.contract.jobs import BaseModel
from backends.testing import ScriptedBackend
from controller.evaluate.answer_store import AnswerStore
from controller.evaluate.ask import KeptAnswers, ask
from controller.evaluate.compare import EvaluatedModel
from controller.evaluate.measure import (
    evaluation_path,
    evaluation_path_of,
    measure,
    read_evaluation_file,
    write_evaluation_file,
)
from controller.evaluate.prompts.held_out import HeldOut
from controller.spec.evaluation import Evaluation
from tests.splits import split_of

BASE = BaseModel(reference="acme/base", revision="1", identity="scripted:acme/base@1")
CALL = {"id": "call_1", "type": "function", "function": {"name": "예약", "arguments": "{}"}}
TOOLS = [{"type": "function", "function": {"name": "예약"}}]
USER = {"role": "user", "content": "주말에도 문 여나요?"}
YES = {"role": "assistant", "content": "네, 엽니다."}


def write(path: Path, *examples) -> Path:
    lines = [json.dumps(example, ensure_ascii=False) + "\n" for example in examples]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def held_out_of(path: Path) -> HeldOut:
    return HeldOut(split_of(path))


def model_of(role: str = "candidate", **changes) -> EvaluatedModel:
    made = EvaluatedModel(
        role=role, place="scripted", base_model=BASE, model_id=None, identity=f"scripted {role}"
    )
    return replace(made, **changes)


def measured_by(folder, models, held_out, open_backend, *, metrics=(), slices=()):
    """Return what was measured, and the lines of the evaluation file."""
    kept = KeptAnswers(store=AnswerStore(folder / "answers"), prompts=held_out)
    answers = ask(models, kept, open_backend)
    chosen = Evaluation.model_validate({"metrics": list(metrics)}).metrics
    found = measure(chosen, models, held_out, answers.of, slices)
    path = folder / "evaluation.jsonl"
    write_evaluation_file(path, found, models, held_out, answers.of)
    return found, list(read_evaluation_file(path))


def measured(tmp_path: Path, *examples, answer, metrics=("exact_match",), roles=("candidate",)):
    """Return the scores of each role, and the lines of the evaluation file."""
    backend = ScriptedBackend(tmp_path / "state", answer=answer)
    tmp_path.mkdir(exist_ok=True)
    held_out = held_out_of(write(tmp_path / "held_out.jsonl", *examples))
    models = [model_of(role) for role in roles]
    found, lines = measured_by(tmp_path, models, held_out, lambda _: backend, metrics=metrics)
    return found.scores, lines


def count_letters(_model, prompt) -> Completion:
    """Answer nothing, with a loss of as many nats as the expected answer has letters."""
    letters = len(text_of(prompt.reference or {}))
    return Completion(
        text="", finish_reason="stop", reference_loss=float(letters), reference_tokens=letters
    )


def test_a_plain_text_is_measured_and_nothing_is_asked(tmp_path):
    found, answers = measured(tmp_path, {"text": "네"}, {"text": "카페는"}, answer=count_letters)
    assert (found["candidate"], answers) == ({"held_out_loss": 2.5}, [])


def test_a_conversation_is_asked_and_scored(tmp_path):
    found, answers = measured(tmp_path, {"messages": [USER, YES]}, answer=count_letters)
    assert found["candidate"] == {"held_out_loss": 7.0, "stop_rate": 1.0, "exact_match": 0.0}
    (line,) = answers
    assert len(line["id"]) == 16
    assert line["origin"] == "held_out.jsonl:1"
    assert {key: line[key] for key in ("messages", "reference", "answers", "values")} == {
        "messages": [USER],
        "reference": "네, 엽니다.",
        "answers": {"candidate": ""},
        "values": {"candidate": {"held_out_loss": 7.0, "stop_rate": 1.0, "exact_match": 0.0}},
    }


@pytest.mark.parametrize(
    ("example", "messages", "tools", "reference"),
    [
        ({"messages": [USER, YES]}, [USER], (), YES),
        ({"messages": [USER, YES], "tools": TOOLS}, [USER], TOOLS, YES),
        ({"messages": [USER, YES, USER, YES]}, [USER, YES, USER], (), YES),
        ({"messages": [YES]}, [], (), YES),
        ({"messages": [USER]}, [USER], (), None),
        ({"messages": [USER], "grade": "a"}, [USER], (), None),
        (
            {
                "input": {"messages": [USER], "tools": TOOLS},
                "preferred_output": [YES],
                "non_preferred_output": [YES],
            },
            [USER],
            TOOLS,
            YES,
        ),
        ({"text": "카페는"}, [], (), {"text": "카페는"}),
    ],
)
def test_an_example_is_a_prompt_and_the_expected_answer(
    tmp_path, example, messages, tools, reference
):
    (prompt,) = held_out_of(write(tmp_path / "held_out.jsonl", example))
    assert (list(prompt.messages), prompt.tools, prompt.reference) == (messages, tools, reference)
    assert prompt.is_text == ("text" in example)


def test_calls_and_thinking_are_kept_with_the_answers(tmp_path):
    def answer(_model, _prompt):
        text = "<think>주말이니까.</think>네"
        return Completion(text=text, finish_reason="tool_calls", tool_calls=(CALL,))

    called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    found, answers = measured(tmp_path, {"messages": [USER, called]}, answer=answer)
    assert found["candidate"] == {"stop_rate": 1.0, "exact_match": 1.0}
    (line,) = answers
    expected = {
        "reference": "",
        "reference_calls": [CALL],
        "answers": {"candidate": "네"},
        "calls": {"candidate": [CALL]},
        "thinking": {"candidate": "주말이니까."},
    }
    assert {key: line[key] for key in expected} == expected


def test_equal_answers_are_equal_bytes(tmp_path):
    def answer(_model, _prompt):
        return Completion(text="네", finish_reason="stop")

    files = []
    for roles in (("production", "base", "candidate"), ("candidate", "base", "production")):
        folder = tmp_path / roles[0]
        folder.mkdir()
        found, _ = measured(folder, {"messages": [USER, YES]}, answer=answer, roles=roles)
        assert set(found) == set(roles)
        files.append((folder / "evaluation.jsonl").read_text(encoding="utf-8"))
    assert files[0] == files[1]
    assert files[0].startswith('{"answers":{"base":"네","candidate":"네","production":"네"},')


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_candidate_that_diverged_is_refused_with_the_metric(tmp_path, loss):
    def answer(_model, _prompt):
        return Completion(text="", finish_reason="stop", reference_loss=loss, reference_tokens=1)

    with pytest.raises(BackendError, match="held_out_loss of the trained model") as caught:
        measured(tmp_path, {"messages": [USER, YES]}, answer=answer)
    assert caught.value.remedy == "Lower the learning rate, or look for odd examples."


def test_scores_are_rounded_and_those_of_a_diverged_rival_are_absent(tmp_path):
    backend = ScriptedBackend(tmp_path / "state", answer=lambda *_: answers.pop(0))
    answers = [
        Completion(text="", finish_reason="stop", reference_loss=loss, reference_tokens=3)
        for loss in (1 / 3, math.nan)
    ]
    held_out = held_out_of(write(tmp_path / "held_out.jsonl", {"messages": [USER, YES]}))
    found, (line,) = measured_by(
        tmp_path, [model_of(), model_of("base", identity="other")], held_out, lambda _: backend
    )
    assert found.scores["candidate"] == {"held_out_loss": 0.333333, "stop_rate": 1.0}
    assert found.scores["base"] == {"stop_rate": 1.0}
    assert line["values"]["base"] == {"held_out_loss": None, "stop_rate": 1.0}


def test_models_of_one_base_are_asked_in_one_call(tmp_path):
    backends = {place: ScriptedBackend(tmp_path / place) for place in ("one", "two")}
    elsewhere = replace(BASE, identity="scripted:acme/base@2")
    models = [
        model_of(place="one", identity="a"),
        model_of("base", place="two", identity="b"),
        model_of("production", place="one", identity="c"),
        model_of("older", place="one", identity="d", base_model=elsewhere),
        model_of("terse", place="one", identity="a", prompt="짧게"),
    ]
    held_out = held_out_of(write(tmp_path / "held_out.jsonl", {"messages": [USER, YES]}))
    measured_by(tmp_path, models, held_out, lambda place: backends[place])
    assert (backends["one"].calls["complete"], backends["two"].calls["complete"]) == (3, 1)


def test_a_model_that_is_gone_leaves_no_evaluation(tmp_path):
    backend = ScriptedBackend(tmp_path / "state")
    held_out = held_out_of(write(tmp_path / "held_out.jsonl", {"messages": [USER, YES]}))
    with pytest.raises(ModelMissing):
        measured_by(tmp_path, [model_of(model_id="ft:gone")], held_out, lambda _: backend)
    assert not (tmp_path / "evaluation.jsonl").exists()


def test_each_evaluation_has_a_file_of_its_own(make, tmp_path):
    desired = make.desired()
    build = make.build(desired)
    path = evaluation_path_of(tmp_path, build)
    digits = [
        one.partition(":")[2][:16] for one in (build.fingerprint, build.evaluation.fingerprint)
    ]
    assert path == tmp_path / "evaluations" / f"{digits[0]}-{digits[1]}.jsonl"
    assert path == evaluation_path(tmp_path, build.fingerprint, desired.evaluation_fingerprint)
    assert evaluation_path_of(tmp_path, make.build(desired, evaluated=False)) is None


EVERYTHING = [
    *("contains", "numeric", "accuracy", "balanced_accuracy", "precision_macro", "recall_micro"),
    *("f1_macro", "f1_micro", "unknown_labels", "chrf", "bleu", "rouge_l", "json_valid"),
    *("perplexity", "answer_tokens", "latency_p50", "latency_p95"),
    {"f1": {"label": "12원", "name": "f1_twelve"}},
    {"json_schema": {"inline": {"type": "integer"}}},
    {"cost_per_1000": {"input_per_million": 0.5, "output_per_million": 2}},
]


def test_a_fine_tune_is_measured_by_every_metric_at_once(repo):
    answers = ["12원", "3만 원", "350원"]
    rows = "".join(f"질문 {number}?,{answers[number % 3]}\n" for number in range(60))
    repo.write("finetunes/data/faq.csv", f"question,answer\n{rows}")
    gate = ["f1_macro >= 0", "bleu >= base.bleu - 1 @ 90%", "unknown_labels <= 1"]
    repo.declare(evaluation={"metrics": EVERYTHING}, gate=gate)
    repo.settle()
    (build,) = repo.lockfile.finetunes["faq"].builds.values()
    names = {one if isinstance(one, str) else "f1_twelve" for one in EVERYTHING[:-2]}
    found = build.evaluation.scores["candidate"].keys()
    assert names - found <= {"answer_tokens", "latency_p50", "latency_p95", "perplexity"}
    assert "json_schema" in found
    assert {"f1_macro", "bleu", "chrf"} <= build.evaluation.samples["candidate"].keys()


NO = {"role": "assistant", "content": "아니요"}
PAIR = {"input": {"messages": [USER]}, "preferred_output": [YES], "non_preferred_output": [NO]}


def likely(good: float | None, bad: float | None, text="네, 엽니다.") -> Completion:
    """Return an answer with the log-probabilities of a good and of a bad one, of one token each."""
    return Completion(
        text=text,
        finish_reason="stop",
        reference_loss=None if good is None else -good,
        reference_tokens=0 if good is None else 1,
        rejected_loss=None if bad is None else -bad,
        rejected_tokens=0 if bad is None else 1,
    )


def preferences(tmp_path, examples, **by_role: list[Completion]):
    """Return what was measured of models with these answers."""
    queue = [one for answers in by_role.values() for one in answers]
    return measured(
        tmp_path, *examples, answer=lambda *_: queue.pop(0), roles=tuple(by_role), metrics=()
    )


@pytest.mark.parametrize("roles", [("candidate", "base"), ("base", "candidate")])
def test_preferences_are_measured_next_to_the_base_model(tmp_path, roles):
    # The good answer gained 3 nats, and the bad one lost 1, whoever is asked first.
    answers = {"candidate": [likely(-1, -5)], "base": [likely(-4, -4)]}
    found, (line,) = preferences(tmp_path, [PAIR], **{role: answers[role] for role in roles})
    assert found["candidate"]["preference_margin"] == 4.0
    assert found["candidate"]["preference_accuracy"] == 1.0
    assert found["base"]["preference_margin"] == 0.0
    assert found["base"]["preference_accuracy"] == 0.0  # both are as likely, so none is the better
    assert (line["reference"], line["rejected"]) == ("네, 엽니다.", "아니요")
    assert line["values"]["candidate"]["preference_margin"] == 4.0


def test_without_the_base_model_nobody_knows_what_was_gained(tmp_path):
    found, _ = preferences(tmp_path, [PAIR], candidate=[likely(-1, -5)], luna=[likely(-4, -4)])
    for role in ("candidate", "luna"):
        assert not {"preference_margin", "preference_accuracy"} & found[role].keys()


def test_one_pair_among_conversations_is_enough_for_preferences(tmp_path):
    found, lines = preferences(
        tmp_path,
        [{"messages": [USER, YES]}, PAIR],
        candidate=[likely(-1, None), likely(-1, -3)],
        base=[likely(-2, None), likely(-2, -1)],
    )
    # The mean gain of two good answers is 1, and the bad one lost 2.
    assert found["candidate"]["preference_margin"] == 3.0
    assert ["rejected" in line for line in lines] == [False, True]
    plain, _ = preferences(
        tmp_path / "plain", [{"messages": [USER, YES]}], candidate=[likely(-1, None)]
    )
    assert "preference_accuracy" not in plain["candidate"]


def test_an_answer_marked_as_bad_is_no_expected_answer(tmp_path):
    marked = [
        {"input": {"messages": [USER]}, "output": [YES], "label": True},
        {"input": {"messages": [USER]}, "output": [NO], "label": False},
    ]
    queue = [likely(-1, None), likely(None, -4, "아니요"), likely(-2, None), likely(None, -2)]
    found, lines = measured(
        tmp_path, *marked, answer=lambda *_: queue.pop(0), roles=("candidate", "base")
    )
    # Of the second, nothing is expected: the same words are neither right nor wrong.
    assert found["candidate"]["exact_match"] == 1.0
    assert [line["values"]["candidate"]["exact_match"] for line in lines] == [1.0, None]
    assert found["candidate"]["preference_accuracy"] == 1.0
    assert found["candidate"]["preference_margin"] == 3.0
    assert [(line["reference"], line.get("rejected")) for line in lines] == [
        ("네, 엽니다.", None),
        (None, "아니요"),
    ]


def test_a_slice_without_examples_has_no_score(tmp_path):
    backend = ScriptedBackend(
        tmp_path / "state", answer=lambda *_: Completion(text="네", finish_reason="stop")
    )
    rows = [{"messages": [USER, {**YES, "content": text}]} for text in ("네", " 네 ", "NEIN")]
    held_out = held_out_of(write(tmp_path / "held_out.jsonl", *rows))
    names = [f"exact_match[label={label}]" for label in ("네", "nein", "뭐")]
    found, _ = measured_by(
        tmp_path,
        [model_of()],
        held_out,
        lambda _: backend,
        metrics=["exact_match"],
        slices=[*names, "bleu[label=네]"],
    )
    assert found.scores["candidate"] == {
        "stop_rate": 1.0,
        "exact_match": pytest.approx(2 / 3, abs=1e-6),
        names[0]: 1.0,
        names[1]: 0.0,
    }


def test_a_line_has_the_tools_and_what_the_answer_took(tmp_path):
    def answer(_model, _prompt):
        return Completion(
            text="네", finish_reason="stop", latency_s=0.0, completion_tokens=3, prompt_tokens=9
        )

    example = {"messages": [USER, YES], "tools": TOOLS}
    _, (line,) = measured(tmp_path, example, answer=answer)
    assert line["tools"] == TOOLS
    assert (line["tokens"], line["latency_s"]) == ({"candidate": 3}, {"candidate": 0.0})
    _, (line,) = measured(
        tmp_path / "bare",
        {"messages": [USER]},
        answer=lambda *_: Completion(text="", finish_reason="length"),
    )
    assert line.keys() == {
        *("id", "origin", "columns", "values", "messages", "reference", "answers"),
        "finish_reason",
    }
    assert line["reference"] is None
    assert line["finish_reason"] == {"candidate": "length"}


def test_texts_among_conversations_are_measured_and_have_no_line(tmp_path):
    found, lines = measured(
        tmp_path,
        {"text": "카페는"},
        {"messages": [USER, YES]},
        answer=lambda *_: Completion(
            text="네, 엽니다.", finish_reason="stop", reference_loss=2.0, reference_tokens=1
        ),
    )
    assert [line["origin"] for line in lines] == ["held_out.jsonl:2"]
    assert found["candidate"]["held_out_loss"] == 2.0
    assert "stop_rate" in found["candidate"]


def test_opinions_are_scores_of_the_models_that_have_some(tmp_path):
    answers = Completion(text="네", finish_reason="stop")
    held_out = held_out_of(write(tmp_path / "held_out.jsonl", *[{"messages": [USER, YES]}] * 2))
    chosen = Evaluation.model_validate({"metrics": [{"human": {"sheet": "s.csv"}}]}).metrics
    models = [model_of(), model_of("base")]
    opinions = {"candidate": {"human": [(4.0, 1.0), None]}, "gone": {"human": [(1.0, 1.0)]}}
    found = measure(chosen, models, held_out, lambda _: iter([answers] * 2), (), opinions)
    assert found.scores == {"candidate": {"stop_rate": 1, "human": 4}, "base": {"stop_rate": 1}}
