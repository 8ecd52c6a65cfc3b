"""What every simulator of the cards starts with: two accounts of one login, one of another."""

from decimal import Decimal
from typing import Final

from kopitra.ports import SimAccount

ALPHA, BETA = "alpha", "beta"
#: our ids of the accounts
A1, A2, B1 = "acc-a1", "acc-a2", "acc-b1"
OURS: Final = {"SIM-A1": A1, "SIM-A2": A2, "SIM-B1": B1}
LOGINS: Final = {
    ALPHA: (SimAccount("SIM-A1", Decimal(50_000), {}), SimAccount("SIM-A2", Decimal(75_000), {})),
    BETA: (SimAccount("SIM-B1", Decimal(100_000), {}),),
}
