import dataclasses
import shutil

import pytest

from backends.contract.completions import Prompt, Sampling
from backends.contract.errors import BackendError, ModelMissing, PromptRefused
from backends.contract.jobs import JobState
from tests.asking import complete

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("warm")]


THINKING = """\
{% for message in messages %}<|im_start|>{{ message.role }}
{% if message.role == 'assistant' %}<think>
{{ message.reasoning_content or '' }}
</think>

{% endif %}{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@pytest.fixture
def prompts(examples):
    """The held-out examples that `make_request` uses."""
    return [
        Prompt(messages=one["messages"][:1], reference=one["messages"][1])
        for one in examples(30)[24:]
    ]


@pytest.fixture
def trained(backend, make_request, wait):
    """Return a function that trains and returns the request and the model's ID."""

    def train(**settings):
        request = make_request(**settings)
        job = wait(backend.submit(request))
        assert job.state is JobState.SUCCEEDED, job.error
        return request, job.result

    return train


def mean_loss(completions):
    total = sum(one.reference_loss * one.reference_tokens for one in completions)
    return total / sum(one.reference_tokens for one in completions)


def test_base_adapter_and_whole_model_answer_side_by_side(backend, trained, prompts):
    request, adapter = trained(fingerprint="a" * 64)
    _, whole = trained(fingerprint="b" * 64, finetuning_type="full")
    models = [None, adapter.model_id, whole.model_id, None]
    answers = complete(backend, request.base_model, models, prompts, Sampling(max_tokens=8))
    assert [len(of_model) for of_model in answers] == [len(prompts)] * 4
    assert answers[3] == answers[0]
    # What evaluation measures is what training measured, with the very same encoding.
    before = adapter.facts["held_out_loss_before"]
    for completions, expected in zip(
        answers,
        [before, adapter.facts["held_out_loss"], whole.facts["held_out_loss"]],
        strict=False,
    ):
        assert mean_loss(completions) == pytest.approx(expected, rel=1e-5)
        assert {one.finish_reason for one in completions} <= {"stop", "length"}


def test_a_model_learns_to_answer_and_to_stop(backend, trained, example):
    rows = [example("ping", "pong")] * 8
    request, result = trained(
        rows=rows, held_out=[], finetuning_type="full", num_train_epochs=20, learning_rate=5e-3
    )
    prompt = Prompt(messages=rows[0]["messages"][:1])
    greedy = Sampling(max_tokens=30)
    ((base,), (tuned,)) = complete(
        backend, request.base_model, [None, result.model_id], [prompt], greedy
    )
    assert (base.finish_reason, base.reference_loss) == ("length", None)
    assert (tuned.text, tuned.finish_reason) == ("pong", "stop")


def test_thinking_is_learned_measured_and_read_back_as_thinking(
    backend, base_folder, trained, tmp_path
):
    """What is scored is the answer; what is measured is the whole message, as it was trained."""
    folder = shutil.copytree(base_folder, tmp_path / "thinking")
    (folder / "chat_template.jinja").write_text(THINKING)
    asked, answer = {"role": "user", "content": "ping"}, {"role": "assistant", "content": "pong"}
    thought = answer | {"reasoning_content": "A game.", "weight": 0}
    request, result = trained(
        rows=[{"messages": [asked, answer | {"reasoning_content": "A game."}]}] * 8,
        held_out=[],
        base=folder,
        finetuning_type="full",
        thinking="on",
        num_train_epochs=60,
        learning_rate=5e-3,
    )
    prompts = [
        Prompt(messages=[asked], reference=one)
        for one in (thought, {"role": "assistant", "content": "pong"})
    ]
    ((found, other),) = complete(
        backend, request.base_model, [result.model_id], prompts, Sampling(max_tokens=80)
    )
    assert (found.text, found.thinking, found.finish_reason) == ("pong", "A game.", "stop")
    assert found.reference_loss < 0.2 < other.reference_loss


def test_sampling_follows_its_seed(backend, base_folder, tmp_path, prompts):
    base = backend.resolve_base_model(str(base_folder), None, tmp_path)

    def texts(**settings):
        sampling = Sampling(max_tokens=6, temperature=1.0, **settings)
        (answers,) = complete(backend, base, [None], prompts, sampling)
        return [answer.text for answer in answers]

    assert texts(seed=1) == texts(seed=1) != texts(seed=2)


