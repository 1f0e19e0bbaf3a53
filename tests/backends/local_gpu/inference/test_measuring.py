"""Answers and losses of one model, compared with what transformers itself computes."""

import math
from dataclasses import asdict
from importlib import import_module

import pytest

from backends.contract.completions import Prompt, Sampling
from backends.contract.errors import BackendError, PromptRefused, PromptTooLong
from tests.backends.local_gpu.inference.architectures import generated

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]

QUESTIONS = ["카페 창업", "How long are you open?", "x", "영업 시간이 어떻게 되나요? " * 3]


def asked(text, answer=None, **message):
    reference = None if answer is None else {"role": "assistant", "content": answer, **message}
    return Prompt(messages=[{"role": "user", "content": text}], reference=reference)


@pytest.fixture
def pool(base_folder):
    made = import_module("backends.local_gpu.inference.model_pool")
    return made.ModelPool(base_folder, import_module("torch").device("cpu"), room=1)


@pytest.fixture
def measure(pool):
    """Return a function that asks the base model, and returns its completions."""
    measuring = import_module("backends.local_gpu.inference.measuring")

    def run(prompts, **sampling):
        question = {
            "prompts": list(range(len(prompts))),
            "sampling": asdict(Sampling(**sampling)),
        }
        asked = [asdict(prompt) for prompt in prompts]
        answers = dict(measuring.measure(pool, pool.load(None), None, None, asked, question))
        return [answers[number] for number in range(len(prompts))]

    return run


def test_answers_are_those_of_generate_for_each_prompt_alone(pool, measure):
    answers = measure([asked(text) for text in QUESTIONS], max_tokens=12)
    chat, model = pool.chat(None), pool.load(None).plain
    transformers = import_module("transformers")
    model.generation_config = transformers.GenerationConfig()
    for text, answer in zip(QUESTIONS, answers, strict=True):
        prompt = chat.prompt({"messages": [{"role": "user", "content": text}]})
        ids = generated(model, prompt, 12)
        ends = [place for place, token in enumerate(ids) if token in chat.stops]
        assert answer.text == chat.decode(ids)
        assert answer.finish_reason == ("stop" if ends else "length")
    assert {(one.reference_loss, one.reference_tokens) for one in answers} == {(None, 0)}


def test_a_reference_s_loss_is_its_mean_loss_under_the_model(pool, measure):
    (answer,) = measure([asked("카페", "네, 있습니다.")], max_tokens=1)
    torch = import_module("torch")
    chat, model = pool.chat(None), pool.load(None).plain
    messages = [asked("카페").messages[0], {"role": "assistant", "content": "네, 있습니다."}]
    (encoded,) = chat.encode([{"messages": messages}])
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([encoded.ids])).logits[0].log_softmax(dim=-1)
    losses = [
        -float(logits[place - 1, token])
        for place, (token, learned) in enumerate(zip(encoded.ids, encoded.learned, strict=True))
        if learned
    ]
    assert answer.reference_tokens == len(losses)
    assert answer.reference_loss == pytest.approx(math.fsum(losses) / len(losses), rel=1e-5)


def test_each_prompt_keeps_its_own_loss_whatever_their_order(measure):
    prompts = [asked(text, "네." * (place + 1)) for place, text in enumerate(QUESTIONS)]
    together = measure(prompts, max_tokens=0)
    backwards = measure(prompts[::-1], max_tokens=0)[::-1]
    alone = [measure([prompt], max_tokens=0)[0] for prompt in prompts]
    for first, second, third in zip(together, backwards, alone, strict=True):
        assert first.reference_tokens == second.reference_tokens == third.reference_tokens > 0
        assert first.reference_loss == pytest.approx(second.reference_loss, rel=1e-5)
        assert first.reference_loss == pytest.approx(third.reference_loss, rel=1e-5)
    assert len({one.reference_loss for one in together}) == len(prompts)


def test_a_reference_is_measured_whether_training_used_it_or_not(measure):
    with_weight = asked("카페", "네.", weight=0)
    first, second = measure([asked("카페", "네."), with_weight], max_tokens=0)
    assert first == second


def test_earlier_answers_are_read_and_not_measured(measure):
    earlier = [
        {"role": "user", "content": "카페"},
        {"role": "assistant", "content": "네."},
        {"role": "user", "content": "또?"},
    ]
    prompt = Prompt(messages=earlier, reference={"role": "assistant", "content": "네."})
    first, second = measure([prompt, asked("또?", "네.")], max_tokens=0)
    assert first.reference_tokens == second.reference_tokens
    assert first.reference_loss != second.reference_loss


