"""The watchdog: how late the loop wakes, and what the gauges show. It looks, it decides nothing."""

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway_container.engine.machine import Machine

#: seconds between two looks
WATCH_EVERY_S: Final = 0.25


class Watchdog:
    """`run` is the task's body."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine

    async def run(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        metrics = self._machine.supplies.metrics
        while True:
            due = loop.time() + WATCH_EVERY_S
            await asyncio.sleep(WATCH_EVERY_S)
            metrics.loop_lag.observe(max(0.0, loop.time() - due))
            self._gauges()

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
