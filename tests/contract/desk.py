"""One session of ours at a simulator: orders out, reports in, and waiting for what a card expects."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final

from kopitra.domain.executions import AccountSnapshot, ExecutionReport
from kopitra.domain.ids import cl_ord_id, list_id
from kopitra.domain.orders import OrderIntent
from kopitra.domain.signals import OrdType, Side, TimeInForce
from kopitra.ports import (
    BrokerSession,
    Clock,
    Encoded,
    NotSent,
    OrderRef,
    OrderUnknown,
    Sent,
    SessionChanged,
)
from tests.contract.ear import PATIENCE_S, Ear
from tests.contract.folding import faults
from tests.contract.logins import A1

_ATTEMPTS_MAX: Final = 50  #: orders that may be lost to one fault


@dataclass(slots=True)
class Desk:
    """One session of ours at the simulator, and what it said."""

    session: BrokerSession
    ear: Ear
    clock: Clock
    symbol: str
    running: asyncio.Task[None] | None = None
    made: int = 0
    sent: list[OrderIntent] = field(default_factory=list[OrderIntent])
    #: False in cards that make the fold stop the account on purpose
    lawful: bool = True

    # ---- life

    def run(self) -> None:
        self.running = asyncio.create_task(self.session.run())

    async def live(self) -> None:
        await self.ear.until(lambda: self.session.state == "live", "the session going live")

    def states(self) -> list[str]:
        """Every state it said, in order."""
        return [event.state for event in self.ear.of(SessionChanged)]

    async def close(self, drain_s: float = 0.0) -> None:
        """Close, and let `run` end; a broken `run` fails the card here."""
        await self.session.close(drain_s=drain_s)
        if self.running is not None:
            async with asyncio.timeout(PATIENCE_S):
                await self.running

    def check(self) -> None:
        """All that was said fits the house's order table."""
        found = faults(self.sent, self.ear.events) if self.lawful else []
        assert not found, "\n".join(found)

    # ---- orders

    def intent(
        self,
        side: Side = "buy",
        qty: int = 1,
        ord_type: OrdType = "market",
        *,
        account: str = A1,
        price: str | None = None,
        stop_price: str | None = None,
        trail_offset: str | None = None,
        time_in_force: TimeInForce = "day",
    ) -> OrderIntent:
        """An order with an id of its own."""
        self.made += 1
        made_id = list_id("contract", f"{id(self)}-{self.made}")
        return OrderIntent(
            cl_ord_id=cl_ord_id(made_id, account, "e"),
            list_id=made_id,
            account_id=account,
            leader="lead",
            leg="e",
            role="entry",
            symbol=self.symbol,
            side=side,
            qty=Decimal(qty),
            ord_type=ord_type,
            price=_decimal(price),
            stop_price=_decimal(stop_price),
            trail_offset=_decimal(trail_offset),
            time_in_force=time_in_force,
        )

    def closing(self, side: Side, qty: int, account: str = A1) -> OrderIntent:
        """A market order that can only shrink the position."""
        return self.intent(side, qty, account=account)._replace(role="exit", leg="x", reduce_only=True)

    def encode(self, intent: OrderIntent, *attached: OrderIntent) -> Encoded:
        encoded = self.session.encode(intent, attached)
        assert isinstance(encoded, Encoded), encoded
        return encoded

    def try_send(self, intent: OrderIntent, *attached: OrderIntent) -> Sent | NotSent:
        """Encode and submit once."""
        encoded = self.encode(intent, *attached)
        answer = self.session.submit(encoded, lane_exit=intent.reduce_only)
        if isinstance(answer, Sent):
            self.sent += [intent, *attached]
        return answer

    async def send(self, intent: OrderIntent, *attached: OrderIntent) -> OrderIntent:
        """Submit; a refusal that passes by itself (busy, reconnecting, a penalty) is waited for."""
        encoded = self.encode(intent, *attached)
        answer: Sent | NotSent = NotSent("busy")
        try:
            async with asyncio.timeout(PATIENCE_S):
                while isinstance(answer := self.session.submit(encoded, intent.reduce_only), NotSent):
                    assert answer.reason in ("busy", "session_down", "penalty", "rate_budget"), answer
                    await self.ear.next(within_s=0.05)
        except TimeoutError:
            raise AssertionError(f"the session never took the order: {answer}") from None
        self.sent += [intent, *attached]
        return intent

    def every_report(self) -> list[ExecutionReport]:
        return self.ear.of(ExecutionReport)

    def reports(self, intent: OrderIntent) -> list[ExecutionReport]:
        """What was said of an order, found by our id or by the broker's."""
        every = self.every_report()
        numbers = {report.order_id for report in every if report.cl_ord_id == intent.cl_ord_id}
        return [
            report
            for report in every
            if report.cl_ord_id == intent.cl_ord_id or (report.order_id and report.order_id in numbers)
        ]

    def trades(self, intent: OrderIntent) -> list[ExecutionReport]:
        return [report for report in self.reports(intent) if report.exec_type == "trade"]

    def filled_qty(self, intent: OrderIntent) -> Decimal:
        return sum((trade.last_qty or Decimal(0) for trade in self.trades(intent)), Decimal(0))

    async def filled(self, intent: OrderIntent) -> list[ExecutionReport]:
        """All executions of an order, once they make its whole quantity."""
        await self.ear.until(lambda: self.filled_qty(intent) >= intent.qty, f"the fill of {intent.cl_ord_id}")
        return self.trades(intent)

    async def said(
        self, intent: OrderIntent, right: Callable[[ExecutionReport], bool], what: str
    ) -> ExecutionReport:
        """The first report of an order that is as wanted."""
        found = await self.ear.until(lambda: [r for r in self.reports(intent) if right(r)], what)
        return found[0]

    async def working(self, intent: OrderIntent) -> ExecutionReport:
        """The report that says an order works at the broker."""
        return await self.said(intent, lambda r: r.ord_status == "new", f"{intent.ord_type} order working")

    async def doubt(self, intent: OrderIntent) -> OrderUnknown:
        """The event that puts an order in doubt."""
        found = await self.ear.until(
            lambda: [e for e in self.ear.of(OrderUnknown) if e.cl_ord_id == intent.cl_ord_id],
            f"doubt about {intent.cl_ord_id}",
        )
        return found[0]

    def is_decided(self, intent: OrderIntent) -> bool:
        """Filled, rejected, or in doubt."""
        return (
            self.filled_qty(intent) >= intent.qty
            or any(report.ord_status == "rejected" for report in self.reports(intent))
            or any(event.cl_ord_id == intent.cl_ord_id for event in self.ear.of(OrderUnknown))
        )

    async def trade_again(self) -> list[OrderIntent]:
        """Orders until one fills; those before it get some other outcome. All of them."""
        sent: list[OrderIntent] = []
        while not sent or not self.trades(sent[-1]):
            assert len(sent) < _ATTEMPTS_MAX, f"no fill after {_ATTEMPTS_MAX} orders"
            sent.append(await self.send(self.intent()))
            await self.ear.until(lambda: self.is_decided(sent[-1]), "what became of an order")
        return sent

    def ref(self, intent: OrderIntent) -> OrderRef:
        """The handle for cancel and replace, with the order's own numbers."""
        order_id = next(report.order_id for report in self.reports(intent) if report.order_id)
        return OrderRef(
            intent.cl_ord_id,
            order_id,
            intent.account_id,
            intent.symbol,
            intent.side,
            intent.ord_type,
            intent.qty,
            intent.price,
            intent.stop_price,
            intent.trail_offset,
            intent.time_in_force,
        )

    async def hold(self, side: Side, qty: int, account: str = A1) -> None:
        """Open a position."""
        await self.filled(await self.send(self.intent(side, qty, account=account)))

    async def snapshot(self, account: str = A1, since: datetime | None = None) -> AccountSnapshot:
        async with asyncio.timeout(PATIENCE_S):
            return await self.session.snapshot(account, since)

    async def pass_time(self, seconds: float) -> None:
        """Let real time pass (the life of a token has no event)."""
        until_ns = self.clock.monotonic_ns() + int(seconds * 1e9)
        while self.clock.monotonic_ns() < until_ns:
            await self.ear.next(within_s=0.02)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
