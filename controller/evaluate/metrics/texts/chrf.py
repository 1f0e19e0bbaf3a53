"""`chrf`: overlap of runs of characters, equal to sacrebleu's chrF2."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from controller.evaluate.metric import AnsweredExample, Metric, MetricSettings, Tally

_LONGEST: Final = 6
_COUNTS: Final = 3
_BETA_SQUARED: Final = 4.0


class Chrf(MetricSettings):
    """chrF2 of all answers together, from 0 to 100, as sacrebleu has it; for any language.

    It counts runs of up to six characters that the expected answer has too. Examples that
    expect a tool call do not count.
    """


def _tallies(_: Chrf, examples: Sequence[AnsweredExample]) -> list[Tally | None]:
    return [
        None if one.expected.calls else _tally("".join(one.given.text.split()), one)
        for one in examples
    ]


def _tally(given: str, example: AnsweredExample) -> Tally:
    """Return for each length the runs in the answer, in the expected answer, and in both."""
    expected = "".join(example.expected.text.split())
    counts: list[float] = []
    for length in range(1, _LONGEST + 1):
        wanted, found = _runs(expected, length), _runs(given, length)
        shared = sum(min(count, wanted[run]) for run, count in found.items() if run in wanted)
        # Runs in an answer whose expected answer is shorter than they are do not count.
        in_answer = max(len(given) - length + 1, 0) if wanted else 0
        counts += (in_answer, max(len(expected) - length + 1, 0), shared)
    return tuple(counts)


def _runs(text: str, length: int) -> Counter[str]:
    return Counter([text[start : start + length] for start in range(len(text) - length + 1)])


def _combine(sums: Sequence[float]) -> float | None:
    counts = [sums[start : start + _COUNTS] for start in range(0, len(sums), _COUNTS)]
    both = [
        (shared / given, shared / wanted) for given, wanted, shared in counts if given and wanted
    ]
    if not both:
        return 0.0
    precision = sum(one for one, _ in both) / len(both)
    recall = sum(one for _, one in both) / len(both)
    if not precision + recall:
        return 0.0
    return 100 * (1 + _BETA_SQUARED) * precision * recall / (_BETA_SQUARED * precision + recall)


METRIC = Metric(
    name="chrf",
    settings=Chrf,
    tally=_tallies,
    combine=_combine,
    higher_is_better=True,
    full_score=100.0,
)
