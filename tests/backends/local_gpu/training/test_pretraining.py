"""Continued pre-training on plain texts: blocks, real jobs, and what is measured of them."""

import pytest

from backends.contract.completions import Prompt, Sampling
from backends.contract.errors import BackendError
from backends.contract.jobs import JobState
from backends.local_gpu.tokens.chat_tokens import Encoded
from backends.local_gpu.tokens.text_tokens import load_documents
from backends.testing import check_backend
from tests.asking import complete

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("warm")]

STORY = "카페는 매일 아홉 시에 엽니다. We are open from nine to six, every day. "


@pytest.fixture
def documents(base_folder):
    return lambda block: load_documents(base_folder, block)


def encode(reader, text) -> Encoded:
    (found,) = reader.encode([{"text": text}])
    if isinstance(found, BackendError):
        raise found
    return found


@pytest.mark.parametrize("block", [8, 9, 100, 10_000])
def test_every_token_of_a_long_text_is_learned_exactly_once(documents, block):
    reader = documents(block)
    whole = encode(reader, STORY * 20)
    blocks = reader.blocks(whole)
    learned = [
        token
        for one in blocks
        for token, marked in zip(one.ids, one.learned, strict=True)
        if marked
    ]
    assert learned == list(whole.ids[1:])
    assert reader.tokenizer.id_to_token(learned[-1]) == "<|endoftext|>"
    assert all(2 <= len(one.ids) <= block and not one.learned[0] for one in blocks)
    assert reader.counts([{"text": STORY * 20}]) == [sum(len(one.ids) for one in blocks)]


@pytest.mark.parametrize("letters", range(1, 20))
def test_no_block_is_left_with_nothing_to_learn(documents, letters):
    reader = documents(8)
    for one in reader.blocks(encode(reader, "뷁" * letters)):
        assert any(one.learned)


def test_a_tokenizer_that_ends_no_text_is_refused(changed_base, base_folder):
    text = (base_folder / "tokenizer.json").read_text().replace("endoftext", "nothing")
    folder = changed_base(tokenizer__json=text, tokenizer_config__json={})
    with pytest.raises(BackendError, match="no token that ends a text"):
        load_documents(folder, 64)
    folder = changed_base(tokenizer__json=text, tokenizer_config__json={"eos_token": "<|im_end|>"})
    assert load_documents(folder, 64).end_text == "<|im_end|>"


def texts(count):
    return [{"text": f"{number}: {STORY * (1 + number % 5)}"} for number in range(count)]


@pytest.mark.parametrize("finetuning_type", ["lora", "full"])
def test_texts_are_trained_on_and_measured(
    backend, make_request, wait, changed_base, run_folder, finetuning_type
):
    base = changed_base(chat_template__jinja=None)
    request = make_request(
        base=base,
        method="continued-pretraining",
        rows=texts(16),
        held_out=texts(20)[16:],
        max_length=48,
        finetuning_type=finetuning_type,
    )
    job = wait(backend.submit(request))
    assert job.state is JobState.SUCCEEDED, job.error
    facts = job.result.facts
    inspector = backend.inspector(request.base_model, request.method, request.hyperparameters)
    assert facts["trained_tokens"] == 3 * sum(inspector.count(texts(16)))
    # Blocks, not texts, make the batches.
    assert facts["steps"] > 3 * 16 / 8
    assert facts["held_out_loss"] < facts["held_out_loss_before"]
    assert not (run_folder(job) / "model" / "chat_template.jinja").exists()

    prompts = [Prompt(messages=(), reference=one) for one in texts(20)[16:]]
    answers = complete(
        backend, request.base_model, [job.result.model_id, None], prompts, Sampling(max_tokens=4)
    )
    for given, expected in zip(
        answers, (facts["held_out_loss"], facts["held_out_loss_before"]), strict=True
    ):
        assert {(one.text, one.finish_reason) for one in given} == {("", "stop")}
        tokens = sum(one.reference_tokens for one in given)
        loss = sum(one.reference_loss * one.reference_tokens for one in given) / tokens
        assert loss == pytest.approx(expected, rel=1e-4)


def test_texts_and_questions_are_answered_together(backend, base_folder, tmp_path):
    base = backend.resolve_base_model(str(base_folder), None, tmp_path)
    prompts = [
        Prompt(messages=(), reference={"text": STORY}),
        Prompt(
            messages=[{"role": "user", "content": "open?"}],
            reference={"role": "assistant", "content": "네"},
        ),
        Prompt(messages=(), reference={"text": STORY * 9}),
    ]
    ((first, asked, last),) = complete(backend, base, [None], prompts, Sampling(max_tokens=2))
    assert (first.text, last.text) == ("", "")
    assert asked.finish_reason == "length"
    assert last.reference_tokens > 8 * first.reference_tokens > 0


def test_a_text_with_a_control_token_is_named_before_training(backend, make_request, wait):
    rows = [*texts(3), {"text": "a<|endoftext|>b"}]
    job = wait(backend.submit(make_request(method="continued-pretraining", rows=rows)))
    assert job.state is JobState.FAILED
    assert "data/rows.jsonl:4: the text contains the control token" in job.error


@pytest.mark.parametrize("method", ["supervised", "continued-pretraining"])
def test_the_contract_is_kept(backend, make_request, method):
    rows = {} if method == "supervised" else {"rows": texts(8), "held_out": texts(2)}
    request = make_request(method=method, num_train_epochs=1, **rows)
    check_backend(backend, request)
