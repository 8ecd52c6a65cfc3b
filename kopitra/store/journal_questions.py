"""Questions of the writer on its own connection: head, lease, old sessions, the record behind a duplicate.

Between two appends only: each waits for its answer on the connection that the appends use.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from kopitra.domain.errors import Unavailable
from kopitra.store.drafts import Draft, Head, IdempotencyRecord, SignalRef
from kopitra.store.journal_link import JournalLink
from kopitra.store.shelf import RowHash

HEAD_SQL: Final = "select seq, hash from journal where shard = %(shard)s order by seq desc limit 1"
TAIL_SQL: Final = """
    select seq, hash from journal where shard = %(shard)s and seq > %(after)s order by seq limit 1"""
IDEMPOTENCY_SQL: Final = """
    select workspace, principal, endpoint, key, fingerprint, status, body, at
    from idempotency where workspace = %s and principal = %s and endpoint = %s and key = %s"""
SIGNAL_SQL: Final = """
    select workspace, signal_id, shard, seq from signal_ids where workspace = %s and signal_id = %s"""


class _Epoch(NamedTuple):
    epoch: int


class _Ended(NamedTuple):
    ended: bool


class PostgresLine(JournalLink):
    """The journal's connection, with the writer's questions."""

    async def head(self, shard: str) -> Head:
        """The last row; empty without one."""
        found = await self.rows(Head, HEAD_SQL, {"shard": shard})
        return found[0] if found else Head()

    async def row_after(self, shard: str, seq: int) -> RowHash | None:
        """The row that follows `seq`."""
        found = await self.rows(RowHash, TAIL_SQL, {"shard": shard, "after": seq})
        return found[0] if found else None

    async def epoch(self, shard: str) -> int | None:
        """The epoch in the lease row, None without one."""
        found = await self.rows(_Epoch, "select epoch from lease where shard = %s", (shard,))
        return found[0].epoch if found else None

    async def end_sessions(self, name: str) -> None:
        """End the server's side of our other sessions called `name`; raises Unavailable while one is not gone."""
        # Less than the statement timeout; a server hosts several databases, and each may have a writer of this name.
        text = """
            select pg_terminate_backend(pid, 800) as ended from pg_stat_activity
            where application_name = %s and datname = current_database() and pid <> pg_backend_pid()"""
        if not all(session.ended for session in await self.rows(_Ended, text, (name,))):
            raise Unavailable("An earlier session of the journal is still at work; waiting for its end.")

    async def first_record(self, drafts: Sequence[Draft]) -> IdempotencyRecord | SignalRef | None:
        """The stored record that one of these drafts repeats; an answer before a signal, because it can be
        given back.
        """
        for draft in drafts:
            if draft.idempotency is not None:
                record = draft.idempotency
                values = (draft.workspace, record.principal, record.endpoint, record.key)
                found = await self.rows(IdempotencyRecord, IDEMPOTENCY_SQL, values)
                if found:
                    return found[0]
        for draft in drafts:
            if draft.signal_id is not None:
                known = await self.rows(SignalRef, SIGNAL_SQL, (draft.workspace, draft.signal_id))
                if known:
                    return known[0]
        return None
