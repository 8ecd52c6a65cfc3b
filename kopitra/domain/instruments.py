"""Instruments, contracts, front months, and every spelling of a symbol we accept.

An `Instrument` is a product (root `ES`), a `Contract` one delivery month of it (`ESZ6`), a `SymbolRef` what
somebody wrote: a root, perhaps with a contract. Dates called `on` are exchange trade dates (Chicago).

    UnknownSymbol(ValueError)   the text names no product or contract we know
    OffTick(ValueError)         the price is not on the instrument's tick grid
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, assert_never

from kopitra.domain.calendar import DateRule
from kopitra.domain.instrument_data import TABLE, Exchange

MONTH_CODES = "FGHJKMNQUVXZ"
"""January to December, the codes of all CME Group futures."""

SYMBOL_LENGTH_MAX = 64  #: characters of a symbol, spaces included
YEAR_MIN, YEAR_MAX = 2000, 2099  #: contract years
YEARS_BACK_MAX = 4  #: a one-digit year lies at most this many years back, so at most five ahead
_MONTHS_AHEAD_MAX = 16  #: months searched for a front month: a cycle's longest gap and its roll
_SYMBOLS_CACHED_MAX = 4096  #: (text, date) pairs
_CONTRACTS_CACHED_MAX = 1024  #: (root, date) pairs, and contracts' dates

_ZERO = Decimal(0)

Direction = Literal["down", "up", "nearest"]


class UnknownSymbol(ValueError):
    """The text names no instrument or contract we know."""

    code = "unknown-symbol"


class OffTick(ValueError):
    """The price is not on the instrument's tick grid, or is no price at all."""

    code = "off-tick"


@dataclass(frozen=True, slots=True)
class Instrument:
    """A futures product. Source: the CME Group contract specifications."""

    root: str
    title: str
    exchange: Exchange
    currency: str  #: ISO 4217
    tick_size: Decimal  #: smallest price step
    tick_value: Decimal  #: money per tick and contract, in `currency`
    qty_step: Decimal  #: contracts
    family: str  #: root of the reference contract: ES for ES and MES
    units_per_family: Decimal  #: notional relative to the reference contract: 0.1 for MES
    months: str  #: month codes that lead in turn: HMUZ
    listed: str  #: month codes for which contracts exist; holds `months`
    expiry_rule: DateRule = field(repr=False)  #: last trading day
    roll_rule: DateRule = field(repr=False)  #: first day on which the next contract leads

    @property
    def point_value(self) -> Decimal:
        """Money per whole point and contract."""
        return self.tick_value / self.tick_size + _ZERO  # adding zero turns 1E+3 into 1000

    def notional(self, price: Decimal, qty: Decimal) -> Decimal:
        """Size of `qty` contracts at `price` in money; never negative."""
        return abs(price * qty) * self.point_value

    def to_ticks(self, price: Decimal) -> int:
        """The whole number of ticks that `price` is. Raises `OffTick`."""
        ticks, rest = self._ticks_below(price)
        if rest:
            low, high = self.from_ticks(ticks), self.from_ticks(ticks + 1)
            raise OffTick(
                f"price {price} is off the {self.tick_size} tick of {self.root}: send {low} or {high}"
            )
        return ticks

    def from_ticks(self, ticks: int) -> Decimal:
        """The price of a whole number of ticks."""
        return self.tick_size * ticks

    def snap(self, price: Decimal, direction: Direction) -> Decimal:
        """The price on the grid below, above or nearest to `price` (half a tick goes up)."""
        ticks, rest = self._ticks_below(price)
        match direction:
            case "down":
                return self.from_ticks(ticks)
            case "up":
                return self.from_ticks(ticks + (rest > 0))
            case "nearest":
                return self.from_ticks(ticks + (rest + rest >= self.tick_size))
            case _:
                assert_never(direction)

    def _ticks_below(self, price: Decimal) -> tuple[int, Decimal]:
        try:
            ticks, rest = divmod(price, self.tick_size)
        except InvalidOperation:  # infinite, or more ticks than Decimal's 28 digits
            ticks = rest = Decimal("NaN")
        if rest.is_nan():
            raise OffTick(f"price {price} is no price of {self.root}: send a finite number of points")
        # divmod rounds towards zero; prices may be negative (CL, 20 April 2020).
        return (int(ticks) - 1, rest + self.tick_size) if rest < 0 else (int(ticks), rest)


