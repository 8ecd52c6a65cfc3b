"""The part of a plan that may go on while the journal is away: what closes, cancels or protects, and no entry."""

from dataclasses import replace
from decimal import Decimal
from typing import Final

from kopitra.domain.book import Book, LeaderPosition
from kopitra.domain.fanout import FanoutPlan, FollowerLeg, LeaderAct
from kopitra.domain.orders import ZERO, OrderIntent, ReplaceIntent
from kopitra.domain.risk import Approved
from kopitra.domain.signals import sign

#: reason of a leg whose entry was refused, and its sentence
AWAY: Final = "journal_away"
SENTENCE: Final = "the database is away, so no entry can be made durable; exits went on"


#: the same of an act that its leader's newer act has overtaken
OVERTAKEN: Final = ("leader_moved_on", "the leader did something newer before this could be made durable")


def reducing(plan: FanoutPlan, book: Book, why: tuple[str, str] = (AWAY, SENTENCE)) -> FanoutPlan:
    """The plan without its entries. Targets follow: what is not entered is not wanted either. `why`: reason and
    sentence of the legs that lose one."""
    return replace(plan, legs=tuple(_without_entries(leg, book, why) for leg in plan.legs))


def standing(plan: FanoutPlan, leader: str, book: Book) -> FanoutPlan:
    """The plan of an act that a newer one has overtaken: the leader stays where the book has it."""
    return replace(plan, acts=tuple(_still(act, book.leader(leader, act.root)) for act in plan.acts))


def _still(act: LeaderAct, now: LeaderPosition) -> LeaderAct:
    return act._replace(
        position_before=now.qty,
        position_after=now.qty,
        exposure_before=now.exposure,
        exposure_after=now.exposure,
    )


def shrinks(plan: FanoutPlan) -> bool:
    """Something in it closes, cancels or protects."""
    return any(leg.orders or leg.cancels or leg.replaces for leg in plan.legs)


def entries_of(plan: FanoutPlan) -> int:
    """Followers for whom the plan opens something."""
    return sum(1 for leg in plan.legs if any(not o.intent.reduce_only for o in leg.orders))


def _without_entries(leg: FollowerLeg, book: Book, why: tuple[str, str]) -> FollowerLeg:
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
        reason=why[0],
        detail=why[1],
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
