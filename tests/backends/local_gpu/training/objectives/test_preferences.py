"""Training on preferences: real jobs of `dpo` and `kto`, what they learn, and what is measured."""

import math
import os
import signal

import pytest

from backends.contract.completions import Prompt, Sampling
from backends.contract.errors import HyperparametersInvalid
from backends.contract.jobs import JobState
from backends.local_gpu.hyperparameters import parse
from backends.local_gpu.json_files import read_json, read_lines
from backends.testing import check_backend
from tests.asking import complete
from tests.backends.local_gpu.training.objectives.preferences import marked, pair, turn

ASKED = ["Where is the cafe", "How long are you open", "카페는 몇 시에 여나요", "What is the cost"]
POLITE = "Certainly, we are open from nine to six, every day."
BLUNT = "We are open from nine to six, every day, all of the day."
FAST = {"lora": 3e-3, "full": 1e-3}


def question(number):
    return f"{ASKED[number % 4]}, {number}?"


def answers(number):
    """Return a polite answer and a blunt one: neither is always the longer one."""
    return (POLITE, "nine to six.") if number % 2 else ("Certainly.", BLUNT)


def pairs(first, count):
    return [pair(question(number), *answers(number)) for number in range(first, first + count)]


def marks(first, count):
    return [
        marked(question(number), answers(number)[number // 2 % 2], number // 2 % 2 == 0)
        for number in range(first, first + count)
    ]


ROWS = {"dpo": pairs, "kto": marks}


@pytest.fixture
def request_of(make_request):
    """Return a function that makes a request to learn to be polite."""

    def make(method, count=32, **settings):
        rows = ROWS[method]
        chosen = {"learning_rate": FAST[settings.get("finetuning_type", "lora")]} | settings
        held_out = rows(count, 16)
        return make_request(method=method, rows=rows(0, count), held_out=held_out, **chosen)

    return make


@pytest.fixture
def trained(backend, request_of, wait):
    def train(method, **settings):
        request = request_of(method, **settings)
        job = wait(backend.submit(request))
        assert job.state is JobState.SUCCEEDED, job.error
        return job, request

    return train


def prompt_of(example):
    """Return the prompt that measures the answers of a pair."""
    return Prompt(
        messages=example["input"]["messages"],
        reference=example["preferred_output"][0],
        rejected=example["non_preferred_output"][0],
    )


def margins(completions):
    """Return by how many nats each preferred answer is likelier than the other."""
    return [
        one.rejected_loss * one.rejected_tokens - one.reference_loss * one.reference_tokens
        for one in completions
    ]


@pytest.mark.torch
@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize(
    ("method", "settings", "start"),
    [
        ("dpo", {}, math.log(2)),
        ("dpo", {"finetuning_type": "full"}, math.log(2)),
        ("dpo", {"loss_type": "ipo", "beta": 1.0}, 0.25),
        ("kto", {"desirable_weight": 1.25}, (1.25 + 1) / 4),
        ("kto", {"finetuning_type": "full"}, 0.5),
    ],
)
def test_preferences_are_learned(backend, trained, run_folder, method, settings, start):
    job, request = trained(method, num_train_epochs=2, **settings)
    facts = job.result.facts
    assert facts["held_out_loss_before"] == pytest.approx(start, abs=1e-5)
    assert facts["held_out_loss"] < 0.8 * start
    assert facts["held_out_reward_accuracy"] == 1.0
    assert facts["held_out_reward_margin"] > 0.5
    assert facts["steps"] == 8
    lines = [line for line in read_lines(run_folder(job) / "progress.jsonl") if "step" in line]
    assert lines[0].keys() >= {"held_out_loss"}
    assert "held_out_reward_margin" not in lines[0]
    steps = [line for line in lines if "loss" in line]
    assert steps[-1]["reward_margin"] > steps[1]["reward_margin"]
    assert (job.progress.reward_accuracy, job.progress.reward_margin) == (
        steps[-1]["reward_accuracy"],
        steps[-1]["reward_margin"],
    )
    points = list(backend.curve(job.id))
    assert [point.step for point in points] == list(range(9))
    assert (
        f"| held out reward margin | {facts['held_out_reward_margin']} |"
        in (run_folder(job) / "model" / "README.md").read_text()
    )
    assert not (run_folder(job) / "checkpoints").exists()

    # What is measured of the model agrees with what training saw.
    held_out = [prompt_of(one) for one in pairs(32, 16)]
    base, model = complete(
        backend, request.base_model, [None, job.result.model_id], held_out, Sampling(max_tokens=0)
    )
    gained = [one - other for one, other in zip(margins(model), margins(base), strict=True)]
    assert all(one > 0 for one in gained)
    if method == "dpo":
        beta = settings.get("beta", 0.1)
        assert beta * sum(gained) / 16 == pytest.approx(facts["held_out_reward_margin"], rel=1e-3)
    assert facts["trained_tokens"] == 2 * sum(
        backend.inspector(request.base_model, method, request.hyperparameters).count(
            ROWS[method](0, 32)
        )
    )


@pytest.mark.torch
@pytest.mark.usefixtures("warm")
def test_accumulating_gives_the_same_training_as_one_large_batch(trained):
    whole, _ = trained("dpo", num_train_epochs=1, per_device_train_batch_size=16)
    parts, _ = trained(
        "dpo",
        num_train_epochs=1,
        fingerprint="b" * 64,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=2,
    )
    one, other = whole.result.facts, parts.result.facts
    assert one["steps"] == other["steps"] == 2
    for key in ("train_loss", "held_out_loss", "held_out_reward_margin"):
        assert one[key] == pytest.approx(other[key], rel=1e-4)


@pytest.mark.torch
@pytest.mark.usefixtures("warm")
def test_an_interrupted_job_ends_with_the_bits_of_a_straight_run(
    backend, request_of, trained, wait, run_folder, monkeypatch
):
    long = {"num_train_epochs": 4, "finetuning_type": "full", "per_device_train_batch_size": 4}
    straight, _ = trained("kto", fingerprint="b" * 64, **long)
    monkeypatch.setenv("FTCTL_CHECKPOINT_SECONDS", "0")
    request = request_of("kto", **long)
    job = backend.submit(request)
    wait(job, lambda job: job.progress is not None and job.progress.step >= 6)
    os.kill(read_json(run_folder(job) / "worker.json")["pid"], signal.SIGKILL)
    wait(job, lambda job: job.state is JobState.INTERRUPTED)
    assert (run_folder(job) / "checkpoints" / "reference.npz").exists()
    backend.submit(request)
    ended = wait(job)
    assert ended.state is JobState.SUCCEEDED, ended.error
    said = [event.message for event in backend.events(job.id)]
    assert any("resumed from checkpoint-" in text for text in said)
    # The base model, whose weights full tuning has changed by now, is not asked again.
    assert len([text for text in said if "answers with the base model" in text]) == 1
    facts, theirs = ended.result.facts, straight.result.facts
    for key in ("weights_digest", "steps", "train_loss", "held_out_loss_by_epoch"):
        assert facts[key] == theirs[key], key
    assert facts["held_out_reward_margin"] == theirs["held_out_reward_margin"]


@pytest.mark.torch
@pytest.mark.usefixtures("warm")
def test_the_contract_is_kept(backend, make_request):
    rows = {"rows": marks(0, 8), "held_out": marks(8, 4)}
    check_backend(backend, make_request(method="kto", num_train_epochs=1, **rows))


@pytest.mark.torch
def test_pairs_are_counted_and_shown_as_they_are_read(backend, make_request):
    request = make_request(method="dpo", rows=pairs(0, 8))
    inspector = backend.inspector(request.base_model, "dpo", request.hyperparameters)
    plain = backend.inspector(
        request.base_model, "supervised", backend.parse_hyperparameters("supervised", {})
    )
    example = pair("카페는 몇 시에 여나요?", POLITE, "몰라요.")
    asked = example["input"]["messages"]
    whole = [{"messages": [*asked, turn("assistant", one)]} for one in (POLITE, "몰라요.")]
    lengths = plain.count(whole)
    assert inspector.count([example]) == [sum(lengths)]
    assert inspector.longest([example]) == [max(lengths)]
    assert plain.longest(whole) == []
    assert inspector.identity != plain.identity
    shown = inspector.show(example)
    learned = "".join(piece.text for piece in shown if piece.trained)
    assert learned == f"{POLITE}<|im_end|>몰라요.<|im_end|>"
    text = "".join(piece.text for piece in shown)
    assert text.startswith("(preferred)\n<|im_start|>user")
    assert "(not preferred)\n<|im_start|>user" in text


@pytest.mark.torch
def test_only_the_last_answer_of_a_marked_conversation_is_learned(backend, make_request):
    request = make_request(method="kto", rows=marks(0, 8))
    inspector = backend.inspector(request.base_model, "kto", request.hyperparameters)
    example = marked("여나요?", "네.", label=False)
    before = [turn("user", "안녕하세요."), turn("assistant", "안녕하세요!")]
    example["input"]["messages"] = [*before, *example["input"]["messages"]]
    learned = "".join(piece.text for piece in inspector.show(example) if piece.trained)
    assert learned == "네.<|im_end|>"
    inspector.check(example)


def test_settings_of_preferences_have_the_names_and_defaults_of_trl():
    pairs_, marks_ = parse("dpo", {}), parse("kto", {"finetuning_type": "full"})
    assert (pairs_["beta"], pairs_["loss_type"], pairs_["learning_rate"]) == (0.1, "sigmoid", 1e-5)
    assert {key: marks_[key] for key in ("beta", "desirable_weight", "undesirable_weight")} == {
        "beta": 0.1,
        "desirable_weight": 1.0,
        "undesirable_weight": 1.0,
    }
    assert marks_["learning_rate"] == 1e-6
    assert "beta" not in parse("supervised", {})


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("supervised", {"beta": 0.1}, "belongs to `method: dpo` and `kto`"),
        ("dpo", {"desirable_weight": 2}, "belongs to `method: kto`"),
        ("kto", {"loss_type": "ipo"}, "belongs to `method: dpo`"),
        ("dpo", {"loss_type": "hinge"}, "must be one of sigmoid, sigmoid_norm, ipo"),
        ("dpo", {"beta": 0}, "must be more than 0"),
        ("kto", {"per_device_train_batch_size": 1}, "compares each answer with others"),
        ("dpo", {"max_length": 100}, "conversations are read whole"),
    ],
)
def test_settings_that_do_not_fit_are_refused_by_name(method, settings, message):
    with pytest.raises(HyperparametersInvalid) as caught:
        parse(method, settings)
    (problem,) = caught.value.problems
    assert problem.field == next(iter(settings))
    assert message in problem.message


@pytest.mark.torch
@pytest.mark.usefixtures("warm")
def test_a_pair_whose_answers_do_not_fit_the_model_is_refused(backend, make_request, wait):
    rows = [*pairs(0, 8), pair("긴 대답?", POLITE, "아주 긴 대답입니다. " * 40)]
    job = wait(backend.submit(make_request(method="dpo", rows=rows, held_out=pairs(8, 4))))
    assert job.state is JobState.FAILED
    assert "data/rows.jsonl:9:" in job.error
    assert "the base model reads at most 128" in job.error


@pytest.mark.torch
@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_bfloat16_begins_next_to_its_reference_and_nothing_held_out_is_measured(
    backend, make_request, wait, method
):
    rows = {"rows": ROWS[method](0, 9), "held_out": []}
    request = make_request(method=method, dtype="bfloat16", num_train_epochs=1, **rows)
    job = wait(backend.submit(request))
    assert job.state is JobState.SUCCEEDED, job.error
    facts = job.result.facts
    assert (facts["held_out_loss"], facts["steps"]) == (None, 2)
    assert facts["train_loss"] == pytest.approx(0.69 if method == "dpo" else 0.5, abs=0.1)
    assert "held_out_reward_margin" not in facts
