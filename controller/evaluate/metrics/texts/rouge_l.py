"""`rouge_l`: the longest common run of words with gaps, as rouge-score counts it."""

from collections.abc import Sequence

from controller.evaluate.metric import AnsweredExample, Metric, Tally
from controller.evaluate.metrics.texts.words import TokenSettings, plain_tokens_of


class RougeL(TokenSettings):
    """Mean ROUGE-L F1 of the answers, from 0 to 1.

    It is the longest common subsequence of tokens with the expected answer: letters and digits,
    without case. Examples that expect a tool call do not count.
    """


def _tallies(settings: RougeL, examples: Sequence[AnsweredExample]) -> list[Tally | None]:
    return [
        None
        if one.expected.calls
        else (
            _f1(
                plain_tokens_of(one.expected.text, settings.tokenize),
                plain_tokens_of(one.given.text, settings.tokenize),
            ),
            1.0,
        )
        for one in examples
    ]


def _f1(wanted: Sequence[str], found: Sequence[str]) -> float:
    if not wanted or not found:
        return 0.0
    return 2 * longest_common(wanted, found) / (len(wanted) + len(found))


def longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, by the bit-parallel method of Hyyrö."""
    places: dict[str, int] = {}
    for place, token in enumerate(first):
        places[token] = places.get(token, 0) | 1 << place
    mask = (1 << len(first)) - 1
    rows = mask
    for token in second:
        found = rows & places.get(token, 0)
        rows = ((rows + found) | (rows - found)) & mask
    return len(first) - rows.bit_count()


METRIC = Metric(
    name="rouge_l", settings=RougeL, tally=_tallies, higher_is_better=True, full_score=1.0
)
