"""Loss limits of an account as a prop firm words them: data with a version, never code (R-100).

Firms change their rules, so every version says from which trading day it counts and on which day somebody verified it
against the firm's page. Money is in the account's currency. None means "no such rule".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from kopitra.domain.errors import KopitraError
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.reset_clock import ResetClock, TradingDay, trading_day

#: the value a rule is held against: closed profit only (the balance), or open profit too (equity)
Counts = Literal["realized", "equity"]
MaxLossKind = Literal["static", "trailing_intraday", "trailing_eod"]
ZERO: Final = Decimal(0)
_HUNDRED: Final = Decimal(100)
#: marks of one account between its initial balance and twice that: a mark is journalled once per step
_STEPS: Final = 5_000
#: versions of one account that are kept in memory
VERSIONS_MAX: Final = 1_000
_RESET: Final = ResetClock()
#: a contract cap for all products together
ALL_FAMILIES: Final = "*"


class InvalidLimits(KopitraError):
    """Limits that cannot be meant; `field` names the part at fault."""

    code = "invalid-limits"

    def __init__(self, field_name: str, message: str) -> None:
        super().__init__(f"{field_name}: {message}")
        self.field = field_name


@dataclass(frozen=True, slots=True)
class DailyLoss:
    """Loss of one trading day: `amount`, or `percent` of the start balance or of the day's first balance.

    `measured_from`: the day's first balance, its first equity, or the higher of both.
    """

    amount: Decimal | None = None
    percent: Decimal | None = None
    percent_of: Literal["start", "day"] = "start"
    counts: Counts = "equity"
    measured_from: Literal["balance", "equity", "higher"] = "balance"


@dataclass(frozen=True, slots=True)
class MaxLoss:
    """Loss since the start. `static`: below the start balance. `trailing_intraday`: below the highest equity, open
    profit included, tick by tick, never given back. `trailing_eod`: below the highest balance at a day's end.

    `lock_at`: the floor stops rising at the start balance plus this; None: it never stops.
    """

    kind: MaxLossKind
    amount: Decimal
    lock_at: Decimal | None = None
    counts: Counts = "equity"


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Of the day's highest profit at most `percent` may be lost again, once it has reached `above`."""

    percent: Decimal
    above: Decimal


@dataclass(frozen=True, slots=True)
class Consistency:
    """The best day makes at most `percent` of the total profit, or of `target` while the total is less.

    Without a target it is judged from the second day with a profit on. `stops`: entries stop; else only a warning.
    """

    percent: Decimal
    target: Decimal | None = None
    stops: bool = False


class ContractCap(NamedTuple):
    """Contracts of a family (ES holds ES and MES), or of all (`*`), in contracts of full size: ten micros are one."""

    family: str
    contracts: Decimal


@dataclass(frozen=True, slots=True)
class Ladder:
    """Used percent of a rule at which people are warned, entries stop, and the account is flattened and locked."""

    warn: Decimal = Decimal(70)
    reduce: Decimal = Decimal(85)
    lock: Decimal = Decimal(95)


@dataclass(frozen=True, slots=True)
class PropLimits:
    """One version of an account's limits. Raises InvalidLimits."""

    #: the balance that the firm counts from
    initial_balance: Decimal
    version: int = 1
    #: first trading day on which this version counts
    effective_from: date = date.min
    #: the day on which somebody compared it with the firm's page
    verified_on: date = date.min
    reset: ResetClock = _RESET
    daily_loss: DailyLoss | None = None
    max_loss: MaxLoss | None = None
    give_back: GiveBack | None = None
    consistency: Consistency | None = None
    caps: tuple[ContractCap, ...] = ()
    max_trades_per_day: int | None = None
    #: an entry needs a stop
    mandatory_stop: bool = False
    ladder: Ladder = Ladder()
    #: milliseconds after which equity is too old to hold or enter by (R-102)
    stale_after_ms: int = 5_000
    #: money between two marks of the highest equity; None: 1/5000 of the initial balance
    mark_step: Decimal | None = None

    def __post_init__(self) -> None:
        check_limits(self)

    @property
    def step(self) -> Decimal:
        """Highest values are kept in steps of this, rounded up, so that what is durable is never below what was."""
        return self.mark_step if self.mark_step is not None else self.initial_balance / _STEPS

    @property
    def counts_open_profit(self) -> bool:
        """Some rule needs equity, not only the balance."""
        daily, maximum = self.daily_loss, self.max_loss
        return (
            (daily is not None and (daily.counts == "equity" or daily.measured_from != "balance"))
            or (maximum is not None and (maximum.counts == "equity" or maximum.kind == "trailing_intraday"))
            or self.give_back is not None
        )


