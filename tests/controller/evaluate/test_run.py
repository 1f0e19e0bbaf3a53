"""Held-out examples → prompts → scores, with a backend that answers by script."""

import json

from backends.contract.completions import Completion, text_of
from backends.contract.jobs import BaseModel
from backends.testing import ScriptedBackend
from controller.evaluate.run import Compared, measure, read_answers, read_prompts
from controller.spec.model import Evaluation

BASE = BaseModel(reference="acme/base", revision="1", identity="scripted:acme/base@1")


def write(path, *examples):
    lines = [json.dumps(example, ensure_ascii=False) + "\n" for example in examples]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def scores(tmp_path, held_out):
    def answer(model, prompt):
        tokens = len(text_of(prompt.reference or {})) if model is None else 0
        return Completion(
            text="", finish_reason="stop", reference_loss=float(tokens), reference_tokens=tokens
        )

    compared = Compared(
        role="candidate",
        backend=ScriptedBackend(tmp_path / "state", answer=answer),
        base_model=BASE,
        model_id=None,
    )
    answers = tmp_path / "answers.jsonl"
    settings = Evaluation.model_validate({"metrics": ["exact_match"]})
    found = measure(settings, [compared], held_out=held_out, answers_file=answers)
    return found["candidate"], list(read_answers(answers))


def test_a_plain_text_is_measured_and_nothing_is_asked(tmp_path):
    held_out = write(tmp_path / "held_out.jsonl", {"text": "네"}, {"text": "카페는"})
    prompts = list(read_prompts(held_out))
    asked = [(list(one.messages), one.reference) for one in prompts]
    assert asked == [([], {"text": "네"}), ([], {"text": "카페는"})]
    assert scores(tmp_path, held_out) == ({"held_out_loss": 2.5}, [])


def test_a_conversation_is_asked_and_scored(tmp_path):
    turns = [{"role": "user", "content": "뭐?"}, {"role": "assistant", "content": "네"}]
    found, answers = scores(tmp_path, write(tmp_path / "held_out.jsonl", {"messages": turns}))
    assert found == {"held_out_loss": 1.0, "stop_rate": 1.0, "exact_match": 0.0}
    assert [(one["messages"], one["reference"]) for one in answers] == [(turns[:1], "네")]
