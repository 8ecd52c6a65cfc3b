"""What follows from a report, or from an order or request that came to nothing: pure, from the book after the fold.

Four things can follow, and all of them only ever shrink or protect:
- held orders are released once what they wait for is over, with the quantity that is then really there (R-038);
- exposure beyond the target (a late fill after the leader has left) is closed at once (R-013, R-037);
- protective orders follow the holding: resized with it, canceled when it is gone;
- held orders that became pointless are dropped.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from kopitra.domain.book import Book, ChildOrder, less, root_of
from kopitra.domain.ids import cl_ord_id
from kopitra.domain.journal import FollowUp
from kopitra.domain.moving import MOVES_OF_ONE_MAX, move_name, moves_again
from kopitra.domain.orders import ACKNOWLEDGED, TERMINAL, ZERO, CancelIntent, OrderIntent, ReplaceIntent, Role
from kopitra.domain.protecting import due, in_turn, level, still_due
from kopitra.domain.signals import Side, sign

#: cancels that may fail before a child that will not go is asked only when a read shows it again
CANCELS_OF_ONE_MAX: Final = 4

#: why orders came to nothing because their process ended: its successor goes on from the journal
PROCESS_ENDED: Final = frozenset({"stopping", "lease_lost"})

_NOTHING: Final = FollowUp("", "")
_PROTECTIVE: Final = frozenset[Role]({"stop", "target"})


def react(book: Book, order: ChildOrder) -> FollowUp:
    """What follows from the newest report of `order` (one of our children), from its not being sent, or from a
    cancel or move of it whose fate is unknown."""
    made = _Made(book, order)
    for held in made.open:
        if held.state == "planned" and order.intent.cl_ord_id in held.intent.after:
            made.release(held)
    made.trim()
    made.withdraw()
    made.tidy()
    made.move_again()
    return made.follow_up()


def refit(book: Book, child: ChildOrder) -> FollowUp:
    """What follows for protective orders where somebody else changed the holding; `child`: any open order of ours in
    that contract."""
    made = _Made(book, child, heard=False)
    made.tidy()
    return made.follow_up()


def overdue(book: Book, held: ChildOrder) -> FollowUp:
    """A close that waited long enough for cancels (1 s, R-038): it goes now, sized by what is held now."""
    made = _Made(book, held)
    made.close_now(held)
    return made.follow_up()


def still_there(book: Book, order: ChildOrder) -> FollowUp:
    """A read shows an order that was to be canceled, and no cancel is under way: one more, whatever failed before."""
    made = _Made(book, order)
    made.withdraw(again=True)
    return made.follow_up()


def unfollowing(order: ChildOrder) -> FollowUp:
    """The leader moved its order, and this copy may not follow it any more: it goes (I-06)."""
    if not _may_be_asked(order, again=False):
        return _NOTHING
    return FollowUp(order.intent.cl_ord_id, order.intent.account_id, cancels=(cancel_of(order),))


def close_again(book: Book, order: ChildOrder) -> FollowUp:
    """What is too much now, after a close of it (`order`) that nobody took (R-065)."""
    made = _Made(book, order)
    made.trim(again=True)
    return made.follow_up()


class _Made:
    """Collects what follows for one account, leader and contract.

    The book stands still meanwhile, so what is asked of it several times per report is looked up once.
    """

    def __init__(self, book: Book, order: ChildOrder, *, heard: bool = True) -> None:
        intent = order.intent
        #: `order` itself has just changed
        self._heard = heard
        self._book = book
        self._order = order
        self._account = account = intent.account_id
        self._leader = leader = intent.leader
        self._contract = contract = intent.symbol
        #: children of the account under the leader that are not over
        self.open = list(book.open_children(account, leader))
        position = book.held(account, leader).get(contract)
        self._held_qty = ZERO if position is None else position.qty
        episode = book.episodes.get((leader, account, root_of(contract)))
        self._target = episode.target if episode is not None else ZERO
        self._released: list[OrderIntent] = []
        self._cancels: list[CancelIntent] = []
        self._replaces: list[ReplaceIntent] = []
        self._dropped: list[str] = []

    def follow_up(self) -> FollowUp:
        """Everything collected."""
        if not (self._released or self._cancels or self._replaces or self._dropped):
            return _NOTHING
        return FollowUp(
            self._order.intent.cl_ord_id,
            self._account,
            tuple(self._released),
            tuple(self._cancels),
            tuple(self._replaces),
            tuple(self._dropped),
        )

    def _children(self, role: Role) -> list[ChildOrder]:
        """Open children of one role in the contract."""
        contract = self._contract
        return [o for o in self.open if (i := o.intent).role == role and i.symbol == contract]

    def _left(self, without: ChildOrder | None = None) -> Decimal:
        """What closes on their way, waiting ones included, leave of the holding. One on its own side, which outlived
        what it was for, closes nothing of it: should it fill, that is closed then. A stop that has begun to fill is
        a market order on its way; whatever ends it before that is looked at again."""
        held, exits = self._held_qty, ZERO
        triggered = (order for order in self._children("stop") if order.is_triggered)
        for order in (*self._children("exit"), *triggered):
            if order is not without and held * sign(order.intent.side) < 0:
                exits += order.leaves_qty
        return less(held, exits)

    def _entries_coming(self, closing_side: Side) -> Decimal:
        """What open entries will add to the side that a close on `closing_side` shrinks."""
        coming = ZERO
        for order in self._children("entry"):
            if order.cancel is None and order.intent.side != closing_side:
                coming += order.coming()
        return coming

    def release(self, held: ChildOrder) -> None:
        """`held` waits for the order at hand."""
        role = held.intent.role
        if role == "exit":
            if self._waits_no_more(held):
                self.close_now(held)
        elif role == "entry":
            if self._order.state in TERMINAL:
                self._turn(held, closed=self._order.cum_qty >= self._order.qty)
        elif self._order.cum_qty > 0:
            self._protect(held, self._order)
        elif self._order.state in TERMINAL:
            self._dropped.append(held.intent.cl_ord_id)

    def _waits_no_more(self, held: ChildOrder) -> bool:
        waited = (self._book.orders.get(i) for i in held.intent.after)
        return all(o is None or o.state in TERMINAL or o.cancel is None for o in waited)

    def close_now(self, held: ChildOrder) -> None:
        """Release a close with what is then really too much; drop it when nothing is."""
        held_qty = self._held_qty
        expected = self._left(without=held)
        closing = -sign(held.intent.side)
        excess = max(ZERO, expected * closing)
        target = self._target
        if target * closing > 0:
            # what the leader wants again by now may come from entries that are still working
            keep = max(ZERO, abs(target) - self._entries_coming(held.intent.side))
            excess = max(ZERO, excess - keep)
        qty = min(held.qty, excess)
        if qty == 0:
            self._dropped.append(held.intent.cl_ord_id)
            for entry in self.open:
                if entry.state == "planned" and held.intent.cl_ord_id in entry.intent.after:
                    self._turn(entry, closed=held_qty * closing <= 0)
            return
        self._released.append(held.intent._replace(qty=qty, after=()))

    def _turn(self, entry: ChildOrder, *, closed: bool) -> None:
        """The entry of a reversal leaves once every close of the old side is over; if one fails it never does."""
        if closed:
            if all(self._is_over(name) for name in entry.intent.after):
                self._released.append(entry.intent._replace(after=()))
            return
        waits = (o for o in self.open if entry.intent.cl_ord_id in o.intent.after)
        self._dropped += [
            entry.intent.cl_ord_id,
            *(o.intent.cl_ord_id for o in waits if o.state == "planned"),
        ]

    def _is_over(self, name: str) -> bool:
        order = self._book.orders.get(name)
        return order is None or order.state in TERMINAL or name in self._dropped

    def _protect(self, held: ChildOrder, entry: ChildOrder) -> None:
        """A stop or target for what the entry has filled so far."""
        intent = held.intent
        qty = due(held, entry)
        if qty == 0:
            if entry.state in TERMINAL:
                self._dropped.append(intent.cl_ord_id)
            return
        price, stop_price = held.price, held.stop_price
        if intent.offset is not None and entry.avg_px is not None:
            at = level(intent, entry, intent.offset)
            price, stop_price = (None, at) if intent.role == "stop" else (at, None)
        self._released.append(
            intent._replace(
                qty=qty, price=price, stop_price=stop_price, trail_offset=held.trail_offset, after=()
            )
        )

    def trim(self, again: bool = False) -> None:
        """Close what exceeds the target; never more than is held.

        A close of this kind that the broker refused, or any that could not leave, is not followed by another: a
        person is told instead.
        """
        held = self._held_qty
        if not held or (not again and self._is_hopeless()):
            return
        expected = self._left()
        target = self._target
        side: Side = "sell" if held > 0 else "buy"
        # What still works will bring its part of the target: the rest is what the holding may be.
        due = max(ZERO, abs(target) - self._entries_coming(side))
        keep = min(abs(expected), due) if expected * target > 0 else ZERO
        excess = abs(expected) - keep
        if excess <= 0 or any(i.role == "exit" for i in self._released):
            return
        self._released.append(close_of(self._book, self._order.intent, side, excess))

    def _is_hopeless(self) -> bool:
        intent, state = self._order.intent, self._order.state
        if (
            self._book.pending_exits
            and (self._account, self._leader, self._contract) in self._book.pending_exits
        ):
            return True  # nobody takes a close now: it is tried again at its own pace
        if state == "rejected":
            return intent.leg.startswith("g")
        # What waited when its process ended was refused by nobody: the next process closes what is still too much.
        return state == "skipped" and intent.role == "exit" and self._order.reason not in PROCESS_ENDED

    def withdraw(self, again: bool = False) -> None:
        """An order outlived its purpose (its cancel was refused or lost): ask again, a few times.

        What was to be canceled once is not wanted any more, whatever the leader has done since.
        """
        mine = self._order
        if mine.superseded and mine.state != "in_doubt" and _may_be_asked(mine, again):
            self._end(mine)  # another close stands in for it, and now it works after all
        if mine.intent.role in _PROTECTIVE and mine.cancels_failed:
            self._withdraw_protection(mine, again)
        entries = self.open if self._target == 0 else [o for o in self.open if o.cancels_failed]
        for order in entries:
            intent = order.intent
            rests = intent.role == "entry" and intent.ord_type != "market" and intent.symbol == self._contract
            if rests and _may_be_asked(order, again):
                self._end(order)

    def _withdraw_protection(self, order: ChildOrder, again: bool) -> None:
        """A stop or target that protects nothing would open a position: its cancel is worth another try. So is that
        of a stop that has begun to fill while nothing is to stay: until its end is known nothing else may close."""
        held = self._held_qty
        closing = order.is_triggered and held * self._target <= 0
        protects = (held * sign(order.intent.side) < 0 and not closing) or self._entry_works()
        if not protects and _may_be_asked(order, again):
            self._end(order)

    def _entry_works(self) -> bool:
        return any(o.state != "planned" for o in self._children("entry"))

    def tidy(self) -> None:
        """Protective orders follow the holding: all stops together, and all targets, never exceed it."""
        protective = [o for o in self.open if o.intent.role in _PROTECTIVE]
        if not protective:
            return  # nearly always
        held, pending = self._held_qty, self._entry_works()
        left = {"stop": abs(held), "target": abs(held)}
        for order in in_turn(protective, self._is_left_as_it_is):
            role = order.intent.role
            if order.intent.symbol != self._contract or order.cancel_requested:
                continue
            if order.state == "planned":
                self._drop_orphan(order, pending)
            elif self._is_left_as_it_is(order):
                left[role] -= min(left[role], order.leaves_qty)
            elif not self._is_linked_sibling(order):
                left[role] -= self._fit(order, held, left[role], pending)

    def _is_linked_sibling(self, order: ChildOrder) -> bool:
        """The broker itself ends the other leg of an attached bracket."""
        mine = self._order
        linked = order.attached and mine.attached and order.intent.oco == mine.intent.oco
        return self._heard and linked and order is not mine

    def _is_left_as_it_is(self, order: ChildOrder) -> bool:
        """The order at hand, after so many failed moves that asking again at each of them would not end."""
        return self._is_at_hand(order) and order.moves_failed >= MOVES_OF_ONE_MAX

    def _is_at_hand(self, order: ChildOrder) -> bool:
        return self._heard and order is self._order

    def _drop_orphan(self, order: ChildOrder, pending: bool) -> None:
        """A held protective order whose entry is over."""
        waited = (self._book.orders.get(i) for i in order.intent.after)
        name = order.intent.cl_ord_id
        over = all(o is None or o.state in TERMINAL for o in waited) and not pending
        if over and name not in self._dropped and all(i.cl_ord_id != name for i in self._released):
            self._dropped.append(name)

    def _fit(self, order: ChildOrder, held: Decimal, left: Decimal, pending: bool) -> Decimal:
        """Make one working protective order as large as it should be; its quantity from now on."""
        intent, now = order.intent, order.leaves_qty
        parent = self._book.orders.get(intent.parent or "")
        pending = pending if parent is None else parent.state not in TERMINAL
        closes = held * sign(intent.side) < 0
        if closes and intent.parent is None and order.state not in ACKNOWLEDGED:
            return ZERO  # it takes its part, and that of an older one, once the broker has it
        wanted = min(left, still_due(order, parent)) if closes else ZERO
        if wanted == 0 and not pending:
            if self._is_at_hand(order) and order.cancels_failed:
                if closes and _may_be_asked(order, again=False):
                    self._end(order)  # another one covers the holding
                return min(left, now)  # else `withdraw` asks again, as often as it may
            self._end(order)
            return ZERO
        # While its entry works an attached order has its full size already: the broker looks after it.
        # And after a fill of its sibling the broker may tell of the smaller size first.
        told = self._is_at_hand(order) and wanted > now
        if wanted in (ZERO, now) or order.replace_sent or (order.attached and (pending or told)):
            return min(left, now)
        qty = order.cum_qty + wanted
        if order.replace is not None and order.replace.qty == qty:
            return wanted  # it is asked for already, and leaves once the broker can be told
        self._replaces.append(
            ReplaceIntent(move_name(order), intent.list_id, self._account, intent.cl_ord_id, qty=qty)
        )
        return wanted

    def move_again(self) -> None:
        """The leader's prices are asked for again where their move came to nothing, together with a new size."""
        self._replaces = moves_again(self.open, self._replaces, self._cancels)

    def _end(self, order: ChildOrder) -> None:
        if all(c.orig_cl_ord_id != order.intent.cl_ord_id for c in self._cancels):
            self._cancels.append(cancel_of(order))


