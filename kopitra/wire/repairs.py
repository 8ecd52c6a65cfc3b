"""Drift and its repair for people: what differs, exact orders with their expected prices, and what speaks against."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from kopitra.domain.copy_rules import RepairPolicy
from kopitra.domain.repair import RepairPlan, RepairStep, Verdict
from kopitra.domain.signals import Side
from kopitra.domain.sync import DriftKind
from kopitra.wire.scalars import Answer, ForeignId, Note, NumberOut, Shape, TimeOut

#: accounts named in one body
ACCOUNTS_MAX = 500


class RepairBody(Shape):
    """Without `planId` a preview: nothing is sent. With `planId` (and nothing else) that plan is carried out, if the
    world is still the same; carried out twice it changes nothing."""

    plan_id: ForeignId | None = None
    accounts: Annotated[
        tuple[ForeignId, ...] | None, Field(min_length=1, max_length=ACCOUNTS_MAX, strict=False)
    ] = Field(None, description="Left out: every account that you may see.")
    leader: ForeignId | None = Field(None, description="Only what is held because of this leader.")
    policy: RepairPolicy | None = Field(None, description="Instead of each rule's own.")
    include_closed_by_hand: bool = Field(False, description="Open again what a person closed.")

    @model_validator(mode="after")
    def _either(self) -> Self:
        asks = self.accounts or self.leader or self.policy or self.include_closed_by_hand
        if self.plan_id is not None and asks:
            raise PydanticCustomError(
                "plan-and-preview", "Send planId alone: a plan is carried out exactly as it was previewed"
            )
        return self


class LiftBody(Shape):
    """A person has looked: entries of an account, or of one contract, go on; what is foreign there is accepted."""

    account_id: ForeignId
    symbol: Annotated[str, Field(max_length=64, pattern=r"^[ -~]*$")] = Field(
        "", description='Contract such as ESZ6; "" for the block of the whole account.'
    )
    reason: Note


class LiftedView(Answer):
    """The block is gone."""

    account_id: str
    symbol: str = ""


class RepairOrderView(Answer):
    """The order that ends a difference. Prices: where a market order is expected to fill, around the last known price,
    which is `priceAgeMs` old; none when none is known."""

    cl_ord_id: str
    side: Side
    qty: NumberOut
    price_low: NumberOut | None = None
    price_high: NumberOut | None = None
    price_age_ms: int | None = None


class RuleSaidView(Answer):
    """A rule or limit, and what it says of the order."""

    rule: str
    verdict: Literal["passes", "refuses"]
    detail: str


class RepairStepView(Answer):
    """One difference, in signed contracts, and what is done about it."""

    account_id: str
    symbol: str
    leader: str
    drift: DriftKind
    target: NumberOut
    held: NumberOut
    broker: NumberOut
    verdict: Verdict
    reason: str = ""
    detail: str = ""
    order: RepairOrderView | None = None
    checks: tuple[RuleSaidView, ...] = ()


class WaitingView(Answer):
    """An account (or a contract there) that cannot be judged now."""

    account_id: str
    symbol: str
    detail: str


class RepairView(Answer):
    """A plan; `applied`: its orders were sent (now, or when it was approved first)."""

    plan_id: str
    run_id: str
    made_at: TimeOut
    applied: bool
    steps: tuple[RepairStepView, ...]
    waiting: tuple[WaitingView, ...] = ()


def repair_view(plan: RepairPlan, applied: bool) -> RepairView:
    """A plan in the wire's words."""
    return RepairView(
        plan_id=plan.plan_id,
        run_id=plan.run_id,
        made_at=plan.made_at,
        applied=applied,
        steps=tuple(_step(step) for step in plan.steps),
        waiting=tuple(WaitingView(account_id=a, symbol=c, detail=why) for a, c, why in plan.waiting),
    )


def _step(step: RepairStep) -> RepairStepView:
    drift, approved = step.drift, step.approved
    order = None
    if approved is not None:
        intent = approved.intent
        order = RepairOrderView(
            cl_ord_id=intent.cl_ord_id,
            side=intent.side,
            qty=intent.qty,
            price_low=step.price_low,
            price_high=step.price_high,
            price_age_ms=step.price_age_ms,
        )
    return RepairStepView(
        account_id=drift.account_id,
        symbol=drift.symbol,
        leader=drift.leader,
        drift=drift.kind,
        target=drift.target,
        held=drift.held,
        broker=drift.broker,
        verdict=step.verdict,
        reason=step.reason,
        detail=step.detail,
        order=order,
        checks=tuple(RuleSaidView(rule=s.rule, verdict=s.verdict, detail=s.detail) for s in step.said),
    )
