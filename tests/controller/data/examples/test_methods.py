"""What an example is for dpo and for reinforcement."""

import json

import pytest

from controller.data.dataset import build_dataset
from controller.data.resolve_sources import DataPaths
from controller.errors import InvalidInput
from controller.evaluate.prompts.held_out import HeldOut
from controller.spec.data import Data

OPENAI_PAIR = {
    "input": {"messages": [{"role": "user", "content": "q{n}"}]},
    "preferred_output": [{"role": "assistant", "content": "good {n}"}],
    "non_preferred_output": [{"role": "assistant", "content": "bad {n}"}],
}
TRL_PAIR = {"prompt": "q{n}", "chosen": "good {n}", "rejected": "bad {n}"}
GRADED = {"messages": [{"role": "user", "content": "q{n}"}], "answer": "a{n}", "level": 3}


def rows(form, count=40):
    return "".join(json.dumps(form).replace("{n}", str(n)) + "\n" for n in range(count))


@pytest.fixture
def build(tmp_path):
    def made(text, method, **data):
        folder = tmp_path / "finetunes"
        folder.mkdir(exist_ok=True)
        (folder / "rows.jsonl").write_text(text)
        declared = {"train": [{"path": "rows.jsonl"}], "held_out": {"fraction": 0.3}, **data}
        return build_dataset(
            Data.model_validate(declared),
            file="finetunes/x.yaml",
            folder=folder,
            paths=DataPaths(root=tmp_path, cache=tmp_path / "cache"),
            method=method,
        )

    return made


def lines(part):
    return [json.loads(line) for line in part.path.read_text().splitlines()]


def test_a_pair_is_the_same_example_in_either_form(build):
    written, other = build(rows(OPENAI_PAIR), "dpo"), build(rows(TRL_PAIR), "dpo")

    assert written.train.digest == other.train.digest
    assert written.held_out.digest == other.held_out.digest
    assert set(lines(written.train)[0]) == set(OPENAI_PAIR)
    assert written.train.examples + written.held_out.examples == 40
    assert written.held_out.examples > 3


def test_a_pair_is_measured_by_its_preferred_answer(build):
    prompts = list(HeldOut(build(rows(TRL_PAIR), "dpo").held_out))

    assert all(prompt.reference["content"].startswith("good ") for prompt in prompts)
    assert all([one["role"] for one in prompt.messages] == ["user"] for prompt in prompts)


def test_the_system_prompt_stands_before_a_pair_too(build):
    pair = lines(build(rows(TRL_PAIR), "dpo", system="Be brief.").train)[0]

    assert pair["input"]["messages"][0] == {"role": "system", "content": "Be brief."}


def test_what_a_grader_reads_goes_along_and_the_split_is_by_the_question(build):
    dataset = build(rows(GRADED), "reinforcement")

    assert lines(dataset.train)[0].keys() == {"messages", "answer", "level"}
    assert 3 < dataset.held_out.examples < 37
    prompts = list(HeldOut(dataset.held_out))
    assert [prompt.reference for prompt in prompts] == [None] * len(prompts)
    assert prompts[0].messages[-1]["role"] == "user"


@pytest.mark.parametrize(
    ("row", "method", "message"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": ""}, "dpo", "an answer is empty"),
        ({"prompt": "q", "chosen": "a"}, "dpo", "rejected"),
        ({**OPENAI_PAIR, "preferred_output": []}, "dpo", "`preferred_output` is not one assistant"),
        ({"messages": [{"role": "user", "content": "q"}]}, "dpo", "prompt"),
        (
            {"messages": [{"role": "assistant", "content": "a"}]},
            "reinforcement",
            "before any question",
        ),
        (TRL_PAIR, "supervised", "a preference pair"),
    ],
)
def test_a_row_of_another_kind_is_named(build, row, method, message):
    with pytest.raises(InvalidInput, match=message):
        build(rows(row), method)
