"""The shapes of one decision: what the plan saw (PlanInputs) and what it decided (FanoutPlan)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Literal, NamedTuple

from kopitra.domain.allocation import Allocation
from kopitra.domain.guard import BestPrice
from kopitra.domain.limits import RiskLimits
from kopitra.domain.orders import CancelIntent, ReplaceIntent
from kopitra.domain.prop_limits import PropStanding
from kopitra.domain.risk import Approved, RiskInputs
from kopitra.domain.streams import Verdict
from kopitra.domain.switches import SwitchState

#: how followers read a leader's act
ActKind = Literal["position", "resting_entry", "resting_exit", "cancel", "replace"]
LegOutcome = Literal["approved", "skipped", "refused"]


class LeaderAct(NamedTuple):
    """A signal read against the leader's book: signed contracts before and after, of one product.

    `position_*` is what the leader holds, `exposure_*` adds its resting entries.
    """

    kind: ActKind
    root: str
    position_before: Decimal
    position_after: Decimal
    exposure_before: Decimal
    exposure_after: Decimal


@dataclass(frozen=True, slots=True)
class AccountInputs:
    """What the plan may know of one follower account besides the book; captured because it comes from outside."""

    switch: SwitchState
    session_live: bool
    equity: Decimal | None
    day_pnl: Decimal | None
    in_hours: bool
    #: the broker takes entry, stop and target in one request
    brackets: bool
    limits: RiskLimits
    limits_version: int
    #: contract -> net position as the broker last reported it, foreign activity included
    reported: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])
    #: loss limits and where the account stands with them; None: it has none
    prop: PropStanding | None = None


@dataclass(frozen=True, slots=True)
class PlanInputs:
    """Everything from outside the book that a plan may look at."""

    now: datetime
    today: date
    config_version: int
    leader_equity: Decimal | None
    #: last known price by product
    prices: Mapping[str, Decimal]
    accounts: Mapping[str, AccountInputs]
    #: contract -> best price and when it was heard, where quotes are streamed
    best: Mapping[str, BestPrice] = field(default_factory=dict[str, BestPrice])
    #: milliseconds that the sender's clock is known to be ahead of ours
    sender_ahead_ms: int = 0
    #: the clocks that ages are made of differ too much
    clock_off: bool = False


class FollowerLeg(NamedTuple):
    """The decision for one follower: what will be sent, or why nothing is.

    `skipped`: the rules say so; `refused`: the risk check says so (`checks` holds what it looked at). A leg that
    sends anything is `approved`; when its entry part was declined (a reversal against a limit closes and does not
    reopen) `reason` says why.
    `target` is the signed exposure the follower should have from now on, in its own product `root`.
    """

    account_id: str
    rule_id: str
    rule_version: int
    outcome: LegOutcome
    reason: str
    detail: str
    root: str
    target: Decimal | None
    allocation: Allocation | None
    orders: tuple[Approved, ...] = ()
    cancels: tuple[CancelIntent, ...] = ()
    replaces: tuple[ReplaceIntent, ...] = ()
    checks: RiskInputs | None = None
    equity: Decimal | None = None
    #: money value of the entry at the last known price, for people; None without a price
    notional: Decimal | None = None


@dataclass(frozen=True, slots=True)
class FanoutPlan:
    """One signal's decision for every follower. Same inputs, same plan, for ever."""

    list_id: str
    signal_id: str
    planned_at: datetime
    config_version: int
    acts: tuple[LeaderAct, ...]
    legs: tuple[FollowerLeg, ...]
    #: what was wrong with the signal itself: told twice, too late, or behind missing ones; "" when nothing was
    verdict: Verdict = ""

    def count(self, outcome: LegOutcome) -> int:
        """How many legs ended so."""
        return sum(1 for leg in self.legs if leg.outcome == outcome)
