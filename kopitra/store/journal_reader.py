"""Reading the journal back: pages for replay, and the walk of the hash chain."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from kopitra.store.chain import GENESIS, link
from kopitra.store.drafts import Head, JournalRow
from kopitra.store.pool import Database

#: rows of one page
PAGE_ROWS_MAX: Final = 1000

PAGE_SQL: Final = """
    select shard, seq, epoch, at, kind, entry, workspace, payload, hash
    from journal where shard = %(shard)s and seq > %(after)s order by seq limit %(limit)s"""
# Times as PostgreSQL's own 8 bytes: a damaged one may be a value that Python cannot hold, and must still
# be told.
_RAW_PAGE_SQL: Final = """
    select seq, epoch, timestamptz_send(at) as at, kind, entry, workspace, payload, hash
    from journal where shard = %(shard)s and seq > %(after)s order by seq limit %(limit)s"""


async def read(db: Database, shard: str, after: int, limit: int = PAGE_ROWS_MAX) -> list[JournalRow]:
    """One page of rows after sequence number `after`, oldest first."""
    return await db.tuples(
        JournalRow, PAGE_SQL, {"shard": shard, "after": after, "limit": min(limit, PAGE_ROWS_MAX)}
    )


_SIGNAL_ROW_SQL: Final = """
    select j.shard, j.seq, j.epoch, j.at, j.kind, j.entry, j.workspace, j.payload, j.hash
    from signal_ids s join journal j on j.shard = s.shard and j.seq = s.seq
    where s.workspace = %(workspace)s and s.signal_id = %(signal_id)s"""


async def signal_row(db: Database, workspace: str, signal_id: str) -> JournalRow | None:
    """The row in which a signal was planned."""
    found = await db.tuples(JournalRow, _SIGNAL_ROW_SQL, {"workspace": workspace, "signal_id": signal_id})
    return found[0] if found else None


@dataclass(frozen=True, slots=True)
class _Last:
    seq: int


async def head_seq(db: Database, shard: str) -> int:
    """Number of the last row; 0 for an empty shard."""
    found = await db.row(
        _Last, "select seq from journal where shard = %s order by seq desc limit 1", (shard,)
    )
    return found.seq if found is not None else 0


async def replay(db: Database, shard: str, after: int = 0) -> AsyncGenerator[JournalRow]:
    """Every row after `after`, page by page."""
    while page := await read(db, shard, after):
        for row in page:
            yield row
        after = page[-1].seq


Fault = Literal["missing", "altered"]


@dataclass(frozen=True, slots=True)
class BadRow:
    """The first row that does not fit: it is not there, or its content and its hash disagree."""

    seq: int
    fault: Fault
    text: str


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """`rows` rows from the first on are whole; `bad` is the first that is not, None when all are."""

    shard: str
    rows: int
    head: Head
    bad: BadRow | None


class _RawRow(NamedTuple):
    seq: int
    epoch: int
    at: bytes
    kind: str
    entry: str
    workspace: str
    payload: bytes
    hash: bytes


async def verify(db: Database, shard: str, anchor: Head | None = None) -> VerifyResult:
    """Walk the chain from the first row and stop at the first bad one.

    A chain cannot show that its end was cut off: give the head that was last seen elsewhere as `anchor`.
    """
    head = Head()
    while True:
        page = await db.tuples(
            _RawRow, _RAW_PAGE_SQL, {"shard": shard, "after": _start(head), "limit": PAGE_ROWS_MAX}
        )
        for row in page:
            bad = _fault(row, head, shard) or _off_anchor(row, anchor)
            if bad is not None:
                return VerifyResult(shard, head.seq, head, bad)
            head = Head(row.seq, row.hash)
        if not page:
            break
    if anchor is not None and anchor.seq > head.seq:
        cut = BadRow(
            head.seq + 1, "missing", f"The journal ends before row {anchor.seq}, which was seen before."
        )
        return VerifyResult(shard, head.seq, head, cut)
    return VerifyResult(shard, head.seq, head, None)


class _Shard(NamedTuple):
    shard: str


async def shards(db: Database) -> list[str]:
    """Every shard that has a row: a check of the whole journal walks them all."""
    # One index probe per shard, however long the journal is.
    text = """
        with recursive found as (
            (select shard from journal order by shard limit 1)
            union all
            select (select shard from journal where shard > found.shard order by shard limit 1)
            from found where found.shard is not null)
        select shard from found where shard is not null"""
    return [row.shard for row in await db.tuples(_Shard, text)]


def _start(head: Head) -> int:
    """The first page begins before any number, so that a row numbered 0 or below is seen too."""
    return head.seq if head.seq else -(2**63)


def _fault(row: _RawRow, head: Head, shard: str) -> BadRow | None:
    expected = head.seq + 1
    if row.seq > expected:
        return BadRow(expected, "missing", f"Row {expected} is missing: the next one is {row.seq}.")
    if row.seq < expected:
        return BadRow(row.seq, "altered", f"Row {row.seq} stands before the first row.")
    told = link(
        head.hash if head.seq else GENESIS,
        shard=shard,
        seq=row.seq,
        epoch=row.epoch,
        at_us=int.from_bytes(row.at, "big", signed=True),
        workspace=row.workspace,
        kind=row.kind,
        entry=row.entry,
        payload=row.payload,
    )
    if told == row.hash:
        return None
    return BadRow(
        row.seq, "altered", f"Row {row.seq} and its hash disagree: one of them was changed or moved."
    )


def _off_anchor(row: _RawRow, anchor: Head | None) -> BadRow | None:
    if anchor is None or row.seq != anchor.seq or row.hash == anchor.hash:
        return None
    return BadRow(row.seq, "altered", f"Row {row.seq} is whole, but it is not the row that was seen before.")
