"""The canary: each minute one signal of a built-in leader goes the whole way to a shadow account, and is looked for.

It takes the intake, the plan, the journal and the fan-out that everybody's signals take, so it notices when one of them
stands still while nobody trades. Its order rests at a price that no market has and is canceled: nothing is held, no
price is learned from it. It lives in a workspace of its own that no key or operator belongs to.
"""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from gateway_container.engine.config import AccountConfig, GatewayConfig, LeaderConfig
from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.errors import KopitraError
from kopitra.domain.journal import AlertCleared, AlertRaised
from kopitra.domain.orders import TERMINAL, ChildOrder
from kopitra.domain.signals import Action, Signal
from kopitra.store.drafts import Committed

if TYPE_CHECKING:
    from gateway_container.engine.machine import Machine

WORKSPACE: Final = "kopitra"
LEADER: Final = "canary"
ACCOUNT: Final = "canary-paper"
#: the alert's code
CODE: Final = "canary-missing"
#: seconds between two signals
EVERY_S: Final = 60.0
#: seconds that one may take to rest, or to be canceled
LATE_S: Final = 3.0
_STEP_S: Final = 0.05
_PRODUCT: Final = "ES"
#: points; far below any market
_PRICE: Final = Decimal(1)
_HOPS: Final = ("planned", "durable", "sent", "acked")


def with_canary(config: GatewayConfig) -> GatewayConfig:
    """The configuration with the canary's leader, follower and rule."""
    account = AccountConfig(ACCOUNT, WORKSPACE, "canary", "", "", "", shadow=True)
    return replace(
        config,
        accounts={**config.accounts, ACCOUNT: account},
        leaders={**config.leaders, LEADER: LeaderConfig(LEADER, WORKSPACE, "canary")},
        rules={**config.rules, LEADER: (CopyRule("canary", 1, WORKSPACE, LEADER, ACCOUNT),)},
    )


class Canary:
    """`run` is the task's body. Without `machine.supplies.canary` it sings nothing."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine
        self._number = 0
        self._missing = False
        hops = machine.supplies.metrics.canary
        self._hops = {name: hops.of(name) for name in _HOPS} if machine.supplies.canary else {}

    def beside(self, config: GatewayConfig) -> GatewayConfig:
        """What the engine works with."""
        return with_canary(config) if self._machine.supplies.canary else config

    async def run(self) -> None:
        """One round a minute, until cancelled."""
        while self._machine.supplies.canary:
            await asyncio.sleep(EVERY_S)
            await self.round()

    async def round(self) -> None:
        """Send one, look for it, take it back. Says nothing while a switch stops entries: then none is expected."""
        state = self._machine.state
        account, look = state.account(ACCOUNT), self._machine.fanout.look
        if account is None or state.switch(account, LEADER) != "active" or look.draining or look.unguarded:
            return
        try:
            await self._left_over()
            order = await self._sing()
        except KopitraError as error:
            self._say(error.message)
            return
        except Exception as error:  # noqa: BLE001 - a canary that fails has found something
            self._say(f"it failed with {type(error).__name__}")
            return
        if order is None or "acked" not in order.hops:
            why = "no order was planned" if order is None else f"its order is {order.state}"
            self._say(f"{why} after {LATE_S:g} seconds")
            return
        for name, times in self._hops.items():
            times.observe(order.hops.get(name, 0) / 1e6)
        self._say("")

    async def _sing(self) -> ChildOrder | None:
        """The order that came of one signal, once it rests or too late."""
        self._number += 1
        lease, identity = self._machine.lease, self._machine.identity
        name = f"canary-{identity.shard}-{lease.epoch}-{self._number}"
        list_id = self._send(name, name, "enter")
        book = self._machine.state.book
        order: ChildOrder | None = None
        for _ in range(int(LATE_S / _STEP_S)):
            await asyncio.sleep(_STEP_S)
            names = book.lists.get(list_id, ())
            order = book.orders.get(names[0]) if names else None
            if order is not None and (order.state in TERMINAL or "acked" in order.hops):
                break
        if order is not None and order.state not in TERMINAL:
            self._send(f"{name}-back", name, "cancel")
        return order

    async def _left_over(self) -> None:
        """What an earlier round, or a predecessor, could not take back."""
        for child in tuple(self._machine.state.book.open_children(ACCOUNT, LEADER)):
            mark = child.intent.leader_order_id
            if mark is not None and child.cancel is None:
                self._number += 1
                epoch = self._machine.lease.epoch
                self._send(f"{mark}-again-{epoch}-{self._number}", mark, "cancel")
                await asyncio.sleep(_STEP_S)

    def _send(self, signal_id: str, mark: str, action: Action) -> str:
        now = self._machine.state.clock.now()
        enter = action == "enter"
        signal = Signal(
            WORKSPACE, LEADER, signal_id, "operator", action, _PRODUCT, now, now,
            side="buy" if enter else None, quantity=Decimal(1) if enter else None,
            ord_type="limit" if enter else "market", price=_PRICE if enter else None, leader_order_id=mark,
        )  # fmt: skip
        pending = self._machine.intake.accept(signal, None)
        pending.committed.add_done_callback(_heard)
        return pending.plan.list_id

    def _say(self, missing: str) -> None:
        """Once when it is missing, once when it is back."""
        if bool(missing) == self._missing:
            return
        self._missing = bool(missing)
        note = self._machine.log.note
        if missing:
            text = f"the canary did not come through: {missing}; look at the journal and the event loop"
            note(WORKSPACE, AlertRaised(CODE, text, ACCOUNT))
        else:
            note(WORKSPACE, AlertCleared(CODE, "the canary comes through again", ACCOUNT))


def _heard(done: asyncio.Future[Committed]) -> None:
    """A commit that failed is seen by the order that does not come."""
    if not done.cancelled():
        done.exception()
