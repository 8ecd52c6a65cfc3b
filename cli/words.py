"""Rules and reasons as sentences for people."""

from collections.abc import Sequence
from decimal import Decimal
from typing import assert_never

from kopitra.domain.copy_rules import CopyRule, Sizing
from kopitra.domain.limits import RiskLimits
from kopitra.domain.risk import SENTENCES


def plain(number: Decimal | None) -> str:
    """A number without an exponent and without trailing zeros; "" for none."""
    if number is None:
        return ""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def sizing_in_words(sizing: Sizing) -> str:
    """How large a copy is."""
    value = plain(sizing.value)
    match sizing.mode:
        case "fixed":
            return f"fixed {value}"
        case "multiplier":
            return f"{value} x leader"
        case "equity_proportional":
            return f"{value} x leader by equity"
        case "percent_of_equity":
            return f"{value} % of equity"
        case "risk_from_stop":
            return f"risk {value} % to the stop"
        case _:
            assert_never(sizing.mode)


def rule_in_words(rule: CopyRule) -> str:
    """A rule in one line: the size first, then what is out of the ordinary."""
    said = [sizing_in_words(rule.sizing)]
    said += [f"{e.from_root}->{e.to_root} 1:{plain(e.ratio)}" for e in rule.symbol_map]
    said += _filters(rule)
    if rule.rounding.mode != "down":
        said.append(f"rounds {rule.rounding.mode.replace('_', ' ')}")
    if rule.max_order is not None:
        said.append(f"order <= {plain(rule.max_order)}")
    if rule.max_position is not None:
        said.append(f"position <= {plain(rule.max_position)}")
    if rule.min_order:
        said.append(f"order >= {plain(rule.min_order)}")
    if rule.guard_ticks is not None:
        said.append(f"entries at most {rule.guard_ticks} ticks worse than the leader's")
    if rule.collar_ticks is not None:
        said.append(f"market entries as limits {rule.collar_ticks} ticks through the price")
    if rule.delay_ms:
        said.append(f"{rule.delay_ms} ms later")
    if rule.repair != "reduce":
        said.append(f"drift: {rule.repair.replace('_', ' ')}")
    if rule.pace != "active":
        said.append(rule.pace.replace("_", " "))
    return ", ".join(said)


def _filters(rule: CopyRule) -> list[str]:
    said: list[str] = []
    if rule.inverse:
        said.append("inverse")
    if rule.mirror == "fills":
        said.append("copies fills")
    if rule.side_filter != "both":
        said.append(f"{rule.side_filter} only")
    if rule.include:
        said.append(f"only {_list(rule.include)}")
    if rule.exclude:
        said.append(f"not {_list(rule.exclude)}")
    if rule.strategies:
        said.append(f"strategy {_list(rule.strategies)}")
    if not rule.copy_stop_loss:
        said.append("no stops")
    if not rule.copy_take_profit:
        said.append("no targets")
    return said


def _list(items: Sequence[str]) -> str:
    return "/".join(items)


def limits_in_words(limits: RiskLimits) -> str:
    """An account's limits in one line; those that are off are not named."""
    said = [
        f"{name.replace('_', ' ')} {plain(value)}"
        for name in ("max_order_qty", "max_position_qty", "max_notional", "daily_loss")
        if isinstance(value := getattr(limits, name), Decimal)
    ]
    if limits.max_orders_per_minute != RiskLimits().max_orders_per_minute:
        said.append(f"{limits.max_orders_per_minute} orders a minute")
    if limits.symbols:
        said.append(f"only {_list(limits.symbols)}")
    if limits.allowed_hours:
        said.append(f"{len(limits.allowed_hours)} trading windows")
    return ", ".join(said) or "none"


def sentence(reason: str) -> str:
    """A reason's code as words."""
    return SENTENCES.get(reason) or reason.replace("_", " ")
