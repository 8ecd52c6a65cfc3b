"""Resting entries of an account that may only reduce: one that fills later would open what nobody may open (R-102)."""

from kopitra.domain.book import Book
from kopitra.domain.journal import FollowUp
from kopitra.domain.orders import ChildOrder
from kopitra.domain.react import CANCELS_OF_ONE_MAX, cancel_of


def withdrawn_entries(book: Book, account_id: str) -> FollowUp:
    """Their cancels; empty when all were asked to go. Market entries are on their way: the last look stops those that
    have not left."""
    resting = [
        order
        for (owner, _), entries in book.entries.items()
        if owner == account_id
        for order in entries.values()
        if _may_go(order)
    ]
    if not resting:
        return FollowUp("", "")
    return FollowUp(
        resting[0].intent.cl_ord_id, account_id, cancels=tuple(cancel_of(order) for order in resting)
    )


def _may_go(order: ChildOrder) -> bool:
    """Held ones (of a reversal) go without a request."""
    return (
        order.cancel is None
        and order.cancels_failed < CANCELS_OF_ONE_MAX
        and (order.state == "planned" or order.intent.ord_type != "market")
    )
