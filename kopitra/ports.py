"""The seams: small Protocols, wired in one composition root per process. Everything else is a function."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal, NamedTuple, Protocol

from kopitra.domain.executions import AccountSnapshot, BalanceReport, ExecutionReport, PositionReport, Quote
from kopitra.domain.orders import OrderIntent
from kopitra.domain.signals import OrdType, Side, TimeInForce


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> datetime:
        """Wall clock, UTC, aware."""
        ...

    def monotonic_ns(self) -> int:
        """For durations and deadlines."""
        ...


class Secrets(Protocol):
    """Where secrets live (sealed in the store locally, Key Vault in Azure)."""

    def get(self, name: str) -> str:
        """The secret; raises KeyError naming it."""
        ...


SessionState = Literal["closed", "connecting", "logging_in", "reconciling", "live", "draining", "backoff"]


@dataclass(frozen=True, slots=True)
class AccountLink:
    """One of our accounts as its broker knows it.

    `broker_account` is what the trader typed or picked (an account number or name); the session resolves it to the
    broker's own numeric ids at login. `settings` are the adapter's per-account settings (validated by its schema).
    """

    account_id: str
    broker_account: str
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LoginPlan:
    """One login at one broker and the accounts it carries.

    A login is the unit of a session because brokers count connections and requests per user, not per account.
    `settings` hold hosts and switches (strings), `credentials` the secrets by the names of the adapter's schema.
    """

    login_id: str
    accounts: tuple[AccountLink, ...]
    settings: Mapping[str, str]
    credentials: Mapping[str, str]
    #: when another process of ours sent requests there lately (monotonic nanoseconds of this one, oldest first): they
    #: fill the broker's windows too
    spent_ns: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a broker really offers, as its contract cards prove it; cards are skipped by capability, never by name."""

    ord_types: frozenset[OrdType]
    times_in_force: frozenset[TimeInForce]
    replace: Literal["amend", "cancel_replace", "none"]
    #: entry with attached stop and target in one request, linked at the broker
    brackets: bool
    dedups_cl_ord_id: bool
    cl_ord_id_length_max: int
    netting: bool
    #: a native "close this account's position in this contract"
    closes_position: bool
    reports: Literal["stream", "poll", "stream_and_poll"]
    quotes: bool
    #: the snapshot carries executions by id (poor man's drop copy)
    lists_executions: bool
    # What doubt needs. The defaults claim nothing, so that nothing rests on a belief.
    #: the snapshot names finished orders too: filled and canceled ones, by our ids
    lists_finished_orders: bool = False
    #: a whole snapshot names every order of ours that the broker has, whatever became of it: one that two such reads
    #: do not name was never placed
    proves_absence: bool = False
    #: milliseconds that the lists may lag behind what happened (p99.9)
    lists_lag_ms_max: int = 0
    #: a second order of an id is refused for ever, also after the first one filled or was canceled
    dedups_for_ever: bool = False
    #: the broker itself cuts a reduce-only order to the position
    reduce_only: bool = False
    #: the broker cancels our working orders when our session ends
    cancels_on_disconnect: bool = False


class Sent(NamedTuple):
    """The bytes are in the socket's hands; `at_ns` monotonic."""

    at_ns: int


RefusalReason = Literal[
    "not_supported", "session_down", "busy", "rate_budget", "unknown_contract", "unknown_order", "penalty", "stale",
]  # fmt: skip


class NotSent(NamedTuple):
    """No byte was written. `busy` and `rate_budget` may be tried again after `retry_after_s`."""

    reason: RefusalReason
    text: str = ""
    retry_after_s: float = 0.0


class Encoded(NamedTuple):
    """An order as the broker's bytes, made before the commit so that nothing but the write is left after it.

    `payload` belongs to the adapter that made it. `attached` are the client ids of bracket children that travel in
    the same request.
    """

    cl_ord_id: str
    account_id: str
    payload: bytes
    attached: tuple[str, ...] = ()
    #: requests it costs as the broker counts them, what is attached included
    requests: int = 1


#: more requests than any window holds
BOUNDLESS: Final = 1 << 62


class Forecast(NamedTuple):
    """What the request budget of a login still allows now, so that a whole fan-out can be judged before its first
    write. Requests; `limit` in any `per_s` seconds is what entries may use of the tightest window at most."""

    #: what is left of the part of a window that entries, or polls, may fill
    entry_share: int
    poll_share: int
    limit: int
    per_s: float
    #: seconds of silence that the broker asked for
    paused_s: float = 0.0
    #: what is left of the whole window beside `kept`; below 0 where closing all that is open would not fit
    free: int = BOUNDLESS
    #: requests kept for canceling and closing all that is open
    kept: int = 0

    @property
    def entries(self) -> int:
        """Requests of entries that fit now."""
        return max(0, min(self.entry_share, self.free))

    @property
    def polls(self) -> int:
        """Requests of polls that fit now."""
        return max(0, min(self.poll_share, self.free))


class OrderRef(NamedTuple):
    """A working order of ours, as the engine knows it, for cancel and replace."""

    cl_ord_id: str
    order_id: str
    account_id: str
    symbol: str
    side: Side
    ord_type: OrdType
    qty: Decimal
    price: Decimal | None
    stop_price: Decimal | None
    trail_offset: Decimal | None
    time_in_force: TimeInForce


@dataclass(frozen=True, slots=True)
class NewNumbers:
    """What a replace changes; None keeps the present value."""

    qty: Decimal | None = None
    price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_offset: Decimal | None = None


@dataclass(frozen=True, slots=True)
class OrderUnknown:
    """Bytes of a placement left and no authoritative answer came: the child is in doubt."""

    account_id: str
    cl_ord_id: str
    reason: str
    received_ns: int = 0


