"""A stand-in for drift repair: one plan of workspace w1."""

from dataclasses import dataclass, field
from decimal import Decimal

from gateway_container.engine.repairs import NoSuchRepair, RepairChanged
from kopitra.wire.repairs import RepairBody, RepairOrderView, RepairStepView, RepairView
from tests.api.stand_ins import NOW

STEP = RepairStepView(
    account_id="f1", symbol="ESZ6", leader="l1", drift="orphan", target=Decimal(0), held=Decimal(2), broker=Decimal(2),
    verdict="approved", order=RepairOrderView(cl_ord_id="kp-1-g0", side="sell", qty=Decimal(2)),
)  # fmt: skip
PLAN = RepairView(plan_id="rp1", run_id="dr1", made_at=NOW, applied=False, steps=(STEP,))


@dataclass
class Repaired:
    """Remembers what was asked. `changed`: the world is not that of the preview any more."""

    asked: list[tuple[str, RepairBody, frozenset[str] | None]] = field(
        default_factory=list[tuple[str, RepairBody, frozenset[str] | None]]
    )
    approved: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    lifted: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    changed: bool = False

    async def preview(self, workspace: str, body: RepairBody, accounts: frozenset[str] | None) -> RepairView:
        self.asked.append((workspace, body, accounts))
        return PLAN

    async def apply(
        self, workspace: str, plan_id: str, who: str, accounts: frozenset[str] | None
    ) -> RepairView:
        del accounts
        if (workspace, plan_id) != ("w1", "rp1"):
            raise NoSuchRepair("There is no such plan (any more): preview the repair again.")
        if self.changed:
            raise RepairChanged("Positions are not those of the preview any more: preview again.")
        self.approved.append((plan_id, who))
        return PLAN.model_copy(update={"applied": True})

    def lift(self, workspace: str, account_id: str, symbol: str, who: str) -> None:
        self.lifted.append((account_id, symbol, who))
        assert workspace == "w1"
