"""The read side of the API: typed lookups, each counted in the budget and repeated once after a 401.

Never an order: those are written by `orders.py`, at most once.
"""

from datetime import datetime
from typing import Final, TypeVar

import msgspec
import orjson

from brokers._kit.budget import Budget, Denied, Lane
from brokers._kit.rest import RestClient, RestReply
from brokers._kit.tokens import TokenHolder
from brokers.projectx.answers import (
    HTTP_NOT_FOUND,
    HTTP_OK,
    HTTP_UNAUTHORIZED,
)
from brokers.projectx.auth import bearer
from brokers.projectx.settings import Settings
from brokers.projectx.symbols import Listing
from brokers.projectx.wire import (
    WORKING_CODES,
    AccountsReply,
    ContractsReply,
    Envelope,
    OrderReply,
    OrdersReply,
    PositionsReply,
    Rows,
    TradesReply,
    WireAccount,
    WireOrder,
    WirePosition,
    WireTrade,
    accounts_of,
    check_order,
    check_position,
    check_trade,
    listed,
    number,
    read_reply,
    rows_of,
)
from kopitra.domain.errors import BrokerRejected, Disconnected, ProtocolViolation, Throttled
from kopitra.ports import Clock

#: seconds until Order/v2/query is asked again after a 404: a gateway's slip must not hide orders for good, because
#: pending and suspended ones show nowhere else
V2_AGAIN_S: Final = 60
_NS_PER_S: Final = 1_000_000_000
_PAGE: Final = 500  #: orders per page of v2/query
_PAGES_MAX: Final = 10  #: pages read of one query

E = TypeVar("E", bound=Envelope)


class _NotHere(ProtocolViolation):
    """HTTP 404: an older deployment has no such endpoint."""


