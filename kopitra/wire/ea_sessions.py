"""Bodies of EA sessions: opening one, what a terminal tells (inbox) and what it is told (outbox)."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import (
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from kopitra.domain.ea_sessions import HEARTBEAT_S, OUTBOX_MAX, OutType, SessionStatus
from kopitra.domain.instruments import UnknownSymbol, parse_symbol
from kopitra.domain.leader_snapshot import ORDERS_MAX, POSITIONS_MAX, LeaderSnapshot
from kopitra.wire.executions import ExecutionBody
from kopitra.wire.faults import BodyRefused, from_validation, refuse
from kopitra.wire.scalars import (
    SEQUENCE_MAX,
    Answer,
    ForeignId,
    IdText,
    Note,
    Number,
    Shape,
    SymbolText,
    Time,
)
from kopitra.wire.signals import Sender, SignalBody

#: events of one request or frame
EVENTS_MAX: Final = 50
#: what an EA can say it is able to do
CAPABILITIES_MAX: Final = 32

InType = Literal[
    "InitRequest", "StatusHeartbeat", "StatusSummary", "SyncSnapshot", "OrderIntent", "ExecutionReport",
    "OutboxAck", "ErrorAlert",
]  # fmt: skip
#: what a session may send only once it is approved
TRADING: Final[frozenset[InType]] = frozenset({"SyncSnapshot", "OrderIntent", "ExecutionReport"})


def _count(value: object) -> int:
    if isinstance(value, Decimal) and 0 <= value <= SEQUENCE_MAX and value == value.to_integral_value():
        return int(value)
    raise PydanticCustomError("invalid-sequence", "Send a whole number from 0 to 9007199254740992")


Count = Annotated[
    int,
    BeforeValidator(_count),
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": SEQUENCE_MAX}, mode="validation"),
]
Secret = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[!-~]+$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Hello(Shape):
    """What an EA says of itself."""

    client_version: Note | None = None
    device_id: Note | None = None
    platform: Note | None = None
    capabilities: Annotated[tuple[Note, ...], Field(max_length=CAPABILITIES_MAX, strict=False)] = ()


class SessionBody(_Hello):
    """Opens a session. `authenticationKey` is the EA key once more, or the signing secret that came with it."""

    auth_method: Literal["account_session_key", "pre_shared_key"]
    authentication_key: Secret


class SessionOpened(Answer):
    """A session's lease."""

    session_id: str
    session_token: str
    status: SessionStatus
    pending: bool
    heartbeat_seconds: int = HEARTBEAT_S
    previous_session_terminated: bool | None = None


class InboxEvent(Shape):
    """One thing that a terminal tells; `eventId` makes it count once."""

    event_type: InType
    payload: dict[str, object]
    occurred_at: Time | None = None
    event_id: IdText | None = None


class InboxBody(Shape):
    """Events in the order in which they happened."""

    events: Annotated[tuple[InboxEvent, ...], Field(min_length=1, max_length=EVENTS_MAX, strict=False)]


class InboxAccepted(Answer):
    """How many were taken."""

    accepted: int
    pending_session: bool


class OutEventView(Answer):
    """One thing that a terminal is told."""

    id: str
    sequence: int
    event_type: OutType
    payload: Mapping[str, object]
    requires_ack: bool


class OutboxView(Answer):
    """What a terminal is told now. `cursor`: what to ask with the next time."""

    cursor: int
    retry_after_ms: int
    pending: bool
    events: tuple[OutEventView, ...]


class InitBody(_Hello):
    """An EA begins anew, and wants its InitAck again."""


class HeartbeatBody(Shape):
    """Every five seconds: the number of the last act and the hash of what is held (docs/ea.md)."""

    leader_sequence: Count | None = None
    positions_hash: Digest | None = None


class SummaryBody(Shape):
    """How the leader's account stands; for people."""

    balance: Number | None = None
    equity: Number | None = None
    profit: Number | None = None
    open_positions: Count | None = None
    text: Note | None = None


