"""Sessions of expert advisors and what they are to be told, in PostgreSQL. One process, the shard's holder, serves
them; operators' commands write here too, and the holder looks for what has changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

from kopitra.domain.ea_sessions import HEARTBEAT_S, OutType, SessionStatus
from kopitra.store.encoding import encode
from kopitra.store.pool import Database, Session

Scope = Literal["key", "leader", "workspace"]
#: an ended session stays this long: its terminal can still read why
KEPT: Final = timedelta(days=7)
#: changes are looked for this far back: a transaction that was slow to commit is not missed
OVERLAP: Final = timedelta(seconds=3)
#: sessions of one look
SESSIONS_MAX: Final = 5_000
_PURGE_ROWS_MAX: Final = 1_000
_COLUMNS: Final = """
    session_id, workspace, key_id, leader_id, account, token_sha256, fingerprint, status, opened_as, retired,
    reason, client, last_sequence, opened_at, seen_at, ended_at, changed_at"""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session; the token is known to its terminal only."""

    session_id: str
    workspace: str
    key_id: str
    leader_id: str
    account: str
    token_sha256: bytes
    fingerprint: bytes
    status: SessionStatus
    opened_as: SessionStatus
    retired: bool
    reason: str
    client: bytes
    last_sequence: int
    opened_at: datetime
    seen_at: datetime
    ended_at: datetime | None
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One event that nobody has acknowledged."""

    session_id: str
    sequence: int
    event_type: OutType
    payload: bytes
    requires_ack: bool


class SessionDraft(NamedTuple):
    """A session to open."""

    session_id: str
    workspace: str
    key_id: str
    leader_id: str
    account: str
    token_sha256: bytes
    fingerprint: bytes
    client: bytes


class Tell(NamedTuple):
    """An event to put into a session's outbox."""

    session_id: str
    event_type: OutType
    payload: bytes
    requires_ack: bool = True


@dataclass(frozen=True, slots=True)
class _Id:
    session_id: str


@dataclass(frozen=True, slots=True)
class _Changed:
    changed_at: datetime


def init_ack(session_id: str) -> Tell:
    """What tells a terminal that it may send signals."""
    payload = {"sessionId": session_id, "status": "authenticated", "heartbeatSeconds": HEARTBEAT_S}
    return Tell(session_id, "InitAck", encode(payload))


def shutdown(session_id: str, reason: str) -> Tell:
    """The last event of a session."""
    return Tell(session_id, "ShutdownNotice", encode({"sessionId": session_id, "reason": reason}), False)


async def find_session(db: Database, session_id: str) -> SessionRow | None:
    """One session, open or ended."""
    text = f"select {_COLUMNS} from ea_sessions where session_id = %s"
    return await db.row(SessionRow, text, (session_id,))


async def open_session(db: Database, draft: SessionDraft, at: datetime) -> SessionRow:
    """Open one and end what the key had open. Raises Conflict when the key opens another at this moment."""
    text = f"""
        insert into ea_sessions (session_id, workspace, key_id, leader_id, account, token_sha256, fingerprint, client,
            status, opened_as, retired, last_sequence, opened_at, seen_at, changed_at)
        select v.*, s.status, s.status, %s, 0, %s, %s, clock_timestamp()
        from (values (%s, %s, %s, %s, %s, %s::bytea, %s::bytea, %s::json)) v,
            (select case when exists (
                select from ea_approvals where workspace = %s and (scope, scope_id) in
                    (('key', %s), ('leader', %s), ('workspace', %s))
            ) then 'authenticated' else 'pending' end as status) s
        returning {_COLUMNS}"""
    covers = (draft.workspace, draft.key_id, draft.leader_id, draft.workspace)
    async with db.transaction() as session:
        found = "select session_id from ea_sessions where key_id = %s and status <> 'ended' for update"
        old = await session.row(_Id, found, (draft.key_id,))
        if old is not None:
            await _end(session, old.session_id, "session_preempted", at)
        values = (*draft[:7], draft.client.decode())
        made = await session.row(SessionRow, text, (old is not None, at, at, *values, *covers))
        if made is None:
            raise RuntimeError("An insert that returns its row returned none.")
        if made.status == "authenticated":
            await _tell(session, init_ack(made.session_id), at)
    return made


async def end_session(db: Database, session_id: str, reason: str, at: datetime) -> bool:
    """End one; False if it had ended before."""
    async with db.transaction() as session:
        return await _end(session, session_id, reason, at)


async def _end(session: Session, session_id: str, reason: str, at: datetime) -> bool:
    text = """
        update ea_sessions set status = 'ended', reason = %s, ended_at = %s, changed_at = clock_timestamp()
        where session_id = %s and status <> 'ended'"""
    ended = await session.run(text, (reason, at, session_id)) == 1
    if ended:
        await _tell(session, shutdown(session_id, reason), at)
    return ended


