"""What stands behind the doors of a standby: signals and callbacks go into the inbox, switches into their table.

The sender of a signal hears `queued` as soon as the holder has planned it, or a quarter of a second later when there
is none to wait for: so its next signal, which may reach the holder directly, cannot overtake this one.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, NamedTuple

from gateway_container.api.doors import Answering, FlattenOrder
from gateway_container.api.problems import Problem
from gateway_container.engine.control import name_of
from gateway_container.engine.reach import accounts_in, owns
from gateway_container.engine.switch_rows import switch_of
from gateway_container.standby import Standby
from kopitra.domain.errors import Conflict, KopitraError, QueueFull, SignalRefused
from kopitra.domain.executions import ExecutionReport
from kopitra.domain.signals import Signal, check_signal
from kopitra.domain.switches import KillSwitch, SwitchScope, SwitchState, strictness
from kopitra.ports import Clock
from kopitra.store.append_queue import Fate
from kopitra.store.drafts import Committed, IdempotencyDraft, IdempotencyRecord
from kopitra.store.encoding import encode
from kopitra.store.idempotency import find_answer
from kopitra.store.inbox import InboxDraft, put
from kopitra.store.pool import Database
from kopitra.store.switches import SwitchRow, read_switch, set_switch
from kopitra.wire.views import FlattenView

#: hand-overs under way at once
UNDER_WAY_MAX: Final = 256
#: seconds that a sender waits for the holder to act on its signal before it hears that it is queued
ACTED_WAIT_S: Final = 0.25
#: settled rows remembered because their word may come before our own commit's
SETTLED_MAX: Final = 1_000
#: seconds for the holder to say that a switch is in force, and between two looks
IN_FORCE_S: Final = 1.0
LOOK_STEP_S: Final = 0.05
#: attempts to set a switch that others set, too
ATTEMPTS_MAX: Final = 5


class HandedOver(NamedTuple):
    """Something that is on its way into the inbox."""

    committed: asyncio.Future[Committed]


class HandOver:
    """Puts rows into the inbox and waits for the holder."""

    def __init__(self, db: Database, clock: Clock, shard: str) -> None:
        self._db = db
        self._clock = clock
        self.shard = shard
        self._tasks: set[asyncio.Task[None]] = set()  # bounded: UNDER_WAY_MAX in give
        self._waiting: dict[int, asyncio.Event] = {}  # one per task
        self._settled: deque[int] = deque(maxlen=SETTLED_MAX)

    def give(self, draft: InboxDraft) -> HandedOver:
        """Durable with its answer when the future is done. Raises QueueFull."""
        if len(self._tasks) >= UNDER_WAY_MAX:
            raise QueueFull("Too many signals are on their way to the holder of the shard: send it again.")
        future = Fate()
        task = asyncio.get_running_loop().create_task(self._give(draft, future))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return HandedOver(future)

    async def _give(self, draft: InboxDraft, future: asyncio.Future[Committed]) -> None:
        try:
            made = await put(self._db, draft, self._clock.now())
        except KopitraError as error:
            future.set_exception(error)
            return
        await self._acted(made.inbox_id)
        future.set_result(Committed((), (made.body,)))

    async def _acted(self, inbox_id: int) -> None:
        if inbox_id in self._settled:
            return
        done = self._waiting[inbox_id] = asyncio.Event()
        try:
            async with asyncio.timeout(ACTED_WAIT_S):
                await done.wait()
        except TimeoutError:
            return
        finally:
            del self._waiting[inbox_id]

    def settled(self, inbox_ids: Iterable[int]) -> None:
        """The holder has acted on these rows."""
        for inbox_id in inbox_ids:
            self._settled.append(inbox_id)
            waiting = self._waiting.get(inbox_id)
            if waiting is not None:
                waiting.set()

    async def finished(self) -> None:
        """Wait for what is under way."""
        if self._tasks:
            await asyncio.wait(self._tasks)


class StandbyIntake:
    """Takes signals for the holder: valid ones of known leaders, each once."""

    def __init__(self, standby: Standby, handover: HandOver, db: Database) -> None:
        self._state = standby.state
        self._handover = handover
        self._db = db

    def accept(self, signal: Signal, answer: Answering | None, received_ns: int | None = None) -> HandedOver:
        """Hand it over. Raises SignalRefused or QueueFull; Duplicate and Unavailable come with the future."""
        del received_ns
        if answer is None:
            raise ValueError("A signal that nobody waits for cannot be handed over: give its first answer.")
        check_signal(signal)
        leader = self._state.config.leaders.get(signal.leader)
        if leader is None or leader.workspace != signal.workspace:
            raise SignalRefused(
                "This key's leader is not known here: create it with `kopitra leader create`.",
                code="unknown-leader",
            )
        shard, name = self._handover.shard, signal.signal_id
        return self._handover.give(
            InboxDraft(shard, signal.workspace, "signal", name, encode(signal), answer.queued())
        )

    async def turn(self, signal: Signal) -> None:
        """The holder keeps the order of numbered signals."""
        del signal

    def must_wait(self, signal: Signal) -> bool:
        """Nothing is decided here, and what is on its way to the holder has a bound of its own."""
        del signal
        return False

    async def room(self, signal: Signal) -> None:
        """There is always some."""
        del signal

    def first_answer(self, workspace: str, principal: str, endpoint: str, key: str) -> None:
        """Memory knows none: the inbox's own uniqueness finds the first answer."""
        del workspace, principal, endpoint, key

    async def stored_answer(
        self, workspace: str, principal: str, endpoint: str, key: str
    ) -> IdempotencyRecord | None:
        """The first answer to this key. Raises Unavailable."""
        return await find_answer(self._db, workspace, principal, endpoint, key)

    def running(self, workspace: str, principal: str, endpoint: str, key: str) -> bool:
        """A first call that runs makes the second one wait in PostgreSQL."""
        del workspace, principal, endpoint, key
        return False


