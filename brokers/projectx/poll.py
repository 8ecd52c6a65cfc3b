"""What the user hub would have told, asked for by REST while it is away.

Periods are those of one account; a login with more accounts asks each of them less often, so that the sum
stays inside the share of the request budget that polling may use.
"""

import asyncio
from collections.abc import Awaitable
from datetime import datetime, timedelta
from typing import Final

from brokers._kit.budget import Lane
from brokers.projectx.accounts import Account, AccountDirectory
from brokers.projectx.api import Api
from brokers.projectx.racing import race
from brokers.projectx.reading import AccountReader, Books, is_whole
from brokers.projectx.settings import Settings
from brokers.projectx.tracker import OrderTracker
from brokers.projectx.wire import order_number, utc
from kopitra.domain.errors import BrokerRejected, Disconnected, ProtocolViolation, Throttled
from kopitra.ports import Clock, EventSink, ProtocolAlert

_FAILURES_MAX: Final = 3  #: polls in a row without an answer: REST is down too, the session ends
_REFUSED_S: Final = 30.0  #: an account that the firm has closed is asked again after this
_OVERLAP_S: Final = 5.0  #: trades are read again from this long before the last one seen
_STATUS_SHARE: Final = 0.6  #: of the budget, what polling may use


class Poller:
    """Polls every account of a login, in turn."""

    def __init__(
        self,
        login_id: str,
        settings: Settings,
        api: Api,
        accounts: AccountDirectory,
        reader: AccountReader,
        tracker: OrderTracker,
        books: Books,
        clock: Clock,
        sink: EventSink,
    ) -> None:
        self._login_id = login_id
        self._settings = settings
        self._api = api
        self._accounts = accounts
        self._reader = reader
        self._tracker = tracker
        self._books = books
        self._clock = clock
        self._sink = sink
        self._failures = 0
        self._last_trade: dict[str, datetime] = {}  # by our account id

    async def run(self) -> None:
        """For ever. Raises Disconnected after `_FAILURES_MAX` polls without an answer."""
        self._failures = 0
        self._last_trade.clear()
        await race(*(self._poll(account) for account in self._accounts.all()))

    def stretch(self) -> float:
        """How many times longer the periods must be, for all accounts to fit into the budget."""
        settings = self._settings
        per_s = (
            1 / settings.poll_positions_s + 1 / settings.poll_trades_s + 1 / settings.poll_orders_s
        ) * len(self._accounts.all())
        return max(1.0, per_s / (_STATUS_SHARE * settings.budget_per_window / settings.budget_window_s))

    async def _poll(self, account: Account) -> None:
        settings, stretch = self._settings, self.stretch()
        dues = dict.fromkeys(("trades", "orders", "positions"), 0.0)
        periods = {
            "trades": settings.poll_trades_s,
            "orders": settings.poll_orders_s,
            "positions": settings.poll_positions_s,
        }
        works = {"trades": self._trades, "orders": self._orders, "positions": self._positions}
        loop = asyncio.get_running_loop()
        while True:
            name = min(dues, key=lambda key: dues[key])
            await asyncio.sleep(max(0.0, dues[name] - loop.time()))
            dues[name] = loop.time() + periods[name] * stretch
            await self._guarded(works[name](account))

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Throttled as error:
            await asyncio.sleep(error.retry_after_s)
        except ProtocolViolation as error:
            self._sink(ProtocolAlert(self._login_id, None, error.message, error.payload))
        except BrokerRejected as error:
            self._sink(ProtocolAlert(self._login_id, None, error.message))
            await asyncio.sleep(_REFUSED_S)
        except Disconnected as error:
            self._failures += 1
            if self._failures >= _FAILURES_MAX:
                raise Disconnected(f"hub and REST are both down: {error.message}") from error
        else:
            self._failures = 0

    async def _trades(self, account: Account) -> None:
        start = self._last_trade.setdefault(
            account.account_id, self._clock.now() - timedelta(seconds=self._settings.silence_max_s + 60)
        )
        rows = await self._api.trades(account.number, start - timedelta(seconds=_OVERLAP_S), Lane.STATUS)
        self._reader.odd(account.account_id, rows)
        for row in rows or ():
            at = utc(row.creation_timestamp, start)
            self._last_trade[account.account_id] = max(self._last_trade[account.account_id], at)
            for report in await self._reader.trade(row, account, 0, Lane.STATUS):
                self._sink(report)

    async def _orders(self, account: Account) -> None:
        rows = await self._api.working_orders(account.number, Lane.STATUS)
        if rows is None:
            return
        self._reader.odd(account.account_id, rows)
        now = self._clock.now()
        for row in rows:
            for report in self._tracker.order(row, account.account_id, now, 0):
                self._sink(report)
        listed = {order_number(row) for row in rows}
        for report in await self._reader.vanished(account, listed, Lane.STATUS):
            self._sink(report)

    async def _positions(self, account: Account) -> None:
        rows = await self._api.positions(account.number, Lane.STATUS)
        self._reader.odd(account.account_id, rows)
        if not is_whole(rows):
            return
        before = {report.symbol: report for report in self._books.held(account.account_id)}
        reports = [self._reader.position(row, account.account_id) for row in rows]
        self._books.positions(account.account_id, reports)
        for report in reports:
            known = before.pop(report.symbol, None)
            if known is None or (known.net_qty, known.avg_px) != (report.net_qty, report.avg_px):
                self._sink(report)
        for gone in before.values():
            flat = type(gone)(gone.account_id, gone.symbol, gone.net_qty * 0, None, self._clock.now())
            self._sink(flat)
