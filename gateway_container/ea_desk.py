"""The holder's side of EA sessions: kept in memory, durable where it must be, one task for all of them (R-030, R-035).

A heartbeat writes nothing. Opening, ending and what a terminal is to be told are rows before anybody hears of them;
acknowledgements follow a second later, so after a crash something may be told twice. What operators' commands change
is found by a look a second.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

import structlog

from gateway_container.api.ea_door import WAITERS_MAX, EaSession
from gateway_container.engine.machine import Machine
from kopitra.domain.ea_sessions import (
    LEASE_S,
    MISMATCHES,
    OUTBOX_MAX,
    REDELIVER_S,
    SILENT_MAX_S,
    START_GRACE_S,
    Beat,
    OutEvent,
    deliverable,
    is_certain,
    is_silent,
    mismatch,
    overtaken,
    positions_hash,
    read_up_to,
)
from kopitra.domain.errors import Conflict, StoreError
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.journal import StreamStale
from kopitra.domain.leader_snapshot import LeaderSnapshot
from kopitra.domain.streams import LeaderStream
from kopitra.store import ea_sessions as store
from kopitra.store.ea_sessions import OVERLAP, OutboxRow, SessionDraft, SessionRow, Tell
from kopitra.store.encoding import encode
from kopitra.store.pool import Database

#: seconds between two looks
LOOK_S: Final = 1.0
#: seconds between two purges, and between two notes of who is alive
TIDY_EVERY_S: Final = 600.0
#: sessions of one key: the older ones have ended
SESSIONS_MAX: Final = store.SESSIONS_MAX
#: events that wait to be written down, for all sessions together
TELLS_MAX: Final = 2_000
#: seconds in which an EA's alert of one code is told once
ALERT_EVERY_S: Final = 60.0
#: codes of alerts remembered for a session
ALERTS_MAX: Final = 32

_log = structlog.get_logger("kopitra.ea")


class EaDesk:
    """Fills `Doors.ea`. `load`, then `run` is the task's body."""

    def __init__(self, machine: Machine, db: Database) -> None:
        self._state = machine.state
        self._machine = machine
        self._streams = machine.streams
        self._alert = machine.reports.alert
        self._clock = machine.supplies.clock
        self._db = db
        self._sessions: dict[str, EaSession] = {}  # bounded: SESSIONS_MAX in _forget
        self._by_leader: dict[str, dict[str, EaSession]] = {}
        self._tells: deque[Tell] = deque()  # bounded: TELLS_MAX in _tell
        self._acked: list[tuple[str, int]] = []  # bounded: OUTBOX_MAX of each session
        self._read_to: datetime | None = None
        self._wake = asyncio.Event()
        self._tidy_s = 0.0
        machine.streams.ask = self.ask

    async def load(self) -> None:
        """Read what there is. Raises Unavailable."""
        grace = self._now_s() + START_GRACE_S
        await self._read(await store.changed_sessions(self._db, None), grace)
        for leader in self._by_leader:
            stream = self._stream(leader)
            if stream.stale or stream.incomplete:
                self.ask(leader, "stream_stale" if stream.stale else "sequence_gap")

    async def run(self) -> None:
        """Until cancelled; an outage is waited out."""
        while True:
            self._wake.clear()
            self._watch()
            try:
                await self._write()
                await self._look()
                await self._tidy()
            except StoreError as error:
                _log.warning("ea_sessions_wait", error=error.message)
                await asyncio.sleep(LOOK_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9

    def _stream(self, leader: str) -> LeaderStream:
        return self._state.book.streams.get(leader) or LeaderStream()

    # leases ------------------------------------------------------------------------------------------------

    def session(self, session_id: str) -> EaSession | None:
        """See `EaDoor`; so for all that follow."""
        return self._sessions.get(session_id)

    async def open(self, draft: SessionDraft) -> SessionRow:
        row = await store.find_session(self._db, draft.session_id)
        if row is None:
            row = await self._open(draft)
        old = [s for s in self._by_leader.get(draft.leader_id, {}).values() if s.key_id == draft.key_id]
        await self._refresh([row.session_id, *(s.session_id for s in old)])
        stream = self._stream(draft.leader_id)
        if stream.stale or stream.incomplete:
            self.ask(draft.leader_id, "stream_stale" if stream.stale else "sequence_gap")
        return row

    async def _open(self, draft: SessionDraft) -> SessionRow:
        try:
            return await store.open_session(self._db, draft, self._clock.now())
        except Conflict:  # the same key opens another, or the same request came twice at once
            row = await store.find_session(self._db, draft.session_id)
            if row is None:
                raise Conflict(
                    "The key opened another session at this moment: look which one is wanted.",
                    code="session-contested",
                ) from None
            return row

    async def end(self, session: EaSession, reason: str) -> None:
        if session.status != "ended":
            await store.end_session(self._db, session.session_id, reason, self._clock.now())
            await self._refresh([session.session_id])

    # what terminals tell -----------------------------------------------------------------------------------

    def heard(self, session: EaSession, beat: Beat) -> None:
        session.heard_s = self._now_s()
        stream = self._stream(session.leader)
        held = self._held(session.leader) if beat.positions is not None else ""
        found = mismatch(beat, stream.sequence, held)
        certain = is_certain(beat, found, session.mismatch)
        session.mismatch = found
        if session.pending or self._is_asked(session):
            return
        if certain:
            self._alert("leader-differs", f"leader {session.leader}: {MISMATCHES[found]}", "")
            self._ask(session, found)
        elif stream.stale or stream.incomplete:
            self._ask(session, "stream_stale" if stream.stale else "sequence_gap")

    def _held(self, leader: str) -> str:
        leaders = self._state.book.leaders
        known = ((root, leaders.get((leader, root))) for root in INSTRUMENTS)
        return positions_hash((root, position.qty) for root, position in known if position is not None)

    def begins(self, session: EaSession) -> None:
        waits = any(event.event_type == "InitAck" for event in session.outbox.values())
        if session.status == "authenticated" and not waits:
            self._tell(store.init_ack(session.session_id))

    async def snapshot(self, session: EaSession, snapshot: LeaderSnapshot) -> None:
        stream = self._stream(session.leader)
        age_s = (self._clock.now() - snapshot.taken_at).total_seconds()
        if snapshot.sequence is None and stream.sequence:
            age_s = float("inf")  # by its own numbers nobody could say what it tells of
        if overtaken(snapshot.sequence, stream.sequence, age_s):
            self._ask(session, "snapshot_overtaken")
            return
        made, told = self._streams.take(snapshot)
        await asyncio.gather(*(one.committed for one in made), told)
        session.heard_s = self._now_s()
        session.mismatch = ""
        asked = [n for n, event in session.outbox.items() if event.event_type == "SyncRequest"]
        self._drop(session, asked)

    def acknowledged(self, session: EaSession, event_ids: Sequence[str], cursor: int | None) -> None:
        mine = {f"{session.session_id}-{number}": number for number in session.outbox}
        done = {mine[name] for name in event_ids if name in mine}
        if cursor is not None:
            done |= {number for number in session.outbox if number <= cursor}
        self._drop(session, sorted(done))

    def complains(self, session: EaSession, code: str, message: str) -> None:
        now_s = self._now_s()
        if now_s - session.alerted_s.get(code, -ALERT_EVERY_S) < ALERT_EVERY_S:
            return
        session.alerted_s[code] = now_s
        session.alerted_s.move_to_end(code)
        if len(session.alerted_s) > ALERTS_MAX:
            session.alerted_s.popitem(last=False)
        self._alert("ea-error", f"the EA of leader {session.leader} says {code}: {message}", "")

    # what terminals are told -------------------------------------------------------------------------------

    def pull(self, session: EaSession, cursor: int) -> list[OutEvent]:
        now_s = self._now_s()
        self._drop(session, read_up_to(session.outbox, cursor))
        found = deliverable(session.outbox, session.told_s, cursor, now_s)
        for event in found:
            session.told_s[event.sequence] = now_s
        return found

    async def wait(self, session: EaSession, cursor: int, patience_s: float) -> list[OutEvent]:
        if session.waiters >= WAITERS_MAX:
            return self.pull(session, cursor)
        loop = asyncio.get_running_loop()
        end = loop.time() + patience_s
        session.waiters += 1
        try:
            while not (found := self.pull(session, cursor)) and loop.time() < end:
                await _news(session, min(end, loop.time() + REDELIVER_S))
            return found
        finally:
            session.waiters -= 1

    def ask(self, leader: str, why: str) -> None:
        """The leader's EA is asked for a snapshot: its newest session, once until it has answered (R-030)."""
        open_ = [s for s in self._by_leader.get(leader, {}).values() if s.status == "authenticated"]
        if open_:
            self._ask(max(open_, key=lambda s: s.heard_s), why)

    def _ask(self, session: EaSession, why: str) -> None:
        if not self._is_asked(session):
            payload = {"reason": why, "leaderSequence": self._stream(session.leader).sequence}
            self._tell(Tell(session.session_id, "SyncRequest", encode(payload)))

    def _is_asked(self, session: EaSession) -> bool:
        waits = any(event.event_type == "SyncRequest" for event in session.outbox.values())
        return waits or any(
            tell.session_id == session.session_id and tell.event_type == "SyncRequest" for tell in self._tells
        )

    def _tell(self, tell: Tell) -> None:
        session = self._sessions[tell.session_id]
        if len(self._tells) >= TELLS_MAX or len(session.outbox) >= OUTBOX_MAX:
            _log.error("ea_outbox_full", session=tell.session_id, event_type=tell.event_type)
            return
        self._tells.append(tell)
        self._wake.set()

    def _drop(self, session: EaSession, numbers: Iterable[int]) -> None:
        for number in numbers:
            del session.outbox[number]
            session.told_s.pop(number, None)
            self._acked.append((session.session_id, number))

    # the task ----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Leaders whose EAs are all silent (R-035)."""
        now_s = self._now_s()
        for leader, sessions in self._by_leader.items():
            heard = [s.heard_s for s in sessions.values() if s.status == "authenticated"]
            if not is_silent(now_s, heard) or self._stream(leader).stale:
                continue
            workspace = next(iter(sessions.values())).workspace
            stale = StreamStale(leader, int(now_s - max(heard)), self._clock.now())
            self._machine.log.note(workspace, stale)
            text = (
                f"the EA of leader {leader} was not heard for {SILENT_MAX_S:.0f} s: its entries are refused until it "
                "sends a snapshot; followers keep their protective orders"
            )
            self._alert("stream-stale", text, "")
            self.ask(leader, "stream_stale")

    async def _write(self) -> None:
        while self._tells:
            row = await store.tell(self._db, self._tells[0], self._clock.now())
            self._tells.popleft()
            if row is not None:
                self._put([row])
        acked, self._acked = self._acked, []
        if acked:
            try:
                await store.mark_acked(self._db, acked, self._clock.now())
            except StoreError:
                self._acked = acked + self._acked
                raise

    async def _look(self) -> None:
        """What others have changed."""
        after = None if self._read_to is None else self._read_to - OVERLAP
        await self._read(await store.changed_sessions(self._db, after), self._now_s())

    async def _refresh(self, session_ids: Sequence[str]) -> None:
        rows = [await store.find_session(self._db, name) for name in session_ids]
        await self._read([row for row in rows if row is not None], self._now_s(), seen=False)

    async def _read(self, rows: Sequence[SessionRow], heard_s: float, *, seen: bool = True) -> None:
        fresh = [row.session_id for row in rows if self._take(row, heard_s)]
        if fresh:
            dropped = set(self._acked)
            found = await store.waiting_events(self._db, fresh)
            self._put([r for r in found if (r.session_id, r.sequence) not in dropped])
        if seen and rows:
            self._read_to = max(row.changed_at for row in rows)

    def _take(self, row: SessionRow, heard_s: float) -> bool:
        """Take a session over as its row says; True when its outbox may have got more."""
        session = self._sessions.get(row.session_id)
        if session is None:
            session = self._sessions[row.session_id] = EaSession(
                row.session_id, row.workspace, row.key_id, row.leader_id, row.token_sha256, row.status,
                row.reason, heard_s,
            )  # fmt: skip
            self._forget()
        elif session.status != row.status:
            session.heard_s = heard_s
        elif max(session.outbox, default=0) >= row.last_sequence:
            return False
        session.status, session.reason = row.status, row.reason
        known = self._by_leader.setdefault(row.leader_id, {})
        if row.status == "ended":
            known.pop(row.session_id, None)
        else:
            known[row.session_id] = session
        return True

    def _forget(self) -> None:
        if len(self._sessions) > SESSIONS_MAX:
            ended = (name for name, s in self._sessions.items() if s.status == "ended")
            self._sessions.pop(next(ended, next(iter(self._sessions))))

    def _put(self, rows: Sequence[OutboxRow]) -> None:
        woken: dict[str, EaSession] = {}
        for row in rows:
            session = self._sessions.get(row.session_id)
            if session is not None and row.sequence not in session.outbox:
                event = OutEvent(row.sequence, row.event_type, row.payload, row.requires_ack)
                session.outbox[row.sequence] = event
                woken[row.session_id] = session
        for session in woken.values():
            session.tell_of_news()

    async def _tidy(self) -> None:
        now_s = self._now_s()
        if now_s < self._tidy_s:
            return
        self._tidy_s = now_s + TIDY_EVERY_S
        open_ = [s for sessions in self._by_leader.values() for s in sessions.values()]
        for session in [s for s in open_ if now_s - s.heard_s >= LEASE_S]:
            await self.end(session, "session_expired")
        alive = [s.session_id for s in open_ if now_s - s.heard_s < TIDY_EVERY_S]
        await store.mark_seen(self._db, alive, self._clock.now())
        await store.purge_sessions(self._db)


async def _news(session: EaSession, until_s: float) -> None:
    """Wait for something to tell, or for the loop's time."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(until_s):
            await session.news.wait()
