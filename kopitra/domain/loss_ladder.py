"""How much of each loss rule is used, and what follows: warned, reducing, locked (R-102). Pure.

Every rule is a floor under a value: `used = 100 * (1 - (value - floor) / amount)`. What is below the floor is a breach,
but the ladder acts before it: a market close costs something too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from kopitra.domain.measuring import Measure, Reading
from kopitra.domain.prop_limits import Counts, PropLimits

#: warned: people were told; reducing: exits only; locked: flattened, no entries
Rung = Literal["clear", "warned", "reducing", "locked"]
RANK: Final[dict[Rung, int]] = {"clear": 0, "warned": 1, "reducing": 2, "locked": 3}
#: until when a lock holds: the next reset of the trading day, or a new measuring start
Until = Literal["reset", "new_start"]

_HUNDRED: Final = Decimal(100)
_THOUSAND: Final = Decimal(1000)
_CENT: Final = Decimal("0.01")
_TENTH: Final = Decimal("0.1")
ZERO: Final = Decimal(0)


class Use(NamedTuple):
    """One rule now. Money in the account's currency; `room` is what is left above the floor."""

    rule: str
    used_percent: Decimal
    value: Decimal
    floor: Decimal
    amount: Decimal
    #: the rule in words; with its numbers where the usual ones do not say it
    words: str
    until: Until = "reset"
    #: the highest rung that the rule may lead to
    top: Rung = "locked"
    #: it moves with equity; else with the balance only
    open_profit: bool = True

    @property
    def text(self) -> str:
        """The rule and its numbers in words."""
        if self.rule == "limit_consistency":
            return self.words
        lost = max(ZERO, self.amount - self.room)
        now = f"now {money(self.value)}, the floor is {money(self.floor)}"
        if self.amount <= 0:
            return f"{self.words}: nothing may be lost ({money(self.amount)} by its numbers); {now}"
        return f"{self.words}: {money(lost)} of {money(self.amount)} used; {now}"

    @property
    def room(self) -> Decimal:
        """Money until the floor."""
        return self.value - self.floor


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an account stands on the ladder, durable. It is of one measuring start and one day."""

    number: int
    day: date
    rung: Rung
    rule: str = ""
    text: str = ""
    until: Until = "reset"
    #: the highest rung that people were told of on that day
    told: Rung = "clear"

    def holds(self, measure: Measure) -> bool:
        """It is of the present start, and of the present day or for good."""
        if self.number != measure.number:
            return False
        return self.day >= measure.day or (self.rung == "locked" and self.until == "new_start")


def uses(limits: PropLimits, measure: Measure, reading: Reading) -> tuple[Use, ...]:
    """Every rule that the account has, as it stands."""
    found = (
        _daily(limits, measure, reading),
        _maximum(limits, measure, reading),
        _given_back(limits, measure, reading),
        _consistent(limits, measure, reading),
    )
    return tuple(use for use in found if use is not None)


def _use(
    rule: str,
    reading: Reading,
    floor: Decimal,
    amount: Decimal,
    words: str,
    counts: Counts,
    until: Until = "reset",
) -> Use:
    value = reading.equity if counts == "equity" else reading.balance
    # A percentage of an empty or negative balance allows no loss at all: all of it is used, whatever the value is.
    used = max(ZERO, _HUNDRED * (1 - (value - floor) / amount)) if amount > 0 else _HUNDRED
    return Use(
        rule, used.quantize(_TENTH), value, floor, amount, words, until, open_profit=counts == "equity"
    )


def _daily(limits: PropLimits, measure: Measure, reading: Reading) -> Use | None:
    rule = limits.daily_loss
    if rule is None:
        return None
    begins = {
        "balance": measure.day_balance,
        "equity": measure.day_equity,
        "higher": max(measure.day_balance, measure.day_equity),
    }[rule.measured_from]
    amount = rule.amount
    if amount is None:
        of = measure.start if rule.percent_of == "start" else begins
        amount = (rule.percent or ZERO) / _HUNDRED * of
    words = "daily loss" if rule.counts == "equity" else "daily loss (closed trades)"
    return _use("limit_daily_loss", reading, begins - amount, amount, words, rule.counts)


def _maximum(limits: PropLimits, measure: Measure, reading: Reading) -> Use | None:
    rule = limits.max_loss
    if rule is None:
        return None
    words, below = "maximum loss", measure.start
    if rule.kind == "trailing_intraday":
        words, below = "trailing maximum loss (highest equity)", measure.peak
    elif rule.kind == "trailing_eod":
        words, below = "trailing maximum loss (highest day's end)", measure.eod_peak
    floor = below - rule.amount
    if rule.lock_at is not None:
        floor = min(floor, measure.start + rule.lock_at)
    return _use("limit_max_loss", reading, floor, rule.amount, words, rule.counts, "new_start")


def _given_back(limits: PropLimits, measure: Measure, reading: Reading) -> Use | None:
    rule = limits.give_back
    if rule is None:
        return None
    profit = measure.day_peak - measure.day_balance
    if profit < rule.above:
        return None
    amount = profit * rule.percent / _HUNDRED
    words = f"profit give-back ({plain(rule.percent)} % of the day's highest profit {money(profit)})"
    return _use("limit_give_back", reading, measure.day_peak - amount, amount, words, "equity")


def _consistent(limits: PropLimits, measure: Measure, reading: Reading) -> Use | None:
    rule = limits.consistency
    if rule is None or (rule.target is None and measure.best_day <= 0):
        return None
    today = reading.balance - measure.day_balance
    total = max(reading.balance - measure.start, rule.target or ZERO)
    allowed = total * rule.percent / _HUNDRED
    if today <= 0 or allowed <= 0:
        return None
    text = (
        f"consistency: today made {money(today)}, the best day may make {money(allowed)} "
        f"({plain(rule.percent)} % of {money(total)})"
    )
    used = (_HUNDRED * today / allowed).quantize(_TENTH)
    top: Rung = "reducing" if rule.stops else "warned"
    return Use("limit_consistency", used, -today, -allowed, allowed, text, "reset", top, open_profit=False)


def rung_of(limits: PropLimits, use: Use) -> Rung:
    """What one rule asks for."""
    ladder = limits.ladder
    if use.used_percent >= ladder.lock:
        asked: Rung = "locked"
    elif use.used_percent >= ladder.reduce:
        asked = "reducing"
    else:
        asked = "warned" if use.used_percent >= ladder.warn else "clear"
    return asked if RANK[asked] <= RANK[use.top] else use.top


def quiet_between(limits: PropLimits, found: Iterable[Use]) -> tuple[Decimal, Decimal]:
    """Equity strictly between these two moves no rule to another rung, as long as balance and measure stay the same:
    what comes several times a second need not be judged each time."""
    low, high = Decimal("-Infinity"), Decimal("Infinity")
    for use in found:
        if not use.open_profit or use.amount <= 0:
            continue
        margin = use.amount / _THOUSAND  # percents are rounded to a tenth
        for percent in (limits.ladder.warn, limits.ladder.reduce, limits.ladder.lock):
            at = use.floor + use.amount * (1 - percent / _HUNDRED)
            if use.used_percent < percent:
                low = max(low, at + margin)
            else:
                high = min(high, at - margin)
    return low, high


def worst(limits: PropLimits, found: Iterable[Use]) -> Use | None:
    """The rule that asks for most; of equal rungs the one that is used most, and one that ends last."""
    return max(
        found,
        key=lambda use: (RANK[rung_of(limits, use)], use.until == "new_start", use.used_percent),
        default=None,
    )


def stands(limits: PropLimits, measure: Measure, found: Sequence[Use], before: Standing | None) -> Standing:
    """The standing after a look; the same object when nothing changed.

    A lock stays until its reset or a new start. Reducing stays until nothing is above the warning any more, and a
    warning until the reset: an account that hovers around a rung must not go in and out. A rung is told once a day.
    """
    held = before if before is not None and before.holds(measure) else None
    use = worst(limits, found)
    rung: Rung = rung_of(limits, use) if use is not None else "clear"
    if held is not None:
        if held.rung == "locked" and not _outlasts(use, rung, held):
            return held
        if RANK[rung] < RANK[held.rung] and (held.rung == "warned" or rung == "warned"):
            return held
        if held.rung == rung and (rung == "clear" or use is None or held.rule == use.rule):
            return held
    told = max((held.told if held is not None else "clear", rung), key=lambda one: RANK[one])
    if use is None or rung == "clear":
        return Standing(measure.number, measure.day, "clear", told=told)
    text = f"{use.text}. {consequence(limits, use, rung)}"
    return Standing(measure.number, measure.day, rung, use.rule, text, use.until, told)


def _outlasts(use: Use | None, rung: Rung, held: Standing) -> bool:
    """A lock until the reset can only become one for good."""
    return use is not None and rung == "locked" and use.until == "new_start" and held.until == "reset"


def merged_standing(known: Standing | None, told: Standing) -> Standing:
    """What the book holds after a step: a lock is never lowered within its term (I-19)."""
    if known is None or told.number > known.number:
        return told
    if told.number < known.number or told.day < known.day:
        return known
    locked = known.rung == "locked" and (known.until == "new_start" or told.day == known.day)
    if not locked or (told.rung == "locked" and told.until == "new_start"):
        return told
    return known


def consequence(limits: PropLimits, use: Use, rung: Rung) -> str:
    """What a rung means, with its remedy."""
    ladder = limits.ladder
    if rung == "locked":
        return f"At {plain(ladder.lock)} % the account is flattened and locked {_term(limits, use.until)}"
    if rung == "reducing":
        after = "nothing is above the warning" if use.rule != "limit_consistency" else "the next reset"
        return f"At {plain(ladder.reduce)} % entries stop until {after}; exits go on"
    return f"Entries stop at {plain(ladder.reduce)} %"


def _term(limits: PropLimits, until: Until) -> str:
    if until == "reset":
        return f"until the next reset ({limits.reset.words()})"
    return "until a person begins a new measuring start (`kopitra limits restart`)"


def money(value: Decimal) -> str:
    """12345.6 -> 12,345.60."""
    return f"{value.quantize(_CENT):,f}"


def plain(value: Decimal) -> str:
    """70.00 -> 70."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
