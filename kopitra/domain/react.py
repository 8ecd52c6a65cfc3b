"""What follows from a report: pure, from the book as it is after the fold.

Four things can follow, and all of them only ever shrink or protect:
- held orders are released once what they wait for is over, with the quantity that is then really there (R-038);
- exposure beyond the target (a late fill after the leader has left) is closed at once (R-013, R-037);
- protective orders follow the holding: resized with it, canceled when it is gone;
- held orders that became pointless are dropped.
"""

from collections.abc import Iterable
from decimal import Decimal

from kopitra.domain.book import Book, ChildOrder, root_of
from kopitra.domain.ids import cl_ord_id
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.journal import FollowUp
from kopitra.domain.orders import TERMINAL, ZERO, CancelIntent, OrderIntent, ReplaceIntent
from kopitra.domain.rounding import RoundingPolicy, round_quantity
from kopitra.domain.signals import Side, sign

_DOWN = RoundingPolicy(mode="down")


def react(book: Book, order: ChildOrder) -> FollowUp:
    """What follows from the newest report of `order` (one of our children)."""
    made = _Made(book, order)
    for held in _open(book, order):
        if held.state == "planned" and order.intent.cl_ord_id in held.intent.after:
            made.release(held)
    made.trim()
    made.tidy()
    return made.follow_up()


def overdue(book: Book, held: ChildOrder) -> FollowUp:
    """A close that waited long enough for cancels (1 s, R-038): it goes now, sized by what is held now."""
    made = _Made(book, held)
    made.close_now(held)
    return made.follow_up()


def _open(book: Book, order: ChildOrder) -> list[ChildOrder]:
    return list(book.open_children(order.intent.account_id, order.intent.leader))


