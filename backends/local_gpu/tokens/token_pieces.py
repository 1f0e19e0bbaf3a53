"""Tokens back to the text they stand for, for people to look at."""

from collections.abc import Sequence

from tokenizers import Encoding

from backends.contract.inspector import Piece


def pieces(text: str, encoding: Encoding, learnt: Sequence[bool]) -> list[Piece]:
    """Return a text in the pieces that are one token each.

    Tokens that only together make a character, as bytes of a Hangul syllable do, are one piece;
    it is trained if one of them is. Together the pieces are the text, and what the tokenizer put
    around it.

    Args:
        text: What was encoded.
        encoding: Its tokens, with exact offsets.
        learnt: Which of them are in the loss.
    """
    shown: list[tuple[str, bool]] = []
    reached = 0
    for (_, end), token, added, trained in zip(
        encoding.offsets, encoding.tokens, encoding.special_tokens_mask, learnt, strict=False
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
