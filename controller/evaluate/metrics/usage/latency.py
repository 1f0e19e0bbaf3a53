"""`latency_p50`, `latency_p95`: how long answers take."""

from collections.abc import Sequence

from controller.evaluate.metric import AnsweredExample, Metric, MetricSettings, Tally


class LatencyP50(MetricSettings):
    """Median time of an answer in seconds.

    On this machine answers are made in batches and share their time, so compare only times of
    one machine.
    """


class LatencyP95(MetricSettings):
    """Time in seconds within which 95 % of the answers ended.

    On this machine answers are made in batches and share their time, so compare only times of
    one machine.
    """


def _seconds(_: MetricSettings, examples: Sequence[AnsweredExample]) -> list[Tally | None]:
    times_s = (one.completion.latency_s for one in examples)
    return [None if time_s is None else (time_s,) for time_s in times_s]


def _percentile(percent: int, settings: type[MetricSettings]) -> Metric[MetricSettings]:
    return Metric(
        name=f"latency_p{percent}",
        settings=settings,
        tally=_seconds,
        percentile=percent,
        higher_is_better=False,
        unit="s",
    )


METRICS = (_percentile(50, LatencyP50), _percentile(95, LatencyP95))
