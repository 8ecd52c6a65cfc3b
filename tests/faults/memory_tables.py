"""The tables of the store in memory: each method is one transaction, whole or not at all, with PostgreSQL's verdicts.

What PostgreSQL refuses raises `Refused` with the sqlstate and the constraint that PostgreSQL names. Nothing here knows
of connections, delays or faults: that is `memory_store.py`. The conformance suite runs on both.
"""

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter

import msgspec

from kopitra.store.append_sql import Batch
from kopitra.store.builds import BuildNotAllowed
from kopitra.store.config_changes import ENDPOINT, KEPT, PRINCIPAL, ChangeRow, Place
from kopitra.store.drafts import Draft, Head, IdempotencyRecord, JournalRow, SignalRef
from kopitra.store.idempotency import CACHED_AGE, CACHED_RECORDS_MAX, RETENTION
from kopitra.store.journal_reader import PAGE_ROWS_MAX
from kopitra.store.shelf import LeaseRow, RowHash, SqlError, TakeTry
from kopitra.store.snapshots import KEPT_MAX, SnapshotRow
from kopitra.store.switches import SwitchRow
from tests.faults.memory_projections import ShownTables

AnswerKey = tuple[str, str, str, str]

#: rows of one delete, as in PostgreSQL
PURGE_ROWS_MAX = 5_000

_seq_of = attrgetter("seq")


class Refused(Exception):
    """The transaction was rolled back."""

    def __init__(
        self, sqlstate: str, constraint: str = "", message: str = "", *, fatal: bool = False
    ) -> None:
        text = message or f"{sqlstate} {constraint}".strip()
        super().__init__(text)
        self.error = SqlError(sqlstate, constraint, text, fatal)


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease row; `expires_s` on the database's clock."""

    holder: str
    epoch: int
    expires_s: float
    released: bool
    note: str
    build: str


@dataclass(frozen=True, slots=True)
class Change:
    """A row of the outbox and where it was journalled."""

    row: ChangeRow
    place: Place | None = None


def _checked(*texts: str) -> None:
    for text in texts:
        if "\0" in text:
            raise Refused("22021", message='invalid byte sequence for encoding "UTF8": 0x00')


