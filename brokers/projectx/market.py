"""The market hub: quotes of the contracts somebody wants, opened with the first of them.

A dead market hub costs quotes, never orders: it reconnects by itself and the session stays as it is.
"""

import asyncio
from collections.abc import Iterable
from random import Random
from ssl import SSLContext

import msgspec

from brokers._kit.backoff import BackoffPolicy, backoff
from brokers._kit.tokens import TokenHolder
from brokers.projectx.hub import connect_url
from brokers.projectx.link import HubLink, open_hub
from brokers.projectx.quotes import SYMBOLS_MAX, QuoteBook
from brokers.projectx.settings import Settings
from brokers.projectx.symbols import ContractBook
from brokers.projectx.wire import read_quote
from kopitra.domain.errors import Disconnected, ProtocolViolation, Throttled
from kopitra.domain.executions import Quote
from kopitra.ports import Clock, EventSink, ProtocolAlert


class MarketHub:
    """Quotes of one login. `told` symbols go to the sink, the others only mark positions."""

    def __init__(
        self,
        login_id: str,
        settings: Settings,
        contracts: ContractBook,
        quotes: QuoteBook,
        tls: SSLContext | None,
        clock: Clock,
        sink: EventSink,
    ) -> None:
        self._login_id = login_id
        self._settings = settings
        self._contracts = contracts
        self._quotes = quotes
        self._tls = tls
        self._clock = clock
        self._sink = sink
        self._wanted: dict[str, bool] = {}  # symbol -> told to the sink; at most SYMBOLS_MAX
        self._subscribed: set[str] = set()
        self._changed = asyncio.Event()

    def want(self, symbols: Iterable[str], *, told: bool) -> None:
        """Follow these contracts from now on; what does not fit any more is left out."""
        for symbol in symbols:
            if symbol in self._wanted or len(self._wanted) < SYMBOLS_MAX:
                self._wanted[symbol] = told or self._wanted.get(symbol, False)
        self._changed.set()

    async def keep(self, tokens: TokenHolder[str], rng: Random) -> None:
        """For ever: connect when something is wanted, subscribe, and again after an end."""
        policy = BackoffPolicy(first_s=self._settings.reconnect_first_s, max_s=self._settings.reconnect_max_s)
        waits = backoff(policy, rng)
        while True:
            await self._until_wanted(0)
            try:
                await self._one_life(await tokens.get())
                waits = backoff(policy, rng)
            except Throttled as error:
                await asyncio.sleep(error.retry_after_s)
            except ProtocolViolation as error:
                self._sink(ProtocolAlert(self._login_id, None, error.message, error.payload))
            except Disconnected:
                pass  # quotes are away until the hub is back; nothing else depends on it
            self._quotes.forget()
            await asyncio.sleep(next(waits))

    async def _one_life(self, token: str) -> None:
        link = await open_hub(
            connect_url(self._settings.rtc_url, "market", token),
            self._on_event,
            settings=self._settings,
            tls=self._tls,
            clock_ns=self._clock.monotonic_ns,
        )
        self._subscribed.clear()
        end = asyncio.ensure_future(link.ended())
        try:
            while not end.done():
                await self._subscribe(link)
                changed = asyncio.ensure_future(self._until_wanted(len(self._subscribed)))
                try:
                    await asyncio.wait({end, changed}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
        finally:
            end.cancel()
            await link.close()

    async def _subscribe(self, link: HubLink) -> None:
        for symbol in [symbol for symbol in self._wanted if symbol not in self._subscribed]:
            self._subscribed.add(symbol)
            contract_id = self._contracts.id_of(symbol, self._clock.now().date())
            if contract_id is not None:
                await link.call("SubscribeContractQuotes", contract_id)

    async def _until_wanted(self, count: int) -> None:
        while len(self._wanted) <= count:
            self._changed.clear()
            await self._changed.wait()

    def _on_event(self, target: str, arguments: list[msgspec.Raw], received_ns: int) -> None:
        if target != "GatewayQuote":
            return
        try:
            quote = self._merged(arguments, received_ns)
        except (ProtocolViolation, msgspec.MsgspecError) as error:
            self._sink(ProtocolAlert(self._login_id, None, f"a quote does not parse: {error}"))
            return
        if quote is not None and self._wanted.get(quote.symbol, False):
            self._sink(quote)

    def _merged(self, arguments: list[msgspec.Raw], received_ns: int) -> Quote | None:
        if len(arguments) < 2:
            raise ProtocolViolation("GatewayQuote came without its contract")
        symbol = self._contracts.symbol_of(_text.decode(arguments[0]))
        return self._quotes.merge(symbol, read_quote(arguments[1]), self._clock.now(), received_ns)


_text: msgspec.json.Decoder[str] = msgspec.json.Decoder(str)
