"""A simulated vendor on loopback, one session of ours on it, and everything the session said."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar

from brokers._kit.matching import LedgerRow
from brokers.tradovate import ADAPTER
from brokers.tradovate.simulator import Simulator
from brokers.tradovate.simulator.clock import wall_ns
from kopitra.domain.executions import ExecutionReport
from kopitra.domain.instruments import front_month
from kopitra.domain.orders import OrderIntent
from kopitra.domain.signals import OrdType, Side
from kopitra.ports import (
    AccountLink,
    BrokerSession,
    Encoded,
    LoginPlan,
    NotSent,
    OrderRef,
    Sent,
    SessionChanged,
    SessionEvent,
    SimAccount,
)

E = TypeVar("E")
T = TypeVar("T")
PATIENCE_S = 10.0
A1, A2 = "acc-1", "acc-2"
NAMES = {A1: "DEMO1", A2: "DEMO2"}
SYMBOL = front_month("ES", datetime.now(UTC).date()).symbol
ACCOUNTS = (
    SimAccount("DEMO1", Decimal(50_000), {"realized_day": "-1000"}),
    SimAccount("DEMO2", Decimal(75_000), {}),
)


class MachineClock:
    """The machine's time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


@dataclass(slots=True)
class House:
    """One simulator and one session."""

    simulator: Simulator
    plan: LoginPlan
    events: list[SessionEvent] = field(default_factory=list[SessionEvent])
    news: asyncio.Event = field(default_factory=asyncio.Event)
    session: BrokerSession = field(init=False)
    running: asyncio.Task[None] | None = None
    made: int = 0

    def __post_init__(self) -> None:
        self.session = ADAPTER.open_session(self.plan, self.hear, MachineClock())

    def hear(self, event: SessionEvent) -> None:
        self.events.append(event)
        self.news.set()

    # -- life --------------------------------------------------------------------------------------------

    def run(self) -> None:
        self.running = asyncio.create_task(self.session.run())

    async def live(self) -> None:
        await self.until(lambda: self.session.state == "live", "live")

    async def close(self) -> None:
        await self.session.close(drain_s=0)
        if self.running is not None:
            async with asyncio.timeout(PATIENCE_S):
                await self.running

    def states(self) -> list[str]:
        return [event.state for event in self.of(SessionChanged)]

    # -- hearing -----------------------------------------------------------------------------------------

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, found: Callable[[], T], what: str, within_s: float = PATIENCE_S) -> T:
        """What `found` says as soon as that is true; looks after each event, and now and then."""
        give_up = time.monotonic() + within_s
        while not (value := found()):
            if time.monotonic() > give_up:
                heard = "\n  ".join(repr(event)[:300] for event in self.events[-12:])
                raise AssertionError(f"never: {what}. Last heard:\n  {heard}")
            self.news.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.news.wait(), 0.05)
        return value

    async def heard(self, kind: type[E], what: str = "") -> E:
        return (await self.until(lambda: self.of(kind), what or kind.__name__))[0]

    def reports(self, order_id: str = "", cl_ord_id: str = "") -> list[ExecutionReport]:
        return [
            report
            for report in self.of(ExecutionReport)
            if (not order_id or report.order_id == order_id)
            and (not cl_ord_id or report.cl_ord_id == cl_ord_id)
        ]

    async def report(self, intent: OrderIntent, exec_type: str) -> ExecutionReport:
        found = await self.until(
            lambda: [r for r in self.reports(cl_ord_id=intent.cl_ord_id) if r.exec_type == exec_type],
            f"{exec_type} of {intent.cl_ord_id}",
        )
        return found[-1]

    def trades(self, intent: OrderIntent) -> list[ExecutionReport]:
        return [r for r in self.reports(cl_ord_id=intent.cl_ord_id) if r.exec_type == "trade"]

    async def filled(self, intent: OrderIntent) -> list[ExecutionReport]:
        await self.until(
            lambda: sum((t.last_qty or Decimal(0) for t in self.trades(intent)), Decimal(0)) >= intent.qty,
            f"the fill of {intent.cl_ord_id}",
        )
        return self.trades(intent)

    # -- acting ------------------------------------------------------------------------------------------

    def intent(
        self,
        side: Side = "buy",
        qty: int = 1,
        ord_type: OrdType = "market",
        *,
        price: str | None = None,
        stop_price: str | None = None,
        trail: str | None = None,
        account: str = A1,
    ) -> OrderIntent:
        self.made += 1
        return OrderIntent(
            cl_ord_id=f"kp{self.made:020}-e", list_id=f"ls{self.made}", account_id=account, leader="lead",
            leg="e", role="entry", symbol=SYMBOL, side=side, qty=Decimal(qty), ord_type=ord_type,
            price=_decimal(price), stop_price=_decimal(stop_price), trail_offset=_decimal(trail),
        )  # fmt: skip

    def bracket(self, qty: int = 1, stop: str = "6790", target: str = "6820") -> list[OrderIntent]:
        """Entry, stop, target."""
        entry = self.intent("buy", qty)
        leg = entry._replace(side="sell", parent=entry.cl_ord_id)
        name = entry.cl_ord_id[:-2]
        return [
            entry,
            leg._replace(cl_ord_id=f"{name}-s", role="stop", ord_type="stop", stop_price=Decimal(stop)),
            leg._replace(cl_ord_id=f"{name}-t", role="target", ord_type="limit", price=Decimal(target)),
        ]

    def encode(self, intent: OrderIntent, *attached: OrderIntent) -> Encoded:
        encoded = self.session.encode(intent, attached)
        assert isinstance(encoded, Encoded), encoded
        return encoded

    def send(self, intent: OrderIntent, *attached: OrderIntent) -> OrderIntent:
        sent = self.session.submit(self.encode(intent, *attached), lane_exit=False)
        assert isinstance(sent, Sent), sent
        return intent

    def closing(self, side: Side, qty: int) -> OrderIntent:
        """A close of the house itself, as a flatten makes it."""
        return self.intent(side, qty)._replace(leader="", role="exit", reduce_only=True)

    def submit_exit(self, intent: OrderIntent) -> Sent | NotSent:
        return self.session.submit(self.encode(intent), lane_exit=True)

    def refused(self, intent: OrderIntent, *attached: OrderIntent) -> NotSent:
        """What says no before a byte is written."""
        encoded = self.session.encode(intent, attached)
        answer = encoded if isinstance(encoded, NotSent) else self.session.submit(encoded, lane_exit=False)
        assert isinstance(answer, NotSent), answer
        return answer

    def ref(self, intent: OrderIntent) -> OrderRef:
        order_id = next(r.order_id for r in self.reports(cl_ord_id=intent.cl_ord_id) if r.order_id)
        return OrderRef(
            intent.cl_ord_id, order_id, intent.account_id, intent.symbol, intent.side, intent.ord_type,
            intent.qty, intent.price, intent.stop_price, intent.trail_offset, intent.time_in_force,
        )  # fmt: skip

    # -- the vendor --------------------------------------------------------------------------------------

    def command(self, name: str, **arguments: object) -> object:
        """One command of the control API."""
        return self.simulator.control({"command": name, **arguments})

    def settings(self, **changes: object) -> None:
        self.command("set-settings", **changes)

    def quirks(self, **changes: object) -> None:
        self.command("quirks", **changes)

    def price(self, bid: str, ask: str) -> None:
        self.command("set-price", symbol=SYMBOL, bid=bid, ask=ask)

    def number(self, account: str = A1) -> int:
        return next(
            s.account_id for s in self.simulator.firm.core.accounts() if s.spec.name == NAMES[account]
        )

    def by_hand(self, side: Side, qty: int, **fields: object) -> None:
        self.command("manual-order", account_id=self.number(), symbol=SYMBOL, side=side, qty=qty, **fields)

    def placements(self, intent: OrderIntent) -> list[LedgerRow]:
        rows = self.simulator.firm.core.ledger.to_rows()
        return [row for row in rows if row.kind == "placement" and row.cl_ord_id == intent.cl_ord_id]

    def net_qty(self) -> int:
        held = self.simulator.firm.core.positions(self.number())
        return sum(position.net_qty for position in held)


async def start_simulator() -> Simulator:
    simulator = Simulator({"leader1": ACCOUNTS}, wall_ns, seed=7)
    await simulator.start("127.0.0.1", 0)
    return simulator


def plan_of(simulator: Simulator, settings: Mapping[str, str] | None = None) -> LoginPlan:
    theirs, credentials = simulator.login("leader1")
    links = tuple(AccountLink(ours, name, {}) for ours, name in NAMES.items())
    return LoginPlan("login-1", links, {**theirs, **(settings or {})}, credentials)


def wrong_password(plan: LoginPlan) -> LoginPlan:
    return replace(plan, credentials={**plan.credentials, "password": "wrong"})


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
