"""The journal's entries: every fact the gateway decides or hears, as one closed list of types.

Each entry belongs to one of six streams (`kind`). The store keeps them numbered and hash-chained; `fold.py` turns
them into the book. Field names are the storage format: a renamed field is a migration.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from kopitra.domain.executions import ExecutionReport, PositionReport
from kopitra.domain.fanout import FanoutPlan
from kopitra.domain.leader_snapshot import LeaderSnapshot
from kopitra.domain.loss_ladder import Standing
from kopitra.domain.measuring import Measure
from kopitra.domain.orders import CancelIntent, OrderIntent, ReplaceIntent
from kopitra.domain.repair import RepairPlan
from kopitra.domain.signals import Signal
from kopitra.domain.switches import KillSwitch
from kopitra.domain.sync import Drift

Kind = Literal[
    "trade.signals",
    "trade.executions",
    "positions.updates",
    "account.status",
    "order.errors",
    "system.heartbeat",
]


@dataclass(frozen=True, slots=True)
class SignalPlanned:
    """A signal and its whole plan, in one row, durable before anything leaves."""

    signal: Signal
    plan: FanoutPlan


@dataclass(frozen=True, slots=True)
class LeaderTold:
    """A snapshot of a leader: what it holds and rests is known again, whatever was missed (R-033)."""

    snapshot: LeaderSnapshot


@dataclass(frozen=True, slots=True)
class StreamStale:
    """A leader's EA was not heard for so long: its entries are refused until a snapshot (R-035)."""

    leader: str
    silent_s: int
    at: datetime


class SentFact(NamedTuple):
    """Bytes of an order (or of a cancel or replace of `orig_cl_ord_id`) were handed to the socket."""

    cl_ord_id: str
    #: microseconds from `received_at` of the signal (or of the report that caused it)
    planned_us: int
    durable_us: int
    sent_us: int
    orig_cl_ord_id: str | None = None
    #: what was really sent where the last look cut it (reduce-only), else None
    qty: Decimal | None = None


@dataclass(frozen=True, slots=True)
class OrdersSent:
    """The writes of one fan-out."""

    list_id: str
    sent: tuple[SentFact, ...]


@dataclass(frozen=True, slots=True)
class OrderNotSent:
    """No byte of this order was written and none will be."""

    cl_ord_id: str
    account_id: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """What follows from a report: held orders released (claimed with their final numbers), closes of what is too
    much, protective orders resized or canceled, held orders that became pointless."""

    cause: str
    account_id: str
    released: tuple[OrderIntent, ...] = ()
    cancels: tuple[CancelIntent, ...] = ()
    replaces: tuple[ReplaceIntent, ...] = ()
    dropped: tuple[str, ...] = ()
    #: the order that could not be found and that `released` stands in for: a close of another id, none where nothing
    #: is left to close, or the same entry
    renewed: str = ""

    @property
    def is_empty(self) -> bool:
        """Nothing follows."""
        return not (self.released or self.cancels or self.replaces or self.dropped or self.renewed)

    def asks(self, cl_ord_id: str) -> bool:
        """It wants a cancel or move of this order."""
        return any(r.orig_cl_ord_id == cl_ord_id for r in (*self.cancels, *self.replaces))

    @property
    def only_shrinks(self) -> bool:
        """It opens nothing: a reversal's entry that is released now needs the journal."""
        return all(intent.reduce_only for intent in self.released)


@dataclass(frozen=True, slots=True)
class Reported:
    """A broker said something of an order."""

    report: ExecutionReport


@dataclass(frozen=True, slots=True)
class Doubted:
    """Bytes may have reached the broker and no authoritative answer is known."""

    cl_ord_id: str
    account_id: str
    reason: str


class ReadFact(NamedTuple):
    """One whole read of an account that did not show an order: milliseconds after the doubt was known."""

    after_ms: int
    #: which life of the session it was made in, counted by the process
    life: int


@dataclass(frozen=True, slots=True)
class AbsenceProved:
    """The broker does not have an order and never had: by two complete reads, or because a person says so (`who`).
    The evidence stays here (R-010)."""

    cl_ord_id: str
    account_id: str
    reads: tuple[ReadFact, ...]
    #: milliseconds that the two reads had to lie apart
    t_vis_ms: int = 0
    who: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class OrderParked:
    """A person has taken an order in doubt over: it is looked up no more."""

    cl_ord_id: str
    account_id: str
    who: str
    why: str


@dataclass(frozen=True, slots=True)
class StrangerSeen:
    """The broker has an order with an id of our making that this journal does not know: rows were lost (R-077)."""

    account_id: str
    cl_ord_id: str
    order_id: str


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """A cancel or replace was refused, or its fate is unknown: the order itself goes on."""

    cl_ord_id: str
    account_id: str
    request: Literal["cancel", "replace"]
    reason: str


@dataclass(frozen=True, slots=True)
class SwitchChanged:
    """A kill switch was set or lifted."""

    switch: KillSwitch


