"""A stand-in for loss limits: account f1 of workspace w1 is locked."""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from kopitra.domain.measuring import NewStart
from kopitra.wire.limits import LimitRuleView, LimitsView
from tests.api.stand_ins import NOW

SEEN = LimitsView(
    account_id="f1", version=3, effective_from=date(2026, 11, 1), verified_on=date(2026, 10, 30), rung="locked",
    stop="limit_max_loss", text="maximum loss: 1,950.00 of 2,000.00 used", balance=Decimal(48_050),
    equity=Decimal(48_050), equity_age_ms=120, day=date(2026, 11, 20), day_ends=NOW, measuring_start=0,
    start_balance=Decimal(50_000), highest_equity=Decimal(50_000),
    rules=(
        LimitRuleView(
            rule="limit_max_loss", used_percent=Decimal("97.5"), value=Decimal(48_050), floor=Decimal(48_000),
            room=Decimal(50), text="maximum loss",
        ),
    ),
)  # fmt: skip


@dataclass
class Limited:
    """Remembers new starts."""

    asked: list[tuple[str, NewStart]] = field(default_factory=list[tuple[str, NewStart]])

    def standing(self, workspace: str, accounts: frozenset[str] | None) -> list[LimitsView]:
        return [SEEN] if workspace == "w1" and (accounts is None or "f1" in accounts) else []

    def restart(self, account_id: str, asked: NewStart) -> LimitsView:
        self.asked.append((account_id, asked))
        return SEEN.model_copy(update={"rung": "clear", "stop": "", "measuring_start": 1})
