"""What an account is worth: the broker's balance and its positions at the prices they could be closed at, with its age.

Money, positions, fills and prices come as separate messages in no sure order, and highest values are kept for ever: so
nothing is read while they do not fit together. A fill has to be met by the broker's position, a closing fill by a new
balance, and after each of them a quarter of a second has to pass.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NamedTuple

from gateway_container.engine.state import State
from kopitra.domain.book import root_of
from kopitra.domain.executions import (
    AccountSnapshot,
    BalanceReport,
    ExecutionReport,
    PositionReport,
    Quote,
)
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.measuring import Reading
from kopitra.domain.orders import ZERO

#: contracts whose prices are kept; more are not watched by anybody
PRICES_MAX: Final = 1_000
#: nanoseconds that must pass after a fill, a position or a balance before the account is read again
SETTLE_NS: Final = 250_000_000
#: nanoseconds by which a balance or a position may come before the fill that caused it
EARLY_NS: Final = 1_000_000_000
_MS: Final = 1_000_000


class Price(NamedTuple):
    """Both sides of a market; `at_ns` monotonic."""

    bid: Decimal
    ask: Decimal
    at_ns: int


class Look(NamedTuple):
    """What is known of an account now: a reading, or why there is none (`text`). `age_ms` is how old it is."""

    reading: Reading | None
    age_ms: int
    text: str = ""


@dataclass(slots=True)
class Money:
    """What a broker told of one account; times are monotonic nanoseconds."""

    balance: Decimal | None = None
    balance_ns: int = 0
    #: equity in the broker's own words
    equity: Decimal | None = None
    equity_ns: int = 0
    #: contract -> (signed quantity, average price); None: not told yet
    positions: dict[str, tuple[Decimal, Decimal | None]] | None = None
    position_ns: dict[str, int] = field(default_factory=dict[str, int])
    #: contract -> the newest fill
    fill_ns: dict[str, int] = field(default_factory=dict[str, int])
    #: contract -> points won or lost by our count at its last fill
    realized: dict[str, Decimal] = field(default_factory=dict[str, Decimal])
    #: the newest fill that closed something
    closed_ns: int = 0
    #: when something moved last, and when everything fitted together last
    moved_ns: int = 0
    fitted_ns: int = 0

    def moves(self, now_ns: int) -> None:
        """Something is another: equity that was told before is of the account as it was."""
        self.moved_ns, self.equity = now_ns, None


class Marks:
    """Money of the accounts with loss limits, and the prices of what they hold."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._accounts: dict[str, Money] = {}
        self._prices: dict[str, Price] = {}

    def watch(self, account_ids: Iterable[str]) -> None:
        """These accounts from now on."""
        before = self._accounts
        self._accounts = {a: before.get(a) or self._begun(a) for a in sorted(account_ids)}
        for (account_id, contract), position in self._state.book.positions.items():
            if account_id in self._accounts:
                self._accounts[account_id].realized.setdefault(contract, position.realized_points)

    def _begun(self, account_id: str) -> Money:
        """What the broker has told of an account that was not watched until now."""
        facts, now_ns = self._state.facts_of(account_id), self._state.clock.monotonic_ns()
        money = Money(fitted_ns=now_ns)
        if not facts.live:
            return money  # its session begins with a whole look
        money.positions = {
            contract: (qty, self._average(account_id, contract, qty))
            for contract, qty in facts.positions.items()
            if qty
        }
        if facts.balance is not None:
            _balanced(money, facts.balance, now_ns)
            money.equity = None  # nobody knows how old it is
        return money

    def _average(self, account_id: str, contract: str, qty: Decimal) -> Decimal | None:
        counted = self._state.book.positions.get((account_id, contract))
        return counted.avg_px if counted is not None and counted.qty == qty else None

    def heard(self, event: object) -> tuple[str, ...]:
        """Take an event; the watched accounts whose worth it may have changed."""
        now_ns = self._state.clock.monotonic_ns()
        match event:
            case Quote():
                return self._quoted(event, now_ns)
            case ExecutionReport(exec_type="trade") if event.account_id in self._accounts:
                self._filled(self._accounts[event.account_id], event, now_ns)
            case BalanceReport() if event.account_id in self._accounts:
                _balanced(self._accounts[event.account_id], event, now_ns)
            case PositionReport() if event.account_id in self._accounts:
                _positioned(self._accounts[event.account_id], (event,), now_ns)
            case AccountSnapshot() if event.account_id in self._accounts:
                _shown(self._accounts[event.account_id], event, now_ns)
            case _:
                return ()
        return (event.account_id,)

    def _quoted(self, quote: Quote, now_ns: int) -> tuple[str, ...]:
        last = quote.last
        bid, ask = quote.bid if quote.bid is not None else last, quote.ask if quote.ask is not None else last
        bid, ask = bid if bid is not None else ask, ask if ask is not None else bid
        known = quote.symbol in self._prices
        if bid is None or ask is None or (not known and len(self._prices) >= PRICES_MAX):
            return ()
        self._prices[quote.symbol] = Price(bid, ask, now_ns)
        return tuple(
            a for a, money in self._accounts.items() if money.positions and quote.symbol in money.positions
        )

    def _filled(self, money: Money, report: ExecutionReport, now_ns: int) -> None:
        counted = self._state.book.positions.get((report.account_id, report.symbol))
        points = counted.realized_points if counted is not None else ZERO
        if points not in (ZERO, money.realized.get(report.symbol)):
            money.closed_ns = now_ns  # something was won or lost: the balance has to follow
        money.realized[report.symbol] = points
        money.fill_ns[report.symbol] = now_ns
        money.moves(now_ns)

    def money(self, account_id: str) -> Money | None:
        """What the broker told of a watched account."""
        return self._accounts.get(account_id)

    def contracts(self, account_id: str) -> tuple[str, ...]:
        """What a watched account holds, by the broker's word."""
        money = self._accounts.get(account_id)
        return tuple(sorted(money.positions)) if money is not None and money.positions else ()

    def look(self, account_id: str, open_profit: bool) -> Look:
        """The account's worth now; without `open_profit` only closed trades count, and no price is needed."""
        money, now_ns = self._accounts[account_id], self._state.clock.monotonic_ns()
        text = self._misfit(account_id, money, now_ns)
        if text:
            return Look(None, (now_ns - money.fitted_ns) // _MS, text)
        found = self._worth(money, now_ns) if open_profit else _closed_only(money.balance or ZERO)
        if found.reading is not None:
            money.fitted_ns = now_ns - found.age_ms * _MS
        return found

    def _misfit(self, account_id: str, money: Money, now_ns: int) -> str:
        """Why the account cannot be read now; empty when it can."""
        if money.balance is None:
            return "the broker has not told its balance"
        if money.positions is None:
            return "the broker has not told its positions"
        if now_ns - money.moved_ns < SETTLE_NS:
            return "a fill, position or balance came just now"
        for contract, at_ns in money.fill_ns.items():
            counted = self._state.book.positions.get((account_id, contract))
            told = money.positions.get(contract, (ZERO, None))[0]
            same = told == (counted.qty if counted is not None else ZERO)
            if not same and money.position_ns.get(contract, 0) < at_ns:
                return f"the broker has not told the position in {contract} since its last fill"
        if money.closed_ns and money.balance_ns < money.closed_ns - EARLY_NS:
            return "the broker has not told the balance since a position was closed"
        return ""

    def _worth(self, money: Money, now_ns: int) -> Look:
        balance, positions = money.balance or ZERO, money.positions or {}
        if not positions:
            return _closed_only(balance)
        marked = self._marked(positions, balance, now_ns)
        told_ms = (now_ns - money.equity_ns) // _MS
        if money.equity is None or (marked.reading is not None and marked.age_ms <= told_ms):
            since_ms = (now_ns - money.fitted_ns) // _MS
            return marked if marked.reading is not None else marked._replace(age_ms=since_ms)
        return Look(Reading(balance, money.equity, money.equity), told_ms)

    def _marked(
        self, positions: dict[str, tuple[Decimal, Decimal | None]], balance: Decimal, now_ns: int
    ) -> Look:
        worst = best = balance
        oldest_ns = now_ns
        for contract, (qty, average) in positions.items():
            price = self._prices.get(contract)
            if average is None or root_of(contract) not in INSTRUMENTS:
                return Look(None, 0, f"the broker has not told at what price {contract} is held")
            if price is None:
                return Look(None, 0, f"no price of {contract} is known")
            low, high = (price.bid, price.ask) if qty > 0 else (price.ask, price.bid)
            value = qty * INSTRUMENTS[root_of(contract)].point_value
            worst += (low - average) * value
            best += (high - average) * value
            oldest_ns = min(oldest_ns, price.at_ns)
        return Look(Reading(balance, worst, best), (now_ns - oldest_ns) // _MS)


def _closed_only(balance: Decimal) -> Look:
    return Look(Reading(balance, balance, balance), 0)


def _balanced(money: Money, report: BalanceReport, now_ns: int) -> None:
    if report.balance != money.balance:
        money.moves(now_ns)
    money.balance, money.balance_ns = report.balance, now_ns
    if report.equity is not None:
        money.equity, money.equity_ns = report.equity, now_ns


def _positioned(money: Money, reports: Iterable[PositionReport], now_ns: int) -> None:
    """Single positions mean something only on top of a whole list."""
    for report in reports:
        money.position_ns[report.symbol] = now_ns
        if money.positions is None:
            continue
        before = money.positions.pop(report.symbol, None)
        if report.net_qty:
            money.positions[report.symbol] = (report.net_qty, report.avg_px)
        if before != money.positions.get(report.symbol):
            money.moves(now_ns)


def _shown(money: Money, snapshot: AccountSnapshot, now_ns: int) -> None:
    """A whole look settles what single messages left open; parts that were not told change nothing (R-044)."""
    newest = money.positions is None or snapshot.started_ns >= max(money.fill_ns.values(), default=0)
    if snapshot.positions is not None and newest:
        told = {p.symbol: (p.net_qty, p.avg_px) for p in snapshot.positions if p.net_qty}
        if told != money.positions:
            money.moves(now_ns)
        money.positions, money.fill_ns = told, {}
        if snapshot.balance is not None:
            money.closed_ns = 0
    if snapshot.balance is not None:
        _balanced(money, snapshot.balance, now_ns)
