"""Shadow accounts: the whole way of a signal up to the broker's call, and then paper.

Plan, risk, journal, fan-out, queue, last look and the broker's own encoding are those of every account. The order
calls end here: `ShadowSession` holds no way to those of the real session, so nothing can leave. What the paper market
makes of an order comes to the same sink as everybody's reports, with ids that say `paper`. The paper position is the
book's: there is no second one that could differ from it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, Protocol

from gateway_container.engine.containment import Failed, uncontained
from gateway_container.engine.state import State
from kopitra.domain.book import root_of
from kopitra.domain.executions import (
    AccountSnapshot,
    ExecType,
    ExecutionReport,
    OrdStatus,
    PositionReport,
)
from kopitra.domain.orders import ZERO, ChildOrder, OrderIntent
from kopitra.domain.orders import State as OrderState
from kopitra.domain.paper import PaperBook, PaperEvent, PaperFact, PaperOrder, PaperPrice, paper_order
from kopitra.ports import (
    Encoded,
    EventSink,
    Forecast,
    NewNumbers,
    NotSent,
    OrderRef,
    OrderUnknown,
    ReadLane,
    RequestUnknown,
    Sent,
    SessionEvent,
    SessionState,
)

#: how its order and execution ids begin
PAPER: Final = "paper-"
#: orders that were encoded and not written yet, oldest leave first
ENCODED_MAX: Final = 1_000
#: seconds between two looks at prices
LOOK_EVERY_S: Final = 0.25
#: what an account without a login may send in a second
ROOM: Final = Forecast(1_000, 1_000, 1_000, 1.0)
_AT_BROKER: Final[frozenset[OrderState]] = frozenset({"acked", "working", "partial"})
_STATUS: Final[dict[PaperEvent, OrdStatus]] = {
    "suspended": "suspended",
    "new": "new",
    "trade": "filled",
    "canceled": "canceled",
    "rejected": "rejected",
}


class Bytes(Protocol):
    """What a shadow account may ask of its login's real session: nothing that sends an order."""

    @property
    def state(self) -> SessionState: ...
    def encode(self, intent: OrderIntent, attached: Sequence[OrderIntent] = ()) -> Encoded | NotSent: ...
    def forecast(self) -> Forecast: ...
    def watch(self, symbols: Sequence[str]) -> None: ...


def without_reports(sink: EventSink, shadows: frozenset[str]) -> EventSink:
    """What a real session tells of shadow accounts is about somebody else's orders: their money counts, no more."""

    def hear(event: SessionEvent) -> None:
        match event:
            case AccountSnapshot() if event.account_id in shadows:
                if event.balance is not None:
                    sink(event.balance)
            case ExecutionReport() | PositionReport() | OrderUnknown() | RequestUnknown() if (
                event.account_id in shadows
            ):
                pass
            case _:
                sink(event)

    return hear


