"""Moves of working orders: their names, and the prices of one that came to nothing, which are asked for again. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final

from kopitra.domain.book import ChildOrder
from kopitra.domain.ids import cl_ord_id
from kopitra.domain.orders import ACKNOWLEDGED, CancelIntent, ReplaceIntent

#: moves in a row that may fail before an order is left as it is until something else happens, and people are told
MOVES_OF_ONE_MAX: Final = 4


def move_name(order: ChildOrder) -> str:
    """The id of a move that follows: how often the order was asked for something is part of it."""
    intent = order.intent
    return cl_ord_id(intent.list_id, intent.account_id, f"z{order.requests}{intent.leg}")


def moves_again(
    orders: Iterable[ChildOrder], sizes: list[ReplaceIntent], cancels: Sequence[CancelIntent]
) -> list[ReplaceIntent]:
    """`sizes`, the moves that follow already, and beside or within them the prices that are still missing."""
    for order in orders:
        if order.asked is None or not 0 < order.moves_failed < MOVES_OF_ONE_MAX:
            continue  # nearly always
        name, again = order.intent.cl_ord_id, _prices_again(order)
        if again is None or any(cancel.orig_cl_ord_id == name for cancel in cancels):
            continue
        qty = next((move.qty for move in sizes if move.orig_cl_ord_id == name), None)
        again = again._replace(cl_ord_id=move_name(order), list_id=order.intent.list_id, qty=qty)
        sizes = [*(move for move in sizes if move.orig_cl_ord_id != name), again]
    return sizes


def _prices_again(order: ChildOrder) -> ReplaceIntent | None:
    """Of the move that came to nothing the prices that no newer one says."""
    asked, newer = order.asked, order.replace
    if asked is None or order.replace_sent or order.cancel_requested or order.state not in ACKNOWLEDGED:
        return None
    price, stop_price, trail = asked.price, asked.stop_price, asked.trail_offset
    if newer is not None:
        price = price if newer.price is None else None
        stop_price = stop_price if newer.stop_price is None else None
        trail = trail if newer.trail_offset is None else None
    if price is None and stop_price is None and trail is None:
        return None
    return asked._replace(price=price, stop_price=stop_price, trail_offset=trail)
