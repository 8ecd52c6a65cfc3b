"""What a terminal tells: events, each once, in their order, by the same rules as the routes for one of them.

Everything of a body is read and checked before the first of its events counts. Orders and reports are remembered by
the journal under their `eventId`, for ever; what only says how things stand by the process.
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from gateway_container.api import executions
from gateway_container.api import once as idempotency
from gateway_container.api.admission import Admission
from gateway_container.api.credentials import EaVisit, check_approved
from gateway_container.api.doors import Doors, Pending
from gateway_container.api.ea_door import EaSession
from gateway_container.api.once import Once
from gateway_container.api.problems import Problem
from gateway_container.api.signals import ENDPOINT as SIGNALS
from gateway_container.api.taking import ACCEPTED, queue, take
from kopitra.domain.ea_sessions import Beat
from kopitra.domain.errors import SignalRefused
from kopitra.domain.ids import derived_signal_id
from kopitra.domain.leader_snapshot import LeaderSnapshot
from kopitra.domain.signals import Action, Signal, check_signal
from kopitra.store.drafts import Duplicate
from kopitra.wire.ea_sessions import (
    TRADING,
    AckBody,
    ErrorBody,
    Event,
    HeartbeatBody,
    InitBody,
    SnapshotBody,
    SummaryBody,
    at,
    read_inbox,
    snapshot_of,
)
from kopitra.wire.executions import ExecutionBody
from kopitra.wire.executions import fingerprint as report_fingerprint
from kopitra.wire.executions import to_domain as report_of
from kopitra.wire.faults import BodyRefused, FieldFault
from kopitra.wire.signals import Sender, SignalBody, fingerprint, to_domain


class Arrived(NamedTuple):
    """When bytes were read."""

    received_at: datetime
    received_ns: int


@dataclass(frozen=True, slots=True)
class _Intent:
    signal: Signal
    once: Once


@dataclass(frozen=True, slots=True)
class _Report:
    body: ExecutionBody
    once: Once


@dataclass(frozen=True, slots=True)
class _Snapshot:
    snapshot: LeaderSnapshot


_Ready = _Intent | _Report | _Snapshot | InitBody | HeartbeatBody | SummaryBody | AckBody | ErrorBody


class Taking(NamedTuple):
    """Events that are checked and have not counted yet."""

    events: tuple[Event, ...]
    ready: tuple[_Ready, ...]

    @property
    def actions(self) -> list[Action]:
        """The acts among them."""
        return [one.signal.action for one in self.ready if isinstance(one, _Intent)]


class Inbox:
    """Takes events; for the route and for the link."""

    def __init__(self, doors: Doors, admission: Admission) -> None:
        self._doors = doors
        self._admission = admission

    def read(self, who: EaVisit, value: dict[str, object], key: str | None, when: Arrived) -> Taking:
        """Check a body. `key`: names events without an eventId. Raises BodyRefused or Problem; nothing counts."""
        events = read_inbox(value)
        if any(event.kind in TRADING for event in events):
            check_approved(who.session)
        return Taking(tuple(events), tuple(_ready(who, e, i, key, when) for i, e in enumerate(events)))

    async def take(self, who: EaVisit, taking: Taking, when: Arrived) -> int:
        """Let them count, in order; durable when it returns. Raises what the routes for one of them raise; then what
        stands before it has counted, and counts once however often all are sent again.
        """
        pending: list[tuple[Pending, Once]] = []
        try:
            for event, ready in zip(taking.events, taking.ready, strict=True):
                if isinstance(ready, _Intent):
                    pending += await self._intent(ready, event, when)
                else:
                    await self._tell(who, event, ready, when)
        finally:
            settled = await asyncio.gather(
                *(idempotency.settled(one, once, ACCEPTED) for one, once in pending), return_exceptions=True
            )
        for answer in settled:
            if isinstance(answer, BaseException):
                raise answer
        return len(taking.events)

    async def _intent(self, ready: _Intent, event: Event, when: Arrived) -> list[tuple[Pending, Once]]:
        intake, once = self._doors.intake, ready.once
        if idempotency.known(intake, once) is not None:
            return []
        try:
            if await queue(intake, ready.signal, once) is not None:
                return []
            return [(take(intake, ready.signal, once, when.received_ns), once)]
        except SignalRefused as refused:
            await idempotency.stored(intake, once, _placed(refused, event.pointer))
        except Duplicate as known:
            await idempotency.stored(intake, once, known)
        return []

    async def _tell(self, who: EaVisit, event: Event, ready: _Ready, when: Arrived) -> None:
        session, door = who.session, self._doors.ea
        if isinstance(ready, _Report):
            if idempotency.known(self._doors.intake, ready.once) is None:
                await executions.record(self._doors, who.grant, ready.once, ready.body, when)
        elif isinstance(ready, _Snapshot):
            await self._snapshot(session, event, ready.snapshot)
        elif session.first_time(event.event_id):
            match ready:
                case HeartbeatBody():
                    door.heard(session, Beat(ready.leader_sequence, ready.positions_hash))
                case InitBody():
                    door.begins(session)
                case AckBody():
                    door.acknowledged(session, ready.event_ids, ready.cursor)
                case ErrorBody():
                    door.complains(session, ready.code, ready.message)
                case _:  # how the leader's account stands: its own terminal shows it
                    pass

    async def _snapshot(self, session: EaSession, event: Event, snapshot: LeaderSnapshot) -> None:
        if event.event_id is None or event.event_id not in session.seen:
            await self._doors.ea.snapshot(
                session, snapshot
            )  # first: what failed must count when it comes again
            session.first_time(event.event_id)


def _ready(who: EaVisit, event: Event, number: int, key: str | None, when: Arrived) -> _Ready:
    grant, told = who.grant, event.told
    sender = Sender(grant.workspace, grant.leader, "ea", grant.symbols)
    match told:
        case SignalBody():
            name = _name(event, number, key)
            once = Once(grant.workspace, grant.key_id, SIGNALS, name, fingerprint(grant.account, told))
            signal_id = told.signal_id or derived_signal_id(grant.key_id, name)
            try:
                signal = to_domain(_dated(told, event), sender, when.received_at, signal_id)
                check_signal(signal)
            except SignalRefused as refused:
                raise _placed(refused, event.pointer) from None
            return _Intent(signal, once)
        case ExecutionBody():
            name = _name(event, number, key)
            with _at(event.pointer):
                report_of(told, grant.account, when.received_at, when.received_ns)
            prints = report_fingerprint(grant.account, told)
            return _Report(told, Once(grant.workspace, grant.key_id, executions.ENDPOINT, name, prints))
        case SnapshotBody():
            with _at(event.pointer):
                return _Snapshot(snapshot_of(told, sender, event.occurred_at or when.received_at))
        case _:
            return told


def _name(event: Event, number: int, key: str | None) -> str:
    """What makes the event count once."""
    if event.event_id is not None:
        return event.event_id
    if key is None:
        text = "Send an eventId: new for each act, the same for each retry of it."
        raise BodyRefused(
            FieldFault(event.pointer.removesuffix("/payload") + "/eventId", "missing-field", text)
        )
    return f"{key}/{number}"


def _dated(body: SignalBody, event: Event) -> SignalBody:
    if body.occurred_at is not None or event.occurred_at is None:
        return body
    return body.model_copy(update={"occurred_at": event.occurred_at})


def _placed(refused: SignalRefused, pointer: str) -> Problem:
    fault = FieldFault(pointer + refused.pointer, refused.code, refused.message)
    return Problem(refused.code, refused.message, errors=(fault,))


@contextmanager
def _at(pointer: str) -> Generator[None]:
    """Faults of a payload, seen from the whole body."""
    try:
        yield
    except BodyRefused as refused:
        raise at(pointer, refused) from None