INSTRUMENTS: Mapping[str, Instrument] = MappingProxyType(
    {
        row.root: Instrument(
            root=row.root,
            title=row.title,
            exchange=line.exchange,
            currency="USD",
            tick_size=Decimal(row.tick_size),
            tick_value=Decimal(row.tick_value),
            qty_step=Decimal(1),
            family=row.family,
            units_per_family=Decimal(row.units_per_family),
            months=line.months,
            listed=line.listed,
            expiry_rule=line.expiry_rule,
            roll_rule=line.roll_rule,
        )
        for line, rows in TABLE
        for row in rows
    }
)
"""Every product we know, by root."""


def find_instrument(root: str) -> Instrument:
    """The product with this root. Raises `UnknownSymbol`."""
    found = INSTRUMENTS.get(root)
    if found is None:
        raise UnknownSymbol(f"no instrument has the root {_shown(root)}: use one such as ES, MNQ, CL or 6E")
    return found


@dataclass(frozen=True, slots=True, order=True)
class Contract:
    """One delivery month of a product; sorts by root, then by date.

    Raises `UnknownSymbol` for a month the exchange does not list. An expired contract is still a contract:
    the caller decides what that means.
    """

    root: str
    year: int  #: four digits
    month: int  #: 1..12

    def __post_init__(self) -> None:
        listed = find_instrument(self.root).listed
        if not (YEAR_MIN <= self.year <= YEAR_MAX and 1 <= self.month <= 12):
            shown = f"{self.root} {self.month}/{self.year}"
            raise UnknownSymbol(f"{shown} is no contract month: send one such as ESZ6 or ESZ2026")
        if MONTH_CODES[self.month - 1] not in listed:
            raise UnknownSymbol(f"{self.code2} is not listed: {self.root} has the month codes {listed}")

    @classmethod
    def parse(cls, text: str, on: date) -> "Contract":
        """The contract that `text` names, in any spelling of `parse_symbol` that has a month.

        Raises `UnknownSymbol`, also for a root alone.
        """
        contract = parse_symbol(text, on).contract
        if contract is None:
            raise UnknownSymbol(f"{_shown(text)} names no contract month: send one such as ESZ6")
        return contract

    @property
    def instrument(self) -> Instrument:
        """The product this is a month of."""
        return INSTRUMENTS[self.root]

    @property
    def symbol(self) -> str:
        """Root, month code, one-digit year: `ESZ6`, the spelling most brokers share."""
        return f"{self.root}{MONTH_CODES[self.month - 1]}{self.year % 10}"

    @property
    def code2(self) -> str:
        """Root, month code, two-digit year: `ESZ26`."""
        return f"{self.root}{MONTH_CODES[self.month - 1]}{self.year % 100:02}"

    @property
    def expiry(self) -> date:
        """Last trading day; the contract may still trade on it."""
        return _expiry(self)

    @property
    def roll(self) -> date:
        """First day on which the next contract leads; for a month outside the cycle, when it would have."""
        return _roll(self)


@dataclass(frozen=True, slots=True)
class SymbolRef:
    """What a symbol text means: a product, and a contract when the text named one."""

    root: str
    contract: Contract | None  #: None: whatever leads at the time, so that a rule survives a roll

    @property
    def instrument(self) -> Instrument:
        """The product."""
        return INSTRUMENTS[self.root]

    def resolve(self, on: date) -> Contract:
        """The contract named, or the front month on that day."""
        return self.contract or front_month(self.root, on)


@lru_cache(maxsize=_CONTRACTS_CACHED_MAX)
def front_month(root: str, on: date) -> Contract:
    """The contract that leads on a trade date: the first of the liquid cycle whose roll day is still ahead.

    Roll days are in `calendar.py`: custom for equity indices, a stated margin for the rest. A broker that
    names its own active contract knows better. Raises `UnknownSymbol` for an unknown root.
    """
    months = find_instrument(root).months
    for ahead in range(_MONTHS_AHEAD_MAX):
        year, month = on.year + (on.month - 1 + ahead) // 12, (on.month - 1 + ahead) % 12 + 1
        if MONTH_CODES[month - 1] in months:
            contract = Contract(root, year, month)
            if contract.roll > on:
                return contract
    raise AssertionError(f"{root} has no front month on {on}: its cycle {months} is wrong")


def next_contract(contract: Contract) -> Contract:
    """The contract that leads after this one."""
    months = contract.instrument.months
    later = [code for code in months if code > MONTH_CODES[contract.month - 1]]
    code, year = (later[0], contract.year) if later else (months[0], contract.year + 1)
    return Contract(contract.root, year, MONTH_CODES.index(code) + 1)


