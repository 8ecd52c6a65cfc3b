"""Hop times and traces, taken after the fact: nothing here runs before the last order of a signal is written."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, get_args

from opentelemetry.trace import Span, Tracer, set_span_in_context

from gateway_container.engine.pulse import Pulses
from gateway_container.engine.queue import Stamp
from gateway_container.engine.reports import Reports
from gateway_container.engine.state import State
from gateway_container.engine.surprises import FAULTS
from kopitra.domain.executions import ExecutionReport
from kopitra.domain.fanout import FanoutPlan, LegOutcome
from kopitra.domain.orders import TERMINAL, ChildOrder
from kopitra.domain.react import waiting_closes
from kopitra.domain.signals import Signal
from kopitra.telemetry import Metrics

#: signals whose receipt is remembered until their reports are in
RECEIPTS_MAX: Final = 10_000
_S: Final = 1e9


class Observer:
    """Feeds the histograms, the traces and the children's own hop times."""

    def __init__(self, state: State, metrics: Metrics, tracer: Tracer | None) -> None:
        self._state = state
        self._tracer = tracer
        self._received: OrderedDict[str, int] = OrderedDict()  # finds its first key in constant time
        self._reports: Reports | None = None
        self.pulses = Pulses()
        hops = metrics.hops
        self._plan = hops.of("plan").observe
        self._durable = hops.of("durable").observe
        self._sent = hops.of("last_sent").observe
        self._detected = hops.of("detected").observe
        self._ack = hops.of("broker_ack").observe
        self._fill = hops.of("broker_fill").observe
        self._ended = metrics.orders.counts
        self._ended.update(dict.fromkeys(TERMINAL, 0))
        self._outcomes = metrics.legs.counts
        self._outcomes.update(dict.fromkeys(get_args(LegOutcome), 0))
        self._signals = metrics.signals.counts
        self._faults = metrics.faults.counts
        self._faults.update(dict.fromkeys(FAULTS, 0))

    def attach(self, reports: Reports) -> None:
        """Held closes get their timers from the reports."""
        reports.surprises.faults = self._faults
        self._reports = reports

    def planned(self, signal: Signal, plan: FanoutPlan, stamp: Stamp) -> None:
        """A plan is made; its commit is in flight."""
        self._received[plan.list_id] = stamp.received_ns
        if len(self._received) > RECEIPTS_MAX:
            self._received.popitem(last=False)
        self._signals[signal.source] = self._signals.get(signal.source, 0) + 1
        self._detected(max(0.0, (signal.received_at - signal.occurred_at).total_seconds()))

    def dispatched(self, plan: FanoutPlan, stamp: Stamp, durable_ns: int) -> None:
        """Everything that can leave at once has left."""
        now_ns = self._state.clock.monotonic_ns()
        self._plan((stamp.planned_ns - stamp.received_ns) / _S)
        self._durable((durable_ns - stamp.received_ns) / _S)
        self._sent((now_ns - stamp.received_ns) / _S)
        for leg in plan.legs:
            self._outcomes[leg.outcome] += 1
        held = [a.intent.cl_ord_id for leg in plan.legs for a in leg.orders if a.intent.after]
        if held and self._reports is not None:
            found = (self._state.book.orders.get(name) for name in held)
            self._reports.watch_closes(waiting_closes([o for o in found if o is not None]))
        if self._tracer is not None:
            _trace(self._tracer, self._state.clock.now().timestamp(), plan, stamp, durable_ns, now_ns)

    def report(self, order: ChildOrder, report: ExecutionReport) -> None:
        """A broker answered."""
        base = self._received.get(order.intent.list_id)
        received_ns = report.received_ns
        if base is None or received_ns == 0:
            return
        hops, state = order.hops, order.state
        if "acked" not in hops:
            since_us = hops["acked"] = (received_ns - base) // 1000
            self._ack(max(0, since_us - hops.get("sent", 0)) / 1e6)
            self.pulses.answered(order)
        if state in TERMINAL:
            if state == "filled" and "filled" not in hops:
                since_us = hops["filled"] = (received_ns - base) // 1000
                self._fill(since_us / 1e6)
            self._ended[state] += 1


def _trace(
    tracer: Tracer, wall_s: float, plan: FanoutPlan, stamp: Stamp, durable_ns: int, now_ns: int
) -> None:
    """The signal as root span with its hops as children; times are laid on the wall clock."""
    shift = int(wall_s * _S) - now_ns
    at: Callable[[int], int] = lambda ns: ns + shift  # noqa: E731 - one expression, used four times below
    root: Span = tracer.start_span(
        "signal",
        start_time=at(stamp.received_ns),
        attributes={"signalId": plan.signal_id, "listId": plan.list_id, "legs": len(plan.legs)},
    )
    inside = set_span_in_context(root)
    hops = (
        ("plan", stamp.received_ns, stamp.planned_ns),
        ("durable", stamp.planned_ns, durable_ns),
        ("dispatch", durable_ns, now_ns),
    )
    for name, start_ns, end_ns in hops:
        tracer.start_span(name, context=inside, start_time=at(start_ns)).end(end_time=at(end_ns))
    root.end(end_time=at(now_ns))
