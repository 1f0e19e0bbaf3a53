import random

import pytest

from backends.local_gpu.inference.active_answer import BASE, ActiveAnswer, Blame, Piece
from backends.local_gpu.inference.streaming_text import StreamingText, joined
from backends.local_gpu.templates.answers import Answer, AnswerReader
from backends.local_gpu.templates.call_forms import Form

END = 0


def letters():
    """Make a tokenizer of single letters; the model has tokens beyond it."""
    import tokenizers  # noqa: PLC0415 - tests without the training packages import this file too

    vocabulary = {"<end>": END} | {letter: n for n, letter in enumerate("abcdefgh", start=1)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<end>"))
    tokenizer.decoder = tokenizers.decoders.Fuse()
    return tokenizer


def answer(max_tokens=5, stop=()):
    tokenizer = letters()
    return ActiveAnswer(
        id=7,
        prompt=[1, 2, 3],
        adapter=BASE,
        ends=frozenset({END}),
        text=StreamingText(
            tokenizer=tokenizer,
            control=frozenset({"<end>"}),
            reader=AnswerReader(form=Form(), types={}, offered=False, opening=""),
            stop=stop,
        ),
        max_tokens=max_tokens,
        temperature=0.0,
        chance=random.Random(0),
    )


@pytest.mark.parametrize(
    ("tokens", "settings", "text", "reason", "taken"),
    [
        ("ab|", {}, "ab", "stop", 3),
        ("abcdefgh", {}, "abcde", "length", 5),
        ("abcd|", {}, "abcd", "stop", 5),  # the end comes with the last token
        ("|", {}, "", "stop", 1),
        ("abcdefgh", {"max_tokens": 1}, "a", "length", 1),
        ("abcdefgh", {"stop": ["cd"]}, "ab", "stop", 4),
        ("abcdefgh", {"stop": ["zz", "b"]}, "a", "stop", 2),
        ("abcde", {"stop": ["ef"]}, "abcde", "length", 5),  # only the beginning of a stop text
        ("a??b|", {}, "ab", "stop", 5),  # tokens that are not in the tokenizer have no text
    ],
)
def test_an_answer_ends_by_a_token_a_text_or_its_length(tokens, settings, text, reason, taken):
    places = {"|": END, "?": 99} | {letter: n for n, letter in enumerate("abcdefgh", start=1)}
    made, added = answer(**settings), Answer()
    for count, letter in enumerate(tokens, start=1):
        piece = made.take(places[letter])
        added = joined(added, piece.added)
        assert (piece.id, piece.prompt_tokens, piece.completion_tokens) == (7, 3, count)
        assert made.done == (piece.finish_reason is not None)
        if made.done:
            break
    assert (added.text, piece.finish_reason, len(made.made)) == (text, reason, taken)
    assert made.read == [*made.prompt, *made.made]


@pytest.mark.parametrize(
    ("max_tokens", "made", "room"), [(5, 0, 8), (5, 4, 8), (1000, 0, 259), (1000, 900, 1003)]
)
def test_an_answer_is_given_room_for_what_may_come_soon(max_tokens, made, room):
    one = answer(max_tokens)
    one.made = [1] * made
    assert one.room == room


def test_a_piece_is_empty_unless_something_came():
    assert Piece(id=1, added=Answer()).finish_reason is None


def test_an_error_ends_the_answer_that_raised_it():
    one, failed = answer(), []
    with Blame(one, failed):
        raise ZeroDivisionError
    assert one.done
    assert [(number, type(error)) for number, error in failed] == [(7, ZeroDivisionError)]
    other = answer()
    with Blame(other, failed):
        pass
    assert not other.done
    with pytest.raises(KeyboardInterrupt), Blame(other, failed):
        raise KeyboardInterrupt
    assert len(failed) == 1
