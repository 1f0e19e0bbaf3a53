"""Agreement of raters: Krippendorff's alpha for ordered scores. Pure.

1 is perfect agreement, 0 is what chance gives, below 0 raters contradict each other.
See Krippendorff, Content Analysis (2019), chapter 12.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import permutations


def ordinal_alpha(units: Iterable[Sequence[float]]) -> float | None:
    """Return the agreement of scores.

    Args:
        units: The scores of each answer, by any raters.

    Returns:
        Alpha; None if no answer has two scores, or all scores are equal.
    """
    pairable = [scores for scores in units if len(scores) > 1]
    totals = Counter(score for scores in pairable for score in scores)
    values = sorted(totals)
    if not values or values[0] == values[-1]:
        return None
    before = {value: sum(totals[low] for low in values[:at]) for at, value in enumerate(values)}

    def distance(one: float, other: float) -> float:
        """Return the square of the number of scores between two, each end counted half."""
        low, high = min(one, other), max(one, other)
        between = before[high] + totals[high] - before[low]
        return (between - (totals[low] + totals[high]) / 2) ** 2

    observed = 0.0
    for scores in pairable:
        for (one, count), (other, times) in permutations(Counter(scores).items(), 2):
            observed += count * times * distance(one, other) / (len(scores) - 1)
    expected = sum(
        totals[one] * totals[other] * distance(one, other) for one, other in permutations(values, 2)
    )
    return 1 - (totals.total() - 1) * observed / expected