def days_to_expiry(contract: Contract, on: date) -> int:
    """Calendar days until the last trading day: 0 on it, negative once expired."""
    return (contract.expiry - on).days


def convert_quantity(qty: Decimal, from_instrument: Instrument, to_instrument: Instrument) -> Decimal:
    """The quantity with the same notional in another product of the family: 1 ES is 10 MES.

    Not rounded: 1 MES is 0.1 ES. Raises `ValueError` across families, where no fixed ratio exists.
    """
    if from_instrument.family != to_instrument.family:
        raise ValueError(
            f"{from_instrument.root} and {to_instrument.root} have no fixed size ratio: "
            "map within a family (ES and MES) or set a multiplier"
        )
    return qty * from_instrument.units_per_family / to_instrument.units_per_family + _ZERO


_MONTH_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")

# Month and year are taken from the END, so GCJ6 has the root GC and M2KZ6 the root M2K.
_SPELLING = re.compile(
    rf"""
    (?: (?:CME|CBOT|NYMEX|COMEX) (?:_MINI)? (?:_DL)? : )?   # TradingView's exchange, live or delayed
    [@/]?                                                   # TradeStation, thinkorswim
    (?P<root> [A-Z0-9]{{1,3}}? )
    (?: (?P<nth> [12] ) !                                   # ES1!  TradingView's continuous contracts
      | [ ]? (?P<code> [{MONTH_CODES}] ) (?P<code_year> \d{{4}} | \d{{1,2}} )     # ESZ6 ESZ26 ESZ2026
      | [ ] (?P<number> 0[1-9] | 1[0-2] ) - (?P<number_year> \d{{4}} | \d\d )     # ES 12-26  NinjaTrader
      | [ ] (?P<name> {"|".join(_MONTH_NAMES)} ) [ ]? (?P<name_year> \d{{4}} | \d\d )  # ES DEC26
    )?
    """,
    re.VERBOSE,
)


@lru_cache(maxsize=_SYMBOLS_CACHED_MAX)
def parse_symbol(text: str, on: date) -> SymbolRef:
    """What a symbol text means on a trade date; upper or lower case, spaces around it allowed.

    `ES`, `ES1!`, `@ES`, `/ES` and `CME_MINI:ES1!` name the root (its front month leads); `ES2!` the contract
    after the front month; `ESZ6`, `ESZ26`, `ESZ2026`, `ES 12-26` and `ES DEC26` a contract. One-digit years
    lie from four years back to five ahead. Raises `UnknownSymbol`.
    """
    if len(text) > SYMBOL_LENGTH_MAX:
        raise UnknownSymbol(
            f"symbol is longer than {SYMBOL_LENGTH_MAX} characters: send one such as ES or ESZ6"
        )
    found = _SPELLING.fullmatch(text.strip(" \t\r\n").upper()) if text.isascii() else None
    if found is None or found["root"] not in INSTRUMENTS:
        raise UnknownSymbol(f"{_shown(text)} is no symbol we know: send one such as ES, ESZ6 or ES1!")
    root = found["root"]
    if found["nth"] == "2":
        return SymbolRef(root, next_contract(front_month(root, on)))
    month = _month(found)
    if month is None:
        return SymbolRef(root, None)
    digits = found["code_year"] or found["number_year"] or found["name_year"]
    return SymbolRef(root, Contract(root, _full_year(digits, on), month))


def _month(found: re.Match[str]) -> int | None:
    if found["code"]:
        return MONTH_CODES.index(found["code"]) + 1
    if found["number"]:
        return int(found["number"])
    return _MONTH_NAMES.index(found["name"]) + 1 if found["name"] else None


def _full_year(digits: str, on: date) -> int:
    if len(digits) == 1:
        first = on.year - YEARS_BACK_MAX
        return first + (int(digits) - first) % 10
    return int(digits) if len(digits) == 4 else YEAR_MIN + int(digits)


def _shown(text: str) -> str:
    return ascii(text[:SYMBOL_LENGTH_MAX])


@lru_cache(maxsize=_CONTRACTS_CACHED_MAX)
def _expiry(contract: Contract) -> date:
    return contract.instrument.expiry_rule(contract.year, contract.month)


@lru_cache(maxsize=_CONTRACTS_CACHED_MAX)
def _roll(contract: Contract) -> date:
    return contract.instrument.roll_rule(contract.year, contract.month)
