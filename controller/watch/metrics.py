"""Metrics of the service, in Prometheus's text format. Needs the extra `watch`."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from controller.watch.health import Health

CONTENT_TYPE = CONTENT_TYPE_LATEST
_PASS_S = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3600)


class Metrics:
    """Counters of one service. No label holds the name of a fine-tune: there may be thousands."""

    def __init__(self, now: Callable[[], Health]) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._actions = Counter(
            "ftctl_actions",
            "Actions by kind and outcome.",
            ["action", "outcome"],
            registry=registry,
        )
        self._events = Counter(
            "ftctl_events",
            "Fetches, pushes, passes by outcome.",
            ["event", "outcome"],
            registry=registry,
        )
        self._pass_s = Histogram(
            "ftctl_pass_seconds", "Seconds of a pass.", buckets=_PASS_S, registry=registry
        )
        self._outages = Gauge(
            "ftctl_outage_since_timestamp_seconds",
            "Start of what does not work; absent while it works.",
            ["what"],
            registry=registry,
        )
        _gauge(registry, "ftctl_finetunes", "Declared fine-tunes.", lambda: now().finetunes)
        _gauge(registry, "ftctl_open_jobs", "Jobs that are open.", lambda: now().open_jobs)
        _gauge(
            registry,
            "ftctl_stopped_finetunes",
            "Fine-tunes that wait for a person.",
            lambda: now().stopped,
        )
        _gauge(
            registry,
            "ftctl_last_pass_timestamp_seconds",
            "End of the last pass; 0 before the first.",
            lambda: now().passed_s or 0,
        )
        self._now = now

    def count_action(self, action: str, *, failed: bool) -> None:
        """Count an action that was carried out, or could not be."""
        self._actions.labels(action, "failed" if failed else "done").inc()

    def count_event(self, event: str, *, failed: bool) -> None:
        """Count a fetch, a push, a pass or a report."""
        self._events.labels(event, "failed" if failed else "done").inc()

    def observe_pass(self, seconds: float) -> None:
        """Record how long a pass took."""
        self._pass_s.observe(seconds)

    def text(self) -> bytes:
        """Return all metrics."""
        self._outages.clear()
        for name, outage in self._now().outages.items():
            self._outages.labels(name).set(outage.since_s)
        return generate_latest(self._registry)


def _gauge(registry: CollectorRegistry, name: str, text: str, value: Callable[[], float]) -> None:
    Gauge(name, text, registry=registry).set_function(value)
