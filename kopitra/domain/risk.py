"""The risk check: one function, every input recorded, and a type that only it can make.

Only an `Approved` intent can be encoded and sent. Entries fail closed: a missing input that a limit needs refuses.
Exits are judged by one thing: they never exceed the holding (they are reduce-only), so that they stay possible.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

from kopitra.domain.limits import RiskLimits
from kopitra.domain.orders import OrderIntent
from kopitra.domain.prop_limits import EntryFault, PropLimits, entry_fault
from kopitra.domain.switches import SwitchState

#: milliseconds a signal may lie in the future: clocks differ, but not by more (R-070)
FUTURE_MS_MAX: Final = 2_000


class RiskInputs(NamedTuple):
    """Everything the check looked at, so that it re-evaluates to the same answer for ever (I-20).

    Quantities in contracts, money in account currency, ages in milliseconds. None: not known at the time.
    """

    switch: SwitchState
    session_live: bool
    age_ms: int
    max_age_ms: int
    order_qty: Decimal
    #: absolute net position of the account in the contract if everything working filled
    position_after: Decimal
    notional: Decimal | None
    day_pnl: Decimal | None
    orders_last_minute: int
    in_hours: bool
    root: str
    #: ticks between the order's price and the reference price; None without either
    price_distance_ticks: int | None
    duplicate: bool
    in_doubt: bool
    entries_blocked: str
    #: the account's version whose limits were applied; its history is in the journal
    limits_version: int
    #: why the account's loss limits stop entries now, and that in words; empty: they do not
    limit_stop: str = ""
    limit_text: str = ""
    #: the version of its loss limits; 0: it has none, and what follows was not looked at
    prop_version: int = 0
    has_stop: bool = False
    trades_today: int = 0
    #: contracts of full size after this order, in its family and in all; None: no cap asks
    family_contracts: Decimal | None = None
    account_contracts: Decimal | None = None
    #: the account may hold less of the contract than is attributed there
    position_differs: bool = False


class Approved(NamedTuple):
    """An intent that passed. `checks` is None for exits, which have no limits to pass."""

    intent: OrderIntent
    checks: RiskInputs | None


@dataclass(frozen=True, slots=True)
class Refused:
    """An intent that did not: nothing was and nothing will be sent."""

    reason: str
    detail: str
    checks: RiskInputs


def check_entry(
    intent: OrderIntent, inputs: RiskInputs, limits: RiskLimits, prop: PropLimits | None = None
) -> Approved | Refused:
    """Approved, or the first reason against it, in the order in which a person would want to hear of it.

    All checks of one order are here (R-103); `prop` are the loss limits of the version `inputs.prop_version`.
    """
    reason = _standing(inputs) or _signal(intent, inputs, limits) or _size(inputs, limits)
    if reason is not None:
        detail = inputs.limit_text if reason == inputs.limit_stop else SENTENCES[reason]
        return Refused(reason, detail, inputs)
    fault = None if prop is None else beyond_prop(inputs, prop)
    return Approved(intent, inputs) if fault is None else Refused(fault.reason, fault.text, inputs)


def beyond_prop(i: RiskInputs, prop: PropLimits) -> EntryFault | None:
    """What the loss limits say against it."""
    return entry_fault(prop, i.root, i.has_stop, i.trades_today, i.family_contracts, i.account_contracts)


def _standing(i: RiskInputs) -> str | None:
    """May this account trade at all now?"""
    if i.switch != "active":
        return "kill_switch"
    if i.entries_blocked:
        return "entries_blocked"
    if i.limit_stop:
        return i.limit_stop
    if not i.session_live:
        return "session_down"
    return None if i.in_hours else "outside_hours"


def _signal(intent: OrderIntent, i: RiskInputs, limits: RiskLimits) -> str | None:
    """Is this entry fresh, single and in an allowed product?"""
    if not -FUTURE_MS_MAX <= i.age_ms <= i.max_age_ms:
        return "too_old"
    if i.in_doubt:
        return "in_doubt"
    if i.position_differs:
        return "position_differs"
    if i.duplicate:
        return "duplicate"
    if limits.symbols and i.root not in limits.symbols:
        return "symbol_not_allowed"
    if i.orders_last_minute >= limits.max_orders_per_minute:
        return "order_rate"
    collar = limits.price_collar_ticks
    return None if collar is None else beyond_collar(intent, i.price_distance_ticks, collar)


def beyond_collar(intent: OrderIntent, ticks: int | None, collar: int) -> str | None:
    """Too far away, or a priced order that cannot be judged because no price is known."""
    priced = intent.price is not None or intent.stop_price is not None
    beyond = priced if ticks is None else ticks > collar
    return "price_collar" if beyond else None


def _size(i: RiskInputs, limits: RiskLimits) -> str | None:
    """Is it small enough? A limit whose input is not known refuses."""
    if limits.max_order_qty is not None and i.order_qty > limits.max_order_qty:
        return "max_order_qty"
    if limits.max_position_qty is not None and i.position_after > limits.max_position_qty:
        return "max_position_qty"
    if limits.max_notional is not None and (i.notional is None or i.notional > limits.max_notional):
        return "max_notional"
    loss = limits.daily_loss
    if loss is not None and (i.day_pnl is None or -i.day_pnl >= loss):
        return "daily_loss"
    return None


#: every reason in words
SENTENCES: Final[Mapping[str, str]] = {
    "kill_switch": "a kill switch is on: lift it to allow entries",
    "entries_blocked": "entries of this account or contract are stopped: look at its alert, then lift the block",
    "session_down": "the broker session is not live",
    "outside_hours": "outside the account's allowed hours",
    "too_old": "the signal is too old (or from the future): check the sender's clock or raise the rule's max_age_s",
    "in_doubt": "an earlier entry of this contract is in doubt",
    "position_differs": "the broker may hold less of this contract than we count there: entries wait for the next read",
    "duplicate": "the same order was sent within the duplicate window",
    "symbol_not_allowed": "the account's limits do not list this symbol",
    "order_rate": "too many orders within a minute",
    "price_collar": "the price is too far from the last known price, or none is known to tell",
    "max_order_qty": "the order is larger than the account's maximum order",
    "max_position_qty": "the position would be larger than the account's maximum",
    "max_notional": "the position's value would exceed the account's maximum, or no price is known to tell",
    "daily_loss": "the day's loss limit is used up, or the day's result is not known",
    "limit_daily_loss": "a loss limit of the account stops its entries: see `kopitra limits show`",
    "limit_max_loss": "the account's maximum loss stops its entries: see `kopitra limits show`",
    "limit_give_back": "too much of the day's profit was given back: entries stop until the next reset",
    "limit_consistency": "today's profit is as large as the account's consistency rule allows",
    "limit_equity_unknown": "the account's equity is not known, so its loss limits cannot be judged",
    "limit_equity_stale": "the account's equity is too old to trade by",
    "limit_trades": "the account has made its trades of the day",
    "limit_contracts": "more contracts than the account's firm allows",
    "stop_missing": "the account takes no entry without a stop: send stopLoss, and let the rule copy it",
}


def approve_exit(intent: OrderIntent) -> Approved:
    """Exits pass: they are reduce-only and capped to the holding again before the write."""
    if not intent.reduce_only:
        raise ValueError(f"{intent.cl_ord_id} is not reduce-only: send it through check_entry")
    return Approved(intent, None)
