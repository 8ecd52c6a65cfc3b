"""Quotes merged from sparse updates, and the open profit of positions marked with them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from brokers.projectx.symbols import ContractBook
from brokers.projectx.wire import WireQuote
from kopitra.domain.executions import PositionReport, Quote

SYMBOLS_MAX: Final = 200  #: contracts one login follows


@dataclass(slots=True)
class _Merged:
    bid: Decimal | None = None
    ask: Decimal | None = None
    last: Decimal | None = None
    at_ns: int = 0


class QuoteBook:
    """Last known prices by symbol."""

    __slots__ = ("_prices",)

    def __init__(self) -> None:
        self._prices: dict[str, _Merged] = {}

    def merge(self, symbol: str, wire: WireQuote, at: datetime, at_ns: int) -> Quote:
        """Take an update in; the whole quote comes back."""
        price = self._prices.get(symbol)
        if price is None:
            price = self._prices[symbol] = _Merged()
        price.bid = wire.best_bid if wire.best_bid is not None else price.bid
        price.ask = wire.best_ask if wire.best_ask is not None else price.ask
        price.last = wire.last_price if wire.last_price is not None else price.last
        price.at_ns = at_ns
        return Quote(symbol, price.bid, price.ask, price.last, at)

    def last(self, symbol: str, not_before_ns: int) -> Decimal | None:
        """The last price (the middle where nothing traded); None when older than `not_before_ns`."""
        price = self._prices.get(symbol)
        if price is None or price.at_ns < not_before_ns:
            return None
        if price.last is not None:
            return price.last
        return None if price.bid is None or price.ask is None else (price.bid + price.ask) / 2

    def forget(self) -> None:
        """The stream is gone: nothing is fresh any more."""
        self._prices.clear()

    def open_profit(
        self, positions: Iterable[PositionReport], contracts: ContractBook, not_before_ns: int
    ) -> Decimal | None:
        """Unrealised profit in money, None as long as one position cannot be marked."""
        total = Decimal(0)
        for position in positions:
            if not position.net_qty:
                continue
            last = self.last(position.symbol, not_before_ns)
            listing = contracts.listing(position.symbol)
            if last is None or listing is None or position.avg_px is None:
                return None
            total += (last - position.avg_px) * position.net_qty * listing.point_value
        return total
