"""One login at Toy Town: a line out for each order, a line in for each report."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from kopitra.domain.errors import LoginRefused
from kopitra.domain.executions import AccountSnapshot
from kopitra.domain.orders import OrderIntent
from kopitra.ports import (
    Clock,
    Encoded,
    EventSink,
    Forecast,
    LoginPlan,
    NewNumbers,
    NotSent,
    OrderRef,
    ReadLane,
    Sent,
    SessionChanged,
    SessionState,
)

from . import codec
from .auth import log_in


class ToySession:
    """Opens, logs in, and reports until it is closed. It never reconnects: toys are put away."""

    def __init__(self, login: LoginPlan, sink: EventSink, clock: Clock) -> None:
        self._login, self._sink, self._clock = login, sink, clock
        self._links = {link.account_id: link for link in login.accounts}
        self._writer: asyncio.StreamWriter | None = None
        self.state: SessionState = "closed"

    async def run(self) -> None:
        self._move("connecting")
        settings = self._login.settings
        reader, self._writer = await asyncio.open_connection(settings["host"], int(settings["port"]))
        self._move("logging_in")
        try:
            await log_in(reader, self._writer, self._login.credentials["password"])
        except LoginRefused as refused:
            self._move("closed", refused.message, fatal=True)
            return
        self._move("live")
        while line := await reader.readline():
            self._sink(codec.report(line, self._login.accounts, self._clock.monotonic_ns()))
        self._move("closed")

    def encode(self, intent: OrderIntent, attached: Sequence[OrderIntent] = ()) -> Encoded | NotSent:
        if intent.ord_type != "market" or attached:
            return NotSent("not_supported", "Toy Town takes market orders only: send the order as market")
        link = self._links[intent.account_id]
        return Encoded(intent.cl_ord_id, intent.account_id, codec.order_line(intent, link.broker_account))

    def submit(self, encoded: Encoded, lane_exit: bool) -> Sent | NotSent:
        if self._writer is None or self.state != "live":
            return NotSent("session_down")
        self._writer.write(encoded.payload)
        return Sent(self._clock.monotonic_ns())

    def cancel(self, order: OrderRef, request_id: str) -> NotSent:
        return NotSent("not_supported", "Toy Town fills at once: there is nothing to cancel")

    def replace(self, order: OrderRef, numbers: NewNumbers, request_id: str) -> NotSent:
        return NotSent("not_supported", "Toy Town fills at once: there is nothing to replace")

    async def snapshot(
        self, account_id: str, since: datetime | None, *, lane: ReadLane = "exit"
    ) -> AccountSnapshot:
        return AccountSnapshot(account_id, None, None, None, None, self._clock.monotonic_ns())

    def forecast(self) -> Forecast:
        """No budget here."""
        return Forecast(1_000, 1_000, 1_000, 60.0)

    def keep(self, kept: Callable[[], int]) -> None:
        """Nothing to keep it from."""

    def watch(self, symbols: Sequence[str]) -> None:
        """No market data here."""

    async def close(self, *, drain_s: float) -> None:
        if self._writer is not None:
            self._writer.close()
            await self._writer.wait_closed()

    def _move(self, state: SessionState, reason: str = "", *, fatal: bool = False) -> None:
        self.state = state
        self._sink(SessionChanged(self._login.login_id, state, reason, fatal))