def test_texts_are_measured_without_being_asked(measure):
    text = Prompt(messages=(), reference={"text": "카페 창업 비용은 얼마인가요?"})
    first, second = measure([text, asked("카페")], max_tokens=3)
    assert (first.text, first.finish_reason) == ("", "stop")
    assert first.reference_tokens > 3
    assert second.reference_tokens == 0


def test_without_room_for_tokens_nothing_is_answered(measure):
    (answer,) = measure([asked("카페")], max_tokens=0)
    assert (answer.text, answer.finish_reason) == ("", "length")
    assert measure([], max_tokens=3) == []


def test_a_prompt_that_is_too_long_is_named_before_anything_is_answered(measure):
    prompts = [asked("a"), asked("hello" * 80), asked("hello" * 90)]
    message = r"prompt 2 has \d+ tokens \(and 1 more\); the base model reads 128"
    with pytest.raises(PromptTooLong, match=message):
        measure(prompts, max_tokens=1)
    # Without an answer, only the references have to fit.
    assert len(measure(prompts, max_tokens=0)) == 3


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (asked("카페", "<|im_end|>"), "the reference of prompt 2: .* control token"),
        (Prompt(messages=(), reference={"text": "a<|im_end|>"}), "the reference of prompt 2: .*"),
    ],
)
def test_a_reference_that_cannot_be_learned_is_named(measure, prompt, message):
    with pytest.raises(BackendError, match=message):
        measure([asked("a", "b"), prompt], max_tokens=0)


def test_a_conversation_that_the_template_cannot_show_is_refused(measure):
    prompt = Prompt(messages=[{"role": "user", "content": [{"type": "image_url"}]}])
    with pytest.raises(PromptRefused, match="a message contains a part of type 'image_url'"):
        measure([prompt], max_tokens=1)


def test_draws_follow_the_seed_and_differ_between_equal_prompts(measure):
    prompts = [asked("카페")] * 4

    def texts(seed):
        return [one.text for one in measure(prompts, max_tokens=8, temperature=1.0, seed=seed)]

    assert texts(1) == texts(1)
    assert len({*texts(1), *texts(50)}) > 4


def test_an_answer_ends_before_a_stop_text(measure):
    (whole,) = measure([asked("카페")], max_tokens=20)
    stop = whole.text[4:7]
    (cut,) = measure([asked("카페")], max_tokens=20, stop=[stop])
    assert (cut.text, cut.finish_reason) == (whole.text[: whole.text.index(stop)], "stop")


def test_after_an_error_the_model_answers_as_before(pool, measure):
    before = measure([asked("카페")], max_tokens=5)
    loaded = pool.load(None)

    def breaking(*_):
        raise RuntimeError("sizes do not match")

    handle = loaded.batch.model.register_forward_pre_hook(breaking)
    with pytest.raises(RuntimeError, match="sizes do not match"):
        measure([asked("a"), asked("b")], max_tokens=5)
    handle.remove()
    assert not loaded.batch.busy
    assert measure([asked("카페")], max_tokens=5) == before


def test_an_answer_that_is_not_wanted_is_measured_like_a_reference(measure):
    bad = {"role": "assistant", "content": "몰라요.", "weight": 0}
    messages = asked("카페").messages
    pair = Prompt(messages=messages, reference=asked("", "네.").reference, rejected=bad)
    both, good, other, alone = measure(
        [
            pair,
            asked("카페", "네."),
            asked("카페", "몰라요."),
            Prompt(messages=messages, rejected=bad),
        ],
        max_tokens=0,
    )
    assert both.reference_loss == pytest.approx(good.reference_loss, rel=1e-5)
    for one in (both, alone):
        assert one.rejected_loss == pytest.approx(other.reference_loss, rel=1e-5)
        assert one.rejected_tokens == other.reference_tokens
    assert (alone.reference_loss, alone.reference_tokens) == (None, 0)
    assert (good.rejected_loss, good.rejected_tokens) == (None, 0)
    with pytest.raises(BackendError, match=r"the rejected answer of prompt 1: .* control token"):
        measure([Prompt(messages=messages, rejected=asked("", "<|im_end|>").reference)])
