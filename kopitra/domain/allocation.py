"""Allocation: how large one follower's exposure should be after a leader's act, or why there is none.

Targets come from the leader's *cumulative* exposure (R-036), never from scaling one slice after the other, so that
rounding does not drift. The scale is exact: numerator and denominator, multiplied before divided.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple, TypeGuard, assert_never

from kopitra.domain.book import Episode
from kopitra.domain.copy_rules import ONE, CopyRule, MapEntry
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.orders import ZERO
from kopitra.domain.rounding import round_quantity

_HUNDRED: Final = Decimal(100)
_ONE: Final = Decimal(1)


@dataclass(frozen=True, slots=True)
class Skipped:
    """Nothing is to be done for this follower, and why: a kebab- or snake-case reason and a sentence."""

    reason: str
    detail: str = ""


class Scale(NamedTuple):
    """`num / den` follower contracts for one leader contract."""

    num: Decimal
    den: Decimal


class SizingInputs(NamedTuple):
    """What a sizing mode may need. Money in account currency, prices in points; None: not known."""

    follower_equity: Decimal | None
    leader_equity: Decimal | None
    price: Decimal | None
    #: points between entry and the signal's stop
    stop_distance: Decimal | None


class Allocation(NamedTuple):
    """Signed exposures in the follower's contracts before and after the act, and what rounding did to the latter."""

    before: Decimal
    after: Decimal
    raw: Decimal
    reason: str | None
    num: Decimal
    den: Decimal
    peak: Decimal


def scale_of(rule: CopyRule, entry: MapEntry, exposure: Decimal, given: SizingInputs) -> Scale | Skipped:
    """The scale of a new stretch that begins with the leader at `exposure` (signed, not zero)."""
    value = rule.sizing.value
    match rule.sizing.mode:
        case "fixed":
            return Scale(value, abs(exposure))
        case "multiplier":
            return Scale(value if entry.ratio is ONE else value * entry.ratio, _ONE)
        case "equity_proportional":
            if not _known(given.follower_equity) or not _known(given.leader_equity):
                return Skipped("equity_unknown", "the equity of leader or follower is not known yet")
            return Scale(value * entry.ratio * given.follower_equity, given.leader_equity)
        case "percent_of_equity":
            return _by_notional(value, entry, exposure, given)
        case "risk_from_stop":
            return _by_risk(value, entry, exposure, given)
        case _:
            assert_never(rule.sizing.mode)


def _known(value: Decimal | None) -> TypeGuard[Decimal]:
    """Known and above zero: an overdrawn account, or oil below zero, sizes nothing."""
    return value is not None and value > 0


def _by_notional(
    percent: Decimal, entry: MapEntry, exposure: Decimal, given: SizingInputs
) -> Scale | Skipped:
    if not _known(given.follower_equity):
        return Skipped("equity_unknown", "the follower's equity is not known yet, or used up")
    if not _known(given.price):
        return Skipped("price_unknown", "no price is known: send the signal's price or connect market data")
    contract_value = given.price * INSTRUMENTS[entry.to_root].point_value
    return Scale(given.follower_equity * percent, _HUNDRED * contract_value * abs(exposure))


def _by_risk(percent: Decimal, entry: MapEntry, exposure: Decimal, given: SizingInputs) -> Scale | Skipped:
    if not _known(given.follower_equity):
        return Skipped("equity_unknown", "the follower's equity is not known yet, or used up")
    if not _known(given.stop_distance):
        return Skipped("no_stop_loss", "this rule sizes by the stop's distance: send stopLoss with the entry")
    risk_per_contract = given.stop_distance * INSTRUMENTS[entry.to_root].point_value
    return Scale(given.follower_equity * percent, _HUNDRED * risk_per_contract * abs(exposure))


def allocate(
    rule: CopyRule,
    entry: MapEntry,
    episode: Episode | None,
    before: Decimal,
    after: Decimal,
    given: SizingInputs,
) -> Allocation | Skipped:
    """The follower's signed exposures for the leader's exposures `before` and `after` the act.

    A leader that is flat gives exactly zero (R-037). A stretch that is under way keeps its scale; a fixed size is
    kept against the largest exposure of the stretch.
    """
    if not after:
        return _flat(rule, entry, episode, before)
    size = abs(after)
    turned = bool(before) and (before > 0) != (after > 0)
    peak = size
    if not turned and (before or episode is not None):
        peak = max(size, abs(before), ZERO if episode is None else episode.peak)
    if episode is not None and not turned:
        num, den = episode.num, (peak if rule.sizing.mode == "fixed" else episode.den)
    else:
        scale = scale_of(rule, entry, after, given)
        if isinstance(scale, Skipped):
            return scale
        num, den = scale
    raw = _scaled(size, num, den)
    target, _, reason = round_quantity(raw, INSTRUMENTS[entry.to_root].qty_step, rule.rounding)
    if rule.max_position is not None and target > rule.max_position:
        target, reason = rule.max_position, "cut to the rule's max_position"
    was = _target(rule, entry, before, num, den) if before else ZERO
    return Allocation(was, _signed(rule, after, target), raw, reason, num, den, peak)


def _flat(rule: CopyRule, entry: MapEntry, episode: Episode | None, before: Decimal) -> Allocation:
    num, den = (episode.num, episode.den) if episode is not None else (ZERO, _ONE)
    was = _target(rule, entry, before, num, den) if before and num else ZERO
    peak = max(abs(before), ZERO if episode is None else episode.peak)
    return Allocation(was, ZERO, ZERO, None, num, den, peak)


def _scaled(size: Decimal, num: Decimal, den: Decimal) -> Decimal:
    """size x num / den, multiplied before divided; nothing is divided by one."""
    return size * num if den is _ONE else size * num / den


def _target(rule: CopyRule, entry: MapEntry, exposure: Decimal, num: Decimal, den: Decimal) -> Decimal:
    raw = _scaled(abs(exposure), num, den)
    qty = round_quantity(raw, INSTRUMENTS[entry.to_root].qty_step, rule.rounding).qty
    if rule.max_position is not None and qty > rule.max_position:
        qty = rule.max_position
    return _signed(rule, exposure, qty)


def _signed(rule: CopyRule, exposure: Decimal, qty: Decimal) -> Decimal:
    return qty if (exposure > 0) != rule.inverse else -qty
