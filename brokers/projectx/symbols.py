"""Contract ids both ways: `CON.F.US.ENQ.U26` at ProjectX is `NQU6` here and at the other brokers.

The contract list of the API gives both spellings (`id`, `name`), so the roots are learned from it.
Contracts that the list leaves out (a position still held after the roll) follow from the learned roots.
Source: docs of the ProjectX Gateway API, "Search for Contracts", and the live list of August 2026.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

CONTRACTS_MAX: Final = 5_000  #: contracts known to one login; the live list has about 50

_ID: Final = re.compile(
    r"CON\.F\.(?P<market>[A-Z]+)\.(?P<root>[A-Z0-9]+)\.(?P<month>[FGHJKMNQUVXZ])(?P<year>\d\d)"
)
_SYMBOL: Final = re.compile(r"(?P<root>[A-Z0-9]{1,4}?)(?P<month>[FGHJKMNQUVXZ])(?P<year>\d)")
_YEARS_BACK_MAX: Final = 4  #: a one-digit year lies at most this far back


@dataclass(frozen=True, slots=True)
class Listing:
    """One tradable contract. `tick_value` in account currency per tick and contract."""

    contract_id: str
    symbol: str
    tick_size: Decimal
    tick_value: Decimal

    @property
    def point_value(self) -> Decimal:
        """Money per full point and contract."""
        return self.tick_value / self.tick_size


class ContractBook:
    """What one login knows of contracts; grows with each list and is asked on the hot path."""

    __slots__ = ("_by_id", "_by_symbol", "_ids", "_markets", "_roots", "_symbols")

    def __init__(self) -> None:
        self._by_id: dict[str, Listing] = {}
        self._by_symbol: dict[str, Listing] = {}
        self._ids: dict[str, str] = {}
        self._symbols: dict[str, str] = {}
        #: root inside the id -> exchange root, and back with the market before it
        self._roots: dict[str, str] = {}
        self._markets: dict[str, str] = {}

    def learn(self, listings: Iterable[Listing]) -> None:
        """Take a contract list; later spellings win. ValueError past CONTRACTS_MAX."""
        for listing in listings:
            if listing.contract_id not in self._by_id and len(self._by_id) >= CONTRACTS_MAX:
                raise ValueError(f"more than {CONTRACTS_MAX} contracts listed")
            self._by_id[listing.contract_id] = self._by_symbol[listing.symbol] = listing
            self._ids[listing.symbol] = listing.contract_id
            self._symbols[listing.contract_id] = listing.symbol
            self._learn_root(listing)

    def _learn_root(self, listing: Listing) -> None:
        by_id, by_symbol = _ID.fullmatch(listing.contract_id), _SYMBOL.fullmatch(listing.symbol)
        if by_id is None or by_symbol is None:
            return
        self._roots[by_id["root"]] = by_symbol["root"]
        self._markets[by_symbol["root"]] = f"CON.F.{by_id['market']}.{by_id['root']}."

    def listing(self, symbol: str) -> Listing | None:
        """Tick data; another month of the root serves, for ticks belong to the product."""
        found = self._by_symbol.get(symbol)
        if found is not None:
            return found
        asked = _SYMBOL.fullmatch(symbol)
        market = self._markets.get(asked["root"]) if asked else None
        if market is None:
            return None
        return next((row for row in self._by_id.values() if row.contract_id.startswith(market)), None)

    def symbol_of(self, contract_id: str) -> str:
        """Our symbol; the id itself where neither the list nor a known root tells (shown, never traded)."""
        found = self._symbols.get(contract_id)
        if found is not None:
            return found
        parts = _ID.fullmatch(contract_id)
        root = self._roots.get(parts["root"]) if parts else None
        if parts is None or root is None:
            return contract_id
        symbol = f"{root}{parts['month']}{parts['year'][1]}"
        if len(self._symbols) < CONTRACTS_MAX:
            self._symbols[contract_id] = symbol
        return symbol

    def id_of(self, symbol: str, on: date) -> str | None:
        """The broker's id of `ESZ6` on a day, None for a root that this login does not list."""
        found = self._ids.get(symbol)
        if found is not None:
            return found
        parts = _SYMBOL.fullmatch(symbol)
        market = self._markets.get(parts["root"]) if parts else None
        if parts is None or market is None:
            return None
        first = on.year - _YEARS_BACK_MAX
        year = first + (int(parts["year"]) - first) % 10
        return f"{market}{parts['month']}{year % 100:02}"
