"""Why a simulated broker refuses an order: pure questions over the request and what the broker knows."""

from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from brokers._kit.matching.accounts import Account
from brokers._kit.matching.orders import LiveOrder, NewOrder, OrdType, RejectReason, Replacement
from brokers._kit.matching.prices import Instrument, Quote, stop_is_hit

STOP_TYPES: frozenset[OrdType] = frozenset({"stop", "stop_limit", "trailing_stop"})
LIMIT_TYPES: frozenset[OrdType] = frozenset({"limit", "stop_limit"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Reason as a stable word, and a sentence for people."""

    reason: RejectReason
    text: str


class BrokerView(NamedTuple):
    """What the checks may look at, for one request."""

    account: Account | None
    instrument: Instrument | None
    quote: Quote | None
    halted: bool
    unique_tags: bool
    wrong_side_stops_refused: bool


def refusal_of(order: NewOrder, view: BrokerView, has_children: bool) -> Refusal | None:
    """The first reason to refuse, or None."""
    if view.account is None:
        return Refusal("unknown_account", f"account {order.account_id} not found")
    if view.instrument is None:
        return Refusal("unknown_symbol", f"symbol {order.symbol} not found")
    return (
        _account_refusal(order, view.account, view.unique_tags, has_children)
        or _size_refusal(order, view.account)
        or _price_refusal(order, view.instrument)
        or _market_refusal(order, view)
    )


def _account_refusal(
    order: NewOrder, account: Account, unique_tags: bool, has_children: bool
) -> Refusal | None:
    spec = account.spec
    if not spec.can_trade:
        return Refusal("trading_locked", "trading is locked for this account")
    if spec.live_funded or spec.copy_follower:
        return Refusal("account_rejected", "this account takes no API orders")
    if spec.liquidation_only and _increases(order, account):
        return Refusal("liquidation_only", "this account may only reduce its positions")
    if unique_tags and order.cl_ord_id is not None and order.cl_ord_id in account.tags:
        return Refusal("duplicate_tag", "custom tag already in use")
    if spec.position_brackets and has_children:
        return Refusal("brackets_refused", "Brackets cannot be used with Position Brackets")
    return None


def _increases(order: NewOrder, account: Account) -> bool:
    net_qty = account.net_qty(order.symbol)
    signed_qty = order.qty if order.side == "buy" else -order.qty
    return abs(net_qty + signed_qty) >= abs(net_qty)


def _size_refusal(order: NewOrder, account: Account) -> Refusal | None:
    if order.qty <= 0:
        return Refusal("bad_qty", "quantity must be above 0")
    limit = account.spec.max_position_qty
    if not limit:
        return None
    signed_qty = order.qty if order.side == "buy" else -order.qty
    if _increases(order, account) and abs(account.net_qty(order.symbol) + signed_qty) > limit:
        return Refusal("max_position", f"position would exceed {limit}")
    return None


def _price_refusal(order: NewOrder, instrument: Instrument) -> Refusal | None:
    ord_type, by_offset = order.ord_type, order.offset is not None and order.suspended
    if ord_type in LIMIT_TYPES and order.price is None and not (by_offset and ord_type == "limit"):
        return Refusal("bad_price", f"{ord_type} needs price")
    if ord_type in ("stop", "stop_limit") and order.stop_price is None and not by_offset:
        return Refusal("bad_price", f"{ord_type} needs stop_price")
    if ord_type == "trailing_stop" and not by_offset and (order.trail is None or not order.trail > 0):
        return Refusal("bad_price", "trailing_stop needs a positive trail")
    return grid_refusal(instrument, order.price, order.stop_price, order.trail, order.offset)


def grid_refusal(instrument: Instrument, *prices: Decimal | None) -> Refusal | None:
    """Off-tick or not a number."""
    for price in prices:
        if price is not None and not instrument.on_grid(price):
            return Refusal("off_tick", "Invalid price. Price is not aligned to tick size.")
    return None


def _market_refusal(order: NewOrder, view: BrokerView) -> Refusal | None:
    if view.halted:
        return Refusal("halted", "The instrument is not in an active trading status.")
    if order.suspended:
        return None
    needs_quote = order.ord_type in ("market", "trailing_stop")
    if needs_quote and view.quote is None:
        return Refusal("no_quote", f"no price for {order.symbol}")
    if order.ord_type in STOP_TYPES and view.wrong_side_stops_refused:
        return wrong_side_refusal(order.side == "buy", order.stop_price, view.quote)
    return None


def wrong_side_refusal(buys: bool, stop_price: Decimal | None, quote: Quote | None) -> Refusal | None:
    """A stop that the last trade has already passed."""
    if quote is None or stop_price is None or not stop_is_hit(buys, stop_price, quote.last):
        return None
    return Refusal("wrong_side_stop", "Invalid price. Price is outside allowed range.")


def replacement_refusal(
    live: LiveOrder,
    change: Replacement,
    instrument: Instrument,
    quote: Quote | None,
    wrong_side_refused: bool,
) -> Refusal | None:
    """Why a live order may not be changed like this, or None."""
    if change.qty is not None and change.qty <= live.cum_qty:
        return Refusal("bad_qty", f"quantity must stay above the filled {live.cum_qty}")
    if change.trail is not None and not change.trail > 0:
        return Refusal("bad_price", "trail must be positive")
    off_tick = grid_refusal(instrument, change.price, change.stop_price, change.trail)
    if off_tick or not wrong_side_refused or live.triggered or live.status == "suspended":
        return off_tick
    if live.request.ord_type not in STOP_TYPES:
        return None
    return wrong_side_refusal(live.buys, change.stop_price, quote)
