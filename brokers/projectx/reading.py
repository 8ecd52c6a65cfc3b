"""An account read whole by REST: for snapshots, for what a gap of the hub hid, and while the hub is down."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, TypeGuard, TypeVar

from brokers._kit.budget import Lane
from brokers._kit.correlate import ROWS_TOLD_MAX, Once
from brokers.projectx.accounts import Account
from brokers.projectx.api import Api
from brokers.projectx.quotes import QuoteBook
from brokers.projectx.settings import Settings
from brokers.projectx.symbols import ContractBook
from brokers.projectx.tracker import OrderTracker
from brokers.projectx.wire import (
    POSITION_SIGN,
    Rows,
    WireAccount,
    WireOrder,
    WirePosition,
    WireTrade,
    number,
    order_number,
    utc,
    word,
)
from kopitra.domain.errors import BrokerRejected
from kopitra.domain.executions import AccountSnapshot, BalanceReport, ExecutionReport, PositionReport
from kopitra.ports import Clock, EventSink, ProtocolAlert

T = TypeVar("T")
LOOKUPS: Final = 5  #: requests of one reading
MISSING_LOOKUPS_MAX: Final = 20  #: orders looked up one by one in one reading; the rest waits for the next
_NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Reading:
    """What the broker listed of one account; None: no evidence (the list was missing or null). A list with rows that
    do not read is none either, though its other rows are news."""

    account: Account
    positions: Rows[WirePosition] | None
    working: Rows[WireOrder] | None
    history: Rows[WireOrder] | None
    trades: Rows[WireTrade] | None
    balance: WireAccount | None
    started_ns: int


class Books:
    """Positions and balances of one login as last told, for equity."""

    __slots__ = ("_balances", "_contracts", "_positions", "_quotes", "_settings")

    def __init__(self, contracts: ContractBook, quotes: QuoteBook, settings: Settings) -> None:
        self._contracts = contracts
        self._quotes = quotes
        self._settings = settings
        self._positions: dict[str, dict[str, PositionReport]] = {}
        self._balances: dict[str, Decimal] = {}

    def position(self, report: PositionReport) -> None:
        """The broker told a position."""
        held = self._positions.setdefault(report.account_id, {})
        if report.net_qty:
            held[report.symbol] = report
        else:
            held.pop(report.symbol, None)

    def positions(self, account_id: str, reports: Iterable[PositionReport]) -> None:
        """The broker listed all positions of an account."""
        self._positions[account_id] = {report.symbol: report for report in reports}

    def held(self, account_id: str) -> tuple[PositionReport, ...]:
        """Open positions of an account."""
        return tuple(self._positions.get(account_id, {}).values())

    def balance(
        self, account_id: str, wire: WireAccount | None, now: datetime, now_ns: int
    ) -> BalanceReport | None:
        """Balance and, where every position can be marked, equity; without `wire` the last balance serves."""
        if wire is not None and wire.balance is not None:
            self._balances[account_id] = wire.balance
        balance = self._balances.get(account_id)
        if balance is None or account_id not in self._positions:
            return None if balance is None else BalanceReport(account_id, balance, None, None, now)
        not_before_ns = now_ns - int(self._settings.quote_age_max_s * _NS_PER_S)
        profit = self._quotes.open_profit(self.held(account_id), self._contracts, not_before_ns)
        equity = None if profit is None else balance + profit
        return BalanceReport(account_id, balance, equity, None, now)


class AccountReader:
    """Reads accounts of one login."""

    def __init__(
        self,
        login_id: str,
        api: Api,
        tracker: OrderTracker,
        contracts: ContractBook,
        books: Books,
        clock: Clock,
        sink: EventSink,
    ) -> None:
        self._login_id = login_id
        self._sink = sink
        self._told = Once(ROWS_TOLD_MAX)
        self._api = api
        self._tracker = tracker
        self._contracts = contracts
        self._books = books
        self._clock = clock

    async def catch_up(self, account: Account, since: datetime, *, first: bool) -> None:
        """Read the account, tell what no event told (at the `first` time nothing), hand over a snapshot.

        An account that the firm has closed is told as an alert: the others of the login go on.
        """
        try:
            reading = await self.read(account, since, Lane.RECOVER)
            news = [] if first else await self.news(reading, Lane.RECOVER)
        except BrokerRejected as error:
            self._sink(ProtocolAlert(self._login_id, account.account_id, error.message))
            return
        if first:
            self.prime(reading)
        for report in news:
            self._sink(report)
        self._sink(self.snapshot(reading))

    async def read(self, account: Account, since: datetime, lane: Lane) -> Reading:
        """Five lookups side by side. Raises SessionError when one of them has no answer."""
        self._api.check_room(lane, LOOKUPS)
        started_ns = self._clock.monotonic_ns()
        positions, working, history, trades, accounts = await asyncio.gather(
            self._api.positions(account.number, lane),
            self._api.working_orders(account.number, lane),
            self._api.orders_since(account.number, since, lane),
            self._api.trades(account.number, since, lane),
            self._api.accounts(lane),
        )
        mine = next((row for row in accounts or () if number(row.id) == account.number), None)
        self.odd(account.account_id, positions)
        self.odd(account.account_id, working)
        self.odd(account.account_id, history)
        self.odd(account.account_id, trades)
        return Reading(account, positions, working, history, trades, mine, started_ns)

    def snapshot(self, reading: Reading) -> AccountSnapshot:
        """The reading as evidence."""
        account_id, now = reading.account.account_id, self._clock.now()
        positions = None
        if is_whole(reading.positions):
            positions = tuple(self.position(row, account_id) for row in reading.positions)
            self._books.positions(account_id, positions)
        executions = None
        if is_whole(reading.trades):
            executions = tuple(self._tracker.execution(row, account_id) for row in reading.trades)
        return AccountSnapshot(
            account_id=account_id,
            positions=positions,
            orders=self._orders(reading, account_id, now),
            executions=executions,
            balance=self._books.balance(account_id, reading.balance, now, reading.started_ns),
            started_ns=reading.started_ns,
        )

    def _orders(self, reading: Reading, account_id: str, now: datetime) -> tuple[ExecutionReport, ...] | None:
        if not (is_whole(reading.working) and is_whole(reading.history)):
            return None
        # The working list was read at the same time and alone shows suspended orders; the later state wins.
        found: dict[int, WireOrder] = {}
        for row in (*reading.history, *reading.working):
            order_id = order_number(row)
            before = found.get(order_id)
            if before is None or _at(row, now) >= _at(before, now):
                found[order_id] = row
        return tuple(self._tracker.describe(row, account_id, now) for row in found.values())

    def odd(self, account_id: str | None, rows: Rows[T] | None) -> None:
        """Tell, once each, of rows that do not read: what the account's orders do next is anybody's guess, so its
        entries stop (R-001). None: rows of the login, which say nothing of orders."""
        for text in rows.unread if rows is not None else ():
            if self._told.first_time((account_id, text)):
                blocks = account_id is not None
                self._sink(ProtocolAlert(self._login_id, account_id, text, unmodelled=blocks))

    def position(self, row: WirePosition, account_id: str) -> PositionReport:
        """A position of the list or of the hub."""
        return PositionReport(
            account_id=account_id,
            symbol=self._contracts.symbol_of(row.contract_id),
            net_qty=Decimal(word(POSITION_SIGN, row.type, "position type") * row.size),
            avg_px=row.average_price if row.size else None,
            at=self._clock.now(),
        )

    # -- what nobody told ------------------------------------------------------------------------------

    def prime(self, reading: Reading) -> None:
        """At the first reading everything is history: known from now on, told to nobody as news."""
        account_id, now = reading.account.account_id, self._clock.now()
        for order in (*(reading.history or ()), *(reading.working or ())):
            for _ in self._tracker.order(order, account_id, now, 0):
                pass
        for trade in reading.trades or ():
            self._tracker.seen(trade, account_id)

    async def news(self, reading: Reading, lane: Lane) -> list[ExecutionReport]:
        """What the reading shows and no event told: order changes first, then executions, each once."""
        account_id, now = reading.account.account_id, self._clock.now()
        out: list[ExecutionReport] = []
        for order in (*(reading.history or ()), *(reading.working or ())):
            out += self._tracker.order(order, account_id, now, 0)
        if reading.working is not None:
            out += await self.vanished(reading.account, {order_number(row) for row in reading.working}, lane)
        for trade in reading.trades or ():
            out += await self.trade(trade, reading.account, 0, lane)
        return out

    async def vanished(self, account: Account, listed: set[int], lane: Lane) -> list[ExecutionReport]:
        """Orders that we believe to work and that the broker does not list any more, looked up one by one."""
        gone = [order_id for order_id in self._tracker.working(account.account_id) if order_id not in listed]
        out: list[ExecutionReport] = []
        for order_id in gone[:MISSING_LOOKUPS_MAX]:
            out += await self.look_up(account, order_id, lane)
        return out

    async def look_up(self, account: Account, order_id: int, lane: Lane) -> list[ExecutionReport]:
        """One order by its id, and the executions that waited for it."""
        found = await self._api.order(account.number, order_id, lane)
        self.odd(account.account_id, found)
        now = self._clock.now()
        for row in found:
            return list(self._tracker.order(row, account.account_id, now, 0))
        return list(self._tracker.take_orphans(order_id))

    async def trade(
        self, trade: WireTrade, account: Account, received_ns: int, lane: Lane
    ) -> list[ExecutionReport]:
        """An execution that was listed; its order is looked up where it is not known."""
        told = self._tracker.trade(trade, account.account_id, received_ns)
        if isinstance(told, int):
            return await self.look_up(account, told, lane)
        return [] if told is None else [told]


def is_whole(rows: Rows[T] | None) -> TypeGuard[Rows[T]]:
    """The list was told, and every row of it reads."""
    return rows is not None and not rows.unread


def _at(row: WireOrder, otherwise: datetime) -> datetime:
    return utc(row.update_timestamp or row.creation_timestamp, otherwise - timedelta(days=1))
