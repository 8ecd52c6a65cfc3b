"""The life of an accepted order: it works, trades, ends, and what that does to children and OCO siblings.

Rules decided here, where the vendors' documents are silent:
- A bracket child is suspended with nothing released. Each fill of the parent releases that quantity, so a
  partly filled entry is protected for exactly what it holds. When the parent ends, what was never released
  is cut off; a child left with nothing is canceled.
- In an OCO group a partial fill of one leg takes the same quantity off the other legs (OrderReplaced, cause
  "oco"); a complete fill cancels them. Canceling one leg by request leaves the others.
- A market order fills at the touch, a marketable limit at the touch, a limit that has rested at its own
  price. Stops and trailing stops are triggered by the last trade and then fill at the touch.
"""

from decimal import Decimal
from heapq import heappop, heappush

from brokers._kit.matching.accounts import Books
from brokers._kit.matching.events import (
    BalanceChanged,
    CancelCause,
    CoreEvent,
    Execution,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderReplaced,
    OrderWorking,
    PositionChanged,
    ReplaceCause,
)
from brokers._kit.matching.ledger import Ledger
from brokers._kit.matching.orders import LiveOrder
from brokers._kit.matching.prices import Instrument, Quote, limit_is_marketable, stop_is_hit
from brokers._kit.matching.settings import SimSettings

NS_PER_MS = 1_000_000

Out = list[CoreEvent]


def slices_of(qty: int, count: int) -> list[int]:
    """Split a quantity into at most ``count`` parts, largest first: 10 in 3 gives 4, 3, 3."""
    count = min(count, qty)
    share, extra = divmod(qty, count)
    return [share + 1] * extra + [share] * (count - extra)


