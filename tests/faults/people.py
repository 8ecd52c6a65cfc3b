"""People: a boss who trades his own account by hand, a stranger at a follower's screen, an operator, the firm."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Final, NamedTuple

from brokers._kit.matching.orders import NewOrder
from kopitra.domain.signals import Side
from tests.faults.knock import Knock, Reply
from tests.faults.rude_broker import RudeBroker

TICK: Final = Decimal("0.25")
#: seconds between two looks of an operator whether a switch could be set
AGAIN_S: Final = 0.5


def side_of(qty: int) -> Side:
    """Buy above zero."""
    return "buy" if qty > 0 else "sell"


@dataclass(slots=True)
class Market:
    """Prices of all contracts, the same at every broker, walking within bounds."""

    brokers: tuple[RudeBroker, ...]
    contracts: dict[str, str]
    rng: Random
    middle: dict[str, Decimal] = field(default_factory=dict[str, Decimal])

    def open(self) -> None:
        """First prices."""
        for root in sorted(self.contracts):
            self.middle[root] = Decimal(6800 if root == "ES" else 25000)
            self._tell(root)

    def step(self) -> None:
        """Each price moves a little; never further than ten points from where it began."""
        for root in sorted(self.contracts):
            start = Decimal(6800 if root == "ES" else 25000)
            moved = self.middle[root] + TICK * self.rng.randint(-6, 6)
            self.middle[root] = min(start + 10, max(start - 10, moved))
            self._tell(root)

    def _tell(self, root: str) -> None:
        price = self.middle[root]
        for broker in self.brokers:
            broker.price(self.contracts[root], price, price + TICK)

    def far(self, root: str, qty: int, draw: float) -> str:
        """A limit price that nothing will reach."""
        start = Decimal(6800 if root == "ES" else 25000)
        away = 40 + int(draw * 40)
        return str(start - away if qty > 0 else start + away)

    def near(self, root: str, qty: int, draw: float) -> Decimal:
        """A limit price that the walk may reach."""
        away = TICK * (2 + int(draw * 20))
        return self.middle[root] - away if qty > 0 else self.middle[root] + away


@dataclass(slots=True)
class Hand:
    """Somebody at the screen of one account."""

    broker: RudeBroker
    account_id: str

    def _place(self, order: NewOrder) -> None:
        self.broker.happened(self.broker.core.place(order, self.broker.now_ns, origin="manual"))

    def trade(self, symbol: str, qty: int) -> None:
        """A market order."""
        number = self.broker.accounts[self.account_id]
        self._place(NewOrder(number, symbol, side_of(qty), "market", abs(qty), automated=False))

    def rest(self, symbol: str, qty: int, price: Decimal) -> None:
        """A limit order."""
        number = self.broker.accounts[self.account_id]
        order = NewOrder(number, symbol, side_of(qty), "limit", abs(qty), price=price, automated=False)
        self._place(order)

    def cancel_one(self, draw: float) -> None:
        """One of the working orders."""
        live = self.broker.live_orders(self.account_id)
        if live:
            self._cancel(live[int(draw * len(live))].order_id)

    def _cancel(self, order_id: int) -> None:
        self.broker.happened(self.broker.core.cancel(order_id, self.broker.now_ns, origin="manual"))

    def leave(self) -> None:
        """Everything off, everything closed."""
        for order in self.broker.live_orders(self.account_id):
            self._cancel(order.order_id)
        for symbol in sorted(self.broker.net(self.account_id)):
            self.close(symbol)

    def close(self, symbol: str) -> None:
        """The position in one contract, if there is one."""
        number = self.broker.accounts[self.account_id]
        if self.broker.net(self.account_id).get(symbol):
            events = self.broker.core.close_position(number, symbol, self.broker.now_ns, origin="manual")
            self.broker.happened(events)


class Stopped(NamedTuple):
    """A switch that a gateway said is in force."""

    state: str
    by: str


@dataclass(slots=True)
class Operator:
    """An admin at the console's door: sets switches, flattens, and knows what was confirmed to be in force."""

    knock: Knock
    headers: dict[str, str]
    in_force: dict[tuple[str, str], Stopped] = field(default_factory=dict[tuple[str, str], Stopped])
    #: what was asked for last
    _wanted: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])

    async def set(self, scope: str, scope_id: str, state: str) -> None:
        """Try until it is in force, or until something else is wanted there."""
        key = (scope, scope_id)
        self._wanted[key] = state
        if state == "active":
            self.in_force.pop(key, None)  # from the moment of asking nobody can tell which of the two holds
        body: dict[str, object] = {
            "scope": scope,
            "scopeId": scope_id,
            "state": state,
            "reason": "simulated",
            "confirm": True,
        }
        reply = await self._ask("/ops/v1/kill-switches", body, lambda: self._wanted[key] == state)
        if reply is not None and reply.status == 200 and state != "active":
            self.in_force[key] = Stopped(state, reply.by)

    async def flatten(self, account_id: str) -> bool:
        """Close everything at one account."""
        body: dict[str, object] = {
            "scope": "account",
            "scopeId": account_id,
            "reason": "simulated",
            "halt": False,
        }
        reply = await self._ask("/ops/v1/flatten", body, lambda: True)
        return reply is not None and reply.status == 202

    async def lift_all(self, scopes: list[tuple[str, str]]) -> None:
        """Everything may go on."""
        for scope, scope_id in scopes:
            await self.set(scope, scope_id, "active")

    async def _ask(self, path: str, body: dict[str, object], wanted: Callable[[], bool]) -> Reply | None:
        """Until there is an answer; None when it is not wanted any more."""
        raw = json.dumps(body).encode()
        while wanted():
            try:
                async with asyncio.timeout(2.0):
                    reply = await self.knock("POST", path, self.headers, raw)
            except TimeoutError:
                continue
            if reply.status < 500 and reply.status not in (409, 429):
                return reply
            await asyncio.sleep(AGAIN_S)
        return None
