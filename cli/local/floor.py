"""A simulator as seen from its control API: prices, the leader's hand, and the ledger that tells what really
happened. Account ids are the simulator's own; names are ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, TypeVar

import httpx2
import msgspec

from cli.rim import Stop

T = TypeVar("T")
#: seconds for one command
COMMAND_TIMEOUT_S = 5.0


class Placed(msgspec.Struct):
    """One row of the ledger, as far as a check looks at it."""

    seq: int
    kind: str
    account_id: int | None
    symbol: str | None
    order_id: int | None
    outcome: str
    reason: str | None = None
    origin: str | None = None
    cl_ord_id: str | None = None
    side: Literal["buy", "sell"] | None = None
    qty: int | None = None


class Resting(msgspec.Struct):
    """A live order."""

    order_id: int
    request: dict[str, object]
    status: str
    price: Decimal | None
    stop_price: Decimal | None

    @property
    def account_id(self) -> int:
        """Whose it is."""
        return int(str(self.request["account_id"]))

    @property
    def level(self) -> Decimal:
        """Its price, whatever its type."""
        level = self.stop_price if self.stop_price is not None else self.price
        return Decimal(0) if level is None else level


class Held(msgspec.Struct):
    """A position."""

    account_id: int
    symbol: str
    net_qty: int
    avg_px: Decimal | None = None


class _Spec(msgspec.Struct):
    account_id: int
    name: str


class _Account(msgspec.Struct):
    spec: _Spec


@dataclass(slots=True)
class Floor:
    """One simulator."""

    broker: str
    http: httpx2.AsyncClient
    #: name of an account -> its number here
    numbers: Mapping[str, int] = field(default_factory=dict[str, int])

    async def learn(self) -> None:
        """Read the accounts' numbers."""
        found = await self._ask("accounts", list[_Account])
        self.numbers = {item.spec.name: item.spec.account_id for item in found}

    async def command(self, name: str, **arguments: object) -> None:
        """Carry out one command. Raises Stop in the simulator's words."""
        answer = await self.http.post(f"/_sim/{name}", json=arguments, timeout=COMMAND_TIMEOUT_S)
        if answer.status_code != 200:
            raise Stop(f"The {self.broker} simulator refuses {name}: {answer.text}")

    async def resting(self) -> list[Resting]:
        """Live orders of all accounts."""
        return await self._ask("orders", list[Resting])

    async def held(self) -> list[Held]:
        """Open positions of all accounts."""
        return await self._ask("positions", list[Held])

    async def ledger(self) -> list[Placed]:
        """Everything that ever reached this simulator."""
        return await self._ask("ledger", list[Placed])

    async def _ask(self, question: str, kind: type[T]) -> T:
        answer = await self.http.get(f"/_sim/{question}", timeout=COMMAND_TIMEOUT_S)
        if answer.status_code != 200:
            raise Stop(f"The {self.broker} simulator does not tell its {question}: {answer.text}")
        return msgspec.json.decode(answer.content, type=kind, strict=False)
