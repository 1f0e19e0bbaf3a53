"""`bleu`: overlap of runs of words, equal to sacrebleu's BLEU."""

import math
from collections.abc import Sequence
from typing import Final

from controller.evaluate.metric import AnsweredExample, Metric, Tally
from controller.evaluate.metrics.texts.words import TokenSettings, ngrams, tokens_of

_LONGEST: Final = 4


class Bleu(TokenSettings):
    """BLEU of all answers together, from 0 to 100, as sacrebleu has it.

    It counts runs of up to four tokens that the expected answer has too: `words` are those of
    sacrebleu's `13a`, `characters` those of its `char`. Examples that expect a tool call do not
    count.
    """


def _tallies(settings: Bleu, examples: Sequence[AnsweredExample]) -> list[Tally | None]:
    return [None if one.expected.calls else _tally(settings, one) for one in examples]


def _tally(settings: Bleu, example: AnsweredExample) -> Tally:
    """Return both lengths, the runs in both by length, and the runs in the answer by length."""
    wanted = tokens_of(example.expected.text, settings.tokenize)
    found = tokens_of(example.given.text, settings.tokenize)
    shared: list[float] = []
    for length in range(1, _LONGEST + 1):
        in_reference = ngrams(wanted, length)
        runs = ngrams(found, length).items()
        shared.append(sum(min(count, in_reference[run]) for run, count in runs))
    all_runs = (max(len(found) - length + 1, 0) for length in range(1, _LONGEST + 1))
    return (len(found), len(wanted), *shared, *all_runs)


def _combine(sums: Sequence[float]) -> float | None:
    given, wanted, *rest = sums
    shared, runs = rest[:_LONGEST], rest[_LONGEST:]
    if not any(shared) or not all(runs):
        return 0.0
    shortness = math.exp(1 - wanted / given) if given < wanted else 1.0
    logarithms, smoothing = 0.0, 1.0
    for both, in_answer in zip(shared, runs, strict=True):
        if both:
            logarithms += math.log(100 * both / in_answer)
        else:
            # NIST's smoothing, as in mteval-v13a.
            smoothing *= 2
            logarithms += math.log(100 / (smoothing * in_answer))
    return shortness * math.exp(logarithms / _LONGEST)


METRIC = Metric(
    name="bleu",
    settings=Bleu,
    tally=_tallies,
    combine=_combine,
    higher_is_better=True,
    full_score=100.0,
)
