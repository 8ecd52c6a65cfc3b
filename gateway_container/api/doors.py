"""What the doors need from the rest of the gateway, as small Protocols; `compose.py` fills `Doors`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Literal, NamedTuple, Protocol

from gateway_container.api.ea_door import EaDoor, NoEa
from gateway_container.api.limits_door import LimitsDoor, NoLimits
from kopitra.domain.errors import Unavailable
from kopitra.domain.executions import ExecutionReport
from kopitra.domain.fanout import FanoutPlan
from kopitra.domain.signals import Signal
from kopitra.domain.switches import KillSwitch, SwitchScope, SwitchState
from kopitra.ports import Clock
from kopitra.store.drafts import Committed, IdempotencyDraft, IdempotencyRecord
from kopitra.wire.doubts import DoubtView
from kopitra.wire.repairs import RepairBody, RepairView
from kopitra.wire.views import FlattenView, HealthDetailView, HealthView, SignalView, SnapshotView

Network = IPv4Network | IPv6Network
Role = Literal["viewer", "operator", "admin"]


@dataclass(frozen=True, slots=True)
class KeyGrant:
    """What one EA key allows, as held in memory. `secret_sha256` has 32 bytes.

    `account` is what X-TradeAgent-Account must say. `symbols` maps the sender's names to ours. During a
    rotation `signing_secrets` holds both.
    """

    key_id: str
    workspace: str
    leader: str
    account: str
    secret_sha256: bytes
    expires_at: datetime
    revoked_at: datetime | None = None
    require_signature: bool = False
    signing_secrets: tuple[bytes, ...] = field(default=(), repr=False)
    allow_list: tuple[Network, ...] = ()
    rate_per_minute: int = 600
    symbols: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class HookGrant:
    """One webhook address. `preset` names a built-in reader or is "template"; `settings` are string to string
    (see `kopitra/wire/webhooks/settings.py`)."""

    hook_id: str
    workspace: str
    leader: str
    secret_sha256: bytes
    preset: str
    template: str = ""
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    signing_secrets: tuple[bytes, ...] = field(default=(), repr=False)
    allow_list: tuple[Network, ...] = ()
    rate_per_minute: int = 120
    active: bool = True
    version: int = 1


@dataclass(frozen=True, slots=True)
class OperatorGrant:
    """One operator key or session. `accounts` None: every account of the workspace."""

    key_id: str
    workspace: str
    name: str
    role: Role
    secret_sha256: bytes
    expires_at: datetime
    revoked_at: datetime | None = None
    accounts: frozenset[str] | None = None


class Credentials(Protocol):
    """Keys by their public id, from memory; a change is seen within five seconds (S-04)."""

    def key(self, key_id: str) -> KeyGrant | None: ...
    def hook(self, hook_id: str) -> HookGrant | None: ...
    def operator(self, key_id: str) -> OperatorGrant | None: ...


class Pending(Protocol):
    """Something accepted whose commit is in flight. The future refuses to be cancelled (`append_queue.Fate`)."""

    @property
    def committed(self) -> "asyncio.Future[Committed]": ...


class Answers(Protocol):
    """First answers to idempotent requests."""

    def first_answer(
        self, workspace: str, principal: str, endpoint: str, key: str
    ) -> IdempotencyRecord | None:
        """From memory."""
        ...

    async def stored_answer(
        self, workspace: str, principal: str, endpoint: str, key: str
    ) -> IdempotencyRecord | None:
        """From the database. Raises Unavailable."""
        ...

    def running(self, workspace: str, principal: str, endpoint: str, key: str) -> bool:
        """True while the first call has no answer yet."""
        ...


class Answering(Protocol):
    """The first answer to a request, made of the plan that its signal got, or without one."""

    def __call__(self, plan: FanoutPlan, /) -> IdempotencyDraft: ...

    def queued(self) -> IdempotencyDraft:
        """The signal is durable in the inbox; the holder plans it."""
        ...


class Intake(Answers, Protocol):
    """Where every signal ends."""

    def accept(self, signal: Signal, answer: Answering | None, received_ns: int | None = None) -> Pending:
        """Decide and append. Raises SignalRefused, QueueFull, Unavailable or LeaseLost: nothing changed."""
        ...

    async def turn(self, signal: Signal) -> None:
        """Wait for the signals that its sender numbered before it; half a second at most, exits never."""
        ...

    def must_wait(self, signal: Signal) -> bool:
        """It waits for `room` before it comes in: too much is being decided, and it closes nothing."""
        ...

    async def room(self, signal: Signal) -> None:
        """Wait until fewer signals are being decided, half a second at most. Raises QueueFull, or SignalRefused when
        its leader left meanwhile."""
        ...


class Executions(Protocol):
    """Callbacks of brokers and EAs."""

    def record(
        self, workspace: str, account_id: str, report: ExecutionReport, record: IdempotencyDraft
    ) -> Pending:
        """Take a report. Raises KeyError for an account that is not the workspace's."""
        ...


