"""Logs, metrics and traces.

Logs are JSON lines with the four ids (requestId, signalId, clOrdId, orderId) where they are known; a redaction step
is the second wall behind never logging a secret. Metrics live in one registry. Traces are made after the fact, off
the hot path, with the signal as the root span; without an endpoint there are none.
"""

import logging
import re
import sys
from bisect import bisect_left
from collections.abc import Iterable, Mapping, MutableMapping
from functools import lru_cache
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

_SECRET_NAMES: Final = re.compile(
    r"pass(word|wd)?|secret|token|api_?key|authorization|credential|private|signature|cookie", re.IGNORECASE
)
_SECRET_VALUES: Final = re.compile(
    r"(?:kpt|kop)_[A-Za-z0-9]+_[A-Za-z0-9_-]+|/webhooks/[^\s\"/?]+|Bearer\s+\S+|eyJ[A-Za-z0-9_-]{8,}[.\w-]*"
)
_HIDDEN: Final = "[hidden]"
#: characters of one logged value
_VALUE_LENGTH_MAX: Final = 2_000
#: names of log fields remembered
_NAMES_CACHED_MAX: Final = 512

#: seconds; from 100 us to the plans' worst case of 3 s
HOP_BUCKETS_S: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 3.0,
)  # fmt: skip


def redact(value: object) -> object:
    """Text without anything that looks like a secret, bounded; other values as they are."""
    if isinstance(value, str):
        return _SECRET_VALUES.sub(_HIDDEN, value)[:_VALUE_LENGTH_MAX]
    return value


def _redact_event(_logger: object, _method: str, event: MutableMapping[str, object]) -> Mapping[str, object]:
    return {k: _HIDDEN if _is_secret(k) else redact(v) for k, v in event.items()}


@lru_cache(maxsize=_NAMES_CACHED_MAX)
def _is_secret(name: str) -> bool:
    """By the name of the field; a line has the same dozen of them every time."""
    return _SECRET_NAMES.search(name) is not None


def configure_logging(level: str) -> None:
    """JSON lines on standard error. Foreign loggers speak from WARNING on: some libraries log what they send."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_event,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


class Times:
    """Durations in HOP_BUCKETS_S. Plain numbers that the event loop alone writes and a scrape reads: the library's
    own are locked, for threads, which costs each order as much as its fold."""

    __slots__ = ("_counts", "_sum_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(HOP_BUCKETS_S) + 1)
        self._sum_s = 0.0

    def observe(self, duration_s: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(HOP_BUCKETS_S, duration_s)] += 1
        self._sum_s += duration_s

    def show(self, family: HistogramMetricFamily, label: str) -> None:
        """As the cumulative buckets that a scrape shows."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, HOP_BUCKETS_S), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, total))
        family.add_metric([label], buckets, self._sum_s)


class HopTimes(Collector):
    """One histogram per hop; ask for it once, when the process starts."""

    labels = ("hop",)

    def __init__(self, name: str, title: str, registry: CollectorRegistry) -> None:
        self._name, self._title = name, title
        self._hops: dict[str, Times] = {}
        registry.register(self)

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """What there is, without its values."""
        return [HistogramMetricFamily(self._name, self._title, labels=self.labels)]

    def of(self, hop: str) -> Times:
        """The durations of one hop."""
        return self._hops.setdefault(hop, Times())

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """For a scrape."""
        family = HistogramMetricFamily(self._name, self._title, labels=self.labels)
        for hop, times in self._hops.items():
            times.show(family, hop)
        return [family]


class Tally(Collector):
    """A counter by one label: `counts[value] += 1`. Plain numbers for the reason that `Times` gives."""

    def __init__(self, name: str, title: str, label: str, registry: CollectorRegistry) -> None:
        self._name, self._title, self.labels = name, title, (label,)
        self.counts: dict[str, int] = {}
        registry.register(self)

    def describe(self) -> Iterable[CounterMetricFamily]:
        """What there is, without its values."""
        return [CounterMetricFamily(self._name, self._title, labels=self.labels)]

    def collect(self) -> Iterable[CounterMetricFamily]:
        """For a scrape."""
        family = CounterMetricFamily(self._name, self._title, labels=self.labels)
        for value, count in self.counts.items():
            family.add_metric([value], count)
        return [family]


class Metrics:
    """Everything `/metrics` shows. Label values are closed sets, so that memory stays bounded."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.hops = HopTimes(
            "kopitra_hop_seconds", "Time from the receipt of a signal to the end of each hop.", self.registry
        )
        self.canary = HopTimes(
            "kopitra_canary_seconds", "Time from a canary signal to the end of each hop.", self.registry
        )
        self.legs = Tally("kopitra_legs_total", "Decisions per follower.", "outcome", self.registry)
        self.signals = Tally("kopitra_signals_total", "Signals by source.", "source", self.registry)
        self.orders = Tally(
            "kopitra_order_ends_total", "Child orders by final state.", "state", self.registry
        )
        self.faults = Tally(
            "kopitra_faults_total", "Reports and states that our tables do not allow.", "kind", self.registry
        )
        self.breaks = Tally(
            "kopitra_invariant_breaks_total", "Asserted invariants that broke.", "invariant", self.registry
        )
        self.drifts = Tally("kopitra_drifts_total", "Confirmed drift by kind.", "kind", self.registry)
        self.repairs = Tally("kopitra_repairs_total", "Repairs sent, by who asked.", "who", self.registry)
        self.stream_losses = Tally(
            "kopitra_stream_losses_total", "Executions that only a list told.", "broker", self.registry
        )
        self.requests = Counter(
            "kopitra_requests_total", "Answers of the doors.", ["route", "status"], registry=self.registry
        )
        self.queue_depth = Gauge(
            "kopitra_queue_depth", "Rows or orders waiting.", ["queue"], registry=self.registry
        )
        self.prices = Gauge("kopitra_prices_known", "Products with a known price.", registry=self.registry)
        self.loop_lag = Histogram(
            "kopitra_loop_lag_seconds",
            "How late the event loop wakes.",
            buckets=HOP_BUCKETS_S,
            registry=self.registry,
        )
        self.lease_epoch = Gauge(
            "kopitra_lease_epoch", "Epoch of the lease that this process holds; 0 for a standby.",
            registry=self.registry,
        )  # fmt: skip
        self.sessions = Gauge(
            "kopitra_sessions", "Broker sessions by state.", ["broker", "state"], registry=self.registry
        )
