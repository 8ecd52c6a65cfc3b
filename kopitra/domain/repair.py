"""The shapes of a repair: what differs, what is done about it, and what every rule and limit says of each order."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, NamedTuple

from kopitra.domain.allocation import Allocation
from kopitra.domain.copy_rules import RepairPolicy
from kopitra.domain.orders import OrderIntent
from kopitra.domain.risk import Approved, RiskInputs
from kopitra.domain.rule_words import RuleSaid
from kopitra.domain.sync import Drift

#: orders of one plan; what is beyond it waits for the next
REPAIR_ORDERS_MAX = 500

#: approved: it will be sent. refused: a switch, rule or limit is against it. left: nobody asked for it.
Verdict = Literal["approved", "refused", "left"]


class RepairStep(NamedTuple):
    """One difference and its verdict; `reason` is a stable code, `detail` says it in words."""

    drift: Drift
    verdict: Verdict
    reason: str = ""
    detail: str = ""
    approved: Approved | None = None
    #: what the risk check of a refused order looked at
    checks: RiskInputs | None = None
    #: expected prices: the last known one, and the room that a market order may need; None: no price is known
    price_low: Decimal | None = None
    price_high: Decimal | None = None
    #: for an order that opens: the scale of its stretch, when it has none yet
    allocation: Allocation | None = None
    #: how old the last known price was
    price_age_ms: int | None = None
    #: what each rule and limit says of the order
    said: tuple[RuleSaid, ...] = ()


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """A repair. `plan_id` is a hash of its content (times and prices left out): same world, same plan, same orders."""

    plan_id: str
    #: the comparison that caused it
    run_id: str
    workspace: str
    made_at: datetime
    steps: tuple[RepairStep, ...]
    #: (account, contract, why): not judged now, because something of ours is on its way there
    waiting: tuple[tuple[str, str, str], ...] = ()
    #: overrides the policy of every follower in the plan; None: each rule's own
    policy: RepairPolicy | None = None
    include_closed_by_hand: bool = False

    @property
    def list_id(self) -> str:
        """What ties its orders."""
        return self.plan_id

    @property
    def intents(self) -> tuple[OrderIntent, ...]:
        """The orders that are sent."""
        return tuple(step.approved.intent for step in self.steps if step.approved is not None)
