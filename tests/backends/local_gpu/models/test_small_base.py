"""The small base model and the text it is made from."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backends.local_gpu.models.small_base_corpus import documents

DATA = Path(__file__).parents[4] / "finetunes" / "data"
LABELS = {"예약", "메뉴", "영업시간", "주차", "결제", "분실물"}
FILES = {
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}
# A process of its own, so that torch's switches do not reach other tests.
SCRIPT = """
import sys
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
from backends.local_gpu.models.small_base import make_small_base

first, second = Path(sys.argv[1]), Path(sys.argv[2])
print(make_small_base(first, steps=2))
make_small_base(second, steps=2)
model = AutoModelForCausalLM.from_pretrained(first)
tokenizer = AutoTokenizer.from_pretrained(first)
prompt = tokenizer.apply_chat_template(
    [{"role": "user", "content": "안녕"}], add_generation_prompt=True, return_tensors="pt"
)
ids = model.generate(**prompt, max_new_tokens=3, do_sample=False)
print(tokenizer.decode(prompt["input_ids"][0]))
"""


def plain(text):
    return " ".join(text.split()).rstrip("?!.~ ")


def texts():
    return [
        text
        for document in documents(0)
        for text in (
            [document] if isinstance(document, str) else [turn["content"] for turn in document]
        )
    ]


def inquiries(name):
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_no_held_out_inquiry_is_in_the_corpus_or_in_the_training_set():
    corpus = "\n".join(plain(text) for text in texts())
    train = {plain(row["문의"]) for row in inquiries("cafe-inquiries.csv")}
    held_out = [plain(row["문의"]) for row in inquiries("cafe-inquiries-held-out.csv")]

    assert [text for text in held_out if text in corpus] == []
    assert train.isdisjoint(held_out)


def test_the_corpus_never_answers_with_a_label():
    answers = {
        plain(turn["content"])
        for document in documents(0)
        if not isinstance(document, str)
        for turn in document
        if turn["role"] == "assistant"
    }

    assert answers.isdisjoint(LABELS)


def test_every_label_has_as_many_inquiries_as_the_others():
    for name, each in (("cafe-inquiries.csv", 125), ("cafe-inquiries-held-out.csv", 12)):
        rows = inquiries(name)
        counts = {label: sum(row["분류"] == label for row in rows) for label in LABELS}
        assert counts == dict.fromkeys(LABELS, each)


def test_the_counsellor_is_asked_no_question_twice():
    lines = (DATA / "cafe-answers.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line)["messages"][0]["content"] for line in lines]

    assert len(questions) >= 200
    assert len(set(questions)) == len(questions)


def test_the_same_seed_makes_the_same_corpus():
    assert documents(3) == documents(3)
    assert documents(3) != documents(4)


def test_every_slot_of_the_grammar_is_filled():
    assert [text for text in texts() if "{" in text or "  " in text] == []


@pytest.mark.slow
@pytest.mark.torch
def test_two_runs_give_the_same_bytes_and_a_model_that_answers(tmp_path):
    pytest.importorskip("torch")
    first, second = tmp_path / "a" / "first", tmp_path / "second"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(first), str(second)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(DATA.parents[1])},
        timeout=500,
    )

    assert done.returncode == 0, done.stderr
    assert "<|im_start|>user\n안녕<|im_end|>\n<|im_start|>assistant\n" in done.stdout
    assert {path.name for path in first.iterdir()} == FILES
    for name in FILES:
        assert (first / name).read_bytes() == (second / name).read_bytes()
    # Nothing unfinished is left beside them.
    assert [path.name for path in first.parent.iterdir()] == ["first"]


@pytest.mark.torch
def test_an_existing_folder_is_left_alone(tmp_path, capsys):
    small_base = pytest.importorskip("backends.local_gpu.models.small_base")
    (tmp_path / "model").mkdir()

    assert small_base.main([str(tmp_path / "model")]) == 1
    assert "exists already" in capsys.readouterr().err
    assert list((tmp_path / "model").iterdir()) == []