class ShadowSession:
    """A session whose order calls end on paper. `real` is None for an account without a login."""

    def __init__(self, account_id: str, state: State, sink: EventSink, real: Bytes | None) -> None:
        self._account_id = account_id
        self._state = state
        self._sink = sink
        self._real = real
        self._encoded: OrderedDict[str, tuple[OrderIntent, tuple[OrderIntent, ...]]] = OrderedDict()
        self._paper = PaperBook()
        #: ids never come twice, in any process: they count on from the wall clock
        self._last_id = int(state.clock.now().timestamp() * 1_000_000)
        self._take_up()

    @property
    def state(self) -> SessionState:
        return "live" if self._real is None else self._real.state

    async def run(self) -> None:
        """There is nothing to own."""

    def encode(self, intent: OrderIntent, attached: Sequence[OrderIntent] = ()) -> Encoded | NotSent:
        """The broker's own bytes, so that symbols, grids and brackets are refused as they would be; never written."""
        made: Encoded | NotSent
        if self._real is None:
            names = tuple(child.cl_ord_id for child in attached)
            made = Encoded(intent.cl_ord_id, self._account_id, b"", names)
        else:
            made = self._real.encode(intent, attached)
        if isinstance(made, Encoded):
            self._encoded[intent.cl_ord_id] = (intent, tuple(attached))
            if len(self._encoded) > ENCODED_MAX:
                self._encoded.popitem(last=False)
        return made

    def submit(self, encoded: Encoded, lane_exit: bool) -> Sent | NotSent:
        """Put the order on paper."""
        if self.state != "live":
            return NotSent("session_down", "the login of this shadow account is not live")
        intent, attached = self._encoded.pop(encoded.cl_ord_id, (None, ()))
        if intent is None:
            return NotSent("stale", "too many orders wait: encode it again")
        order = paper_order(intent, self._next_id())
        children = [paper_order(child, self._next_id(), held=True) for child in attached]
        self._soon(lambda: self._paper.place(order, children, self._price(order.symbol)))
        return Sent(self._state.clock.monotonic_ns())

    def cancel(self, order: OrderRef, request_id: str) -> Sent | NotSent:
        """Cancel what rests; one that has ended is refused, as a broker does."""
        self._soon(lambda: self._canceled(order))
        return Sent(self._state.clock.monotonic_ns())

    def replace(self, order: OrderRef, numbers: NewNumbers, request_id: str) -> Sent | NotSent:
        """Give what rests new numbers."""
        self._soon(lambda: self._replaced(order, numbers))
        return Sent(self._state.clock.monotonic_ns())

    async def snapshot(
        self,
        account_id: str,
        since: datetime | None,
        *,
        lane: ReadLane = "exit",
    ) -> AccountSnapshot:
        """What is on paper: the book's position, and the orders that rest."""
        now = self._state.clock.now()
        positions = tuple(
            PositionReport(account_id, symbol, position.qty, position.avg_px, now)
            for (owner, symbol), position in self._state.book.positions.items()
            if owner == account_id and position.qty
        )
        orders = tuple(self._report(o, "order_status", "new") for o in self._paper.orders.values())
        return AccountSnapshot(account_id, positions, orders, (), None, self._state.clock.monotonic_ns())

    def forecast(self) -> Forecast:
        """As the real login's."""
        return ROOM if self._real is None else self._real.forecast()

    def keep(self, kept: Callable[[], int]) -> None:
        """Paper costs no requests."""

    def watch(self, symbols: Sequence[str]) -> None:
        """Prices are real."""
        if self._real is not None:
            self._real.watch(symbols)

    async def close(self, *, drain_s: float) -> None:
        """The real session is closed by its owner."""

    # paper -------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Prices have moved; and what a predecessor left in doubt never was."""
        for order in tuple(self._paper.orders.values()):
            self._tell(self._paper.match(order, self._price(order.symbol)))
        for child in self._children():
            if child.state == "in_doubt":
                order = paper_order(child.intent, self._next_id())
                self._tell((PaperFact("rejected", order, text="paper: the process ended before it"),))

    @property
    def contracts(self) -> frozenset[str]:
        """Contracts whose price is waited for."""
        return frozenset(order.symbol for order in self._paper.orders.values())

    def _children(self) -> list[ChildOrder]:
        found = self._state.book.open.items()
        return [c for (owner, _), some in found if owner == self._account_id for c in some.values()]

    def _take_up(self) -> None:
        """After a restart: what rests by the journal rests on paper."""
        for child in self._children():
            if child.state not in _AT_BROKER or child.order_id is None:
                continue
            waits_for = self._state.book.orders.get(child.intent.parent or "")
            held = child.attached and waits_for is not None and waits_for.state in _AT_BROKER
            order = paper_order(child.intent, child.order_id, held=held)
            order.qty, order.price, order.stop_price = child.leaves_qty, child.price, child.stop_price
            order.rested = True
            self._paper.orders[order.cl_ord_id] = order

    def _price(self, contract: str) -> PaperPrice | None:
        last, best = self._state.prices.get(root_of(contract)), self._state.best.get(contract)
        if best is not None:
            return PaperPrice(best.bid, best.ask, best.bid if last is None else last)
        return None if last is None else PaperPrice(last, last, last)

    def _next_id(self) -> str:
        self._last_id += 1
        return f"{PAPER}{self._last_id}"

    def _soon(self, act: Callable[[], Iterable[PaperFact]]) -> None:
        """Brokers answer later, never inside the call."""
        asyncio.get_running_loop().call_soon(lambda: self._tell(act()))

    def _canceled(self, order: OrderRef) -> Iterable[PaperFact]:
        if order.cl_ord_id not in self._paper.orders:
            self._refused(order, "cancel_rejected")
        return self._paper.cancel(order.cl_ord_id)

    def _replaced(self, order: OrderRef, numbers: NewNumbers) -> Iterable[PaperFact]:
        known = self._paper.orders.get(order.cl_ord_id)
        if known is None:
            self._refused(order, "replace_rejected")
            return
        known.qty = known.qty if numbers.qty is None else numbers.qty
        known.price = known.price if numbers.price is None else numbers.price
        known.stop_price = known.stop_price if numbers.stop_price is None else numbers.stop_price
        known.trail = known.trail if numbers.trail_offset is None else numbers.trail_offset
        self._sink(self._report(known, "replaced", "new"))
        yield from self._paper.match(known, self._price(known.symbol))

    def _refused(self, order: OrderRef, kind: ExecType) -> None:
        gone = PaperOrder(
            order.order_id,
            order.cl_ord_id,
            order.symbol,
            order.side,
            order.ord_type,
            order.qty,
            None,
            None,
            None,
        )
        self._sink(self._report(gone, kind, "canceled", "paper: it has ended"))

    def _tell(self, facts: Iterable[PaperFact]) -> None:
        for fact in facts:
            report = self._report(fact.order, fact.event, _STATUS[fact.event], fact.text)
            if fact.price is not None:
                name = f"{fact.order.order_id}-fill"
                report = report._replace(
                    exec_id=name, last_qty=fact.order.qty, last_px=fact.price, leaves_qty=ZERO
                )
            self._sink(report)

    def _report(
        self, order: PaperOrder, kind: ExecType, status: OrdStatus, text: str = "paper"
    ) -> ExecutionReport:
        leaves: Decimal = ZERO if status in ("canceled", "rejected", "filled") else order.qty
        return ExecutionReport(
            self._account_id, order.order_id, kind, status, order.symbol, order.side, self._state.clock.now(),
            order.cl_ord_id, None, order.ord_type, None, order.qty, order.price, order.stop_price,
            leaves_qty=leaves, text=text or "paper", received_ns=self._state.clock.monotonic_ns(),
        )  # fmt: skip


class Shadows:
    """All shadow sessions of this process. `run` is their task: it lets prices reach what rests."""

    def __init__(self) -> None:
        self._sessions: dict[str, ShadowSession] = {}  # bounded: accounts of the configuration
        #: asks for the price of a contract
        self.watch_price: Callable[[str], None] = lambda _contract: None
        #: takes the failure of one account
        self.failed: Failed = uncontained

    def open(self, account_id: str, session: ShadowSession) -> ShadowSession:
        """Take a session."""
        self._sessions[account_id] = session
        return session

    def close(self, account_id: str) -> None:
        """The account is gone, or is real now."""
        self._sessions.pop(account_id, None)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for account_id, session in tuple(self._sessions.items()):
                self._look(account_id, session)

    def _look(self, account_id: str, session: ShadowSession) -> None:
        try:
            for contract in sorted(session.contracts):
                self.watch_price(contract)
            session.look()
        except Exception as error:  # noqa: BLE001 - one account's paper
            self.failed(account_id, "keeping its paper", error)
