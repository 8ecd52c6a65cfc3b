"""The seam between the engine and its store: what has to be durable, and what is asked of it.

Production stands on PostgreSQL (`kopitra/store/postgres_shelf.py`), the simulation on memory. Only the primitive
operations differ: group commit, unclear commits and reconnecting (`journal.py`), renewal and the local deadline
(`lease.py`) are the same code on both. One conformance suite runs against both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from kopitra.domain.switches import SwitchScope
from kopitra.store.append_sql import Batch
from kopitra.store.config_changes import ChangeRow, Place
from kopitra.store.drafts import Draft, Head, IdempotencyRecord, JournalRow, SignalRef
from kopitra.store.projections import Projected, Shown
from kopitra.store.snapshots import SnapshotRow
from kopitra.store.switches import SwitchRow


@dataclass(frozen=True, slots=True)
class SqlError:
    """Why the server refused a statement. `fatal`: it ends the connection too."""

    sqlstate: str
    constraint: str
    message: str
    fatal: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """The server's answer to one append: rows inserted, or why not."""

    inserted: int
    error: SqlError | None = None


class RowHash(NamedTuple):
    """A row's place in the chain."""

    seq: int
    hash: bytes


#: both are called on the event loop
OnReply = Callable[[Reply], None]
OnDown = Callable[[str], None]


class JournalLine(Protocol):
    """The journal's own connection: appends without awaiting, and the writer's questions between two appends.

    Each `send` gets one `on_reply`; or `on_down` is called once, and then nothing more. Questions raise Unavailable.
    """

    def send(self, batch: Batch) -> None:
        """One statement, one commit, fenced by the batch's epoch; one at a time.

        Raises what a fact without bytes raises, and then nothing was sent. A dead connection shows up as `on_down`.
        """
        ...

    def abandon(self) -> None:
        """Close at once, without a word to either side."""
        ...

    async def head(self, shard: str) -> Head:
        """The last row."""
        ...

    async def row_after(self, shard: str, seq: int) -> RowHash | None:
        """The row that follows `seq`."""
        ...

    async def epoch(self, shard: str) -> int | None:
        """The epoch in the lease row, None without one."""
        ...

    async def end_sessions(self, name: str) -> None:
        """End the server's side of our other connections called `name`: when it returns, nothing of theirs can commit.

        Raises Unavailable while one of them cannot be ended.
        """
        ...

    async def first_record(self, drafts: Sequence[Draft]) -> IdempotencyRecord | SignalRef | None:
        """The stored record that one of these drafts repeats; an answer before a signal, because it can be
        given back.
        """
        ...


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """The row as it is; `left_s` seconds of life by the database's clock, negative when over."""

    shard: str
    holder: str
    epoch: int
    left_s: float
    released: bool
    note: str
    build: str


class TakeTry(NamedTuple):
    """What a try to take a lease found before it, and the new epoch; None while another process holds it."""

    before: LeaseRow | None
    epoch: int | None


class LeaseTable(Protocol):
    """The lease rows. All time is the database's. Everything raises Unavailable."""

    async def take_lease(self, shard: str, holder: str, build: str, ttl_s: float) -> TakeTry:
        """Take a shard that nobody holds (released, run out or new) under the next epoch, in one transaction."""
        ...

    async def renew_lease(self, shard: str, epoch: int, holder: str, ttl_s: float) -> bool:
        """Extend it; False when it is not ours any more. A lease that ran out and was not taken may be renewed."""
        ...

    async def release_lease(self, shard: str, epoch: int, holder: str, note: str) -> bool:
        """End it with a note for the successor; False when it is not ours any more."""
        ...

    async def read_lease(self, shard: str) -> LeaseRow | None:
        """Who holds a shard."""
        ...


class Shelf(LeaseTable, Protocol):
    """Everything that the engine asks of its store. All of it raises Unavailable."""

    async def line(self, name: str, on_reply: OnReply, on_down: OnDown) -> JournalLine:
        """A connection for appends, called `name` (at most 63 bytes)."""
        ...

    async def page(self, shard: str, after: int, limit: int) -> list[JournalRow]:
        """Rows of the journal after sequence number `after`, oldest first, at most `limit` and one page's."""
        ...

    async def signal_row(self, workspace: str, signal_id: str) -> JournalRow | None:
        """The row in which a signal was planned."""
        ...

    async def recent_signals(self, shard: str, limit: int) -> list[SignalRef]:
        """The newest signals of a shard, newest first."""
        ...

    async def recent_answers(self, now: datetime) -> list[IdempotencyRecord]:
        """The newest first answers, newest first, as many as a process keeps in memory."""
        ...

    async def find_answer(
        self, workspace: str, principal: str, endpoint: str, key: str
    ) -> IdempotencyRecord | None:
        """One first answer, however old it is."""
        ...

    async def purge_answers(self, now: datetime) -> int:
        """Delete a batch of answers that have had their time; how many."""
        ...

    async def set_switch(self, row: SwitchRow, known: int | None = None) -> bool:
        """Store a kill switch; False if one newer than `known` (any before its own) is stored: nothing happens then."""
        ...

    async def read_switch(self, scope: SwitchScope, scope_id: str) -> SwitchRow | None:
        """One kill switch as it is stored; None when it was never set."""
        ...

    async def waiting_changes(self, limit: int) -> list[ChangeRow]:
        """The oldest changes of configuration that the journal does not hold yet."""
        ...

    async def mark_journalled(self, places: Sequence[tuple[int, Place]]) -> None:
        """Take changes (by id) out of the waiting ones."""
        ...

    async def purge_changes(self, now: datetime) -> int:
        """Delete a batch of changes that were journalled long ago; how many."""
        ...

    async def shown(self, shard: str, signals: int) -> Shown:
        """How far the projections of a shard have come, and what they hold; the newest `signals` lists."""
        ...

    async def write_projected(self, batch: Projected, shard: str, seq: int) -> None:
        """Write what a batch changed and that the projections show the journal up to `seq`, in one transaction."""
        ...

    async def server_time(self) -> datetime:
        """The store's own wall clock, UTC."""
        ...

    async def save_snapshot(self, row: SnapshotRow) -> None:
        """Store a folded book and drop the oldest."""
        ...

    async def latest_snapshot(self, shard: str, layout: int) -> SnapshotRow | None:
        """The newest folded book of this layout."""
        ...