@dataclass(frozen=True, slots=True)
class EntriesBlocked:
    """Entries of an account, or of one contract there, stop (reason) or go on again (empty reason)."""

    account_id: str
    reason: str
    #: contract; "" for the whole account
    symbol: str = ""
    #: who lifted it; "" for the gateway itself
    who: str = ""
    #: the broker's ids of working orders that nobody here sent, where they are a reason (R-043)
    orders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionNoted:
    """A broker session changed its state."""

    login_id: str
    broker: str
    state: str
    reason: str
    fatal: bool


@dataclass(frozen=True, slots=True)
class PositionDiffers:
    """The broker's position is not the book's: drift, a fact, never silently repaired."""

    report: PositionReport
    book_qty: Decimal


@dataclass(frozen=True, slots=True)
class DriftNoted:
    """Two reads showed drift (found), one showed none any more (cleared), or the gateway stops repairing it (parked).
    `run_id` names the comparison; what was closed by hand is attributed to nobody from here on."""

    run_id: str
    drift: Drift
    state: Literal["found", "cleared", "parked"]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RepairPlanned:
    """A repair and its orders, in one row, durable before anything leaves. `who` is "gateway" for its own."""

    plan: RepairPlan
    who: str


@dataclass(frozen=True, slots=True)
class ConfigChanged:
    """Somebody changed a workspace, login, account, leader, rule, key, hook or operator, at `changed_at` (the entry may
    come later, when a gateway runs). `before` and `after` are JSON texts without secrets, `null` for nothing."""

    who: str
    what: str
    what_id: str
    before: str
    after: str
    #: its number in the outbox; a repeated one is the same change
    change_id: int
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class AlertRaised:
    """Something a person must know. `code` is stable and kebab-case."""

    code: str
    text: str
    account_id: str = ""
    cl_ord_id: str = ""


@dataclass(frozen=True, slots=True)
class AlertCleared:
    """What an alert told of (the same code, account and order) is over."""

    code: str
    text: str
    account_id: str = ""
    cl_ord_id: str = ""


@dataclass(frozen=True, slots=True)
class FlattenNoted:
    """Progress of a flatten: requested, pending (reason), flat_confirmed or failed."""

    flatten_id: str
    account_id: str
    state: Literal["requested", "pending", "flat_confirmed", "failed"]
    detail: str
    who: str
    #: it failed, and is not tried again but by a person or while a loss lock stands
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class EquityMarked:
    """An account's losses are measured from here: a new start (by whom and why), day, or step of a highest value.

    `balance` and `equity` are the evidence. Folding never lowers a highest value (R-101).
    """

    account_id: str
    measure: Measure
    balance: Decimal
    equity: Decimal
    at: datetime
    who: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LimitRung:
    """An account went up or down the ladder of its loss limits (`version`), at this equity."""

    account_id: str
    standing: Standing
    equity: Decimal
    version: int
    at: datetime


@dataclass(frozen=True, slots=True)
class ExitPending:
    """A close was refused because nobody trades (`cause` is the order, `reason` the broker's words): it is tried
    again until the holding is where it should be, which `over` says."""

    account_id: str
    leader: str
    symbol: str
    cause: str
    reason: str
    tries: int
    at: datetime
    over: bool = False


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The gateway took or released the shard, or is alive."""

    build: str
    event: Literal["started", "recovered", "draining", "stopped"]
    at: datetime


Entry = (
    SignalPlanned | LeaderTold | StreamStale
    | OrdersSent | OrderNotSent | FollowUp | Reported | Doubted | AbsenceProved | OrderParked
    | StrangerSeen | RequestFailed | SwitchChanged
    | EquityMarked | LimitRung | ExitPending
    | DriftNoted | RepairPlanned
    | EntriesBlocked | SessionNoted | PositionDiffers | ConfigChanged | AlertRaised | AlertCleared
    | FlattenNoted | Heartbeat
)  # fmt: skip

KINDS: Final[dict[type[Entry], Kind]] = {
    SignalPlanned: "trade.signals",
    LeaderTold: "trade.signals",
    StreamStale: "trade.signals",
    OrdersSent: "trade.executions",
    OrderNotSent: "order.errors",
    FollowUp: "trade.executions",
    ExitPending: "order.errors",
    Reported: "trade.executions",
    Doubted: "order.errors",
    AbsenceProved: "order.errors",
    OrderParked: "order.errors",
    StrangerSeen: "order.errors",
    RequestFailed: "order.errors",
    SwitchChanged: "account.status",
    EntriesBlocked: "account.status",
    SessionNoted: "account.status",
    PositionDiffers: "positions.updates",
    DriftNoted: "positions.updates",
    RepairPlanned: "trade.signals",
    ConfigChanged: "account.status",
    AlertRaised: "order.errors",
    AlertCleared: "order.errors",
    FlattenNoted: "account.status",
    EquityMarked: "account.status",
    LimitRung: "account.status",
    Heartbeat: "system.heartbeat",
}

#: the name in the journal's `entry` column -> type
ENTRY_TYPES: Final[dict[str, type[Entry]]] = {cls.__name__: cls for cls in KINDS}
