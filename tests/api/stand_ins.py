"""What stands in for the rest of the gateway: in memory, and it keeps what it is given."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from gateway_container.api.doors import (
    Answering,
    Batch,
    FlattenOrder,
    HookGrant,
    KeyGrant,
    OperatorGrant,
    Resume,
)
from kopitra.domain.errors import QueueFull
from kopitra.domain.executions import ExecutionReport
from kopitra.domain.fanout import FanoutPlan, FollowerLeg
from kopitra.domain.ids import list_id
from kopitra.domain.signals import Signal, check_signal
from kopitra.domain.switches import KillSwitch, SwitchScope, SwitchState
from kopitra.store.append_queue import Fate
from kopitra.store.drafts import (
    Committed,
    Duplicate,
    IdempotencyDraft,
    IdempotencyRecord,
    JournalRow,
    SignalRef,
)
from kopitra.wire.views import (
    CopyCounts,
    Dependencies,
    FlattenAccountView,
    FlattenView,
    HealthDetailView,
    HealthView,
    SignalView,
    SnapshotView,
)

NOW = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
AnswerKey = tuple[str, str, str, str]
Waiting = asyncio.Future[Committed]
Held = tuple[Waiting, str, IdempotencyDraft]


class TestClock:
    """Time stands still until a test moves it."""

    __test__ = False

    def __init__(self) -> None:
        self.at = NOW
        self.ns = 1_000_000_000

    def now(self) -> datetime:
        return self.at

    def monotonic_ns(self) -> int:
        return self.ns

    def forward(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.ns += int(seconds * 1e9)


class Accepted(NamedTuple):
    plan: FanoutPlan
    committed: Waiting


def leg(account_id: str, outcome: str) -> FollowerLeg:
    assert outcome in ("approved", "skipped", "refused")
    return FollowerLeg(account_id, "r-" + account_id, 1, outcome, "", "", "ES", Decimal(2), None)


@dataclass
class Ledger:
    """Stands in for engine and journal: decides nothing, numbers what it takes, remembers first answers.

    `hold` keeps commits open until `release`; `trouble` is raised at once; `failure` fails commits.
    """

    signals: list[Signal] = field(default_factory=list[Signal])
    #: of the signals whose commit has not failed
    names: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    reports: list[tuple[str, str, ExecutionReport]] = field(
        default_factory=list[tuple[str, str, ExecutionReport]]
    )
    memory: dict[AnswerKey, IdempotencyRecord] = field(default_factory=dict[AnswerKey, IdempotencyRecord])
    database: dict[AnswerKey, IdempotencyRecord] = field(default_factory=dict[AnswerKey, IdempotencyRecord])
    open: dict[AnswerKey, Waiting] = field(default_factory=dict[AnswerKey, Waiting])
    held: deque[Held] = field(default_factory=deque[Held])
    hold: bool = False
    #: too much is being decided
    full: bool = False
    #: room comes free then
    free: asyncio.Event | None = None
    trouble: Exception | None = None
    failure: Exception | None = None
    seq: int = 40
    now: Callable[[], datetime] = lambda: NOW
    legs: tuple[FollowerLeg, ...] = (leg("f1", "approved"), leg("f2", "skipped"), leg("f3", "refused"))

    async def turn(self, signal: Signal) -> None:
        """Nothing is ever missing here."""
        del signal

    def must_wait(self, signal: Signal) -> bool:
        """Like a gateway in a burst, when a test says so."""
        return self.full and not signal.is_exit

    async def room(self, signal: Signal) -> None:
        """None comes free, unless a test makes some."""
        del signal
        if self.free is None:
            raise QueueFull("More signals came at once than can be copied in time.")
        await self.free.wait()

    def accept(self, signal: Signal, answer: Answering | None, received_ns: int | None = None) -> Accepted:
        assert answer is not None
        assert received_ns is not None
        check_signal(signal)
        if self.trouble is not None:
            raise self.trouble
        plan = FanoutPlan(
            list_id(signal.workspace, signal.signal_id),
            signal.signal_id,
            signal.received_at,
            1,
            (),
            self.legs,
        )
        if (signal.workspace, signal.signal_id) in self.names:
            raise Duplicate("known", SignalRef(signal.workspace, signal.signal_id, "s0", 0))
        future = self._append(signal.workspace, answer(plan), signal.signal_id)
        self.signals.append(signal)
        self.names.add((signal.workspace, signal.signal_id))
        return Accepted(plan, future)

    def record(
        self, workspace: str, account_id: str, report: ExecutionReport, record: IdempotencyDraft
    ) -> "Accepted":
        if self.trouble is not None:
            raise self.trouble
        if any(
            (kept[1], kept[2].exec_id) == (account_id, report.exec_id)
            for kept in self.reports
            if report.exec_id
        ):
            future: Waiting = asyncio.get_running_loop().create_future()
            future.set_exception(Duplicate("known", SignalRef(workspace, "", "s", 1)))
        else:
            future = self._append(workspace, record, "")
            self.reports.append((workspace, account_id, report))
        return Accepted(FanoutPlan("", "", NOW, 1, (), ()), future)

    def _append(self, workspace: str, record: IdempotencyDraft, signal_id: str) -> Waiting:
        future = Fate(loop=asyncio.get_running_loop())
        key = (workspace, record.principal, record.endpoint, record.key)
        self.open[key] = future
        if self.hold:
            self.held.append((future, workspace, record))
        else:
            asyncio.get_running_loop().call_soon(self._commit, future, workspace, record, signal_id)
        return future

    def release(self) -> None:
        while self.held:
            self._commit(*self.held.popleft(), "")

    def _commit(self, future: Waiting, workspace: str, record: IdempotencyDraft, signal_id: str) -> None:
        key = (workspace, record.principal, record.endpoint, record.key)
        self.open.pop(key, None)
        if self.failure is not None:
            self.names.discard((workspace, signal_id))
            future.set_exception(self.failure)
            return
        if key in self.database:
            future.set_exception(Duplicate("known", self.database[key]))
            return
        self.seq += 1
        body = record.body(self.seq)
        self.memory[key] = self.database[key] = IdempotencyRecord(
            *key, record.fingerprint, record.status, body, self.now()
        )
        row = JournalRow("s0", self.seq, 1, NOW, "trade.signals", "SignalPlanned", workspace, b"{}", b"")
        future.set_result(Committed((row,), (body,)))

    def forget(self) -> None:
        """A restart: memory is gone, the database is not."""
        self.memory.clear()

    def first_answer(
        self, workspace: str, principal: str, endpoint: str, key: str
    ) -> IdempotencyRecord | None:
        return self.memory.get((workspace, principal, endpoint, key))

    async def stored_answer(
        self, workspace: str, principal: str, endpoint: str, key: str
    ) -> IdempotencyRecord | None:
        return self.database.get((workspace, principal, endpoint, key))

    def running(self, workspace: str, principal: str, endpoint: str, key: str) -> bool:
        return (workspace, principal, endpoint, key) in self.open

    @property
    def untouched(self) -> bool:
        return not (self.signals or self.reports or self.open or self.database)


@dataclass
class Keyring:
    keys: dict[str, KeyGrant] = field(default_factory=dict[str, KeyGrant])
    hooks: dict[str, HookGrant] = field(default_factory=dict[str, HookGrant])
    operators: dict[str, OperatorGrant] = field(default_factory=dict[str, OperatorGrant])

    def key(self, key_id: str) -> KeyGrant | None:
        return self.keys.get(key_id)

    def hook(self, hook_id: str) -> HookGrant | None:
        return self.hooks.get(hook_id)

    def operator(self, key_id: str) -> OperatorGrant | None:
        return self.operators.get(key_id)


@dataclass
class Shown:
    """Views: one signal of workspace w1, health that a test may change."""

    accepting: bool = True

    async def signal(self, workspace: str, signal_id: str) -> SignalView | None:
        if (workspace, signal_id) != ("w1", "s-known"):
            return None
        return SignalView(
            signal_id="s-known",
            sequence=7,
            list_id="ls1",
            leader="l1",
            source="ea",
            action="enter",
            symbol="ES",
            side="buy",
            quantity=Decimal("2"),
            occurred_at=NOW,
            received_at=NOW,
            copies=CopyCounts(approved=0, skipped=0, refused=0),
            legs=(),
        )

    def snapshot(self, workspace: str, accounts: frozenset[str] | None) -> SnapshotView:
        del workspace, accounts
        return SnapshotView(sequence=41, at=NOW, accounts=(), positions=(), orders=(), switches=())

    def detail(self, workspace: str, accounts: frozenset[str] | None) -> HealthDetailView:
        del workspace, accounts
        return HealthDetailView(
            status="healthy", role="holder", epoch=1, loop_lag_ms=0, accounts=(), forecasts=(), clocks=()
        )

    def health(self) -> HealthView:
        status = "healthy" if self.accepting else "unhealthy"
        return HealthView(
            status=status,
            dependencies=Dependencies(postgres=status, brokers={"toy": "healthy"}),
            accepting=self.accepting,
        )


@dataclass
class Controls:
    """Owns workspace w1 with leader l1 and accounts f1, f2."""

    switch_list: list[KillSwitch] = field(default_factory=list[KillSwitch])
    flattened: list[FlattenOrder] = field(default_factory=list[FlattenOrder])

    def owns(self, workspace: str, scope: SwitchScope, scope_id: str) -> bool:
        return (workspace, scope, scope_id) in {
            ("w1", "workspace", "w1"),
            ("w1", "leader", "l1"),
            ("w1", "account", "f1"),
            ("w1", "account", "f2"),
            ("w2", "workspace", "w2"),
        }

    def accounts_in(self, workspace: str, scope: SwitchScope, scope_id: str) -> frozenset[str]:
        del workspace
        return frozenset({scope_id} if scope == "account" else {"f1", "f2"})

    def switches(self, workspace: str) -> tuple[KillSwitch, ...]:
        del workspace
        return tuple(self.switch_list)

    async def set_switch(
        self, workspace: str, scope: SwitchScope, scope_id: str, state: SwitchState, reason: str, who: str
    ) -> KillSwitch:
        del workspace
        switch = KillSwitch(scope, scope_id, state, reason, who, len(self.switch_list) + 1)
        self.switch_list.append(switch)
        return switch

    async def flatten(self, order: FlattenOrder) -> FlattenView:
        self.flattened.append(order)
        return self._view("fl1")

    def flatten_progress(self, workspace: str, flatten_id: str) -> FlattenView | None:
        return self._view("fl1") if (workspace, flatten_id) == ("w1", "fl1") else None

    def _view(self, flatten_id: str) -> FlattenView:
        account = FlattenAccountView(account_id="f1", state="requested")
        return FlattenView(flatten_id=flatten_id, done=False, accounts=(account,))


Asked = tuple[str, int, frozenset[str] | None]


@dataclass
class News:
    """The broadcast: what a test puts in comes out; the queue ends with the subscription."""

    asked: list[Asked] = field(default_factory=list[Asked])
    closed: int = 0
    queue: "asyncio.Queue[Batch | Resume]" = field(default_factory=lambda: asyncio.Queue(maxsize=100))

    async def subscribe(
        self, workspace: str, after_seq: int, accounts: frozenset[str] | None
    ) -> AsyncIterator[Batch | Resume]:
        self.asked.append((workspace, after_seq, accounts))
        try:
            while True:
                yield await self.queue.get()
        finally:
            self.closed += 1
