"""A running simulator and its control API: what really happened at the broker."""

from dataclasses import dataclass, field

import httpx2
import msgspec

from kopitra.ports import BrokerAdapter, RunningSimulator

#: seconds that a test waits for a condition
PATIENCE_S = 15.0


class Row(msgspec.Struct, frozen=True):
    """One row of a simulator's ground-truth ledger; `price` and the like are decimal texts."""

    kind: str
    outcome: str
    account_id: int | None
    order_id: int | None
    origin: str | None
    cl_ord_id: str | None
    side: str | None
    ord_type: str | None
    qty: int | None
    price: str | None
    stop_price: str | None


class _Asked(msgspec.Struct, frozen=True):
    account_id: int
    side: str
    ord_type: str


class Live(msgspec.Struct, frozen=True):
    """One live order at a simulator; a protective one may trade `released_qty`."""

    order_id: int
    request: _Asked
    qty: int
    released_qty: int
    cum_qty: int
    status: str
    price: str | None = None
    stop_price: str | None = None


class Held(msgspec.Struct, frozen=True):
    """One open position at a simulator."""

    account_id: int
    symbol: str
    net_qty: int


class _Spec(msgspec.Struct, frozen=True):
    name: str
    account_id: int


class _Account(msgspec.Struct, frozen=True):
    spec: _Spec


@dataclass(slots=True)
class Simulated:
    """A running simulator and its control API; accounts by our ids."""

    adapter: BrokerAdapter
    running: RunningSimulator
    http: httpx2.AsyncClient
    numbers: dict[str, int] = field(default_factory=dict[str, int])

    async def control(self, command: str, **arguments: object) -> bytes:
        answer = await self.http.post(f"/_sim/{command}", json=arguments)
        assert answer.status_code == 200, f"{command}: {answer.status_code} {answer.text}"
        return answer.content

    async def ask(self, question: str) -> bytes:
        answer = await self.http.get(f"/_sim/{question}")
        assert answer.status_code == 200, answer.text
        return answer.content

    async def settings(self, **changes: object) -> None:
        """Change knobs of the simulator."""
        await self.control("set-settings", **changes)

    async def requests(self, word: str) -> int:
        """How many HTTP requests to paths with this word in them were answered."""
        asked = msgspec.json.decode(await self.ask("requests"), type=dict[str, int])
        return sum(count for path, count in asked.items() if word in path.lower())

    async def ledger(self, kind: str) -> list[Row]:
        rows = msgspec.json.decode(await self.ask("ledger"), type=list[Row])
        return [row for row in rows if row.kind == kind]

    async def placements(self, account_id: str | None = None) -> list[Row]:
        """Orders that the gateway asked for."""
        rows = [row for row in await self.ledger("placement") if row.origin == "api"]
        if account_id is None:
            return rows
        number = await self.number(account_id)
        return [row for row in rows if row.account_id == number]

    async def number(self, account_id: str) -> int:
        """The simulator's own number of an account."""
        if account_id not in self.numbers:
            accounts = msgspec.json.decode(await self.ask("accounts"), type=list[_Account])
            for account in accounts:
                self.numbers[account.spec.name.removeprefix("SIM")] = account.spec.account_id
        return self.numbers[account_id]

    async def live(self, account_id: str) -> list[Live]:
        """What works at an account."""
        number = await self.number(account_id)
        orders = msgspec.json.decode(await self.ask("orders"), type=list[Live])
        return [order for order in orders if order.request.account_id == number]

    async def net(self, account_id: str) -> int:
        """What an account truly holds, all contracts together."""
        number = await self.number(account_id)
        held = msgspec.json.decode(await self.ask("positions"), type=list[Held])
        return sum(h.net_qty for h in held if h.account_id == number)

    async def by_hand(self, account_id: str, symbol: str, side: str, qty: int, **more: object) -> None:
        """A person trades in the account."""
        number = await self.number(account_id)
        await self.control("manual-order", account_id=number, symbol=symbol, side=side, qty=qty, **more)