class Views(Protocol):
    """What people may see, always inside one workspace."""

    async def signal(self, workspace: str, signal_id: str) -> SignalView | None: ...
    def snapshot(self, workspace: str, accounts: frozenset[str] | None) -> SnapshotView: ...
    def health(self) -> HealthView: ...
    def detail(self, workspace: str, accounts: frozenset[str] | None) -> HealthDetailView: ...


@dataclass(frozen=True, slots=True)
class FlattenOrder:
    """Close everything in a scope of one workspace until each broker confirmed flat."""

    workspace: str
    scope: SwitchScope
    scope_id: str
    reason: str
    who: str
    #: halt the scope first, so that nothing opens again behind the closing
    halt: bool
    #: the operator's accounts; None: all
    accounts: frozenset[str] | None


class Control(Protocol):
    """What stops the machine; works while the database is down."""

    def owns(self, workspace: str, scope: SwitchScope, scope_id: str) -> bool:
        """True when the scope lies inside the workspace (a broker does when one of its accounts uses it)."""
        ...

    def accounts_in(self, workspace: str, scope: SwitchScope, scope_id: str) -> frozenset[str]:
        """The workspace's accounts that the scope covers."""
        ...

    def switches(self, workspace: str) -> tuple[KillSwitch, ...]: ...

    async def set_switch(
        self, workspace: str, scope: SwitchScope, scope_id: str, state: SwitchState, reason: str, who: str
    ) -> KillSwitch:
        """Set or lift; returns the switch with its new epoch, in force in this process."""
        ...

    async def flatten(self, order: FlattenOrder) -> FlattenView: ...
    def flatten_progress(self, workspace: str, flatten_id: str) -> FlattenView | None: ...


class Doubts(Protocol):
    """Orders that nobody knows the fate of."""

    def waiting(self, workspace: str, accounts: frozenset[str] | None) -> list[DoubtView]:
        """Those in doubt, and those that a person has taken over."""
        ...

    def park(self, workspace: str, cl_ord_id: str, who: str, why: str) -> DoubtView:
        """A person takes one over. Raises KeyError for one that is not in doubt."""
        ...

    def settle(self, workspace: str, cl_ord_id: str, who: str, why: str) -> DoubtView:
        """A person says that the broker never had it. Raises KeyError likewise."""
        ...


class NoDoubts:
    """A replica without the accounts knows of none and may decide of none: everything raises Unavailable."""

    def waiting(self, workspace: str, accounts: frozenset[str] | None) -> list[DoubtView]:
        raise _elsewhere()

    def park(self, workspace: str, cl_ord_id: str, who: str, why: str) -> DoubtView:
        raise _elsewhere()

    def settle(self, workspace: str, cl_ord_id: str, who: str, why: str) -> DoubtView:
        raise _elsewhere()


