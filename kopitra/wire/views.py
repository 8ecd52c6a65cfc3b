"""What the gateway tells people: a signal with its legs, a workspace's snapshot, health, flatten progress."""

from typing import Literal

from pydantic import Field

from kopitra.domain.fanout import LegOutcome
from kopitra.domain.orders import Role, State
from kopitra.domain.signals import Action, OrdType, Side
from kopitra.domain.switches import SwitchScope, SwitchState
from kopitra.wire.limits import LimitsView
from kopitra.wire.scalars import Answer, NumberOut, TimeOut


class OrderView(Answer):
    """One order of a leg. `hops` are microseconds since the signal was received, by hop name."""

    cl_ord_id: str
    order_id: str | None = None
    role: Role
    state: State
    symbol: str
    side: Side
    ord_type: OrdType
    qty: NumberOut
    price: NumberOut | None = None
    stop_price: NumberOut | None = None
    cum_qty: NumberOut
    leaves_qty: NumberOut
    avg_px: NumberOut | None = None
    reason: str = ""
    hops: dict[str, int] = Field(default_factory=dict)


class LegView(Answer):
    """What became of a signal for one follower; `reason` is a stable code, `detail` says it in words."""

    account_id: str
    rule_id: str
    rule_version: int
    outcome: LegOutcome
    reason: str = ""
    detail: str = ""
    qty: NumberOut | None = None
    notional: NumberOut | None = None
    orders: tuple[OrderView, ...] = ()


class CopyCounts(Answer):
    """Followers by outcome."""

    approved: int
    skipped: int
    refused: int


class SignalAccepted(Answer):
    """202: the signal is durable. `accepted`: so is its plan, and the other fields tell of it. `queued`: this process
    does not hold the shard; the one that does plans it at once, and GET /signals/{signalId} tells what it became.
    """

    status: Literal["accepted", "queued"] = "accepted"
    signal_id: str
    sequence: int | None = None
    list_id: str | None = None
    copies: CopyCounts | None = None


class SignalView(Answer):
    """A signal with each follower's leg."""

    signal_id: str
    sequence: int
    list_id: str
    leader: str
    source: str
    action: Action
    symbol: str
    contract: str | None = None
    side: Side | None = None
    quantity: NumberOut | None = None
    occurred_at: TimeOut
    received_at: TimeOut
    copies: CopyCounts
    legs: tuple[LegView, ...]


class ExecutionRecorded(Answer):
    """200: the execution is in the journal."""

    status: Literal["recorded"] = "recorded"


Condition = Literal["healthy", "degraded", "unhealthy"]
ReplicaRole = Literal["holder", "standby"]


class Dependencies(Answer):
    """Conditions of what the gateway stands on; `brokers` by broker code."""

    postgres: Condition
    storage: Condition | None = None
    key_vault: Condition | None = None
    brokers: dict[str, Condition] = Field(default_factory=dict)


class HealthView(Answer):
    """`accepting` False: new signals cannot be accepted, the answer is 503. A standby accepts, too: `epoch` is that
    of the lease that it holds or saw last.
    """

    status: Condition
    role: ReplicaRole = "holder"
    epoch: int = 0
    dependencies: Dependencies
    accepting: bool = Field(exclude=True)


class Alive(Answer):
    """The event loop runs."""

    status: Literal["alive"] = "alive"


class PositionView(Answer):
    """What we hold; `mark_px` and `open_pnl` where a quote is known."""

    account_id: str
    symbol: str
    qty: NumberOut
    avg_px: NumberOut | None = None
    mark_px: NumberOut | None = None
    open_pnl: NumberOut | None = None


class AccountView(Answer):
    """One follower or leader account with its session and what stops it."""

    account_id: str
    title: str
    broker: str
    session: str
    switch: SwitchState
    entries_blocked: str = ""
    #: contract -> why its entries are stopped
    blocked_symbols: dict[str, str] = Field(default_factory=dict)
    #: what differs from the broker, in words; "" when the last comparison found nothing
    out_of_sync: str = ""
    equity: NumberOut | None = None
    #: where it stands with its loss limits; null: it has none
    limits: LimitsView | None = None
    #: open: the broker does not answer, entries stop and exits leave one a second
    breaker: Literal["closed", "open", "half_open"] = "closed"
    queued: int = 0
    deadline_misses: int = 0
    #: mean microseconds from a write to the broker's answer
    service_us: int | None = None
    pending_exits: int = 0
    #: its orders end on paper: nothing of it is at the broker
    shadow: bool = False


class ForecastView(Answer):
    """What one signal of a leader costs one login, in requests, and what entries may still send there: `left` of
    `limit` in `per_seconds`. `with_bracket`: an entry with stop and target. `..._served`: how many of the followers
    would be served now; closing what they open must still fit, too."""

    leader: str
    login_id: str
    broker: str
    followers: int
    plain: int
    with_bracket: int
    plain_served: int
    with_bracket_served: int
    left: int
    limit: int
    per_seconds: float
    paused_seconds: float = 0.0


class ClockView(Answer):
    """How far our clock is ahead of another one, milliseconds."""

    clock: str
    ahead_ms: int


class JournalHealth(Answer):
    """Whether this process may write, what waits, and what nobody knows yet; times in milliseconds.

    `lease_left_ms` and `exits_left_ms` are below 0 when the right to write entries, or exits, has ended by the local
    clock; `switches_good_ms` when kill switches were not read for so long that they count as reducing.
    """

    writable: bool
    lease_left_ms: int
    exits_left_ms: int
    switches_good_ms: int | None
    #: facts and exits that wait for the database, and rows that the tables for queries lack
    backlog: int
    exits_waiting: int
    projections_behind: int
    in_doubt: int
    oldest_in_doubt_ms: int | None


class HealthDetailView(Answer):
    """For operators: how each account is served, what budgets are left, what the clocks say."""

    status: Condition
    role: ReplicaRole
    epoch: int
    loop_lag_ms: int
    accounts: tuple[AccountView, ...]
    forecasts: tuple[ForecastView, ...]
    clocks: tuple[ClockView, ...]
    #: of the process that holds the shard; null on a standby
    journal: JournalHealth | None = None


class SwitchView(Answer):
    """One kill switch."""

    scope: SwitchScope
    scope_id: str
    state: SwitchState
    reason: str
    who: str
    epoch: int
    #: lifted, and reducing until its accounts were compared with their brokers
    lifting: bool = False


class SnapshotView(Answer):
    """Everything a console shows at `sequence`; the stream goes on from there."""

    sequence: int
    at: TimeOut
    accounts: tuple[AccountView, ...]
    positions: tuple[PositionView, ...]
    orders: tuple[OrderView, ...]
    switches: tuple[SwitchView, ...]
    forecasts: tuple[ForecastView, ...] = ()


FlattenState = Literal["requested", "pending", "flat_confirmed", "failed"]


class FlattenAccountView(Answer):
    """Progress of one account, and what it held when the flatten was asked for."""

    account_id: str
    state: FlattenState
    detail: str = ""
    positions: tuple[PositionView, ...] = ()


class FlattenView(Answer):
    """A flatten: the positions first, then progress until each broker confirmed flat."""

    flatten_id: str
    done: bool
    accounts: tuple[FlattenAccountView, ...]


class TicketView(Answer):
    """A one-time ticket for the stream."""

    ticket: str
    expires_at: TimeOut
    accounts: tuple[str, ...] | None = None
