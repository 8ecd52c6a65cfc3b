"""Rounding quantities: one explicit policy, exact arithmetic, a reason for every change.

Every function here is exact: whole steps come from `divmod`, never from an inexact division.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Literal, NamedTuple, assert_never

RoundingMode = Literal["down", "half_up", "half_even", "up"]

ZERO = Decimal(0)
MINIMUM_MAX = Decimal(10**9)  #: quantity; a larger minimum is a typing error
SHARE_EXPONENT_MAX = 28  #: powers of ten a share may lie away from 1

TO_STEP_DOWN = "rounded down to the quantity step"
TO_STEP_UP = "rounded up to the quantity step"
TO_MINIMUM = "raised to the rule's minimum"
CAPPED = "not rounded up: that would exceed the rule's risk cap"
BELOW_STEP = "below one quantity step"
BELOW_STEP_CAPPED = "below one quantity step, and one step would exceed the rule's risk cap"


@dataclass(frozen=True, slots=True)
class RoundingPolicy:
    """How a copied quantity meets the follower's quantity step.

    `minimum` lifts a quantity that is above zero but rounds to less; it never lifts past the risk cap and is
    itself rounded up to the step. Raises `ValueError` for a policy that could not be kept.
    """

    mode: RoundingMode = "down"
    minimum: Decimal = ZERO
    max_risk_ratio: Decimal | None = Decimal("1.5")  #: rounded / raw may not exceed this; None: no cap

    def __post_init__(self) -> None:
        if self.mode not in ("down", "half_up", "half_even", "up"):
            raise ValueError(f"rounding mode {self.mode!r} is unknown: use down, half_up, half_even or up")
        if not (self.minimum.is_finite() and 0 <= self.minimum <= MINIMUM_MAX):
            raise ValueError(f"rounding minimum {self.minimum} must be 0 (none) up to {MINIMUM_MAX}")
        ratio = self.max_risk_ratio
        if ratio is not None and not (ratio.is_finite() and ratio >= 1):
            raise ValueError(f"max_risk_ratio {ratio} must be 1 or more: use null for no cap")


class Rounded(NamedTuple):  # made once per follower and signal: a third of the cost of a frozen dataclass
    """A quantity on the step, the quantity that was asked for, and why they differ (None: they do not)."""

    qty: Decimal
    raw: Decimal
    reason: str | None


def round_quantity(raw: Decimal, step: Decimal, policy: RoundingPolicy) -> Rounded:
    """`raw` (zero or more) on the grid of `step` (above zero), by `policy`.

    The result is a multiple of `step`, never decreases when `raw` grows, and never exceeds
    `raw * policy.max_risk_ratio`. Raises `ValueError` for a quantity or step that is no quantity.
    """
    _check_quantity(raw, step)
    if not raw:
        return Rounded(ZERO, raw, None)
    whole, rest = _steps(raw, step)
    wanted = down = whole * step
    # nearly every copy is whole contracts of whole contracts
    if not rest and wanted >= policy.minimum:
        return Rounded(wanted, raw, None)
    reason = TO_STEP_DOWN if rest else None
    if rest and _goes_up(whole, rest, step, policy.mode):
        wanted, reason = down + step, TO_STEP_UP
    if wanted < policy.minimum:
        wanted, reason = _steps_up(policy.minimum, step), TO_MINIMUM
    cap = policy.max_risk_ratio
    if cap is not None and wanted is not down and wanted > raw * cap:
        return Rounded(down, raw, CAPPED if down else BELOW_STEP_CAPPED)
    return Rounded(wanted, raw, reason if wanted else BELOW_STEP)


def split_shares(total: Decimal, shares: Sequence[Decimal], step: Decimal) -> tuple[Decimal, ...]:
    """`total` split in proportion to `shares`, each part on `step`, the parts summing to `total` exactly.

    Shares are weights: (50, 25, 25) and (0.5, 0.25, 0.25) mean the same. What is left after rounding down
    goes to the largest remainders, the earlier share first among equals; a zero share gets nothing.
    Raises `ValueError` when `total` is off the step or the shares are not weights.
    """
    units = _whole_steps(total, step)
    weights = [_weight(share) for share in shares]
    whole = sum(weights)
    if not whole:
        raise ValueError("shares must hold at least one value above zero: send the parts of the quantity")
    quotas = [units * weight / whole for weight in weights]
    parts = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(parts)), key=lambda index: parts[index] - quotas[index])
    for index in by_remainder[: units - sum(parts)]:
        parts[index] += 1
    return tuple(part * step for part in parts)


def _goes_up(whole: Decimal, rest: Decimal, step: Decimal, mode: RoundingMode) -> bool:
    match mode:
        case "down":
            return False
        case "up":
            return True
        case "half_up":
            return rest + rest >= step
        case "half_even":
            return rest + rest > step or (rest + rest == step and whole % 2 == 1)
        case _:
            assert_never(mode)


def _check_quantity(quantity: Decimal, step: Decimal) -> None:
    if not (quantity.is_finite() and step.is_finite() and quantity >= ZERO and step > ZERO):
        raise ValueError(f"quantity {quantity} on step {step} is no quantity: send a finite number from 0")


def _steps(quantity: Decimal, step: Decimal) -> tuple[Decimal, Decimal]:
    """Whole steps in `quantity`, and the rest."""
    try:
        return divmod(quantity, step)
    except InvalidOperation:  # more whole steps than Decimal's 28 digits
        raise ValueError(f"quantity {quantity} is too large for step {step}: send a smaller one") from None


def _steps_up(quantity: Decimal, step: Decimal) -> Decimal:
    whole, rest = _steps(quantity, step)
    return (whole + 1) * step if rest else whole * step


def _whole_steps(total: Decimal, step: Decimal) -> int:
    _check_quantity(total, step)
    whole, rest = _steps(total, step)
    if rest:
        raise ValueError(f"total {total} is not a multiple of step {step}: round it before splitting")
    return int(whole)


def _weight(share: Decimal) -> Fraction:
    if not share.is_finite() or share < 0:
        raise ValueError(f"share {share} is no part of a quantity: send a number of zero or more")
    if not share:
        return Fraction(0)
    if abs(share.adjusted()) > SHARE_EXPONENT_MAX:
        raise ValueError(f"share {share} is out of range: send a fraction such as 0.5 or a percentage")
    return Fraction(share)