class RepairDesk(Protocol):
    """Drift repair: a preview, then the very same plan."""

    async def preview(self, workspace: str, body: RepairBody, accounts: frozenset[str] | None) -> RepairView:
        """Read the accounts (None: all of the workspace) and plan; nothing is sent."""
        ...

    async def apply(
        self, workspace: str, plan_id: str, who: str, accounts: frozenset[str] | None
    ) -> RepairView:
        """Carry out a plan about these accounts; durable when it returns. Raises KopitraError for an unknown one."""
        ...

    def lift(self, workspace: str, account_id: str, symbol: str, who: str) -> None:
        """Entries of the account, or of one contract there, go on."""
        ...


class NoRepairs:
    """A replica without the accounts: everything raises Unavailable."""

    async def preview(self, workspace: str, body: RepairBody, accounts: frozenset[str] | None) -> RepairView:
        raise _elsewhere()

    async def apply(
        self, workspace: str, plan_id: str, who: str, accounts: frozenset[str] | None
    ) -> RepairView:
        raise _elsewhere()

    def lift(self, workspace: str, account_id: str, symbol: str, who: str) -> None:
        raise _elsewhere()


def _elsewhere() -> Unavailable:
    return Unavailable(
        "This replica does not hold the accounts; ask the one that does, or again in a moment."
    )


class StreamItem(NamedTuple):
    """One journal entry on its way to a console; `payload` is its stored JSON."""

    seq: int
    at: datetime
    kind: str
    entry: str
    payload: bytes


class Batch(NamedTuple):
    """Entries in the order of `seq`, at most as many as the broadcast's own bound."""

    items: tuple[StreamItem, ...]


class Resume(NamedTuple):
    """Too slow, or what was asked is gone: read the snapshot, then connect again after `seq`."""

    seq: int
    reason: str


class Broadcast(Protocol):
    """The journal, live."""

    def subscribe(
        self, workspace: str, after_seq: int, accounts: frozenset[str] | None
    ) -> AsyncIterator[Batch | Resume]:
        """Entries after `after_seq`; a Resume is the last thing it yields. Closing it unsubscribes."""
        ...


class Served(NamedTuple):
    """One answered request, for logs, metrics and traces; holds no secret and no query."""

    route: str
    method: str
    status: int
    #: problem code, "" for success
    code: str
    request_id: str
    workspace: str
    #: public id of the key or hook, "" before it was known
    principal: str
    signal_id: str
    took_ns: int


def _ignore(served: Served) -> None:
    del served


@dataclass(frozen=True, slots=True)
class Settings:
    """Switches of the doors."""

    #: read the client's address from the rightmost X-Forwarded-For entry: behind a proxy that sets it (S-12)
    trust_proxy: bool = False
    #: Origin values that may open the console's stream; empty: none at all, or the same host
    origins: frozenset[str] = frozenset()
    #: serve /openapi.json (off in production, S-33)
    show_docs: bool = True
    #: bearer that may read /metrics and the inside routes; empty: only from a loopback address
    internal_key_sha256: bytes = field(default=b"", repr=False)
    #: failed credentials per minute and address, before 429
    failures_per_minute: int = 30


@dataclass(slots=True)
class Doors:
    """Everything the doors need. What stands behind them changes once, when a standby becomes the holder."""

    clock: Clock
    credentials: Credentials
    intake: Intake
    executions: Executions
    views: Views
    control: Control
    broadcast: Broadcast
    #: text exposition of the process's metrics
    metrics: Callable[[], bytes]
    settings: Settings = Settings()
    observe: Callable[[Served], None] = _ignore
    doubts: Doubts = field(default_factory=NoDoubts)
    limits: LimitsDoor = field(default_factory=NoLimits)
    repairs: RepairDesk = field(default_factory=NoRepairs)
    ea: EaDoor = field(default_factory=NoEa)
