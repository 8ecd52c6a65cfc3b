"""Quotes from the market data socket, where a login has paid for them (setting `quotes`)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from ssl import SSLContext
from typing import Final

import msgspec

from brokers.tradovate import frames
from brokers.tradovate.link import Link
from brokers.tradovate.settings import TradovateSettings
from brokers.tradovate.symbols import ContractBook, is_contract
from kopitra.domain.errors import SessionError
from kopitra.domain.executions import Quote
from kopitra.ports import Clock, EventSink

#: contracts of one login that are watched at once
WATCHED_MAX: Final = 200


class _Entry(msgspec.Struct):
    price: Decimal | None = None


class _Entries(msgspec.Struct, rename="pascal"):
    bid: _Entry | None = None
    offer: _Entry | None = None
    trade: _Entry | None = None


class _Row(msgspec.Struct, rename="camel"):
    timestamp: datetime
    contract_id: int
    entries: _Entries


class _Message(msgspec.Struct):
    quotes: list[_Row] = []


_decode = msgspec.json.Decoder(_Message)


class QuoteFeed:
    """Opened by the first `watch`; comes back by itself, and never disturbs the trading session."""

    def __init__(
        self,
        settings: TradovateSettings,
        tls: SSLContext | None,
        clock: Clock,
        token: Callable[[], Awaitable[str]],
        contracts: ContractBook,
        sink: EventSink,
    ) -> None:
        self._settings = settings
        self._tls = tls
        self._clock = clock
        self._token = token
        self._contracts = contracts
        self._sink = sink
        self._symbols: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()

    def watch(self, symbols: Sequence[str]) -> None:
        """Add contracts; nothing happens when quotes are off."""
        if not self._settings.quotes:
            return
        for symbol in symbols:
            if is_contract(symbol) and len(self._symbols) < WATCHED_MAX:
                self._symbols[symbol] = None
        self._wanted.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._keep(), name="quotes")

    async def aclose(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _keep(self) -> None:
        wait_s = self._settings.reconnect_first_s
        while True:
            link = Link(self._settings, self._clock.monotonic_ns, self._on_item)
            try:
                await link.open(self._settings.md_url, self._tls)
                await link.authorize(await self._token())
                wait_s = self._settings.reconnect_first_s
                await self._serve(link)
            except (SessionError, TimeoutError):
                pass  # quotes are a help, not a duty: try again
            finally:
                await link.aclose()
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, self._settings.reconnect_max_s)

    async def _serve(self, link: Link) -> None:
        asked: set[str] = set()
        end = asyncio.ensure_future(link.ended())
        try:
            while not end.done():
                self._wanted.clear()
                for symbol in [name for name in self._symbols if name not in asked]:
                    asked.add(symbol)
                    await link.ask("md/subscribeQuote", f'{{"symbol":"{symbol}"}}')
                await self._until_wanted(end)
        finally:
            end.cancel()

    async def _until_wanted(self, end: asyncio.Future[SessionError]) -> None:
        wanted = asyncio.ensure_future(self._wanted.wait())
        try:
            await asyncio.wait({end, wanted}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            wanted.cancel()

    def _on_item(self, item: frames.Item, now_ns: int) -> None:
        if item.e != "md":
            return
        try:
            rows = _decode.decode(item.d).quotes
        except (msgspec.DecodeError, UnicodeDecodeError):
            return  # a quote that cannot be read is no quote; the next one may be
        for row in rows:
            symbol = self._contracts.name(row.contract_id)
            if symbol is not None:
                bid, ask, last = (entry.price if entry else None for entry in _sides(row.entries))
                self._sink(Quote(symbol, bid, ask, last, row.timestamp))


def _sides(entries: _Entries) -> tuple[_Entry | None, _Entry | None, _Entry | None]:
    return entries.bid, entries.offer, entries.trade
