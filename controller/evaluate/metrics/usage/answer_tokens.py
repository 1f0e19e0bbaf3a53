"""`answer_tokens`: how long answers are."""

from collections.abc import Sequence

from controller.evaluate.metric import AnsweredExample, Metric, MetricSettings, Tally


class AnswerTokens(MetricSettings):
    """Mean number of tokens of an answer, with its thinking and calls.

    Answers whose tokens the backend does not count are left out.
    """


def _tokens(_: MetricSettings, examples: Sequence[AnsweredExample]) -> list[Tally | None]:
    counts = (one.completion.completion_tokens for one in examples)
    return [(float(count), 1.0) if count else None for count in counts]


METRIC = Metric(name="answer_tokens", settings=AnswerTokens, tally=_tokens, higher_is_better=False)
