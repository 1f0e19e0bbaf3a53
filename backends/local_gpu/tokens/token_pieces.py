"""Split a text into the pieces that its tokens represent, for display."""

from collections.abc import Sequence

from tokenizers import Encoding

from backends.contract.inspector import Piece


def pieces(text: str, encoding: Encoding, learned: Sequence[bool]) -> list[Piece]:
    """Return a text in pieces of one token each.

    Tokens that only together make a character, such as bytes of a Hangul syllable, are one piece,
    which is trained if one of its tokens is. Together the pieces are the text, with the tokens that
    the tokenizer adds around it.

    Args:
        text: The encoded text.
        encoding: Tokens of the text, with exact offsets.
        learned: For every token, True if it is in the loss.
    """
    shown: list[tuple[str, bool]] = []
    reached = 0
    for (_, end), token, added, trained in zip(
        encoding.offsets, encoding.tokens, encoding.special_tokens_mask, learned, strict=False
    ):
        if added:
            shown.append((token, trained))
        elif end > reached:
            shown.append((text[reached:end], trained))
            reached = end
        elif shown:
            before, was_trained = shown[-1]
            shown[-1] = (before, was_trained or trained)
    if reached < len(text):
        shown.append((text[reached:], False))
    return [Piece(text=part, trained=trained) for part, trained in shown]
