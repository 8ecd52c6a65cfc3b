"""The watchdog: how late the loop wakes, and what the gauges show.

A loop that is late again and again is told (`loop-lag`). One that stood still for a second lets no entry out until it
has woken on time once: what it finds in its sockets then was stamped too late for the age of a signal to tell (R-068).
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from gateway_container.engine.state import NEVER_NS
from kopitra.domain.journal import AlertCleared, AlertRaised

if TYPE_CHECKING:
    from gateway_container.engine.machine import Machine

#: seconds between two looks
WATCH_EVERY_S: Final = 0.25
#: looks that are judged together: a minute
LOOKS: Final = 240
#: of a hundred looks the one that may be later than the limit is not counted
_SHARE: Final = 0.99
#: seconds of lateness (p99 of a minute) that people are told of
LAG_LIMIT_S: Final = 0.05
#: seconds without a look after which no entry leaves
STUCK_S: Final = 1.0
#: the alert's code
CODE: Final = "loop-lag"


class LagWindow:
    """Lateness of the last minute."""

    def __init__(self) -> None:
        self._lags_s: deque[float] = deque(maxlen=LOOKS)
        self.high = False

    def add(self, lag_s: float) -> bool:
        """One more look; True when the verdict has changed. A window that is not full is no minute yet."""
        self._lags_s.append(lag_s)
        high = len(self._lags_s) == LOOKS and self.p99_s > LAG_LIMIT_S
        changed, self.high = high != self.high, high
        return changed

    @property
    def p99_s(self) -> float:
        """The lateness that 99 of 100 looks do not exceed."""
        return sorted(self._lags_s)[int(len(self._lags_s) * _SHARE) - 1] if self._lags_s else 0.0


class Watchdog:
    """`run` is the task's body."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine
        self._window = LagWindow()

    async def run(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        metrics = self._machine.supplies.metrics
        look = self._machine.fanout.look
        try:
            self._on_time()
            while True:
                due = loop.time() + WATCH_EVERY_S
                await asyncio.sleep(WATCH_EVERY_S)
                lag_s = max(0.0, loop.time() - due)
                metrics.loop_lag.observe(lag_s)
                if lag_s < STUCK_S:
                    self._on_time()
                if self._window.add(lag_s):
                    self._tell()
                self._gauges()
        finally:
            look.awake_until_ns = NEVER_NS

    def _on_time(self) -> None:
        """Entries may leave until a second after the next look is due."""
        left_ns = int((WATCH_EVERY_S + STUCK_S) * 1e9)
        self._machine.fanout.look.awake_until_ns = self._machine.state.clock.monotonic_ns() + left_ns

    def _tell(self) -> None:
        worst_ms, note = round(self._window.p99_s * 1000), self._machine.log.note
        if self._window.high:
            text = f"the event loop wakes {worst_ms} ms late (p99 of a minute): too many accounts, or too few cores"
            note("", AlertRaised(CODE, text))
        else:
            note("", AlertCleared(CODE, f"the event loop wakes within {worst_ms} ms again"))

    def _gauges(self) -> None:
        machine = self._machine
        metrics, state = machine.supplies.metrics, machine.state
        metrics.queue_depth.labels("orders").set(machine.fanout.waiting)
        metrics.queue_depth.labels("journal").set(machine.writer.waiting_rows)
        metrics.queue_depth.labels("backlog").set(machine.log.backlog)
        metrics.queue_depth.labels("exits").set(machine.exits.waiting)
        metrics.queue_depth.labels("projections").set(machine.projector.lag_rows)
        metrics.prices.set(len(state.prices))
        metrics.sessions.clear()
        for login_id, session in machine.sessions.all.items():
            login = state.config.logins.get(login_id)
            metrics.sessions.labels(login.broker if login else "", session.state).inc()