async def tell(db: Database, what: Tell, at: datetime) -> OutboxRow | None:
    """Put an event into an outbox; None for a session that is gone."""
    async with db.transaction() as session:
        return await _tell(session, what, at)


async def _tell(session: Session, what: Tell, at: datetime) -> OutboxRow | None:
    text = """
        with numbered as (
            update ea_sessions set last_sequence = last_sequence + 1, changed_at = clock_timestamp()
            where session_id = %s returning session_id, last_sequence)
        insert into ea_outbox (session_id, sequence, event_type, payload, requires_ack, at)
        select session_id, last_sequence, %s, %s::json, %s, %s from numbered
        returning session_id, sequence, event_type, payload, requires_ack"""
    values = (what.session_id, what.event_type, what.payload.decode(), what.requires_ack, at)
    return await session.row(OutboxRow, text, values)


async def mark_acked(db: Database, acked: Sequence[tuple[str, int]], at: datetime) -> None:
    """These events (session, sequence) need not be told again."""
    text = """
        update ea_outbox set acked_at = %s from unnest(%s::text[], %s::bigint[]) as told (id, number)
        where session_id = told.id and sequence = told.number and acked_at is null"""
    await db.run(text, (at, [one[0] for one in acked], [one[1] for one in acked]))


async def mark_seen(db: Database, session_ids: Sequence[str], at: datetime) -> None:
    """These sessions are alive; rough, because no heartbeat is written down."""
    await db.run("update ea_sessions set seen_at = %s where session_id = any(%s)", (at, list(session_ids)))


async def newest_change(db: Database) -> datetime | None:
    """When anything changed last, by the database's clock."""
    row = await db.row(_Changed, "select changed_at from ea_sessions order by changed_at desc limit 1")
    return row.changed_at if row is not None else None


async def changed_sessions(db: Database, after: datetime | None) -> list[SessionRow]:
    """What has changed since; None: everything that is kept, open ones first."""
    if after is None:
        text = f"select {_COLUMNS} from ea_sessions order by status = 'ended', opened_at desc limit %s"
        return await db.rows(SessionRow, text, (SESSIONS_MAX,))
    text = f"select {_COLUMNS} from ea_sessions where changed_at > %s order by changed_at limit %s"
    return await db.rows(SessionRow, text, (after, SESSIONS_MAX))


async def waiting_events(db: Database, session_ids: Sequence[str]) -> list[OutboxRow]:
    """What nobody has acknowledged, in order."""
    text = """
        select session_id, sequence, event_type, payload, requires_ack from ea_outbox
        where session_id = any(%s) and acked_at is null order by session_id, sequence"""
    return await db.rows(OutboxRow, text, (list(session_ids),))


async def list_sessions(db: Database, workspace: str, *, ended: bool = False) -> list[SessionRow]:
    """The sessions of a workspace, newest first."""
    text = f"""
        select {_COLUMNS} from ea_sessions where workspace = %s and (%s or status <> 'ended')
        order by opened_at desc limit %s"""
    return await db.rows(SessionRow, text, (workspace, ended, SESSIONS_MAX))


async def approve(db: Database, workspace: str, scope: Scope, scope_id: str, who: str, at: datetime) -> int:
    """Sessions of this scope need no approval from now on; how many that waited are authenticated."""
    note = """
        insert into ea_approvals (workspace, scope, scope_id, approved_by, approved_at) values (%s, %s, %s, %s, %s)
        on conflict do nothing"""
    release = """
        update ea_sessions set status = 'authenticated', changed_at = clock_timestamp()
        where workspace = %s and status = 'pending'
            and case %s when 'key' then key_id when 'leader' then leader_id else workspace end = %s
        returning session_id"""
    async with db.transaction() as session:
        await session.run(note, (workspace, scope, scope_id, who, at))
        waited = await session.rows(_Id, release, (workspace, scope, scope_id))
        for one in waited:
            await _tell(session, init_ack(one.session_id), at)
    return len(waited)


async def withdraw(db: Database, workspace: str, scope: Scope, scope_id: str) -> bool:
    """New sessions of this scope wait again; False if they did already."""
    text = "delete from ea_approvals where workspace = %s and scope = %s and scope_id = %s"
    return await db.run(text, (workspace, scope, scope_id)) == 1


async def purge_sessions(db: Database) -> int:
    """Delete a batch of sessions that ended longer than KEPT ago; returns how many."""
    text = """
        delete from ea_sessions where ctid = any (array(
            select ctid from ea_sessions where status = 'ended' and ended_at < clock_timestamp() - %s limit %s))"""
    return await db.run(text, (KEPT, _PURGE_ROWS_MAX))