class Tables:
    """All rows. `now_s` is the database's clock, seconds."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.now_s = now_s
        self.leases: dict[str, Lease] = {}
        #: builds that somebody has judged
        self.builds: dict[str, bool] = {}
        #: rows of each shard in the order of their numbers
        self.journal: dict[str, list[JournalRow]] = {}
        self.signals: dict[tuple[str, str], SignalRef] = {}
        self.signals_of: dict[str, list[SignalRef]] = {}
        self.answers: dict[AnswerKey, IdempotencyRecord] = {}
        self.switches: dict[tuple[str, str], SwitchRow] = {}
        self.changes: dict[int, Change] = {}
        self._changes_made = 0
        self.snapshots: dict[tuple[str, int], SnapshotRow] = {}
        self.shown = ShownTables()

    # the journal -------------------------------------------------------------------------------------------

    def append(self, batch: Batch) -> int:
        """One append statement: the number of rows inserted; 0 when the lease has another epoch."""
        shard, epoch = batch.rows[0].shard, batch.rows[0].epoch
        for row, draft in zip(batch.rows, batch.drafts, strict=True):
            _check_values(row, draft)
        held = self.leases.get(shard)
        if held is None or held.epoch != epoch:
            return 0
        rows = self.journal.get(shard, [])
        self._check_numbers(rows, batch.rows)
        signals = self._new_signals(batch)
        answers = self._new_answers(batch)
        # Everything is checked: from here on nothing can fail, so the transaction is whole.
        rows = self.journal.setdefault(shard, rows)
        for row in batch.rows:
            if not rows or row.seq > rows[-1].seq:
                rows.append(row)
            else:
                bisect.insort(rows, row, key=_seq_of)
        self.signals |= signals
        self.signals_of.setdefault(shard, []).extend(signals.values())
        self.answers |= answers
        return len(batch.rows)

    def _check_numbers(self, rows: Sequence[JournalRow], new: Sequence[JournalRow]) -> None:
        last = rows[-1].seq if rows else 0
        seen: set[int] = set()
        for row in new:
            if row.seq < 1:
                raise Refused("23514", "journal_seq_check")
            if row.seq in seen or (row.seq <= last and _has(rows, row.seq)):
                raise Refused("23505", "journal_pkey")
            seen.add(row.seq)

    def _new_signals(self, batch: Batch) -> dict[tuple[str, str], SignalRef]:
        new: dict[tuple[str, str], SignalRef] = {}
        for row, draft in zip(batch.rows, batch.drafts, strict=True):
            if draft.signal_id is not None:
                key = (row.workspace, draft.signal_id)
                if key in self.signals or key in new:
                    raise Refused("23505", "signal_ids_pkey")
                new[key] = SignalRef(row.workspace, draft.signal_id, row.shard, row.seq)
        return new

    def _new_answers(self, batch: Batch) -> dict[AnswerKey, IdempotencyRecord]:
        new: dict[AnswerKey, IdempotencyRecord] = {}
        for row, draft, body in zip(batch.rows, batch.drafts, batch.answers, strict=True):
            record = draft.idempotency
            if record is None or body is None:
                continue
            key = (row.workspace, record.principal, record.endpoint, record.key)
            if key in self.answers or key in new:
                raise Refused("23505", "idempotency_pkey")
            new[key] = IdempotencyRecord(*key, record.fingerprint, record.status, body, row.at)
        return new

    def head(self, shard: str) -> Head:
        """The last row."""
        rows = self.journal.get(shard)
        return Head(rows[-1].seq, rows[-1].hash) if rows else Head()

    def row_after(self, shard: str, seq: int) -> RowHash | None:
        """The row that follows `seq`."""
        found = self.page(shard, seq, 1)
        return RowHash(found[0].seq, found[0].hash) if found else None

    def epoch(self, shard: str) -> int | None:
        """The epoch in the lease row."""
        held = self.leases.get(shard)
        return None if held is None else held.epoch

    def first_record(self, drafts: Sequence[Draft]) -> IdempotencyRecord | SignalRef | None:
        """What one of these drafts repeats; an answer before a signal."""
        for draft in drafts:
            if (record := draft.idempotency) is not None:
                found = self.find_answer(draft.workspace, record.principal, record.endpoint, record.key)
                if found is not None:
                    return found
        for draft in drafts:
            known = self.signals.get((draft.workspace, draft.signal_id or ""))
            if draft.signal_id is not None and known is not None:
                return known
        return None

    def page(self, shard: str, after: int, limit: int) -> list[JournalRow]:
        """Rows after `after`, oldest first."""
        rows = self.journal.get(shard, [])
        start = bisect.bisect_right(rows, after, key=_seq_of)
        return rows[start : start + min(limit, PAGE_ROWS_MAX)]

    def signal_row(self, workspace: str, signal_id: str) -> JournalRow | None:
        """The row in which a signal was planned."""
        known = self.signals.get((workspace, signal_id))
        found = [] if known is None else self.page(known.shard, known.seq - 1, 1)
        return found[0] if found and known is not None and found[0].seq == known.seq else None

    def recent_signals(self, shard: str, limit: int) -> list[SignalRef]:
        """The newest signals, newest first."""
        return sorted(self.signals_of.get(shard, []), key=_seq_of, reverse=True)[:limit]

    # first answers -----------------------------------------------------------------------------------------

    def recent_answers(self, now: datetime) -> list[IdempotencyRecord]:
        """The newest answers, newest first."""
        young = [answer for answer in self.answers.values() if answer.at > now - CACHED_AGE]
        return sorted(young, key=attrgetter("at"), reverse=True)[:CACHED_RECORDS_MAX]

    def find_answer(
        self, workspace: str, principal: str, endpoint: str, key: str
    ) -> IdempotencyRecord | None:
        """One first answer."""
        return self.answers.get((workspace, principal, endpoint, key))

    def purge_answers(self, now: datetime) -> int:
        """Delete those that have had their time."""
        old = [key for key, answer in self.answers.items() if answer.at < now - RETENTION][:PURGE_ROWS_MAX]
        for key in old:
            del self.answers[key]
        return len(old)

    # the lease ---------------------------------------------------------------------------------------------

    def take_lease(self, shard: str, holder: str, build: str, ttl_s: float) -> TakeTry:
        """The next epoch, unless somebody holds it."""
        _checked(shard, holder, build)
        before, held = self.read_lease(shard), self.leases.get(shard)
        if held is not None and not held.released and held.expires_s > self.now_s():
            return TakeTry(before, None)
        if not self.builds:
            self.builds[build] = True  # the first one of a database
        if not self.builds.get(build):
            raise BuildNotAllowed(f"Build {build} may not hold a lease.")
        epoch = 1 if held is None else held.epoch + 1
        self.leases[shard] = Lease(holder, epoch, self.now_s() + ttl_s, released=False, note="", build=build)
        return TakeTry(before, epoch)

    def renew_lease(self, shard: str, epoch: int, holder: str, ttl_s: float) -> bool:
        """Extend it while it is ours."""
        held = self.leases.get(shard)
        if held is None or held.released or (held.epoch, held.holder) != (epoch, holder):
            return False
        self.leases[shard] = replace(held, expires_s=self.now_s() + ttl_s)
        return True

    def release_lease(self, shard: str, epoch: int, holder: str, note: str) -> bool:
        """End it while it is ours."""
        _checked(note)
        held = self.leases.get(shard)
        if held is None or (held.epoch, held.holder) != (epoch, holder):
            return False
        self.leases[shard] = replace(held, released=True, expires_s=self.now_s(), note=note)
        return True

    def change_lease(
        self, shard: str, *, expires_s: float | None = None, epoch: int | None = None, holder: str = ""
    ) -> None:
        """By hand, as a person with a database console could."""
        held = self.leases[shard]
        self.leases[shard] = replace(
            held,
            expires_s=held.expires_s if expires_s is None else expires_s,
            epoch=epoch or held.epoch,
            holder=holder or held.holder,
        )

    def read_lease(self, shard: str) -> LeaseRow | None:
        """The row as it is."""
        held = self.leases.get(shard)
        if held is None:
            return None
        left_s = held.expires_s - self.now_s()
        return LeaseRow(shard, held.holder, held.epoch, left_s, held.released, held.note, held.build)

    # beside the way ----------------------------------------------------------------------------------------

    def set_switch(self, row: SwitchRow, newest: int | None = None) -> bool:
        """Store it unless a newer state is known."""
        _checked(row.scope_id, row.reason, row.who)
        known = self.switches.get((row.scope, row.scope_id))
        if known is not None and known.epoch > (row.epoch - 1 if newest is None else newest):
            return False
        # The row of a switch keeps its workspace, as in PostgreSQL.
        kept = row if known is None else replace(row, workspace=known.workspace)
        self.switches[row.scope, row.scope_id] = kept
        return True

    def tell_change(self, row: ChangeRow) -> int:
        """A change of configuration, made by somebody else; its id."""
        self._changes_made += 1
        self.changes[self._changes_made] = Change(replace(row, change_id=self._changes_made, record=None))
        return self._changes_made

    def waiting_changes(self, limit: int) -> list[ChangeRow]:
        """The oldest that the journal does not hold yet, with the record that a lost mark left."""
        waiting = [change.row for _, change in sorted(self.changes.items()) if change.place is None][:limit]
        return [replace(row, record=self._record(row)) for row in waiting]

    def _record(self, row: ChangeRow) -> bytes | None:
        found = self.answers.get((row.workspace, PRINCIPAL, ENDPOINT, str(row.change_id)))
        return None if found is None else found.body

    def mark_journalled(self, places: Sequence[tuple[int, Place]]) -> None:
        """Take them out of the waiting ones; the first mark stays."""
        for change_id, place in places:
            change = self.changes.get(change_id)
            if change is not None and change.place is None:
                self.changes[change_id] = Change(change.row, place)

    def purge_changes(self, now: datetime) -> int:
        """Delete what was journalled long ago."""
        old = [
            change_id
            for change_id, change in self.changes.items()
            if change.place is not None and change.row.at < now - KEPT
        ][:PURGE_ROWS_MAX]
        for change_id in old:
            del self.changes[change_id]
        return len(old)

    def save_snapshot(self, row: SnapshotRow) -> None:
        """Store it and drop the oldest."""
        self.snapshots[row.shard, row.seq] = row
        kept = sorted((seq for shard, seq in self.snapshots if shard == row.shard), reverse=True)
        for seq in kept[KEPT_MAX:]:
            del self.snapshots[row.shard, seq]

    def latest_snapshot(self, shard: str, layout: int) -> SnapshotRow | None:
        """The newest of this layout."""
        found = [row for row in self.snapshots.values() if (row.shard, row.layout) == (shard, layout)]
        return max(found, key=_seq_of, default=None)


def _has(rows: Sequence[JournalRow], seq: int) -> bool:
    at = bisect.bisect_left(rows, seq, key=_seq_of)
    return at < len(rows) and rows[at].seq == seq


def _check_values(row: JournalRow, draft: Draft) -> None:
    """What PostgreSQL refuses before it looks at any row."""
    _checked(row.shard, row.kind, row.entry, row.workspace, draft.signal_id or "")
    if (record := draft.idempotency) is not None:
        _checked(record.principal, record.endpoint, record.key)
    try:
        msgspec.json.decode(row.payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused("22P02", message=f"invalid input syntax for type json: {error}") from error
