import random

import pytest

from backends.local_gpu.inference.streaming_text import StreamingText
from backends.local_gpu.templates.answers import AnswerReader
from backends.local_gpu.templates.call_forms import Form

pytestmark = pytest.mark.torch


def bytes_tokenizer():
    """Make a tokenizer that cuts characters apart, with two control tokens."""
    import tokenizers  # noqa: PLC0415 - tests without the training packages import this file too

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<|end|>", "<|start|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["카페 창업 비용은 얼마인가요? hello there"], trainer)
    return tokenizer


def plain_reader():
    return AnswerReader(form=Form(), types={}, offered=False, opening="")


def pieces_of(tokenizer, ids, *stop):
    control = frozenset({"<|end|>", "<|start|>"})
    text = StreamingText(tokenizer=tokenizer, control=control, reader=plain_reader(), stop=stop)
    pieces = []
    for token in ids:
        pieces.append(text.add(token).text)
        if text.stopped:
            return pieces, True
    pieces.append(text.end().text)
    return pieces, text.stopped


def test_pieces_are_whole_characters_and_make_the_whole_text():
    tokenizer, chance = bytes_tokenizer(), random.Random(0)
    words = ["카페", "비용은", "🙂", "👩‍👩‍👧", "é", " there", "한"]
    for _ in range(60):
        said = "".join(chance.choice(words) for _ in range(10))
        pieces, _ = pieces_of(tokenizer, tokenizer.encode(said).ids)
        assert "".join(pieces) == said
        assert not any("\ufffd" in piece for piece in pieces)
        # Whatever a model says, broken characters and control tokens included.
        torn = [*tokenizer.encode("🙂카\ufffd").ids, 0, 1]
        for some in (range(tokenizer.get_vocab_size()), torn):
            ids = [chance.choice(some) for _ in range(chance.randrange(40))]
            pieces, _ = pieces_of(tokenizer, ids)
            assert "".join(pieces) == tokenizer.decode(ids)


def test_stop_texts_across_pieces():
    tokenizer, chance = bytes_tokenizer(), random.Random(0)
    assert pieces_of(tokenizer, tokenizer.encode("hello there").ids, "o t")[0][-1] == ""
    for _ in range(300):
        said = "".join(chance.choice("ab카") for _ in range(20))
        stops = ["".join(chance.choice("ab카") for _ in range(chance.randrange(5))) for _ in "xy"]
        ids = tokenizer.encode(said).ids
        pieces, stopped = pieces_of(tokenizer, ids, *stops)
        # The stop text that is complete first, had the text come character by character.
        ends = [(n, stop) for n in range(len(said)) for stop in stops if said[:n].endswith(stop)]
        ends = [(n, -len(stop), stop) for n, stop in ends if stop]
        ends += [(len(said), -len(s), s) for s in stops if s and said.endswith(s)]
        expected = said if not ends else said[: min(ends)[0] + min(ends)[1]]
        assert ("".join(pieces), stopped) == (expected, bool(ends)), (said, stops)


@pytest.fixture
def one_thread():
    import torch  # noqa: PLC0415

    # Threads that wait for each other cost far more than one, on so small a model.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("room", [32_768, 120])
@pytest.mark.parametrize("kind", ["full", "sliding", "linear"])
def test_rows_join_and_leave_a_running_batch(monkeypatch, kind, room):
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    from backends.local_gpu.inference import active_answer, continuous_batching  # noqa: PLC0415

    # With little room, running rows are sent back to wait and are read again.
    monkeypatch.setattr(continuous_batching, "_TOKENS", room)
    monkeypatch.setattr(active_answer, "_AHEAD", 2)
    sizes = {
        "vocab_size": 300,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "eos_token_id": None,
    }
    torch.manual_seed(0)
    if kind == "full":
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
    elif kind == "sliding":
        kinds = ["sliding_attention", "full_attention"]
        config = transformers.Gemma3TextConfig(**sizes, sliding_window=8, layer_types=kinds)
        model = transformers.Gemma3ForCausalLM(config)
    else:
        heads = {"linear_num_value_heads": 2, "linear_num_key_heads": 2}
        widths = {"linear_key_head_dim": 16, "linear_value_head_dim": 16}
        config = transformers.Qwen3_5TextConfig(
            **sizes, **heads, **widths, layer_types=["linear_attention", "full_attention"]
        )
        model = transformers.Qwen3_5ForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    model.generation_config = transformers.GenerationConfig()
    chance = random.Random(1)
    tokenizer = bytes_tokenizer()
    rows = [
        active_answer.ActiveAnswer(
            id=number,
            prompt=[chance.randrange(300) for _ in range(chance.randrange(3, 30))],
            adapter=active_answer.BASE,
            ends=frozenset(),
            text=StreamingText(
                tokenizer=tokenizer, control=frozenset(), reader=plain_reader(), stop=()
            ),
            max_tokens=chance.randrange(3, 20),
            # As good as none; divided by it, hardly anything is a number.
            temperature=1e-310 if number % 2 else 0.0,
            chance=chance,
        )
        for number in range(8)
    ]
    batch = continuous_batching.Batch(model, torch.float32)
    coming = list(rows)
    while coming or batch.busy:
        batch.waiting.extend(coming[:2])
        del coming[:2]
        batch.step()
        batch.step()
    for row in rows:
        ids = torch.tensor([row.prompt])
        settings = transformers.GenerationConfig(
            max_new_tokens=row.max_tokens, do_sample=False, pad_token_id=0
        )
        out = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        assert row.made == out[0, len(row.prompt) :].tolist()
