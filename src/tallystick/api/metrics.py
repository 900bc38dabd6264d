"""What Prometheus is told: charges, refusals, how long requests and commits take, and how far behind the worker is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, Metric

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The figures of one process. Labels are names of our own, so that their number stays small."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._charges = Counter(
            "tally_charges", "Charges made; repeats do not count.", ["meter"], registry=self.registry
        )
        self._captures = Counter(
            "tally_captures", "Holds captured; repeats do not count.", registry=self.registry
        )
        self._refusals = Counter("tally_refusals", "Refused requests.", ["code"], registry=self.registry)
        self._refills: Callable[[], Mapping[str, int]] = dict
        self.registry.register(self)
        self._requests = Histogram(
            "tally_request_seconds",
            "How long requests took.",
            ["method", "route", "status"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._batch_size = Histogram(
            "tally_commit_batch_size", "Operations in one commit.", buckets=_SIZES, registry=self.registry
        )
        self._batch_seconds = Histogram(
            "tally_commit_seconds", "How long a commit took.", buckets=_SECONDS, registry=self.registry
        )
        self._worker_lag = Gauge(
            "tally_worker_lag_seconds", "For how long the oldest work has been due.", registry=self.registry
        )
        self._queue_depth = Gauge(
            "tally_commit_queue_depth", "Operations that wait for the next commit.", registry=self.registry
        )
        self._known: dict[tuple[str, str, int], Histogram] = {}

    def watch(
        self,
        *,
        worker_lag: Callable[[], float] | None,
        queue_depth: Callable[[], int],
        refills: Callable[[], Mapping[str, int]],
    ) -> None:
        """Where to read what is asked for only when somebody looks."""
        self._queue_depth.set_function(queue_depth)
        self._refills = refills
        if worker_lag is not None:
            self._worker_lag.set_function(worker_lag)

    def charged(self, meter: str | None) -> None:
        """A charge was made."""
        self._charges.labels(meter or "").inc()

    def captured(self) -> None:
        """A hold was captured."""
        self._captures.inc()

    def refused(self, code: str) -> None:
        """A request was refused."""
        self._refusals.labels(code).inc()

    def collect(self) -> Iterator[Metric]:
        """What the services count themselves, for the registry."""
        found = CounterMetricFamily(
            "tally_auto_refills", "Automatic refills by what came of the attempt.", labels=["outcome"]
        )
        for outcome, count in self._refills().items():
            found.add_metric([outcome], count)
        yield found

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        key = (method, route, status)
        child = self._known.get(key)
        if child is None:
            child = self._known[key] = self._requests.labels(method, route, str(status))
        child.observe(seconds)

    def observe_batch(self, size: int, seconds: float) -> None:
        """A batch was committed."""
        self._batch_size.observe(size)
        self._batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """Everything in Prometheus' text form."""
        return generate_latest(self.registry)
