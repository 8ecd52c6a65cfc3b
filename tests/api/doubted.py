"""A stand-in for orders in doubt: one of workspace w1, account f1."""

from dataclasses import dataclass, field
from decimal import Decimal

from kopitra.wire.doubts import DoubtView

SEEN = DoubtView(
    cl_ord_id="kp-1-e", account_id="f1", role="entry", state="in_doubt", symbol="ESZ6", side="buy",
    qty=Decimal(2), reason="no answer in time",
)  # fmt: skip


@dataclass
class Doubted:
    """Remembers what was decided."""

    told: list[tuple[str, str, str, str, str]] = field(default_factory=list[tuple[str, str, str, str, str]])

    def waiting(self, workspace: str, accounts: frozenset[str] | None) -> list[DoubtView]:
        return [SEEN] if workspace == "w1" and (accounts is None or "f1" in accounts) else []

    def park(self, workspace: str, cl_ord_id: str, who: str, why: str) -> DoubtView:
        self.told.append(("park", workspace, cl_ord_id, who, why))
        return SEEN.model_copy(update={"state": "parked"})

    def settle(self, workspace: str, cl_ord_id: str, who: str, why: str) -> DoubtView:
        self.told.append(("settle", workspace, cl_ord_id, who, why))
        return SEEN.model_copy(update={"state": "not_placed"})
