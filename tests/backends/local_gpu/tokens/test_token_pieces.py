import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.local_gpu.tokens.token_pieces import pieces

pytestmark = pytest.mark.torch


class Encoding:
    """The parts of the tokenizers' encoding that count here."""

    def __init__(self, *tokens):
        self.offsets = [(start, end) for start, end, _, _ in tokens]
        self.tokens = [token for _, _, token, _ in tokens]
        self.special_tokens_mask = [added for _, _, _, added in tokens]


def shown(text, tokens, learned):
    return [(piece.text, piece.trained) for piece in pieces(text, Encoding(*tokens), learned)]


@pytest.mark.parametrize(
    ("text", "tokens", "learned", "expected"),
    [
        ("", [], [], []),
        ("ab", [(0, 1, "a", 0), (1, 2, "b", 0)], [0, 1], [("a", 0), ("b", 1)]),
        # Bytes of one character are one piece, learned if one of them is.
        (
            "카",
            [(0, 1, "x", 0), (0, 1, "y", 0), (0, 1, "z", 0)],
            [0, 1, 0],
            [("카", 1)],
        ),
        ("a카", [(0, 1, "a", 0), (1, 2, "x", 0), (1, 2, "y", 0)], [1, 0, 0], [("a", 1), ("카", 0)]),
        # What the tokenizer adds around a text is shown by its name.
        (
            "a",
            [(0, 0, "<s>", 1), (0, 1, "a", 0), (0, 0, "</s>", 1)],
            [0, 1, 1],
            [("<s>", 0), ("a", 1), ("</s>", 1)],
        ),
        # Text between and behind tokens belongs to the next token, or to none.
        ("a b c", [(0, 1, "a", 0), (2, 3, "b", 0)], [0, 1], [("a", 0), (" b", 1), (" c", 0)]),
        ("left", [], [], [("left", 0)]),
    ],
)
def test_pieces_are_what_tokens_stand_for(text, tokens, learned, expected):
    learned = [bool(one) for one in learned]
    assert shown(text, tokens, learned) == [(piece, bool(on)) for piece, on in expected]


@given(
    words=st.lists(st.text(max_size=4), max_size=8),
    learned=st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_the_pieces_are_the_whole_text(words, learned):
    text, tokens, at = "".join(words), [], 0
    for word in words:
        tokens.append((at, at + len(word), word, 0))
        at += len(word)
    found = shown(text, tokens, learned[: len(tokens)])
    assert "".join(piece for piece, _ in found) == text
    assert all(piece for piece, _ in found)
