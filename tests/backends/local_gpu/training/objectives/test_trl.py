"""The losses of `dpo` and `kto` equal TRL's on the same batch: its numbers are in `trl_losses.json`.

`trl_oracle.py` wrote them.
"""

import json
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

import pytest

from backends.local_gpu.tokens.answer_tokens import Answers
from backends.local_gpu.tokens.chat_tokens import load_chat
from tests.backends.local_gpu.training.objectives.preferences import (
    MARKS,
    TEMPLATE,
    become_policy,
    formula_base,
    marked_answers,
    pairs,
)
from tests.tiny_base import make_base

pytestmark = pytest.mark.torch

TRL = json.loads(Path(__file__).with_name("trl_losses.json").read_text(encoding="utf-8"))
CLOSE = {"rel": 0, "abs": 1e-4}
EVERY = [0, 1, 2, 3]


def training(name):
    """Return a module of training, which needs torch; tests without it read this file too."""
    return import_module(f"backends.local_gpu.training.{name}")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return formula_base(tmp_path_factory.mktemp("formula") / "base")


@pytest.fixture
def opened(base, tmp_path):
    """Return a base model, its loss, and a function that measures rows with it."""
    model = import_module("transformers").AutoModelForCausalLM.from_pretrained(base)
    loss = training("loss").labelled_loss(model)
    notes = []
    reference = training("objectives.reference").Reference(
        model=model,
        loss=loss,
        precision=nullcontext,
        size=3,
        folder=tmp_path / "checkpoints",
        note=notes.append,
    )
    return model, loss, reference


def encoded(base, examples):
    reader = Answers(chat=load_chat(base, None))
    return training("tokenized_dataset").flatten(
        row for rows in reader.encode(examples) for row in rows
    )


def backward(objective, examples, model):
    batch = examples.collate(EVERY)
    outcome = objective.outcome(batch)
    loss = outcome.total / objective.items(batch)
    loss.backward()
    gradients = [one.grad.norm() for one in model.parameters() if one.grad is not None]
    return (
        loss.item(),
        import_module("torch").stack(gradients).norm().item(),
        objective.named(outcome.observed),
    )


@pytest.mark.parametrize(
    "expected", TRL["dpo"], ids=lambda one: f"{one['loss_type']}-{one['beta']}"
)
def test_losses_of_pairs_are_those_of_trl(base, opened, expected):
    model, loss, reference = opened
    rows = encoded(base, pairs())
    known = reference.of({"train": rows})["train"]
    become_policy(model)
    examples = training("objectives.pairs").Pairs(rows=rows, reference=known)
    objective = training("objectives.pairs").PairLoss(
        loss=loss,
        train=examples,
        held_out=examples,
        loss_type=expected["loss_type"],
        beta=expected["beta"],
    )
    found, gradient, named = backward(objective, examples, model)
    assert found == pytest.approx(expected["loss"], **CLOSE)
    assert gradient == pytest.approx(expected["gradient"], rel=1e-3)
    assert named["reward_accuracy"] == expected["accuracy"]
    assert named["reward_margin"] == pytest.approx(expected["margin"], **CLOSE)


@pytest.mark.parametrize("expected", TRL["kto"], ids=lambda one: str(one["beta"]))
def test_losses_of_marked_answers_are_those_of_trl(base, opened, expected):
    model, loss, reference = opened
    rows = encoded(base, marked_answers())
    others = training("objectives.marked").mismatched(rows, [EVERY], None)
    known = reference.of({"train": rows, "others": others})
    become_policy(model)
    examples = training("objectives.marked").Marked(
        rows=rows,
        good=import_module("numpy").array(MARKS),
        reference=known["train"],
        others=others,
        other_reference=known["others"],
    )
    objective = training("objectives.marked").MarkedLoss(
        loss=loss,
        train=examples,
        held_out=examples,
        beta=expected["beta"],
        desirable_weight=expected["desirable_weight"],
        undesirable_weight=expected["undesirable_weight"],
    )
    assert objective.start(examples.collate(EVERY)).item() == pytest.approx(expected["kl"], **CLOSE)
    found, gradient, _ = backward(objective, examples, model)
    assert found == pytest.approx(expected["loss"], **CLOSE)
    assert gradient == pytest.approx(expected["gradient"], rel=1e-3)


def test_a_reference_is_measured_once_and_kept(base, opened):
    model, _, reference = opened
    rows = encoded(base, pairs())
    first = reference.of({"train": rows})["train"]
    np = import_module("numpy")
    become_policy(model)  # whatever the model is by now, the file tells
    assert np.array_equal(reference.of({"train": rows})["train"], first)
    (reference.folder / "reference.npz").write_bytes(b"half of a file")
    assert not np.allclose(reference.of({"train": rows})["train"], first)


def test_what_is_missing_in_a_kept_reference_is_measured(base, opened):
    _, _, reference = opened
    rows = encoded(base, pairs())
    first = reference.of({"train": rows})["train"]
    np = import_module("numpy")
    half = np.where(np.arange(len(first)) < 5, first, np.nan)
    np.savez(reference.folder / "reference.npz", train=half)
    assert reference.of({"train": rows})["train"] == pytest.approx(first, abs=1e-4)


def test_rows_alone_in_a_batch_get_an_answer_of_another(base):
    rows = encoded(base, marked_answers())
    others = training("objectives.marked").mismatched(rows, [[0, 1, 2], [3]], None)
    answers = [rows[place][0][rows[place][1]].tolist() for place in EVERY]
    lent = [others[place][0][others[place][1]].tolist() for place in EVERY]
    assert lent == [answers[2], answers[0], answers[1], answers[0]]
    short = training("objectives.marked").mismatched(rows, [EVERY], 20)
    assert short.lengths.max() == 20


def test_dropout_of_the_base_is_off_so_that_training_begins_at_its_reference(tmp_path):
    base = make_base(tmp_path / "base", TEMPLATE, attention_dropout=0.5)
    model = import_module("transformers").AutoModelForCausalLM.from_pretrained(base)
    training("objectives.choose").switch_dropout_off(model)
    loss = training("loss").labelled_loss(model)
    rows = encoded(base, pairs())
    batch = training("batching").collate(rows, EVERY)
    model.eval()
    measured = loss.per_example(batch).tolist()
    model.train()
    assert loss.per_example(batch).tolist() == measured