class Api:
    """Lookups of one login."""

    def __init__(
        self,
        rest: RestClient,
        tokens: TokenHolder[str],
        settings: Settings,
        budget: Budget,
        clock: Clock,
    ) -> None:
        self._rest = rest
        self._tokens = tokens
        self._settings = settings
        self._budget = budget
        self._clock = clock
        self._v2_again_ns = 0

    # -- lookups ---------------------------------------------------------------------------------------

    async def accounts(self, lane: Lane = Lane.STATUS) -> Rows[WireAccount] | None:
        """`Account/search`."""
        reply = await self._ask(AccountsReply, "/api/Account/search", {"onlyActiveAccounts": True}, lane)
        return accounts_of(reply.accounts)

    async def contracts(self, lane: Lane = Lane.STATUS) -> list[Listing]:
        """`Contract/available`; an empty list is no contract list: raises."""
        body: dict[str, object] = {"live": self._settings.live_data}
        reply = await self._ask(ContractsReply, "/api/Contract/available", body, lane)
        if not reply.contracts:
            raise Disconnected("the contract list is empty; for practice accounts set live_data to false")
        return [Listing(row.id, row.name, row.tick_size, row.tick_value) for row in reply.contracts]

    async def working_orders(self, account: int, lane: Lane) -> Rows[WireOrder] | None:
        """Every order that may still trade, suspended bracket children included where the firm shows them."""
        if self._clock.monotonic_ns() >= self._v2_again_ns:
            try:
                return await self._query_working(account, lane)
            except _NotHere:
                self._v2_again_ns = self._clock.monotonic_ns() + V2_AGAIN_S * _NS_PER_S
        reply = await self._ask(OrdersReply, "/api/Order/searchOpen", {"accountId": account}, lane)
        return listed(reply.orders, WireOrder, check_order)

    async def _query_working(self, account: int, lane: Lane) -> Rows[WireOrder] | None:
        found: list[msgspec.Raw] = []
        for page in range(_PAGES_MAX):
            body: dict[str, object] = {
                "filter": {"accountId": account, "statuses": list(WORKING_CODES)},
                "pageSize": _PAGE,
                "pageOffset": page,
                "sortBy": 1,
                "sortDirection": 0,
                "includeTotalCount": True,
            }
            reply = await self._ask(OrdersReply, "/api/Order/v2/query", body, lane)
            if reply.orders is None:
                return None
            found += reply.orders
            # A firm may give fewer rows than asked for: then its own count says that there are more.
            more = len(reply.orders) == _PAGE or len(found) < (reply.total_count or 0)
            if not reply.orders or not more:
                return rows_of(found, WireOrder, check_order)
        return None

    async def orders_since(self, account: int, since: datetime, lane: Lane) -> Rows[WireOrder] | None:
        """`Order/search`: orders created since, whatever became of them."""
        body: dict[str, object] = {"accountId": account, "startTimestamp": _iso(since)}
        reply = await self._ask(OrdersReply, "/api/Order/search", body, lane)
        return listed(reply.orders, WireOrder, check_order)

    async def order(self, account: int, order_id: int, lane: Lane) -> Rows[WireOrder]:
        """`Order/searchById`; no row where the broker does not know it, or where it does not read."""
        body: dict[str, object] = {"accountId": account, "orderId": order_id}
        try:
            found = (await self._ask(OrderReply, "/api/Order/searchById", body, lane)).order
        except BrokerRejected:
            return Rows()
        return rows_of([] if bytes(found) == b"null" else [found], WireOrder, check_order)

    async def positions(self, account: int, lane: Lane) -> Rows[WirePosition] | None:
        """`Position/searchOpen`."""
        body: dict[str, object] = {"accountId": account}
        reply = await self._ask(PositionsReply, "/api/Position/searchOpen", body, lane)
        return listed(reply.positions, WirePosition, check_position)

    async def trades(self, account: int, since: datetime, lane: Lane) -> Rows[WireTrade] | None:
        """`Trade/search`, oldest first."""
        body: dict[str, object] = {"accountId": account, "startTimestamp": _iso(since)}
        reply = await self._ask(TradesReply, "/api/Trade/search", body, lane)
        found = listed(reply.trades, WireTrade, check_trade)
        if found is not None:
            found.sort(key=lambda trade: number(trade.id))
        return found

    def check_room(self, lane: Lane, lookups: int) -> None:
        """Before a reading of several lookups: raises Throttled where it would be cut off in the middle."""
        room = self._budget.room_to_read(lane, self._clock.monotonic_ns(), lookups)
        if isinstance(room, Denied):
            raise Throttled("the request budget of this login is used up", retry_after_s=room.retry_after_s)

    async def _ask(self, kind: type[E], path: str, body: dict[str, object], lane: Lane) -> E:
        token = await self._tokens.get()
        reply = await self._post(path, body, token, lane)
        if reply.status == HTTP_UNAUTHORIZED:
            self._tokens.invalidate(token)
            reply = await self._post(path, body, await self._tokens.get(), lane)
        self._check_status(reply, lane)
        answer = read_reply(kind, reply.body)
        if answer.success is not True or answer.error_code:
            text = answer.error_message or f"errorCode {answer.error_code}"
            raise BrokerRejected(f"{path} was refused: {text}", text=text)
        return answer

    async def _post(self, path: str, body: dict[str, object], token: str, lane: Lane) -> RestReply:
        room = self._budget.take_read(lane, self._clock.monotonic_ns(), 1)
        if isinstance(room, Denied):
            raise Throttled("the request budget of this login is used up", retry_after_s=room.retry_after_s)
        return await self._rest.post(path, orjson.dumps(body), headers=bearer(token))

    def _check_status(self, reply: RestReply, lane: Lane) -> None:
        if reply.status == HTTP_OK:
            return
        if reply.status == HTTP_NOT_FOUND:
            raise _NotHere("the broker has no such endpoint (HTTP 404): check the address")
        error = reply.as_error()
        if isinstance(error, Throttled):
            wait_s = error.retry_after_s if reply.retry_after else self._settings.throttled_s
            paused_s = self._budget.pause(self._clock.monotonic_ns(), wait_s, lane)
            raise Throttled(error.message, retry_after_s=paused_s)
        raise error


def _iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
