"""One session and its broker with a fault on the line between them: orders, healing, and the ledger's judgement."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Final

from kopitra.domain.book import Book
from kopitra.domain.errors import KopitraError
from kopitra.domain.executions import AccountSnapshot, ExecutionReport
from kopitra.domain.fold import fold
from kopitra.domain.journal import Doubted, Entry, Reported
from kopitra.domain.orders import ChildOrder, OrderIntent
from kopitra.ports import BrokerAdapter, OrderUnknown, Sent, SessionEvent
from tests.contract.desk import Desk
from tests.contract.logins import A1, A2
from tests.contract.rig import SimBroker
from tests.faults.wire.chaos_proxy import ChaosProxy
from tests.faults.wire.toxics import ToxicName, draw

#: orders that are tried while the fault is there
ORDERS: Final = 8
#: seconds for what was sent to be decided or doubted while the line is ill (a placement's own deadline is 2.5 s)
DECIDED_S: Final = 5.0
#: seconds for a healed session to be live, and for book and ledger to agree
HEALED_S: Final = 25.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: what was injected, what left, what was wrong (nothing, one hopes)."""

    broker: str
    toxic: ToxicName
    seed: int
    sent: int
    not_sent: int
    doubted: int
    injected: int
    #: orders that the broker's ledger has more than once, or that were refused and left
    doubled: int
    #: differences between book and ledger that the healing did not end
    lost: int
    violations: tuple[str, ...]


class Run:
    """One fault, one seed, one broker."""

    def __init__(self, adapter: BrokerAdapter, toxic: ToxicName, seed: int) -> None:
        self._adapter = adapter
        self._toxic: ToxicName = toxic
        self._seed = seed
        self._rng = Random(f"{adapter.code} {toxic} {seed}")
        self._proxy = ChaosProxy(seed)
        self._refused: list[OrderIntent] = []
        self._said: list[SessionEvent] = []

    async def outcome(self) -> Outcome:
        """Start, break, heal, judge."""
        broker = await SimBroker.start(self._adapter)
        try:
            desk = broker.desk(plan=await self._proxy.between(broker.plan("alpha")))
            desk.run()
            await desk.live()
            await desk.hold("buy", 2)
            self._proxy.poison(draw(self._toxic, self._rng))
            await self._trade(desk)
            await self._decided(desk)
            self._proxy.heal()
            lost = await self._judged(broker, desk)
            doubled = await self._doubles(broker, desk)
        finally:
            try:
                await broker.stop()
            finally:
                await self._proxy.stop()
        doubted = len(desk.ear.of(OrderUnknown))
        injected = self._proxy.injected.total()
        return Outcome(
            self._adapter.code, self._toxic, self._seed, len(desk.sent), len(self._refused), doubted, injected,
            len(doubled), len(lost), (*lost, *doubled),
        )  # fmt: skip

    async def _trade(self, desk: Desk) -> None:
        for _ in range(ORDERS):
            rng = self._rng
            account = rng.choice((A1, A2))
            side = rng.choice(("buy", "sell"))
            if rng.random() < 0.25:
                intent = desk.intent(
                    side, 1, "limit", account=account, price="6500" if side == "buy" else "7100"
                )
            else:
                intent = desk.intent(side, rng.randint(1, 3), account=account)
            if not isinstance(desk.try_send(intent), Sent):
                self._refused.append(intent)
            await desk.ear.next(within_s=rng.uniform(0.0, 0.15))

    async def _decided(self, desk: Desk) -> None:
        """Everything that left is told, rests or is in doubt; what a lost event hides stays for the healing."""
        try:
            async with asyncio.timeout(DECIDED_S):
                while not all(_is_told(desk, intent) for intent in desk.sent):
                    await desk.ear.next(within_s=0.1)
        except TimeoutError:
            return

    async def _judged(self, broker: SimBroker, desk: Desk) -> list[str]:
        """Wait until what the session shows is what the ledger holds; what is still wrong then."""
        wrong = ["never looked"]
        try:
            async with asyncio.timeout(HEALED_S):
                while wrong:
                    await desk.ear.next(within_s=0.2)
                    await desk.ear.until(
                        lambda: desk.session.state == "live", "the session after the healing"
                    )
                    wrong = await self._compared(broker, desk)
        except TimeoutError:
            pass
        except AssertionError as error:
            wrong = [str(error)]
        return wrong

    async def _compared(self, broker: SimBroker, desk: Desk) -> list[str]:
        try:
            read = [await desk.snapshot(account, datetime(2020, 1, 1, tzinfo=UTC)) for account in (A1, A2)]
        except (KopitraError, OSError, TimeoutError) as error:
            return [f"a read failed: {error}"]
        book = _book(desk.sent, [*desk.ear.events, *read])
        wrong: list[str] = []
        for account in (A1, A2):
            position = book.positions.get((account, broker.symbol))
            counted = int(position.qty) if position is not None else 0
            if counted != await broker.net_qty(account):
                wrong.append(f"{account}: the book has {counted}, the broker {await broker.net_qty(account)}")
        placed = {row.cl_ord_id for row in await broker.placements()}
        for order in book.orders.values():
            name = order.intent.cl_ord_id
            if order.state in ("claimed", "in_doubt") and name in placed:
                wrong.append(f"{name} is at the broker and the book has it {order.state}")
            if order.state not in ("claimed", "in_doubt") and name not in placed:
                wrong.append(f"{name} is {order.state} and the broker never had it")
        return wrong

    async def _doubles(self, broker: SimBroker, desk: Desk) -> list[str]:
        """I-01 by the broker's own ledger, and not a byte of what was refused."""
        wrong: list[str] = []
        for intent in desk.sent:
            rows = await broker.placements(intent)
            if len(rows) > 1:
                wrong.append(f"{intent.cl_ord_id} was placed {len(rows)} times")
        refused = [i.cl_ord_id for i in self._refused if await broker.placements(i)]
        return wrong + [f"{name} was not sent and was placed" for name in refused]


def _is_told(desk: Desk, intent: OrderIntent) -> bool:
    return desk.is_decided(intent) or any(report.ord_status == "new" for report in desk.reports(intent))


def _book(sent: Sequence[OrderIntent], events: Sequence[SessionEvent]) -> Book:
    """What the house makes of the session's words, by its own fold."""
    book = Book()
    for intent in sent:
        if intent.cl_ord_id not in book.orders:
            book.add(ChildOrder(intent, "claimed", intent.qty))
    for event in events:
        for entry in _entries(event):
            fold(book, entry)
    return book


def _entries(event: SessionEvent) -> list[Entry]:
    match event:
        case ExecutionReport():
            return [Reported(event)]
        case OrderUnknown():
            return [Doubted(event.cl_ord_id, event.account_id, event.reason)]
        case AccountSnapshot():
            orders = event.orders or ()
            names = {order.order_id: order.cl_ord_id for order in orders if order.cl_ord_id}
            told = (*orders, *(event.executions or ()))
            return [Reported(r if r.cl_ord_id else r._replace(cl_ord_id=names.get(r.order_id))) for r in told]
        case _:
            return []
