"""The inbox: what a replica without the lease took in, for the holder, who alone plans and sends (R-082).

A row and the first answer to its sender are one transaction. The holder plans a row by appending to the journal,
whose own uniqueness of the signal id makes a second plan impossible (R-027), and marks it afterwards: one that was
planned and not marked is found by its signal id and marked then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

from kopitra.store.drafts import Duplicate, IdempotencyDraft, IdempotencyRecord, SignalRef
from kopitra.store.journal_questions import IDEMPOTENCY_SQL, SIGNAL_SQL
from kopitra.store.pool import Database, Session

Kind = Literal["signal", "execution"]
#: rows of one look
ROWS_MAX: Final = 100
#: a row that is done stays this long, for people who look at the table
KEPT: Final = timedelta(days=7)
#: rows of one delete, so that it stays far below the statement timeout
_PURGE_ROWS_MAX: Final = 5_000

_ANSWER_SQL: Final = """
    insert into idempotency (workspace, principal, endpoint, key, fingerprint, status, body, at)
    values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing"""
_PUT_SQL: Final = """
    insert into inbox (shard, workspace, kind, name, payload, principal, endpoint, key, at)
    values (%s, %s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing
    returning inbox_id"""
_WAITING_SQL: Final = """
    select inbox_id, workspace, kind, name, payload, principal, endpoint, key, at
    from inbox where shard = %s and done_at is null order by inbox_id limit %s"""
_ANSWERS_SQL: Final = """
    select a.workspace, a.principal, a.endpoint, a.key, a.fingerprint, a.status, a.body, a.at
    from inbox i join idempotency a using (workspace, principal, endpoint, key)
    where i.inbox_id = any(%s)"""
_SETTLE_SQL: Final = """
    update inbox set done_at = clock_timestamp(), outcome = told.outcome
    from unnest(%s::bigint[], %s::text[]) as told (id, outcome)
    where inbox.inbox_id = told.id and inbox.done_at is null"""


class InboxDraft(NamedTuple):
    """What is to be handed over, and the first answer that its sender gets; the answer's body has no number."""

    shard: str
    workspace: str
    kind: Kind
    name: str
    payload: bytes
    record: IdempotencyDraft


@dataclass(frozen=True, slots=True)
class InboxRow:
    """One row that waits."""

    inbox_id: int
    workspace: str
    kind: Kind
    name: str
    payload: bytes
    principal: str
    endpoint: str
    key: str
    at: datetime


class Put(NamedTuple):
    """A row that is durable, and the answer that is durable with it."""

    inbox_id: int
    body: bytes


class Outcome(NamedTuple):
    """What became of a row: 'planned', 'recorded', 'known', or the code of a refusal."""

    inbox_id: int
    text: str


@dataclass(frozen=True, slots=True)
class _Id:
    inbox_id: int


async def put(db: Database, draft: InboxDraft, at: datetime) -> Put:
    """Hand over, once. Raises Duplicate with the first answer or the signal, Unavailable (nothing was taken)."""
    record = draft.record
    body = record.body(0)
    key = (draft.workspace, record.principal, record.endpoint, record.key)
    async with db.transaction() as session:
        answer = (*key, record.fingerprint, record.status, body, at)
        if await session.run(_ANSWER_SQL, answer) == 0:
            raise _repeated(await session.row(IdempotencyRecord, IDEMPOTENCY_SQL, key), draft)
        if draft.kind == "signal":
            known = await session.row(SignalRef, SIGNAL_SQL, (draft.workspace, draft.name))
            if known is not None:
                raise _repeated(known, draft)
        values = (draft.shard, draft.workspace, draft.kind, draft.name, draft.payload.decode(), *key[1:], at)
        row = await session.row(_Id, _PUT_SQL, values)
        if row is None:
            raise _repeated(None, draft)
    return Put(row.inbox_id, body)


def _repeated(existing: IdempotencyRecord | SignalRef | None, draft: InboxDraft) -> Duplicate:
    found = existing or SignalRef(draft.workspace, draft.name, draft.shard, 0)
    return Duplicate("It was recorded before: answer with the first record.", found)


async def waiting(db: Database, shard: str, limit: int = ROWS_MAX) -> list[InboxRow]:
    """The oldest rows that the holder has not acted on."""
    return await db.rows(InboxRow, _WAITING_SQL, (shard, min(limit, ROWS_MAX)))


async def answers(db: Database, inbox_ids: Sequence[int]) -> list[IdempotencyRecord]:
    """The first answers of these rows, so that their repetition is answered from memory."""
    return await db.rows(IdempotencyRecord, _ANSWERS_SQL, (list(inbox_ids),))


async def settle(db: Database, outcomes: Sequence[Outcome]) -> None:
    """Mark rows as done; their replicas are told."""
    await db.run(_SETTLE_SQL, ([o.inbox_id for o in outcomes], [o.text for o in outcomes]))


async def purge_inbox(session: Session) -> int:
    """Delete rows that were done longer than KEPT ago, a batch at most; returns how many."""
    text = """
        delete from inbox where ctid = any (array(
            select ctid from inbox where done_at < clock_timestamp() - %s order by done_at limit %s))"""
    return await session.run(text, (KEPT, _PURGE_ROWS_MAX))
