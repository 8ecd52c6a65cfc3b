"""The part of a plan that may go on while the journal is away: what closes, cancels or protects, and no entry."""

from dataclasses import replace
from decimal import Decimal
from typing import Final

from kopitra.domain.book import Book
from kopitra.domain.fanout import FanoutPlan, FollowerLeg
from kopitra.domain.orders import ZERO, OrderIntent, ReplaceIntent
from kopitra.domain.risk import Approved
from kopitra.domain.signals import sign

#: reason of a leg whose entry was refused, and its sentence
AWAY: Final = "journal_away"
SENTENCE: Final = "the database is away, so no entry can be made durable; exits went on"


def reducing(plan: FanoutPlan, book: Book) -> FanoutPlan:
    """The plan without its entries. Targets follow: what is not entered is not wanted either."""
    return replace(plan, legs=tuple(_without_entries(leg, book) for leg in plan.legs))


def shrinks(plan: FanoutPlan) -> bool:
    """Something in it closes, cancels or protects."""
    return any(leg.orders or leg.cancels or leg.replaces for leg in plan.legs)


def entries_of(plan: FanoutPlan) -> int:
    """Followers for whom the plan opens something."""
    return sum(1 for leg in plan.legs if any(not o.intent.reduce_only for o in leg.orders))


def _without_entries(leg: FollowerLeg, book: Book) -> FollowerLeg:
    entries = [approved.intent for approved in leg.orders if not approved.intent.reduce_only]
    replaces = tuple(move for move in leg.replaces if _is_protective(move, book))
    if not entries and len(replaces) == len(leg.replaces):
        return leg
    names = {intent.cl_ord_id for intent in entries}
    kept = tuple(approved for approved in leg.orders if not _falls(approved, names))
    sends = bool(kept or leg.cancels or replaces)
    return leg._replace(
        orders=kept,
        replaces=replaces,
        outcome="approved" if sends else "refused",
        reason=AWAY,
        detail=SENTENCE,
        target=None if leg.target is None else leg.target - sum(map(_signed, entries), ZERO),
        notional=None,
    )


def _falls(approved: Approved, entries: set[str]) -> bool:
    """An entry, or what belongs to one."""
    intent = approved.intent
    return intent.cl_ord_id in entries or intent.parent in entries or bool(entries.intersection(intent.after))


def _signed(intent: OrderIntent) -> Decimal:
    return intent.qty * sign(intent.side)


def _is_protective(move: ReplaceIntent, book: Book) -> bool:
    order = book.orders.get(move.orig_cl_ord_id)
    return order is not None and order.intent.reduce_only