@pytest.mark.parametrize(
    "model", ["gpt-4o", "ft:x:y:zzz", "ft:x:y:" + "0" * 16 + "-1", "ft:x:y:../../etc"]
)
def test_a_model_that_is_not_here(backend, base_folder, tmp_path, prompts, model):
    base = backend.resolve_base_model(str(base_folder), None, tmp_path)
    with pytest.raises(ModelMissing, match="this machine has no model"):
        complete(backend, base, [model], prompts, Sampling())
    with pytest.raises(ModelMissing):
        backend.delete(model)


def test_no_prompts_need_no_child(backend, base_folder, tmp_path):
    base = backend.resolve_base_model(str(base_folder), None, tmp_path)
    assert complete(backend, base, [None, None], [], Sampling()) == [[], []]
    assert not (tmp_path / "state" / "engines").exists()


def test_an_answer_ends_where_the_model_stops_reading(backend, base_folder, tmp_path):
    """The base of these tests reads 128 tokens, and never ends an answer by itself."""
    base = backend.resolve_base_model(str(base_folder), None, tmp_path)
    prompts = [
        Prompt(messages=[{"role": "user", "content": "hello" * times}]) for times in (1, 12, 1)
    ]
    longest = Sampling(max_tokens=4_000)
    ((first, second, third),) = complete(backend, base, [None], prompts, longest)
    assert {one.finish_reason for one in (first, second, third)} == {"length"}
    assert first.text == third.text
    assert 0 < len(second.text) < len(first.text)
    ((alone,),) = complete(backend, base, [None], prompts[1:2], longest)
    assert alone == second


def test_a_prompt_that_leaves_no_room_is_refused(backend, base_folder, tmp_path):
    base = backend.resolve_base_model(str(base_folder), None, tmp_path)
    prompts = [Prompt(messages=[{"role": "user", "content": "hello" * n}]) for n in (1, 80, 90)]
    message = r"prompt 2 has \d+ tokens \(and 1 more\); the base model reads 128"
    with pytest.raises(PromptRefused, match=message):
        complete(backend, base, [None], prompts, Sampling(max_tokens=1))
    assert list((tmp_path / "state" / "engines").iterdir()) == []


@pytest.mark.slow
def test_adapters_that_would_do_nothing_or_do_not_fit_are_refused(
    backend, trained, prompts, tmp_path
):
    import torch  # noqa: PLC0415
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    request, result = trained(num_train_epochs=1)
    folder = tmp_path / "state" / "runs" / result.model_id.rpartition(":")[2] / "model"
    file = folder / "adapter_model.safetensors"
    kept = load_file(file)

    def refused(weights):
        save_file(weights, file)
        with pytest.raises(BackendError) as caught:
            complete(
                backend, request.base_model, [result.model_id], prompts, Sampling(max_tokens=2)
            )
        return str(caught.value)

    assert "changes nothing" in refused({k: torch.zeros_like(v) for k, v in kept.items()})
    name = min(kept)
    assert "missing: ['" in refused({k: v for k, v in kept.items() if k != name})
    assert "cannot be loaded" in refused({k: v[:1].clone() for k, v in kept.items()})
    file.write_bytes(b"torn")
    with pytest.raises(BackendError, match="cannot be loaded"):
        complete(backend, request.base_model, [result.model_id], prompts, Sampling(max_tokens=2))
    other = dataclasses.replace(request.base_model, identity="sha256:another")
    with pytest.raises(BackendError, match="was trained from"):
        complete(backend, other, [result.model_id], prompts, Sampling(max_tokens=2))
    shutil.rmtree(folder)
    with pytest.raises(ModelMissing, match="is gone"):
        complete(backend, request.base_model, [result.model_id], prompts, Sampling(max_tokens=2))


def test_a_deleted_model_is_gone_and_can_be_trained_again(backend, trained):
    request, result = trained(num_train_epochs=1)
    backend.delete(result.model_id)
    assert backend.find_jobs([request.fingerprint]) == {}
    with pytest.raises(ModelMissing):
        backend.delete(result.model_id)
