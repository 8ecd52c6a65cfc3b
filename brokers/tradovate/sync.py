"""The snapshot of the socket: user/syncrequest in parts without an end marker (vendor docs)."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, TypeVar

import msgspec

from brokers.tradovate import frames
from brokers.tradovate.answers import Penalty, classify
from brokers.tradovate.entities import (
    Account,
    CashBalance,
    Command,
    CommandReport,
    Contract,
    Fill,
    Order,
    OrderVersion,
    Position,
)
from brokers.tradovate.link import Link
from brokers.tradovate.rows import Kind, Seen, Unread, read_rows
from kopitra.domain.errors import Disconnected, ProtocolViolation, Throttled

#: parts of one snapshot
PARTS_MAX = 10_000
#: of the time that a snapshot may take, the share that a penalty may wait for in the same life
_PENALTY_SHARE: Final = 0.5
_NONE = msgspec.Raw(b"[]")
T = TypeVar("T")


class _Part(msgspec.Struct, rename="camel", frozen=True):
    """One part of the answer; any array may be absent, other arrays are not read."""

    accounts: msgspec.Raw = _NONE
    contracts: msgspec.Raw = _NONE
    orders: msgspec.Raw = _NONE
    order_versions: msgspec.Raw = _NONE
    commands: msgspec.Raw = _NONE
    command_reports: msgspec.Raw = _NONE
    fills: msgspec.Raw = _NONE
    positions: msgspec.Raw = _NONE
    cash_balances: msgspec.Raw = _NONE


_decode = msgspec.json.Decoder(_Part).decode


class Snapshotter:
    """Collects the parts of one request.

    Complete when no further part came for `quiet_s`, and none was on its way then. What comes later is handed on.
    """

    def __init__(self, quiet_s: float, timeout_s: float, late: Callable[[Seen], None]) -> None:
        """`timeout_s`: what the whole snapshot may take. `late` takes what a part told after the end."""
        self._quiet_s = quiet_s
        self._penalty_max_s = timeout_s * _PENALTY_SHARE
        self._late = late
        self._link: Link | None = None
        self._parts: list[frames.Item] = []
        self._news = asyncio.Event()
        self._complete = False
        self._ticket = ""
        self.request_id = 0
        self._user_id = 0

    def begin(self, link: Link, user_id: int) -> None:
        """Ask; exactly once per socket."""
        self._link, self._user_id = link, user_id
        ticket, self._ticket = self._ticket, ""
        self._ask(ticket)

    def _ask(self, ticket: str) -> None:
        self._parts.clear()
        self._news.clear()
        self._complete = False
        link = self._open_link()
        self.request_id = link.next_id()
        more = f',"p-ticket":{msgspec.json.encode(ticket).decode()}' if ticket else ""
        body = f'{{"users":[{self._user_id}],"splitResponses":true{more}}}'
        if not link.send(frames.request("user/syncrequest", self.request_id, body)):
            raise Disconnected("the snapshot could not be asked for; connect again")

    def _open_link(self) -> Link:
        if self._link is None:
            raise Disconnected("there is no socket for the snapshot")
        return self._link

    def take(self, item: frames.Item) -> None:
        """One part; a late one is read at once."""
        if self._complete:
            if item.s == 200:
                self._late(_read([item]))
            return
        if len(self._parts) >= PARTS_MAX:
            raise ProtocolViolation("a snapshot of endless parts")
        self._parts.append(item)
        self._news.set()

    async def complete(self) -> Seen:
        """Everything; raises Throttled or Disconnected when it is refused. Bound it with a timeout. A part that is
        later than the silence is missing: what is not here proves nothing."""
        await self._first_part()
        while await self._more():
            pass
        self._complete = True
        parts, self._parts = self._parts, []
        return _read(parts)

    async def _more(self) -> bool:
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._quiet_s):
                await self._news.wait()
        if not self._news.is_set():
            # Silence can be ours: this loop stood still, or a large part fills a slow line.
            link = self._open_link()
            await link.echo()
            if not link.is_open:
                raise await link.ended()
        return self._news.is_set()

    async def _first_part(self) -> None:
        await self._wait()
        penalty = self._penalty()
        if penalty is not None:
            # The one request beside the login that may be repeated with its ticket; after a long wait in the next life.
            if penalty.wait_s > self._penalty_max_s:
                self._ticket = penalty.ticket
                raise Throttled("the snapshot was penalised", retry_after_s=penalty.wait_s)
            await asyncio.sleep(penalty.wait_s)
            self._ask(penalty.ticket)
            await self._wait()
            if self._penalty() is not None:
                raise Throttled("the snapshot was penalised twice", retry_after_s=max(penalty.wait_s, 1.0))

    async def _wait(self) -> None:
        news = asyncio.ensure_future(self._news.wait())
        end = asyncio.ensure_future(self._open_link().ended())
        try:
            await asyncio.wait({news, end}, return_when=asyncio.FIRST_COMPLETED)
            if not news.done():
                raise end.result()
        finally:
            news.cancel()
            end.cancel()

    def _penalty(self) -> Penalty | None:
        first = self._parts[0]
        if first.s in (423, 429):
            raise Throttled(f"the snapshot was answered {first.s}", retry_after_s=60.0)
        if first.s != 200:
            raise Disconnected(f"the snapshot was answered {first.s}: {frames.text_of(bytes(first.d))}")
        verdict = classify(first.s, bytes(first.d)) if b'"p-t' in bytes(first.d)[:200] else None
        if isinstance(verdict, Penalty) and verdict.captcha:
            raise Throttled("the snapshot asks for a captcha", retry_after_s=3600.0)
        return verdict if isinstance(verdict, Penalty) else None


def _read(parts: Iterable[frames.Item]) -> Seen:
    """What the parts tell; raises ProtocolViolation for one that does not parse."""
    try:
        messages = [_decode(part.d) for part in parts if bytes(part.d)]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolViolation(f"the snapshot does not parse: {error}") from None
    unread: list[Unread] = []

    def read(shape: type[T], kind: Kind, arrays: list[msgspec.Raw]) -> list[T]:
        return [
            row
            for array in arrays
            if bytes(array) != b"null"
            for row in read_rows(array, shape, kind, unread)
        ]

    return Seen(
        accounts=read(Account, "account", [message.accounts for message in messages]),
        contracts=read(Contract, "contract", [message.contracts for message in messages]),
        orders=read(Order, "order", [message.orders for message in messages]),
        order_versions=read(OrderVersion, "version", [message.order_versions for message in messages]),
        commands=read(Command, "command", [message.commands for message in messages]),
        command_reports=read(CommandReport, "command_report", [m.command_reports for m in messages]),
        fills=read(Fill, "fill", [message.fills for message in messages]),
        positions=read(Position, "position", [message.positions for message in messages]),
        cash_balances=read(CashBalance, "cash", [message.cash_balances for message in messages]),
        unread=unread,
    )