def cancel_of(order: ChildOrder) -> CancelIntent:
    """The cancel of one of our orders; how often it was asked for something is part of the cancel's id."""
    intent = order.intent
    name = cl_ord_id(intent.list_id, intent.account_id, f"y{order.requests}{intent.leg}")
    return CancelIntent(name, intent.list_id, intent.account_id, intent.cl_ord_id)


def close_of(book: Book, cause: OrderIntent, side: Side, qty: Decimal) -> OrderIntent:
    """A close of `qty` contracts that follows from one of our orders, under an id of its own."""
    # Every follow-up joins its signal's list, so that its length names the next one.
    leg = f"g{len(book.lists.get(cause.list_id, ()))}"
    return OrderIntent(
        cl_ord_id=cl_ord_id(cause.list_id, cause.account_id, leg),
        list_id=cause.list_id,
        account_id=cause.account_id,
        leader=cause.leader,
        leg=leg,
        role="exit",
        symbol=cause.symbol,
        side=side,
        qty=qty,
        reduce_only=True,
        rule_id=cause.rule_id,
        rule_version=cause.rule_version,
    )


def _may_be_asked(order: ChildOrder, again: bool) -> bool:
    """The broker has it, and asking for its cancel (again) makes sense."""
    asked = order.cancel_requested or (order.cancels_failed >= CANCELS_OF_ONE_MAX and not again)
    return not asked and order.state not in TERMINAL and order.state != "planned"


def waiting_closes(orders: Iterable[ChildOrder]) -> list[ChildOrder]:
    """Held closes among the orders: the engine gives each one second."""
    return [o for o in orders if o.state == "planned" and o.intent.role == "exit"]