class Engine:
    """State and mechanics; MatchingCore is the door in front of it."""

    def __init__(self, settings: SimSettings, first_exec_id: int) -> None:
        self.settings = settings
        self.books = Books()
        self.ledger = Ledger()
        self.instruments: dict[str, Instrument] = {}
        self.quotes: dict[str, Quote] = {}
        self.orders: dict[int, LiveOrder] = {}
        self.orders_by_account: dict[int, list[LiveOrder]] = {}
        self.live_by_symbol: dict[str, dict[int, LiveOrder]] = {}
        self.groups: dict[int, list[LiveOrder]] = {}
        #: (due_ns, sequence, order, quantity): at most SLICES_MAX per live order
        self.due: list[tuple[int, int, LiveOrder, int]] = []
        self._due_sequence = 0
        self._next_exec_id = first_exec_id

    # ---- entering and leaving the book

    def begin(self, live: LiveOrder, now_ns: int, out: Out) -> None:
        """Put an accepted order to work and let it trade what it can."""
        live.status = "working"
        live.updated_ns = now_ns
        self.live_by_symbol.setdefault(live.request.symbol, {})[live.order_id] = live
        out.append(OrderWorking(live.snapshot()))
        group = self.groups.get(live.oco_group, ()) if live.oco_group is not None else ()
        if any(leg.status == "filled" for leg in group):
            self.cancel(live, "oco", now_ns, out)
            return
        self.match(live, now_ns, out)

    def cancel(self, live: LiveOrder, cause: CancelCause, now_ns: int, out: Out) -> None:
        """End a live order without a fill."""
        self._leave(live, now_ns)
        live.status = "canceled"
        out.append(OrderCanceled(live.snapshot(), cause))
        self._trim_children(live, now_ns, out)

    def expire(self, live: LiveOrder, now_ns: int, out: Out) -> None:
        """End a day order with its session."""
        self._leave(live, now_ns)
        live.status = "expired"
        out.append(OrderExpired(live.snapshot()))
        self._trim_children(live, now_ns, out)

    def _leave(self, live: LiveOrder, now_ns: int) -> None:
        live.updated_ns = now_ns
        self.live_by_symbol.get(live.request.symbol, {}).pop(live.order_id, None)

    # ---- matching

    def match(self, live: LiveOrder, now_ns: int, out: Out) -> None:
        """Trade a working order against the current quote, now or after fill_delay_ms."""
        if live.status != "working" or live.fills_due:
            return
        price = self._tradable_price(live, now_ns, out)
        if price is not None:
            self._fill(live, price, now_ns, out)
        if live.request.time_in_force in ("ioc", "fok"):
            self._end_immediate(live, now_ns, out)

    def match_symbol(self, symbol: str, now_ns: int, out: Out) -> None:
        """Offer a new price to every live order of the symbol, oldest first."""
        for live in list(self.live_by_symbol.get(symbol, {}).values()):
            self.match(live, now_ns, out)

    def _tradable_price(self, live: LiveOrder, now_ns: int, out: Out) -> Decimal | None:
        request = live.request
        quote = self.quotes.get(request.symbol)
        if quote is None or request.symbol in self.settings.halted_symbols:
            return None
        if request.ord_type == "market":
            return quote.touch(live.buys)
        if request.ord_type != "limit" and not live.triggered and not self._trigger(live, quote, now_ns, out):
            return None
        if request.ord_type in ("stop", "trailing_stop"):
            return quote.touch(live.buys)
        if live.price is None or not limit_is_marketable(live.buys, live.price, quote):
            live.rested = True
            return None
        return live.price if live.rested else quote.touch(live.buys)

    def _trigger(self, live: LiveOrder, quote: Quote, now_ns: int, out: Out) -> bool:
        if live.request.ord_type == "trailing_stop":
            self._trail(live, quote, now_ns, out)
        if live.stop_price is None or not stop_is_hit(live.buys, live.stop_price, quote.last):
            return False
        live.triggered = True
        self._replaced(live, "trigger", now_ns, out)
        return True

    def _trail(self, live: LiveOrder, quote: Quote, now_ns: int, out: Out) -> None:
        if live.trail is None:
            return
        wanted = quote.last + live.trail if live.buys else quote.last - live.trail
        before = live.stop_price
        if before is not None and (wanted >= before if live.buys else wanted <= before):
            return
        live.stop_price = wanted
        if before is not None:
            self._replaced(live, "trail", now_ns, out)

    def _replaced(self, live: LiveOrder, cause: ReplaceCause, now_ns: int, out: Out) -> None:
        live.updated_ns = now_ns
        out.append(OrderReplaced(live.snapshot(), cause))

    def _end_immediate(self, live: LiveOrder, now_ns: int, out: Out) -> None:
        dormant = live.request.ord_type not in ("market", "limit") and not live.triggered
        if live.status == "working" and not live.fills_due and not dormant:
            self.cancel(live, "fok" if live.request.time_in_force == "fok" else "ioc", now_ns, out)

    def _fill(self, live: LiveOrder, price: Decimal, now_ns: int, out: Out) -> None:
        settings = self.settings
        open_qty = live.open_qty
        qty = min(open_qty, settings.liquidity_qty) if settings.liquidity_qty else open_qty
        if qty <= 0 or (live.request.time_in_force == "fok" and qty < open_qty):
            return
        parts = (qty,) if settings.partial_fill_slices == 1 else slices_of(qty, settings.partial_fill_slices)
        if settings.fill_delay_ms:
            self._schedule(live, parts, now_ns)
            return
        for part in parts:
            if live.status == "working":
                self._execute(live, min(part, live.open_qty), price, now_ns, out)

    def _schedule(self, live: LiveOrder, parts: tuple[int, ...] | list[int], now_ns: int) -> None:
        due_ns = now_ns
        for part in parts:
            due_ns += self.settings.fill_delay_ms * NS_PER_MS
            self._due_sequence += 1
            heappush(self.due, (due_ns, self._due_sequence, live, part))
        live.fills_due += len(parts)

    def run_due(self, now_ns: int, out: Out) -> None:
        """Make the delayed executions whose time has come; a price that moved away puts the order back."""
        while self.due and self.due[0][0] <= now_ns:
            due_ns, _, live, part = heappop(self.due)
            live.fills_due -= 1
            if live.status != "working":
                continue
            price = self._tradable_price(live, due_ns, out)
            if price is not None and live.open_qty > 0:
                self._execute(live, min(part, live.open_qty), price, due_ns, out)
            self._after_due(live, due_ns, out)

    def _after_due(self, live: LiveOrder, now_ns: int, out: Out) -> None:
        if live.status != "working" or live.fills_due:
            return
        if live.request.time_in_force in ("ioc", "fok"):
            self._end_immediate(live, now_ns, out)
        elif live.open_qty > 0 and not self.settings.liquidity_qty:
            self.match(live, now_ns, out)

    # ---- executions and what they do to other orders

    def _execute(self, live: LiveOrder, qty: int, price: Decimal, now_ns: int, out: Out) -> None:
        live.cum_qty += qty
        live.traded_value += price * qty
        live.updated_ns = now_ns
        if live.cum_qty >= live.qty:
            self._leave(live, now_ns)
            live.status = "filled"
        self._book(live, qty, price, now_ns, out)
        if live.oco_group is not None:
            self._shrink_siblings(live, qty, now_ns, out)
        if live.children:
            self._release_children(live, qty, now_ns, out)

    def _book(self, live: LiveOrder, qty: int, price: Decimal, now_ns: int, out: Out) -> None:
        request = live.request
        instrument = self.instruments[request.symbol]
        account = self.books.accounts[request.account_id]
        position = self.books.position(account, request.symbol)
        realized = position.apply(live.buys, qty, price, instrument.point_value, now_ns)
        state = live.snapshot()
        fill = Execution(
            self._next_exec_id,
            live.order_id,
            request.account_id,
            request.symbol,
            request.side,
            qty,
            price,
            live.cum_qty,
            live.qty - live.cum_qty,
            state.avg_px if state.avg_px is not None else price,
            realized,
            instrument.fee * qty,
            instrument.commission * qty,
            now_ns,
            request.cl_ord_id,
        )
        self._next_exec_id += 1
        self.ledger.executed(fill)
        out.append(OrderFilled(state, fill))
        out.append(PositionChanged(position.snapshot()))
        costs = fill.fees + fill.commission
        if realized is not None or costs:
            account.realized_pnl += realized or 0
            account.fees += costs
            account.updated_ns = now_ns
            out.append(BalanceChanged(account.snapshot()))

    def _shrink_siblings(self, live: LiveOrder, qty: int, now_ns: int, out: Out) -> None:
        for leg in self.groups.get(live.oco_group or 0, ()):
            if leg is live or not leg.is_live:
                continue
            if live.status == "filled" or leg.qty - qty <= leg.cum_qty:
                self.cancel(leg, "oco", now_ns, out)
                continue
            leg.qty -= qty
            leg.released_qty = max(leg.cum_qty, leg.released_qty - qty)
            self._replaced(leg, "oco", now_ns, out)

    def _release_children(self, parent: LiveOrder, qty: int, now_ns: int, out: Out) -> None:
        # All legs get their share before one may trade: a leg that fills at once takes it off the others.
        fresh = [child for child in parent.children if self._grant(child, qty)]
        for child in fresh:
            self._start(child, parent, now_ns, out)
        if not parent.is_live:
            self._trim_children(parent, now_ns, out)

    def release(self, child: LiveOrder, parent: LiveOrder, now_ns: int, out: Out) -> None:
        """Let a child that arrived late trade what its parent has filled already."""
        if self._grant(child, parent.cum_qty):
            self._start(child, parent, now_ns, out)

    def _grant(self, child: LiveOrder, qty: int) -> bool:
        granted = min(qty, child.qty - child.released_qty) if child.is_live else 0
        child.released_qty += granted
        return granted > 0

    def _start(self, child: LiveOrder, parent: LiveOrder, now_ns: int, out: Out) -> None:
        if child.status == "suspended":
            self._price_child(child, parent)
            self.begin(child, now_ns, out)
        elif child.is_live:
            self._replaced(child, "parent", now_ns, out)
            self.match(child, now_ns, out)

    def _price_child(self, child: LiveOrder, parent: LiveOrder) -> None:
        offset = child.request.offset
        if offset is None:
            return
        tick_size = self.instruments[child.request.symbol].tick_size
        average = parent.traded_value / parent.cum_qty
        level = (average / tick_size).quantize(Decimal(1)) * tick_size + offset
        if child.request.ord_type == "limit":
            child.price = level
        elif child.request.ord_type == "trailing_stop":
            child.trail = abs(offset)
        else:
            child.stop_price = level

    def _trim_children(self, parent: LiveOrder, now_ns: int, out: Out) -> None:
        for child in parent.children:
            never_released = child.qty - child.released_qty
            if not child.is_live or never_released <= 0:
                continue
            child.qty -= never_released
            if child.qty > child.cum_qty:
                self._replaced(child, "parent", now_ns, out)
                continue
            child.qty = child.qty or child.request.qty  # a canceled child keeps the size it was asked for
            self.cancel(child, "parent", now_ns, out)
