"""Lifting a kill switch (R-098): a scope starts again in reducing, and is active once its accounts were compared.

An account that cannot be compared, or differs from its broker, stays in reducing by a switch of its own and holds
nobody else back; it becomes active when it passes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from gateway_container.engine.containment import Failed, uncontained
from gateway_container.engine.state import State
from kopitra.domain.drift import Found
from kopitra.domain.switches import KillSwitch
from kopitra.domain.sync import DriftKind

#: seconds between two looks at what is being lifted
LOOK_EVERY_S: Final = 1.0
#: seconds after which an account that does not pass stays behind by a switch of its own
WAIT_S: Final = 30.0

#: differences that hold nothing back: the follower has less than its leader, and nothing makes it catch up late
SHORT: Final[frozenset[DriftKind]] = frozenset({"missed_open", "closed_by_hand"})

#: compares an account with its broker now; None: it cannot be
Compare = Callable[[str], Awaitable[Found | None]]
#: puts a switch in force and into the journal
Throw = Callable[[KillSwitch], None]
#: the accounts that a switch covers
Covers = Callable[[KillSwitch], tuple[str, ...]]


class Lifting:
    """`run` is the task's body; `wake` says that a switch was lifted."""

    def __init__(self, state: State, compare: Compare, covers: Covers, throw: Throw) -> None:
        self._state = state
        self._compare = compare
        self._covers = covers
        self._throw = throw
        #: takes the failure of one account
        self.failed: Failed = uncontained
        self._wake = asyncio.Event()
        #: accounts that passed, and when the lifting of a switch was first seen, by scope, id and epoch
        self._passed: dict[tuple[str, str, int], set[str]] = {}  # bounded: switches that are being lifted
        self._since_s: dict[tuple[str, str, int], float] = {}  # bounded: likewise

    def wake(self) -> None:
        """Look soon."""
        self._wake.set()

    async def run(self) -> None:
        """Lift until cancelled; rests while nothing is being lifted."""
        while True:
            self._wake.clear()
            lifting = [s for s in self._state.book.switches.all() if s.lifting]
            self._forget(lifting)
            for switch in lifting:
                await self._look(switch)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S if lifting else None):
                    await self._wake.wait()

    def _forget(self, lifting: list[KillSwitch]) -> None:
        keys = {_key(s) for s in lifting}
        self._passed = {k: v for k, v in self._passed.items() if k in keys}
        self._since_s = {k: v for k, v in self._since_s.items() if k in keys}

    async def _look(self, switch: KillSwitch) -> None:
        """One look at one switch: who passed, and who is left behind when it has taken long enough."""
        key, now_s = _key(switch), asyncio.get_running_loop().time()
        passed = self._passed.setdefault(key, set())
        since_s = self._since_s.setdefault(key, now_s)
        behind: dict[str, str] = {}
        for account_id in self._covers(switch):
            if account_id not in passed and (why := await self._fault(account_id)):
                behind[account_id] = why
            elif account_id not in passed:
                passed.add(account_id)
        if self._state.book.switches.get(switch.scope, switch.scope_id) != switch:
            return  # somebody threw it again meanwhile
        if behind and (switch.scope == "account" or now_s - since_s < WAIT_S):
            return
        for account_id, why in behind.items():
            self._stay(switch, account_id, why)
        self._throw(replace(switch, state="active", epoch=switch.epoch + 1, lifting=False))

    async def _fault(self, account_id: str) -> str:
        """Why the account does not pass; "" when it does."""
        try:
            found = await self._compare(account_id)
        except Exception as error:  # noqa: BLE001 - it stays behind, the others do not
            self.failed(account_id, "comparing it for a lifted switch", error)
            found = None
        if found is None:
            return "it could not be compared with its broker"
        if drift := next((d for d in found.drifts if d.kind not in SHORT), None):
            return f"it differs from its broker: {drift.kind.replace('_', ' ')} in {drift.symbol}"
        if found.waiting:
            contract, why = found.waiting[0]
            return f"{contract} cannot be judged: {why}"
        return ""

    def _stay(self, switch: KillSwitch, account_id: str, why: str) -> None:
        own = self._state.book.switches.get("account", account_id)
        if own is not None and own.state != "active":
            return
        epoch = self._state.book.switches.epoch("account", account_id) + 1
        reason = f"left behind when {switch.scope} {switch.scope_id} was lifted: {why}".replace("  ", " ")
        self._throw(KillSwitch("account", account_id, "reducing", reason, switch.who, epoch, lifting=True))


def _key(switch: KillSwitch) -> tuple[str, str, int]:
    return switch.scope, switch.scope_id, switch.epoch
