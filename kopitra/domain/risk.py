"""The risk check: one function, every input recorded, and a type that only it can make.

Only an `Approved` intent can be encoded and sent. Entries fail closed: a missing input that a limit needs refuses.
Exits are judged by one thing: they never exceed the holding (they are reduce-only), so that they stay possible.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

from kopitra.domain.limits import RiskLimits
from kopitra.domain.orders import OrderIntent
from kopitra.domain.switches import SwitchState


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


def _over(value: Decimal | None, limit: Decimal | None) -> bool:
    return limit is not None and (value is None or value > limit)


# (reason, test, sentence). The order is the order in which a person would want to hear of it.
_Rule = tuple[str, Callable[[RiskInputs, RiskLimits], bool], str]
_RULES: Final[tuple[_Rule, ...]] = (
    ("kill_switch", lambda i, _: i.switch != "active", "a kill switch is on: lift it to allow entries"),
    (
        "entries_blocked",
        lambda i, m: i.entries_blocked != "",
        "entries of this account are stopped: look at its alert",
    ),
    ("session_down", lambda i, _: not i.session_live, "the broker session is not live"),
    (
        "too_old",
        lambda i, m: i.age_ms > i.max_age_ms or i.age_ms < -i.max_age_ms,
        "the signal is too old (or from the future): check the sender's clock or raise the rule's max_age_s",
    ),
    ("in_doubt", lambda i, m: i.in_doubt, "an earlier entry of this contract is in doubt"),
    ("duplicate", lambda i, m: i.duplicate, "the same order was sent within the duplicate window"),
    (
        "symbol_not_allowed",
        lambda i, m: bool(m.symbols) and i.root not in m.symbols,
        "the account's limits do not list this symbol",
    ),
    ("outside_hours", lambda i, m: not i.in_hours, "outside the account's allowed hours"),
    (
        "max_order_qty",
        lambda i, m: _over(i.order_qty, m.max_order_qty),
        "the order is larger than the account's maximum order",
    ),
    (
        "max_position_qty",
        lambda i, m: _over(i.position_after, m.max_position_qty),
        "the position would be larger than the account's maximum",
    ),
    (
        "max_notional",
        lambda i, m: _over(i.notional, m.max_notional),
        "the position's value would exceed the account's maximum, or no price is known to tell",
    ),
    (
        "daily_loss",
        lambda i, m: m.daily_loss is not None and (i.day_pnl is None or -i.day_pnl >= m.daily_loss),
        "the day's loss limit is used up, or the day's result is not known",
    ),
    (
        "order_rate",
        lambda i, m: i.orders_last_minute >= m.max_orders_per_minute,
        "too many orders within a minute",
    ),
    (
        "price_collar",
        lambda i, m: (
            m.price_collar_ticks is not None
            and i.price_distance_ticks is not None
            and i.price_distance_ticks > m.price_collar_ticks
        ),
        "the price is too far from the last known price",
    ),
)


def check_entry(intent: OrderIntent, inputs: RiskInputs, limits: RiskLimits) -> Approved | Refused:
    """Approved, or the first reason against it."""
    for reason, broken, sentence in _RULES:
        if broken(inputs, limits):
            return Refused(reason, sentence, inputs)
    return Approved(intent, inputs)


def approve_exit(intent: OrderIntent) -> Approved:
    """Exits pass: they are reduce-only and capped to the holding again before the write."""
    if not intent.reduce_only:
        raise ValueError(f"{intent.cl_ord_id} is not reduce-only: send it through check_entry")
    return Approved(intent, None)