class PropStanding(NamedTuple):
    """What a plan knows of an account's limits: the version that counts, and why its entries stop now.

    `stop` is a reason of the risk check, empty while entries may go; `text` names the rule and its numbers.
    """

    limits: PropLimits
    stop: str = ""
    text: str = ""


def limits_at(versions: Sequence[PropLimits], now: datetime) -> tuple[PropLimits, TradingDay] | None:
    """The newest version that counts on the trading day of `now`, by its own reset clock, and that day."""
    for limits in sorted(versions, key=lambda one: one.version, reverse=True):
        today = trading_day(limits.reset, now)
        if limits.effective_from <= today.day:
            return limits, today
    return None


class EntryFault(NamedTuple):
    """Why one entry may not go: a reason of the risk check, and its sentence with the numbers."""

    reason: str
    text: str


def entry_fault(
    limits: PropLimits,
    root: str,
    has_stop: bool,
    trades_today: int,
    family_contracts: Decimal | None,
    account_contracts: Decimal | None,
) -> EntryFault | None:
    """What the limits say against one entry of a product. Contracts are of full size, this order included; a number
    that a cap needs and that is not known refuses."""
    if limits.mandatory_stop and not has_stop:
        return EntryFault(
            "stop_missing",
            "the account takes no entry without a stop: send stopLoss, and let the rule copy it",
        )
    most = limits.max_trades_per_day
    if most is not None and trades_today >= most:
        return EntryFault(
            "limit_trades", f"{trades_today} of {most} trades of the day are made; the next reset allows more"
        )
    family = INSTRUMENTS[root].family
    for cap in limits.caps:
        if cap.family not in (family, ALL_FAMILIES):
            continue
        after = account_contracts if cap.family == ALL_FAMILIES else family_contracts
        if after is None or after > cap.contracts:
            return EntryFault("limit_contracts", _over_cap(cap, after))
    return None


def _over_cap(cap: ContractCap, after: Decimal | None) -> str:
    of = "all products" if cap.family == ALL_FAMILIES else f"the family {cap.family}"
    count = "an unknown number of" if after is None else f"{after.normalize():f}"
    allowed = f"{cap.contracts.normalize():f}"
    return f"{count} full-size contracts in {of} with this order and all open ones, {allowed} allowed"


def check_limits(limits: PropLimits) -> None:
    """Raise InvalidLimits naming the field."""
    ladder = limits.ladder
    _need("initial_balance", limits.initial_balance > 0, "must be above zero")
    rises = ZERO < ladder.warn < ladder.reduce < ladder.lock <= _HUNDRED
    _need("ladder", rises, "must rise: 0 < warn < reduce < lock <= 100")
    _need("stale_after_ms", limits.stale_after_ms > 0, "must be above zero")
    _need("mark_step", limits.mark_step is None or limits.mark_step > 0, "must be above zero, or empty")
    trades = limits.max_trades_per_day
    _need("max_trades_per_day", trades is None or trades >= 0, "must not be negative")
    fault = limits.reset.fault()
    _need("reset", not fault, fault)
    _check_losses(limits)
    _check_profits(limits)
    for cap in limits.caps:
        known = cap.family == ALL_FAMILIES or any(i.family == cap.family for i in INSTRUMENTS.values())
        _need("caps", known, f"{cap.family!r} is no family: name its full-size product, such as ES, or *")
        _need("caps", cap.contracts >= 0, "must not be negative")


def _check_losses(limits: PropLimits) -> None:
    daily, maximum = limits.daily_loss, limits.max_loss
    if daily is not None:
        given = [value for value in (daily.amount, daily.percent) if value is not None]
        _need("daily_loss", len(given) == 1 and given[0] > 0, "give amount or percent, above zero")
        _need("daily_loss.percent", daily.percent is None or daily.percent <= _HUNDRED, "must be 100 at most")
    if maximum is not None:
        _need("max_loss.amount", maximum.amount > 0, "must be above zero")
        trails = maximum.kind != "static" or maximum.lock_at is None
        _need("max_loss.lock_at", trails, "a static floor does not move: leave it empty")


def _check_profits(limits: PropLimits) -> None:
    back, even = limits.give_back, limits.consistency
    if back is not None:
        _need("give_back.percent", ZERO < back.percent <= _HUNDRED, "must lie above 0 and be 100 at most")
        _need("give_back.above", back.above > 0, "must be above zero")
    if even is not None:
        _need("consistency.percent", ZERO < even.percent <= _HUNDRED, "must lie above 0 and be 100 at most")
        _need("consistency.target", even.target is None or even.target > 0, "must be above zero, or empty")


def _need(field_name: str, holds: bool, message: str) -> None:
    if not holds:
        raise InvalidLimits(field_name, message)
