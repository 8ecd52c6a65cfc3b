"""The matching core of every broker simulator: commands in, frozen events out, at once and purely.

No I/O, no clock (time comes in as integer nanoseconds), no randomness but the seeded dice. Latency and
faults of the wire are the faces' business; ``next_due_ns`` and ``advance`` serve delayed executions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

from brokers._kit.matching import changing
from brokers._kit.matching.accounts import changed_spec
from brokers._kit.matching.engine import Engine, Out
from brokers._kit.matching.events import (
    AccountChanged,
    AccountSpec,
    AccountState,
    CoreEvent,
    Execution,
    PositionState,
)
from brokers._kit.matching.ledger import Ledger
from brokers._kit.matching.orders import NewOrder, OrderState, Origin, RejectReason, Replacement
from brokers._kit.matching.placing import CoreRules, Placing
from brokers._kit.matching.prices import ZERO, Instrument, Quote, make_quote
from brokers._kit.matching.settings import FaultDice, SimSettings


class MatchingCore:
    """Accounts, prices, orders, positions and the ground-truth ledger of one simulated broker."""

    def __init__(
        self,
        accounts: Iterable[AccountSpec] = (),
        instruments: Iterable[Instrument] = (),
        *,
        rules: CoreRules | None = None,
        settings: SimSettings | None = None,
        seed: int = 0,
    ) -> None:
        self.rules = rules or CoreRules()
        self.dice = FaultDice(seed)
        self._specs = list(accounts)
        self._instruments = list(instruments)
        self._engine = Engine(settings or SimSettings(), self.rules.first_exec_id)
        self._placing = Placing(self._engine, self.rules, self.dice)
        self.reset()

    def reset(self) -> None:
        """Orders, positions, cash, flags, ledger, ids and dice as at the start; settings and prices stay."""
        before = self._engine
        self._engine = Engine(before.settings, self.rules.first_exec_id)
        self._engine.quotes.update(before.quotes)
        self.dice = FaultDice(self.dice.seed)
        self._placing = Placing(self._engine, self.rules, self.dice)
        for spec in self._specs:
            self._engine.books.add(spec)
        for instrument in self._instruments:
            self._engine.instruments[instrument.symbol] = instrument

    # ---- set-up

    def add_account(self, spec: AccountSpec) -> None:
        """One more account. ValueError when its id is taken."""
        self._engine.books.add(spec)
        self._specs.append(spec)

    def add_instrument(self, instrument: Instrument) -> None:
        """One more instrument, or new data for a known symbol."""
        self._instruments.append(instrument)
        self._engine.instruments[instrument.symbol] = instrument

    def set_account(
        self,
        account_id: int,
        now_ns: int,
        *,
        can_trade: bool | None = None,
        liquidation_only: bool | None = None,
    ) -> list[CoreEvent]:
        """Change flags of an account; KeyError when it does not exist."""
        account = self._engine.books.accounts[account_id]
        account.spec = changed_spec(account.spec, can_trade=can_trade, liquidation_only=liquidation_only)
        account.updated_ns = now_ns
        return [AccountChanged(account.snapshot())]

    @property
    def settings(self) -> SimSettings:
        return self._engine.settings

    def change_settings(self, settings: SimSettings, now_ns: int) -> list[CoreEvent]:
        """Use other settings from now on; symbols that were halted and are not any more match at once."""
        resumed = set(self._engine.settings.halted_symbols) - set(settings.halted_symbols)
        self._engine.settings = settings
        out: Out = []
        for symbol in sorted(resumed):
            self._engine.match_symbol(symbol, now_ns, out)
        return out

    def halt(self, symbol: str, now_ns: int) -> list[CoreEvent]:
        """Refuse orders and stop matching in a symbol."""
        halted = tuple(sorted({*self.settings.halted_symbols, symbol}))
        return self.change_settings(replace(self.settings, halted_symbols=halted), now_ns)

    def resume(self, symbol: str, now_ns: int) -> list[CoreEvent]:
        """Undo a halt; resting orders meet the price that was set meanwhile."""
        halted = tuple(name for name in self.settings.halted_symbols if name != symbol)
        return self.change_settings(replace(self.settings, halted_symbols=halted), now_ns)

    # ---- prices and time

    def set_price(
        self, symbol: str, bid: Decimal, ask: Decimal, last: Decimal | None, now_ns: int
    ) -> list[CoreEvent]:
        """New quote; matches what it makes tradable. ValueError: unknown symbol or crossed quote."""
        if symbol not in self._engine.instruments:
            raise ValueError(f"symbol {symbol} not found; add the instrument first")
        quote = make_quote(bid, ask, last, self._engine.quotes.get(symbol), now_ns)
        self._engine.quotes[symbol] = quote
        out: Out = []
        self._engine.match_symbol(symbol, now_ns, out)
        return out

    def next_due_ns(self) -> int | None:
        """When ``advance`` next has something to do, or None."""
        return self._engine.due[0][0] if self._engine.due else None

    def advance(self, now_ns: int) -> list[CoreEvent]:
        """Make the delayed executions that are due."""
        out: Out = []
        self._engine.run_due(now_ns, out)
        return out

    def end_session(self, now_ns: int) -> list[CoreEvent]:
        """Expire every live day order."""
        out: Out = []
        for live in list(self._engine.orders.values()):
            if live.is_live and live.request.time_in_force == "day":
                self._engine.expire(live, now_ns, out)
        return out

    # ---- commands on orders and positions

    def place(
        self, order: NewOrder, now_ns: int, children: Sequence[NewOrder] = (), *, origin: Origin = "api"
    ) -> list[CoreEvent]:
        """Place an order, with ``children`` as its bracket; see Placing.place."""
        return self._placing.place(order, now_ns, children, origin=origin)

    def place_oco(
        self, orders: Sequence[NewOrder], now_ns: int, *, origin: Origin = "api"
    ) -> list[CoreEvent]:
        """Place orders of which one cancels the others; see Placing.place_oco."""
        return self._placing.place_oco(orders, now_ns, origin=origin)

    def refuse(
        self, order: NewOrder, reason: RejectReason, text: str, now_ns: int, *, origin: Origin = "api"
    ) -> list[CoreEvent]:
        """Record a placement that the wire face refuses by a rule of its own broker."""
        return self._placing.refuse(order, reason, text, now_ns, origin=origin)

    def reject_next(
        self, count: int = 1, *, account_id: int | None = None, text: str = "", late: bool = False
    ) -> None:
        """Refuse the next placements; see Placing.reject_next."""
        self._placing.reject_next(count, account_id=account_id, text=text, late=late)

    def cancel(
        self, order_id: int, now_ns: int, *, account_id: int | None = None, origin: Origin = "api"
    ) -> list[CoreEvent]:
        """OrderCanceled, or RequestRefused (unknown_order, too_late)."""
        return changing.cancel(self._engine, order_id, now_ns, account_id, origin)

    def replace(
        self,
        order_id: int,
        change: Replacement,
        now_ns: int,
        *,
        account_id: int | None = None,
        origin: Origin = "api",
    ) -> list[CoreEvent]:
        """OrderReplaced (cause "request") and what follows from the new price, or RequestRefused."""
        wrong_side_refused = self.rules.wrong_side_stops_refused
        return changing.replace(
            self._engine, order_id, change, now_ns, account_id, origin, wrong_side_refused
        )

    def close_position(
        self,
        account_id: int,
        symbol: str,
        now_ns: int,
        qty: int | None = None,
        *,
        cancel_working: bool = False,
        origin: Origin = "close",
        cl_ord_id: str | None = None,
    ) -> list[CoreEvent]:
        """Close a position, or ``qty`` of it, by a market order; RequestRefused when nothing can be closed.

        ``cancel_working`` first cancels the symbol's live orders of the account.
        """
        out: Out = []
        closing = changing.closing_order(self._engine, account_id, symbol, qty, now_ns, origin, out)
        if cancel_working:
            changing.cancel_all(self._engine, account_id, symbol, "close", now_ns, out)
        if closing is None:
            return out
        return out + self.place(closing._replace(cl_ord_id=cl_ord_id), now_ns, origin=origin)

    def liquidate(self, account_id: int, now_ns: int, *, lock: bool = True) -> list[CoreEvent]:
        """The firm flattens an account: lock it, cancel every order, close every position."""
        out: Out = []
        if lock:
            out += self.set_account(account_id, now_ns, can_trade=False)
        changing.cancel_all(self._engine, account_id, None, "liquidation", now_ns, out)
        for held in self.positions(account_id):
            out += self.close_position(account_id, held.symbol, now_ns, origin="liquidation")
        return out

    def bust(self, exec_id: int, now_ns: int) -> list[CoreEvent]:
        """Take an execution back: position and cash as if it had never been. KeyError when it is unknown."""
        return changing.bust(self._engine, exec_id, now_ns)

    # ---- questions

    @property
    def ledger(self) -> Ledger:
        return self._engine.ledger

    def accounts(self, login: str | None = None) -> tuple[AccountState, ...]:
        """All accounts, or those of one login."""
        held = self._engine.books.accounts.values()
        return tuple(item.snapshot() for item in held if login is None or item.spec.login == login)

    def account(self, account_id: int) -> AccountState | None:
        found = self._engine.books.accounts.get(account_id)
        return found.snapshot() if found else None

    def instruments(self) -> tuple[Instrument, ...]:
        return tuple(self._engine.instruments.values())

    def instrument(self, symbol: str) -> Instrument | None:
        return self._engine.instruments.get(symbol)

    def quote(self, symbol: str) -> Quote | None:
        return self._engine.quotes.get(symbol)

    def order(self, order_id: int) -> OrderState | None:
        found = self._engine.orders.get(order_id)
        return found.snapshot() if found else None

    def orders(
        self, account_id: int | None = None, *, live_only: bool = False, until_ns: int | None = None
    ) -> tuple[OrderState, ...]:
        """Orders oldest first, rejected ones included; ``until_ns`` hides younger ones (visibility lag)."""
        by_account = self._engine.orders_by_account
        found = self._engine.orders.values() if account_id is None else by_account.get(account_id, ())
        return tuple(
            live.snapshot()
            for live in found
            if (not live_only or live.is_live) and (until_ns is None or live.created_ns <= until_ns)
        )

    def positions(
        self, account_id: int | None = None, *, flat_too: bool = False
    ) -> tuple[PositionState, ...]:
        """Open positions; ``flat_too`` adds those that were closed."""
        accounts = self._engine.books.accounts
        chosen = accounts.values() if account_id is None else [accounts[account_id]]
        return tuple(
            held.snapshot()
            for account in chosen
            for held in account.positions.values()
            if flat_too or held.net_qty
        )

    def executions(
        self, account_id: int | None = None, *, until_ns: int | None = None
    ) -> tuple[Execution, ...]:
        """Fills that stand, oldest first; ``until_ns`` hides younger ones (visibility lag)."""
        fills = self._engine.ledger.executions(account_id)
        return fills if until_ns is None else tuple(fill for fill in fills if fill.ts_ns <= until_ns)

    def open_pnl(self, account_id: int) -> Decimal:
        """Unrealised P&L in money, at the last trade of each symbol."""
        total = ZERO
        for held in self._engine.books.accounts[account_id].positions.values():
            quote = self._engine.quotes.get(held.symbol)
            if held.net_qty and quote is not None:
                signed_cost = held.cost if held.net_qty > 0 else -held.cost
                point_value = self._engine.instruments[held.symbol].point_value
                total += (quote.last * held.net_qty - signed_cost) * point_value
        return total

    def equity(self, account_id: int) -> Decimal:
        """Balance plus unrealised P&L."""
        return self._engine.books.accounts[account_id].snapshot().balance + self.open_pnl(account_id)
