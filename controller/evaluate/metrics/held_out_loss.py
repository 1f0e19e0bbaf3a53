"""`held_out_loss`: how unlikely the expected answers are to a model."""

from collections.abc import Sequence

from controller.evaluate.metric import AnsweredExample, Metric, MetricSettings, Tally


class HeldOutLoss(MetricSettings):
    """Mean negative log likelihood of the expected answers' tokens in nats.

    Training minimises the same number on other examples.
    """


def losses(_: MetricSettings, examples: Sequence[AnsweredExample]) -> list[Tally | None]:
    """Return the sum of each example's losses and the number of its tokens.

    The mean over all tokens follows, so a long answer counts more than a short one. None where the
    backend measured no loss.
    """
    completions = (example.completion for example in examples)
    return [
        (one.reference_loss * one.reference_tokens, one.reference_tokens)
        if one.reference_loss is not None and one.reference_tokens
        else None
        for one in completions
    ]


METRIC = Metric(
    name="held_out_loss",
    settings=HeldOutLoss,
    tally=losses,
    higher_is_better=False,
    is_of_texts=True,
    needs_losses=True,
)
