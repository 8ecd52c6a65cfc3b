"""Safeguards of positions that are not what executions say (T-90)."""

from typing import Final

from tests.faults import cuts_rules as rules
from tests.faults.trials import Ablation, Cards, Seeds

_DOMAIN: Final = "kopitra/domain"
_UNIT: Final = "tests/unit"
_GATEWAY: Final = "tests/integration/gateway"

DRIFT: Final = (
    Ablation(
        "foreign contracts block",
        f"{_DOMAIN}/foreign_orders.py",
        rules.foreign_contracts_are_welcome,
        ("R-043",),
        Cards(
            (
                f"{_GATEWAY}/test_drift.py::test_r043_foreign_contracts_stop_the_entries_of_their_contract_until_they_are_gone",
            )
        ),
    ),
    Ablation(
        "repair attempts are bounded",
        f"{_DOMAIN}/sync.py",
        rules.repairs_never_tire,
        ("R-045",),
        Cards((f"{_UNIT}/domain/test_repairing.py",)),
    ),
    Ablation(
        "foreign orders block",
        f"{_DOMAIN}/foreign_orders.py",
        rules.foreign_orders_stop_nothing,
        ("R-043",),
        Seeds(frozenset({"human"})),
        8,
    ),
    Ablation(
        "what a read may have shown",
        f"{_DOMAIN}/sync.py",
        rules.executions_are_news,
        ("I-08", "R-041"),
        Cards((f"{_UNIT}/domain/test_unexplained.py",)),
    ),
)
