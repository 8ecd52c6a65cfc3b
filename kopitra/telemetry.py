"""Logs, metrics and traces.

Logs are JSON lines with the four ids (requestId, signalId, clOrdId, orderId) where they are known; a redaction step
is the second wall behind never logging a secret. Metrics live in one registry. Traces are made after the fact, off
the hot path, with the signal as the root span; without an endpoint there are none.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECRET_NAMES: Final = re.compile(
    r"pass(word|wd)?|secret|token|api_?key|authorization|credential|private|signature|cookie", re.IGNORECASE
)
_SECRET_VALUES: Final = re.compile(
    r"(?:kpt|kop)_[A-Za-z0-9]+_[A-Za-z0-9_-]+|/webhooks/[^\s\"/?]+|Bearer\s+\S+|eyJ[A-Za-z0-9_-]{8,}[.\w-]*"
)
_HIDDEN: Final = "[hidden]"
#: characters of one logged value
_VALUE_LENGTH_MAX: Final = 2_000

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
    return {k: _HIDDEN if _SECRET_NAMES.search(k) else redact(v) for k, v in event.items()}


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


class Metrics:
    """Everything `/metrics` shows. Label values are closed sets, so that memory stays bounded."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.hops = Histogram(
            "kopitra_hop_seconds",
            "Time from the receipt of a signal to the end of each hop.",
            ["hop"],
            buckets=HOP_BUCKETS_S,
            registry=self.registry,
        )
        self.legs = Counter(
            "kopitra_legs_total", "Decisions per follower.", ["outcome"], registry=self.registry
        )
        self.signals = Counter(
            "kopitra_signals_total", "Signals by source.", ["source"], registry=self.registry
        )
        self.orders = Counter(
            "kopitra_order_ends_total", "Child orders by final state.", ["state"], registry=self.registry
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
        self.sessions = Gauge(
            "kopitra_sessions", "Broker sessions by state.", ["broker", "state"], registry=self.registry
        )