@dataclass(frozen=True, slots=True)
class RequestUnknown:
    """Bytes of a cancel or replace (`request_id`) left and no answer came; the order itself is not in doubt."""

    account_id: str
    cl_ord_id: str
    request_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class SessionChanged:
    """The session moved to `state`; `fatal` means it will not try again by itself."""

    login_id: str
    state: SessionState
    reason: str = ""
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class ProtocolAlert:
    """The broker said something that does not parse; `payload` is bounded and free of secrets. `unmodelled`: a state or
    word of an order of this account that the adapter's tables do not have."""

    login_id: str
    account_id: str | None
    text: str
    payload: str = ""
    unmodelled: bool = False


@dataclass(frozen=True, slots=True)
class Penalized:
    """The broker asked this login for `seconds` of silence."""

    login_id: str
    seconds: float
    text: str


@dataclass(frozen=True, slots=True)
class BrokerTime:
    """The broker's wall clock as an answer told it; `ours` is our wall clock when the answer was read.

    `resolution_ms`: how coarse the broker's stamp is (an HTTP Date has whole seconds).
    """

    login_id: str
    at: datetime
    ours: datetime
    resolution_ms: int


#: news of a login that move no order
LoginNotice = Penalized | BrokerTime


@dataclass(frozen=True, slots=True)
class Writable:
    """A session that refused with `busy` can take orders again."""

    login_id: str


SessionEvent = (
    ExecutionReport | PositionReport | BalanceReport | Quote | AccountSnapshot
    | OrderUnknown | RequestUnknown | SessionChanged | ProtocolAlert | Writable | Penalized | BrokerTime
)  # fmt: skip

#: why an account is read, most urgent first
ReadLane = Literal["flatten", "exit", "status"]

#: called on the event loop, in the order of the wire; must not block and never raises
EventSink = Callable[[SessionEvent], None]


class BrokerSession(Protocol):
    """One live login. Order calls are synchronous: they end in bytes handed to the socket or in a local refusal;
    what the broker makes of them arrives at the sink as a report. Nothing here ever sends a placement twice."""

    @property
    def state(self) -> SessionState: ...

    async def run(self) -> None:
        """Own the session until `close`: connect, log in, subscribe, snapshot, go live, reconnect with backoff."""
        ...

    def encode(self, intent: OrderIntent, attached: Sequence[OrderIntent] = ()) -> Encoded | NotSent:
        """Pure: the order as bytes. `attached` are bracket children, only where `Capabilities.brackets`."""
        ...

    def submit(self, encoded: Encoded, lane_exit: bool) -> Sent | NotSent:
        """Write the order now. `lane_exit` lets the API budget use its reserve."""
        ...

    def cancel(self, order: OrderRef, request_id: str) -> Sent | NotSent:
        """Ask the broker to cancel a working order."""
        ...

    def replace(self, order: OrderRef, numbers: NewNumbers, request_id: str) -> Sent | NotSent:
        """Ask the broker for new numbers on a working order."""
        ...

    async def snapshot(
        self, account_id: str, since: datetime | None, *, lane: ReadLane = "exit"
    ) -> AccountSnapshot:
        """Read positions, working and recent orders, executions since `since` and the balance.

        `lane`: whose budget it uses. `flatten`: a penalty that an entry earned does not hold it back, and it may spare
        the balance. `exit`: a doubt, a recovery or a person asks. `status`: a timer asks; it may wait.
        """
        ...

    def forecast(self) -> Forecast:
        """What this login may still send now. Pure and quick: a fan-out asks before it writes."""
        ...

    def keep(self, kept: Callable[[], int]) -> None:
        """Leave so many requests of each window to exits, whoever else asks; `kept` says how many at any time."""
        ...

    def watch(self, symbols: Sequence[str]) -> None:
        """Stream quotes of these contracts from now on, where the broker offers them; else nothing happens."""
        ...

    async def close(self, *, drain_s: float) -> None:
        """No new placements; cancels pass for `drain_s` seconds; then closed."""
        ...


@dataclass(frozen=True, slots=True)
class BrokerAccount:
    """An account as the broker lists it."""

    broker_account: str
    title: str
    balance: Decimal | None
    tradable: bool


class RunningSimulator(Protocol):
    """A simulator that listens. `settings` and `credentials` make a LoginPlan for the login `name`."""

    @property
    def control_url(self) -> str:
        """Base URL of the control API (`/_sim/...`): prices, faults, manual orders, the ground-truth ledger."""
        ...

    def login(self, name: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """(settings, credentials) of a login that the simulator knows."""
        ...

    async def stop(self) -> None: ...


class BrokerAdapter(Protocol):
    """A broker, as a value. The folder list under `brokers/` is the broker list."""

    @property
    def code(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def capabilities(self) -> Capabilities: ...
    @property
    def credential_schema(self) -> Mapping[str, object]:
        """JSON schema of `LoginPlan.credentials` and settings: forms and validation are built from it."""
        ...

    def open_session(self, login: LoginPlan, sink: EventSink, clock: Clock) -> BrokerSession:
        """A session that is not connected yet; `run()` connects it."""
        ...

    async def list_accounts(self, login: LoginPlan, clock: Clock) -> tuple[BrokerAccount, ...]:
        """Log in, list the login's accounts, log out (account sync)."""
        ...

    async def start_simulator(
        self, *, host: str, port: int, logins: Mapping[str, Sequence["SimAccount"]], seed: int
    ) -> RunningSimulator:
        """Serve the broker's real wire on (host, port); port 0 picks one."""
        ...


@dataclass(frozen=True, slots=True)
class SimAccount:
    """An account that a simulator starts with; `flags` are the face's own switches."""

    broker_account: str
    balance: Decimal
    flags: Mapping[str, str]