class HeldBody(Shape):
    """One position; signed contracts."""

    symbol: SymbolText
    quantity: Number


class SnapshotBody(Shape):
    """Everything that the leader holds at its act `leaderSequence`; a product that is not named is flat."""

    leader_sequence: Count | None = None
    positions: Annotated[tuple[HeldBody, ...], Field(max_length=POSITIONS_MAX, strict=False)]
    orders: Annotated[tuple[ForeignId, ...] | None, Field(max_length=ORDERS_MAX, strict=False)] = None
    taken_at: Time | None = None


class AckBody(Shape):
    """Events by their ids, or everything up to a cursor."""

    event_ids: Annotated[tuple[IdText, ...], Field(max_length=OUTBOX_MAX, strict=False)] = ()
    cursor: Count | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.event_ids and self.cursor is None:
            raise PydanticCustomError("nothing-acknowledged", "Send eventIds, or cursor")
        return self


class ErrorBody(Shape):
    """Something that a person should know."""

    code: IdText
    message: Note


Told = (
    InitBody | HeartbeatBody | SummaryBody | SnapshotBody | SignalBody | ExecutionBody | AckBody | ErrorBody
)
_SHAPES: Final[dict[InType, type[Told]]] = {
    "InitRequest": InitBody,
    "StatusHeartbeat": HeartbeatBody,
    "StatusSummary": SummaryBody,
    "SyncSnapshot": SnapshotBody,
    "OrderIntent": SignalBody,
    "ExecutionReport": ExecutionBody,
    "OutboxAck": AckBody,
    "ErrorAlert": ErrorBody,
}


class Event(NamedTuple):
    """One event, read. `pointer` is where its payload stands in the body."""

    kind: InType
    told: Told
    occurred_at: datetime | None
    event_id: str | None
    pointer: str


def read_inbox(value: dict[str, object]) -> list[Event]:
    """The events of a request or frame: `{"events": [...]}`, or one event by itself. Raises BodyRefused."""
    alone = "eventType" in value
    try:
        body = InboxBody.model_validate({"events": [value]} if alone else value)
    except ValidationError as error:
        raise _lifted(from_validation(error), "/events/0" if alone else "") from None
    return [_read(event, "" if alone else f"/events/{i}") for i, event in enumerate(body.events)]


def _read(event: InboxEvent, place: str) -> Event:
    pointer = f"{place}/payload"
    try:
        told = _SHAPES[event.event_type].model_validate(event.payload)
    except ValidationError as error:
        raise at(pointer, from_validation(error)) from None
    return Event(event.event_type, told, event.occurred_at, event.event_id, pointer)


def at(pointer: str, refused: BodyRefused) -> BodyRefused:
    """The same faults, seen from the whole body."""
    return BodyRefused(*(fault._replace(pointer=pointer + fault.pointer) for fault in refused.faults))


def _lifted(refused: BodyRefused, place: str) -> BodyRefused:
    return BodyRefused(*(f._replace(pointer=f.pointer.removeprefix(place)) for f in refused.faults))


def snapshot_of(body: SnapshotBody, sender: Sender, taken_at: datetime) -> LeaderSnapshot:
    """The snapshot; contracts of one product count together. Raises BodyRefused for a symbol that names none."""
    held: dict[str, Decimal] = {}
    for number, position in enumerate(body.positions):
        try:
            ref = parse_symbol(sender.symbols.get(position.symbol, position.symbol), taken_at.date())
        except UnknownSymbol as error:
            raise refuse("unknown-symbol", f"{error}.", f"/positions/{number}/symbol") from None
        held[ref.root] = held.get(ref.root, Decimal(0)) + position.quantity
    orders = None if body.orders is None else frozenset(body.orders)
    return LeaderSnapshot(
        sender.workspace,
        sender.leader,
        sender.source,
        body.taken_at or taken_at,
        tuple(sorted(held.items())),
        orders,
        body.leader_sequence,
    )