class _Made:
    """Collects what follows for one account, leader and contract."""

    def __init__(self, book: Book, order: ChildOrder) -> None:
        self._book = book
        self._order = order
        self._account = order.intent.account_id
        self._leader = order.intent.leader
        self._contract = order.intent.symbol
        self._released: list[OrderIntent] = []
        self._cancels: list[CancelIntent] = []
        self._replaces: list[ReplaceIntent] = []
        self._dropped: list[str] = []

    def follow_up(self) -> FollowUp:
        """Everything collected."""
        return FollowUp(
            self._order.intent.cl_ord_id,
            self._account,
            tuple(self._released),
            tuple(self._cancels),
            tuple(self._replaces),
            tuple(self._dropped),
        )

    def _held_qty(self) -> Decimal:
        position = self._book.held(self._account, self._leader).get(self._contract)
        return position.qty if position is not None else ZERO

    def _exits_in_flight(self, without: ChildOrder | None = None) -> Decimal:
        """Signed quantity of closes that are on their way, held ones included."""
        exits = self._book.children(self._account, self._leader, "exit", self._contract)
        return sum((o.leaves_qty * sign(o.intent.side) for o in exits if o is not without), ZERO)

    def release(self, held: ChildOrder) -> None:
        """`held` waits for the order at hand."""
        if held.intent.role == "exit":
            if self._waits_no_more(held):
                self.close_now(held)
            return
        entry = self._order
        if entry.cum_qty > 0:
            self._protect(held, entry)
        elif entry.state in TERMINAL:
            self._dropped.append(held.intent.cl_ord_id)

    def _waits_no_more(self, held: ChildOrder) -> bool:
        waited = (self._book.orders.get(i) for i in held.intent.after)
        return all(o is None or o.state in TERMINAL or o.cancel is None for o in waited)

    def close_now(self, held: ChildOrder) -> None:
        """Release a close with what is really held; drop it when nothing is left."""
        position = self._held_qty() + self._exits_in_flight(without=held)
        closing = -sign(held.intent.side)
        qty = min(held.qty, max(ZERO, position * closing))
        if qty == 0:
            self._dropped.append(held.intent.cl_ord_id)
            return
        self._released.append(held.intent._replace(qty=qty, after=()))

    def _protect(self, held: ChildOrder, entry: ChildOrder) -> None:
        """A stop or target for what the entry has filled so far."""
        intent = held.intent
        qty = _part(intent, held.qty, entry)
        if qty == 0:
            return
        price, stop_price = held.price, held.stop_price
        if intent.offset is not None and entry.avg_px is not None:
            level = _level(intent, entry, intent.offset)
            price, stop_price = (None, level) if intent.role == "stop" else (level, None)
        self._released.append(intent._replace(qty=qty, price=price, stop_price=stop_price, after=()))

    def trim(self) -> None:
        """Close what exceeds the target; never more than is held, never because of what is only pending."""
        held = self._held_qty()
        if held == 0:
            return
        expected = held + self._exits_in_flight()
        episode = self._book.episodes.get((self._leader, self._account, root_of(self._contract)))
        target = episode.target if episode is not None else ZERO
        keep = min(abs(expected), abs(target)) if expected * target > 0 else ZERO
        excess = abs(expected) - keep
        if excess <= 0 or expected * held < 0 or any(i.role == "exit" for i in self._released):
            return
        side: Side = "sell" if held > 0 else "buy"
        intent = self._order.intent
        # the filled quantity only grows, so that each trim of one child has a name of its own
        leg = f"g{self._order.cum_qty}{intent.leg}"
        self._released.append(
            OrderIntent(
                cl_ord_id=cl_ord_id(intent.list_id, self._account, leg),
                list_id=intent.list_id,
                account_id=self._account,
                leader=self._leader,
                leg=leg,
                role="exit",
                symbol=self._contract,
                side=side,
                qty=min(excess, abs(held)),
                reduce_only=True,
                rule_id=intent.rule_id,
                rule_version=intent.rule_version,
            )
        )

    def tidy(self) -> None:
        """Protective orders follow the holding."""
        held = self._held_qty()
        pending = any(self._book.children(self._account, self._leader, "entry", self._contract))
        for order in _open(self._book, self._order):
            intent = order.intent
            if intent.role not in ("stop", "target") or intent.symbol != self._contract:
                continue
            if order is self._order or order.cancel_requested or self._is_linked_sibling(intent):
                continue
            self._fit(order, held, pending)

    def _is_linked_sibling(self, intent: OrderIntent) -> bool:
        """The broker itself ends the other leg of an attached bracket."""
        mine = self._order.intent
        return intent.oco is not None and intent.oco == mine.oco and not intent.after and not mine.after

    def _fit(self, order: ChildOrder, held: Decimal, pending: bool) -> None:
        intent = order.intent
        closes = -held * sign(intent.side)
        if closes <= 0:
            if not pending:
                self._end(order)
            return
        wanted = self._wanted(order, closes)
        if order.state != "planned" and wanted != order.leaves_qty and not (pending or order.replace_sent):
            self._replaces.append(
                ReplaceIntent(
                    cl_ord_id(intent.list_id, self._account, f"z{wanted}{intent.leg}"),
                    intent.list_id,
                    self._account,
                    intent.cl_ord_id,
                    qty=order.cum_qty + wanted,
                )
            )

    def _wanted(self, order: ChildOrder, closes: Decimal) -> Decimal:
        """Stops cover the whole holding they were made for; targets never more than is held."""
        if order.intent.parent is None or order.intent.role == "target":
            return min(order.leaves_qty, closes)
        parent = self._book.orders.get(order.intent.parent)
        return min(closes, parent.cum_qty) if parent is not None else min(order.leaves_qty, closes)

    def _end(self, order: ChildOrder) -> None:
        if order.state == "planned":
            self._dropped.append(order.intent.cl_ord_id)
            return
        ties = order.intent.list_id
        name = cl_ord_id(ties, self._account, f"y{order.intent.leg}")
        self._cancels.append(CancelIntent(name, ties, self._account, order.intent.cl_ord_id))


def _part(intent: OrderIntent, planned: Decimal, entry: ChildOrder) -> Decimal:
    """The share of a protective order that the filled part of its entry calls for."""
    if entry.cum_qty >= entry.qty or intent.role == "stop":
        return min(planned, entry.cum_qty)
    step = INSTRUMENTS[root_of(intent.symbol)].qty_step
    return round_quantity(planned * entry.cum_qty / entry.qty, step, _DOWN).qty


def _level(intent: OrderIntent, entry: ChildOrder, offset: Decimal) -> Decimal:
    """Distance from the entry's fill price to a price on the grid: stops behind it, targets before it."""
    average = entry.avg_px or ZERO
    away = offset * sign(entry.intent.side)
    return INSTRUMENTS[root_of(intent.symbol)].snap(
        average - away if intent.role == "stop" else average + away, "nearest"
    )


def waiting_closes(orders: Iterable[ChildOrder]) -> list[ChildOrder]:
    """Held closes among the orders: the engine gives each one second."""
    return [o for o in orders if o.state == "planned" and o.intent.role == "exit"]
