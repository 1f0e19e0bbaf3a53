import random
from functools import cache
from importlib import import_module

import pytest

from backends.local_gpu.inference.active_answer import BASE, ActiveAnswer
from backends.local_gpu.inference.streaming_text import StreamingText
from backends.local_gpu.templates.answers import AnswerReader
from backends.local_gpu.templates.call_forms import Form
from tests.backends.local_gpu.inference.architectures import KINDS, WORDS, generated, tiny_model

pytestmark = pytest.mark.torch


@cache
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


def begin(number, prompt, count, chance):
    """Return an answer in ones and zeros of probability, whatever its temperature says."""
    return ActiveAnswer(
        id=number,
        prompt=prompt,
        adapter=BASE,
        ends=frozenset(),
        text=StreamingText(
            tokenizer=bytes_tokenizer(), control=frozenset(), reader=plain_reader(), stop=()
        ),
        max_tokens=count,
        # As good as none; divided by it, hardly anything is a number.
        temperature=1e-310 if number % 2 else 0.0,
        chance=chance,
    )


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("kind", "room"),
    [*((kind, 32_768) for kind in KINDS), ("columns", 120), ("linear attention", 120)],
)
def test_answers_are_those_of_generate_whoever_joins_and_leaves(monkeypatch, kind, room):
    batching = import_module("backends.local_gpu.inference.continuous_batching")
    active = import_module("backends.local_gpu.inference.active_answer")
    # With little room, running answers are sent back to wait and are read again.
    monkeypatch.setattr(batching, "_TOKENS", room)
    monkeypatch.setattr(active, "_AHEAD", 2)
    model, chance = tiny_model(kind), random.Random(1)
    answers = [
        begin(
            number,
            [chance.randrange(WORDS) for _ in range(chance.randrange(3, 30))],
            chance.randrange(3, 12),
            chance,
        )
        for number in range(8)
    ]
    batch = batching.Batch(model, import_module("torch").float32)
    coming = list(answers)
    while coming or batch.busy:
        batch.waiting.extend(coming[:2])
        del coming[:2]
        batch.step()
        batch.step()
    expected = [generated(model, answer.prompt, answer.max_tokens) for answer in answers]
    assert [answer.made for answer in answers] == expected
    assert len({tuple(made) for made in expected}) == len(answers)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", ["columns", "linear attention"])
def test_a_cancelled_answer_leaves_the_others_as_they_are(kind):
    batching = import_module("backends.local_gpu.inference.continuous_batching")
    model, chance = tiny_model(kind), random.Random(2)
    answers = [begin(number, [5, 6, 7 + number], 8, chance) for number in range(4)]
    batch = batching.Batch(model, import_module("torch").float32)
    batch.waiting.extend(answers[:3])
    batch.step()
    batch.waiting.append(answers[3])
    for number in (1, 3, 99):
        batch.cancel(number)
    ended = {}
    while batch.busy:
        ended |= {piece.id: piece for piece in batch.step() if piece.finish_reason is not None}
    assert ended.keys() == {0, 2}
    assert {piece.finish_reason for piece in ended.values()} == {"length"}
    for number in ended:
        assert answers[number].made == generated(model, answers[number].prompt, 8)


@pytest.mark.usefixtures("one_thread")
def test_models_with_a_state_answer_together_and_not_one_by_one():
    batching = import_module("backends.local_gpu.inference.continuous_batching")
    chance, steps = random.Random(3), {}
    for kind in ("columns", "linear attention", "no cache"):
        batch = batching.Batch(tiny_model(kind), import_module("torch").float32)
        batch.waiting.extend(begin(number, [5, 6, 7], 4, chance) for number in range(5))
        steps[kind] = 0
        while batch.busy:
            batch.step()
            steps[kind] += 1
    assert steps == {"columns": 4, "linear attention": 4, "no cache": 16}
