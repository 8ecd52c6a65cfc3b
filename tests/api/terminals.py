"""A stand-in for the holder's desk: sessions in memory, by the same rules; it keeps what it is told."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway_container.api.ea_door import EaSession
from kopitra.domain.ea_sessions import Beat, OutEvent, OutType, deliverable, read_up_to
from kopitra.domain.leader_snapshot import LeaderSnapshot
from kopitra.store.ea_sessions import SessionDraft, SessionRow
from kopitra.store.encoding import encode
from tests.api.client import SECRET, digest
from tests.api.stand_ins import NOW, TestClock


@dataclass
class Terminals:
    """`approves`: new sessions are authenticated at once; `trouble` is raised by snapshots."""

    clock: TestClock
    approves: bool = True
    trouble: Exception | None = None
    rows: dict[str, SessionRow] = field(default_factory=dict[str, SessionRow])
    sessions: dict[str, EaSession] = field(default_factory=dict[str, EaSession])
    beats: list[Beat] = field(default_factory=list[Beat])
    snapshots: list[LeaderSnapshot] = field(default_factory=list[LeaderSnapshot])
    complaints: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    begun: int = 0

    def session(self, session_id: str) -> EaSession | None:
        return self.sessions.get(session_id)

    async def open(self, draft: SessionDraft) -> SessionRow:
        known = self.rows.get(draft.session_id)
        if known is not None:
            return known
        old = [s for s in self.sessions.values() if s.key_id == draft.key_id and s.status != "ended"]
        for session in old:
            await self.end(session, "session_preempted")
        status = "authenticated" if self.approves else "pending"
        row = SessionRow(
            draft.session_id, draft.workspace, draft.key_id, draft.leader_id, draft.account, draft.token_sha256,
            draft.fingerprint, status, status, bool(old), "", draft.client, 0, NOW, NOW, None, NOW,
        )  # fmt: skip
        self.rows[draft.session_id] = row
        self.sessions[draft.session_id] = EaSession(
            draft.session_id,
            draft.workspace,
            draft.key_id,
            draft.leader_id,
            draft.token_sha256,
            status,
            "",
            0.0,
        )
        if self.approves:
            self.tell(self.sessions[draft.session_id], "InitAck")
        return row

    def standing(self) -> str:
        """A session that is there already; its token."""
        made = EaSession("s1", "w1", "ea1", "l1", digest(SECRET), "authenticated", "", 0.0)
        self.sessions["s1"] = made
        return f"kps_s1_{SECRET}"

    def approve(self, session_id: str) -> None:
        self.sessions[session_id].status = "authenticated"
        self.tell(self.sessions[session_id], "InitAck")

    def tell(self, session: EaSession, event_type: OutType, *, ack: bool = True, **payload: object) -> None:
        number = max(session.outbox, default=0) + 1
        session.outbox[number] = OutEvent(number, event_type, encode(payload), ack)
        session.tell_of_news()

    async def end(self, session: EaSession, reason: str) -> None:
        if session.status != "ended":
            session.status, session.reason = "ended", reason
            self.tell(session, "ShutdownNotice", ack=False, reason=reason)

    def heard(self, session: EaSession, beat: Beat) -> None:
        del session
        self.beats.append(beat)

    def begins(self, session: EaSession) -> None:
        del session
        self.begun += 1

    async def snapshot(self, session: EaSession, snapshot: LeaderSnapshot) -> None:
        del session
        if self.trouble is not None:
            raise self.trouble
        self.snapshots.append(snapshot)

    def acknowledged(self, session: EaSession, event_ids: Sequence[str], cursor: int | None) -> None:
        for number in list(session.outbox):
            if f"{session.session_id}-{number}" in event_ids or number <= (cursor or 0):
                del session.outbox[number]

    def complains(self, session: EaSession, code: str, message: str) -> None:
        del session
        self.complaints.append((code, message))

    def pull(self, session: EaSession, cursor: int) -> list[OutEvent]:
        for number in read_up_to(session.outbox, cursor):
            del session.outbox[number]
        found = deliverable(session.outbox, session.told_s, cursor, self.clock.ns / 1e9)
        for event in found:
            session.told_s[event.sequence] = self.clock.ns / 1e9
        return found

    async def wait(self, session: EaSession, cursor: int, patience_s: float) -> list[OutEvent]:
        while not (found := self.pull(session, cursor)):
            async with asyncio.timeout(patience_s):
                await session.news.wait()
        return found
