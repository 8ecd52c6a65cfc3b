"""What each rule and limit says of one entry, for people who decide: `check_entry` names the first reason only."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Literal, NamedTuple

from kopitra.domain.limits import RiskLimits
from kopitra.domain.orders import OrderIntent
from kopitra.domain.prop_limits import PropLimits
from kopitra.domain.risk import FUTURE_MS_MAX, SENTENCES, RiskInputs, beyond_collar, beyond_prop


class RuleSaid(NamedTuple):
    """One rule and its verdict; `detail` says in words what it looked at, or what to do about it."""

    rule: str
    verdict: Literal["passes", "refuses"]
    detail: str


def passes(rule: str, detail: str) -> RuleSaid:
    """It lets the order through."""
    return RuleSaid(rule, "passes", detail)


def refuses(rule: str, detail: str) -> RuleSaid:
    """It is against the order."""
    return RuleSaid(rule, "refuses", detail)


def said_of(
    intent: OrderIntent, inputs: RiskInputs, limits: RiskLimits, prop: PropLimits | None
) -> tuple[RuleSaid, ...]:
    """Every rule that applies, in the order in which `check_entry` asks them: its reason is the first that refuses."""
    found = (*_standing(inputs), *_signal(intent, inputs, limits), *_size(inputs, limits))
    return (*found, *_prop(inputs, prop))


def _standing(i: RiskInputs) -> Iterator[RuleSaid]:
    yield _said("kill_switch", i.switch != "active", f"the switch is {i.switch}")
    yield _said("entries_blocked", bool(i.entries_blocked), i.entries_blocked or "no block stands")
    if i.limit_stop:
        yield refuses(i.limit_stop, i.limit_text)
    yield _said("session_down", not i.session_live, f"the session is {'live' if i.session_live else 'down'}")
    hours = "inside" if i.in_hours else "outside"
    yield _said("outside_hours", not i.in_hours, f"{hours} the account's allowed hours")


def _signal(intent: OrderIntent, i: RiskInputs, limits: RiskLimits) -> Iterator[RuleSaid]:
    old = not -FUTURE_MS_MAX <= i.age_ms <= i.max_age_ms
    yield _said("too_old", old, f"{i.age_ms} ms old, at most {i.max_age_ms}")
    yield _said(
        "in_doubt", i.in_doubt, "an earlier entry is in doubt" if i.in_doubt else "nothing is in doubt"
    )
    differs = "the broker shows less than we hold" if i.position_differs else "our position is the broker's"
    yield _said("position_differs", i.position_differs, differs)
    yield _said("duplicate", i.duplicate, "the same as one before" if i.duplicate else "not sent before")
    if limits.symbols:
        allowed = ", ".join(limits.symbols)
        yield _said("symbol_not_allowed", i.root not in limits.symbols, f"{i.root} of {allowed}")
    rate, most = i.orders_last_minute, limits.max_orders_per_minute
    yield _said("order_rate", rate >= most, f"{rate} in the last minute, at most {most}")
    collar = limits.price_collar_ticks
    if collar is not None:
        beyond = beyond_collar(intent, i.price_distance_ticks, collar) is not None
        yield _said("price_collar", beyond, f"{_known(i.price_distance_ticks)} ticks away, at most {collar}")


def _size(i: RiskInputs, limits: RiskLimits) -> Iterator[RuleSaid]:
    most: tuple[tuple[str, Decimal | None, Decimal | None, str], ...] = (
        ("max_order_qty", limits.max_order_qty, i.order_qty, "contracts"),
        ("max_position_qty", limits.max_position_qty, i.position_after, "contracts held then"),
        ("max_notional", limits.max_notional, i.notional, "worth then"),
    )
    for rule, limit, have, unit in most:
        if limit is not None:
            yield _said(rule, have is None or have > limit, f"{_known(have)} {unit}, at most {limit}")
    loss, day = limits.daily_loss, i.day_pnl
    if loss is not None:
        yield _said(
            "daily_loss", day is None or -day >= loss, f"the day's result is {_known(day)}, stop at -{loss}"
        )


def _prop(i: RiskInputs, prop: PropLimits | None) -> Iterator[RuleSaid]:
    if prop is None:
        return
    fault = beyond_prop(i, prop)
    if fault is not None:
        yield refuses(fault.reason, fault.text)
    elif not i.limit_stop:
        yield passes("loss_limits", f"version {i.prop_version} of the account's loss limits allows it")


def _said(rule: str, against: bool, facts: str) -> RuleSaid:
    return refuses(rule, f"{SENTENCES[rule]} ({facts})") if against else passes(rule, facts)


def _known(value: Decimal | int | None) -> str:
    return "not known" if value is None else str(value)
