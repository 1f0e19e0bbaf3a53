"""Text that is shown while its tokens arrive: whole characters, no beginning of a stop text, all of it."""

from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backends.local_gpu.inference.streaming_text import StreamingText
from backends.local_gpu.templates.answers import AnswerReader
from backends.local_gpu.templates.call_forms import Form

tokenizers = pytest.importorskip("tokenizers")
KOREAN = "네, 주말에도 엽니다. 환불은 카페에서 👩‍👩‍👧 하세요 �"
ANSWERS = st.text("네카페.환불 주말👩é\u200d�<ab\n", max_size=12)


@cache
def of_bytes():
    """Return a tokenizer whose tokens are single bytes, so that every character is torn."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=VOCABULARY, merges=[]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(["<end>"])
    return made


VOCABULARY = {
    letter: number
    for number, letter in enumerate(sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()))
}


@cache
def of_pieces():
    """Return a tokenizer that has learned pieces of a Korean text, some of them torn."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=280,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([KOREAN] * 4, trainer)
    return made


@cache
def of_words():
    """Return a tokenizer that writes blanks as ▁ and drops the first one of a text."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    made.decoder = tokenizers.decoders.Sequence(
        [
            tokenizers.decoders.Replace("▁", " "),
            tokenizers.decoders.ByteFallback(),
            tokenizers.decoders.Fuse(),
            tokenizers.decoders.Strip(" ", 1, 0),
        ]
    )
    pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=320, special_tokens=pieces, show_progress=False
    )
    made.train_from_iterator(["네 주말 에도 a b"] * 4, trainer)
    return made


MAKERS = (of_bytes, of_pieces, of_words)


def stream(tokenizer, stop=()):
    return StreamingText(
        tokenizer=tokenizer,
        control=frozenset({"<end>"}),
        reader=AnswerReader(form=Form(), types={}, offered=False, opening=""),
        stop=stop,
    )


def pieces_of(tokenizer, ids, stop=()):
    """Return the texts that are shown one after the other, the last one at the end."""
    made = stream(tokenizer, stop)
    return [*(made.add(token).text for token in ids), made.end().text], made


def shown(answer, text):
    """Return a text as an answer shows it: without blanks around."""
    return answer.strip() == text.strip()


@pytest.mark.parametrize("maker", MAKERS)
def test_a_korean_text_is_shown_character_by_character(maker):
    tokenizer = maker()
    ids = tokenizer.encode(KOREAN, add_special_tokens=False).ids
    pieces, _ = pieces_of(tokenizer, ids)
    assert shown("".join(pieces), tokenizer.decode(ids, skip_special_tokens=False))
    assert shown("".join(pieces), KOREAN)
    # Long before the end, the beginning is there.
    assert len("".join(pieces[: len(ids) // 2])) > 5


@pytest.mark.parametrize("maker", MAKERS)
@given(text=ANSWERS)
@example(text="�네")
@example(text="👩‍👩‍👧")
def test_no_piece_ends_within_a_character_and_none_is_lost(maker, text):
    tokenizer = maker()
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    pieces, _ = pieces_of(tokenizer, ids)
    assert shown("".join(pieces), tokenizer.decode(ids, skip_special_tokens=False))
    if "�" not in text:
        assert not any("�" in piece for piece in pieces)


@given(st.lists(st.integers(0, 255), max_size=24))
@example([0xEB, 0x84, 0xEB, 0x84, 0xA4])
@example([0xF0, 0x9F, 0x61])
def test_tokens_that_make_no_characters_are_shown_as_the_tokenizer_shows_them(values):
    # A model may write any bytes, such as half a character and then another one.
    letters = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    by_byte = dict(zip(range(256), map(VOCABULARY.get, _in_order(letters)), strict=True))
    ids = [by_byte[value] for value in values]
    pieces, _ = pieces_of(of_bytes(), ids)
    assert shown("".join(pieces), bytes(values).decode(errors="replace"))


def _in_order(letters):
    """Return the letters of the byte-level alphabet in the order of their bytes."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [value for value in range(256) if value not in printable]
    places = {value: chr(value) for value in printable}
    places |= {value: chr(256 + number) for number, value in enumerate(others)}
    assert {*places.values()} == {*letters}
    return [places[value] for value in range(256)]


@given(
    text=st.text("ab<끝네 ", max_size=14),
    stops=st.lists(st.text("ab<끝", min_size=1, max_size=3), max_size=2),
)
@example(text="aab", stops=["ab"])
@example(text="네<끝>a", stops=["<끝>", "끝"])
def test_an_answer_ends_before_the_stop_text_that_ends_first(text, stops):
    tokenizer = of_bytes()
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    pieces, made = pieces_of(tokenizer, ids, stops)
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    expected = text[: min(ends)[1]] if ends else text
    assert shown("".join(pieces), expected)
    assert made.stopped is bool(ends)
    # Whatever is shown stays shown: no piece may hold the beginning of a stop text that comes.
    for count in range(len(pieces) + 1):
        assert expected.strip().startswith("".join(pieces[:count]).strip())


def test_nothing_comes_after_a_stop_text():
    tokenizer = of_bytes()
    made = stream(tokenizer, stop=["끝"])
    ids = tokenizer.encode("네끝아니오", add_special_tokens=False).ids
    said = [made.add(token).text for token in ids]
    assert "".join(said) == "네"
    assert made.end().text == ""


def test_control_tokens_and_tokens_without_a_text_are_not_shown():
    tokenizer = of_bytes()
    end = tokenizer.token_to_id("<end>")
    first, *rest = tokenizer.encode("네", add_special_tokens=False).ids
    pieces, _ = pieces_of(tokenizer, [end, first, 99_999, *rest, end])
    assert "".join(pieces) == "네"


def test_half_a_character_at_the_end_is_shown_as_such():
    tokenizer = of_bytes()
    ids = tokenizer.encode("네네", add_special_tokens=False).ids
    pieces, _ = pieces_of(tokenizer, ids[:-1])
    assert "".join(pieces[:-1]) == "네"
    assert pieces[-1] == "�"


def test_bytes_that_make_no_character_are_shown_before_the_answer_ends():
    tokenizer = of_bytes()
    lead = tokenizer.encode("네", add_special_tokens=False).ids[0]
    pieces, _ = pieces_of(tokenizer, [lead] * 6)
    # Each is followed by one that begins another character, so that it can become none.
    assert pieces == ["", "�", "�", "�", "�", "�", "�"]


def test_of_two_stop_texts_in_one_token_the_one_that_ends_first_counts():
    tokenizer = of_words()
    ids = tokenizer.encode("네 주말", add_special_tokens=False).ids
    assert len(ids) == 2
    for stops in (["말", "주"], ["주", "말"], ["주말", "주"]):
        pieces, made = pieces_of(tokenizer, ids, stops)
        assert "".join(pieces).strip() == "네"
        assert made.stopped
    pieces, _ = pieces_of(tokenizer, ids, ["말"])
    assert "".join(pieces) == "네 주"