class StandbyExecutions:
    """Takes callbacks for the holder."""

    def __init__(self, standby: Standby, handover: HandOver) -> None:
        self._state = standby.state
        self._handover = handover

    def record(
        self, workspace: str, account_id: str, report: ExecutionReport, record: IdempotencyDraft
    ) -> HandedOver:
        """Hand it over. Raises KeyError for an account that is not the workspace's, or QueueFull."""
        account = self._state.account(account_id)
        if account is None or account.workspace != workspace:
            raise KeyError(account_id)
        name = f"{account_id} {report.exec_id or report.order_id}"
        draft = InboxDraft(self._handover.shard, workspace, "execution", name, encode(report), record)
        return self._handover.give(draft)


class StandbyControl:
    """Switches reach the holder through their table; a flatten needs the holder's sessions."""

    def __init__(self, standby: Standby, db: Database) -> None:
        self._standby = standby
        self._state = standby.state
        self._db = db

    def owns(self, workspace: str, scope: SwitchScope, scope_id: str) -> bool:
        """True when the scope lies inside the workspace."""
        return owns(self._state.config, workspace, scope, scope_id)

    def accounts_in(self, workspace: str, scope: SwitchScope, scope_id: str) -> frozenset[str]:
        """The workspace's accounts that a scope covers."""
        return accounts_in(self._state.config, workspace, scope, scope_id)

    def switches(self, workspace: str) -> tuple[KillSwitch, ...]:
        """Switches that can touch the workspace."""
        return self._standby.views.switches(workspace)

    async def set_switch(
        self, workspace: str, scope: SwitchScope, scope_id: str, state: SwitchState, reason: str, who: str
    ) -> KillSwitch:
        """Set or lift; returns when the holder has it, or when nobody holds the shard, who would have to read it
        first. Raises Problem when the holder does not say so in time: it stands in the table all the same.
        """
        name = name_of(workspace, scope, scope_id)
        row = SwitchRow(scope, name, workspace, state, 0, reason, who, self._state.clock.now())
        switch = await self._in_force(switch_of(await self._write(row)))
        return replace(switch, scope_id=scope_id)

    async def _write(self, row: SwitchRow) -> SwitchRow:
        for _ in range(ATTEMPTS_MAX):
            stored = await read_switch(self._db, row.scope, row.scope_id)
            known = self._state.book.switches.get(row.scope, row.scope_id)
            newest = stored.epoch if stored is not None else 0
            self._check_unseen(row, stored, known)
            numbered = replace(row, epoch=max(newest, known.epoch if known is not None else 0) + 1)
            if await set_switch(self._db, numbered, newest):
                return numbered
        raise Conflict("Others set the same switch at the same time: look at it and set it again.")

    def _check_unseen(self, row: SwitchRow, stored: SwitchRow | None, known: KillSwitch | None) -> None:
        """Nobody weakens what this replica has not shown yet: whether the caller may was judged by what it shows."""
        if stored is None or (known is not None and stored.epoch <= known.epoch):
            return
        if strictness(switch_of(stored)) > max(strictness(known), strictness(switch_of(row))):
            why = f"{stored.who}: {stored.reason}"
            raise Conflict(f"The switch has just become {stored.state} ({why}): look at it and set it again.")

    async def _in_force(self, asked: KillSwitch) -> KillSwitch:
        """What is in force at the holder: what was asked for, or something stricter."""
        loop = asyncio.get_running_loop()
        end = loop.time() + IN_FORCE_S
        while True:
            await self._standby.look()
            found = self._state.book.switches.get(asked.scope, asked.scope_id)
            if not self._standby.held:
                return asked
            if found is not None and found.epoch >= asked.epoch and strictness(found) >= strictness(asked):
                return found if strictness(found) > strictness(asked) and not found.lifting else asked
            if loop.time() >= end:
                raise Problem(
                    "switch-not-confirmed",
                    "The switch is stored, but the holder of the shard has not said that it is in force: "
                    "look at GET /ops/v1/kill-switches.",
                    retry_after_s=1,
                )
            await asyncio.sleep(LOOK_STEP_S)

    async def flatten(self, order: FlattenOrder) -> FlattenView:
        """Only the holder has sessions: Problem."""
        del order
        raise self._elsewhere()

    def flatten_progress(self, workspace: str, flatten_id: str) -> FlattenView | None:
        """Only the holder knows: Problem."""
        del workspace, flatten_id
        raise self._elsewhere()

    def _elsewhere(self) -> Problem:
        lease = self._standby.lease
        who = f"{lease.holder} does" if lease is not None and self._standby.held else "nobody does"
        return Problem(
            "not-the-holder",
            f"This replica does not hold the shard ({who}): send it again until the holder answers, "
            "or use `kopitra flatten`.",
            retry_after_s=1,
        )
