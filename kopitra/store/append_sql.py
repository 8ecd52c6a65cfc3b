"""The statement that appends a batch, pure: one round trip, one commit, fenced by the lease.

A batch of one fact (the usual case) has its own statements: unnest costs 0.1 ms more on a 0.4 ms commit.
All values travel in PostgreSQL's binary format, so nothing is quoted or escaped on the way.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, LiteralString, NamedTuple

from kopitra.store.chain import HASH_BYTES, link, microseconds
from kopitra.store.drafts import Draft, Head, IdempotencyDraft, JournalRow

_int8: Final = struct.Struct("!q").pack
_int4: Final = struct.Struct("!i").pack
_array_head: Final = struct.Struct("!iiiii").pack
_empty_array: Final = struct.Struct("!iii").pack

#: kinds, entries and workspaces remembered as bytes
NAMES_CACHED_MAX: Final = 1024

#: type numbers of pg_type, stable since PostgreSQL 9
_BYTEA, _INT8, _INT4, _TEXT, _JSON, _TIMESTAMPTZ = 17, 20, 23, 25, 114, 1184
_SIGNAL_TYPES: Final = (_TEXT, _TEXT, _INT8)
_ANSWER_TYPES: Final = (_TEXT, _TEXT, _TEXT, _TEXT, _BYTEA, _INT4, _BYTEA, _TIMESTAMPTZ)

# FOR SHARE: a take-over (an UPDATE of this row) waits until the append has committed, and an append that
# waited for a take-over sees the new epoch and inserts nothing.
_HELD: Final = "with held as (select from lease where shard = $1 and epoch = $2 for share)"
_JOURNAL: Final = (
    " insert into journal (shard, seq, epoch, at, kind, entry, workspace, payload, hash)"
    " select $1, $3, $2, $4, $5, $6, $7, $8, $9 from held"
)
_SIGNAL: Final = ", signal as (insert into signal_ids select $7, $10, $1, $3 from held)"
_COLUMNS: Final = "text, int8, int8, timestamptz, text, text, text, json, bytea"

#: name -> (parameter types, statement); prepared once per connection
STATEMENTS: Final[dict[LiteralString, tuple[LiteralString, LiteralString]]] = {
    "append_one": (_COLUMNS, _HELD + _JOURNAL),
    "append_signal": (_COLUMNS + ", text", _HELD + _SIGNAL + _JOURNAL),
    "append_answer": (
        _COLUMNS + ", text, text, text, bytea, int4, bytea",
        _HELD
        + ", answer as (insert into idempotency select $7, $10, $11, $12, $13, $14, $15, $4 from held)"
        + _JOURNAL,
    ),
    "append_signal_answer": (
        _COLUMNS + ", text, text, text, text, bytea, int4, bytea",
        _HELD
        + _SIGNAL
        + ", answer as (insert into idempotency select $7, $11, $12, $13, $14, $15, $16, $4 from held)"
        + _JOURNAL,
    ),
    "append_many": (
        "text, int8, int8[], timestamptz[], text[], text[], text[], json[], bytea[], text[], text[], int8[],"
        " text[], text[], text[], text[], bytea[], int4[], bytea[], timestamptz[]",
        _HELD
        + """,
        signals as (
            insert into signal_ids
            select w, id, $1, s from held, unnest($10, $11, $12) as t (w, id, s)),
        answers as (
            insert into idempotency
            select t.* from held, unnest($13, $14, $15, $16, $17, $18, $19, $20) as t)
        insert into journal (shard, seq, epoch, at, kind, entry, workspace, payload, hash)
        select $1, s, $2, a, k, e, w, p, h
        from held, unnest($3, $4, $5, $6, $7, $8, $9) as t (s, a, k, e, w, p, h)""",
    ),
}


class Statement(NamedTuple):
    """A prepared statement's name and its values, all binary."""

    name: bytes
    values: list[bytes]


class Batch(NamedTuple):
    """What one commit holds: rows, the drafts that they were, and what belongs to each, side by side."""

    rows: list[JournalRow]
    #: the time of each row, 8 bytes in PostgreSQL's own form
    stamps: list[bytes]
    drafts: Sequence[Draft]
    #: the body of each first answer, None where there is none
    answers: list[bytes | None]


def number(drafts: Sequence[Draft], shard: str, epoch: int, head: Head) -> Batch:
    """The drafts as rows: numbered and chained after `head`, with the answers that name the numbers."""
    rows: list[JournalRow] = []
    stamps: list[bytes] = []
    seq, previous = head.seq, head.hash
    for kind, entry, workspace, at, payload, _, _ in drafts:
        seq += 1
        at_us = microseconds(at)
        previous = link(previous, shard, seq, epoch, at_us, workspace, kind, entry, payload)
        rows.append(JournalRow(shard, seq, epoch, at, kind, entry, workspace, payload, previous))
        stamps.append(_int8(at_us))
    answers = [
        None if draft.idempotency is None else draft.idempotency.body(row.seq)
        for draft, row in zip(drafts, rows, strict=True)
    ]
    return Batch(rows, stamps, drafts, answers)


def statement(batch: Batch) -> Statement:
    """The statement for a batch, which is not empty."""
    rows, stamps, drafts, answers = batch
    if len(rows) == 1:
        return _one(rows[0], stamps[0], drafts[0], answers[0])
    return _many(batch)


def _one(row: JournalRow, stamp: bytes, draft: Draft, answer: bytes | None) -> Statement:
    values = [
        row.shard.encode(),
        _int8(row.epoch),
        _int8(row.seq),
        stamp,
        row.kind.encode(),
        row.entry.encode(),
        row.workspace.encode(),
        row.payload,
        row.hash,
    ]
    name = b"append_one"
    if draft.signal_id is not None:
        values.append(draft.signal_id.encode())
        name = b"append_signal"
    if draft.idempotency is not None and answer is not None:
        values += _answer(draft.idempotency, answer)
        name = b"append_answer" if draft.signal_id is None else b"append_signal_answer"
    return Statement(name, values)


def _answer(record: IdempotencyDraft, body: bytes) -> list[bytes]:
    return [
        record.principal.encode(),
        record.endpoint.encode(),
        record.key.encode(),
        record.fingerprint,
        _int4(record.status),
        body,
    ]


def _many(batch: Batch) -> Statement:
    rows, stamps, drafts, answers = batch
    signals: list[tuple[bytes, bytes, bytes]] = []
    records: list[list[bytes]] = []
    for row, stamp, draft, answer in zip(rows, stamps, drafts, answers, strict=True):
        if draft.signal_id is not None:
            signals.append((row.workspace.encode(), draft.signal_id.encode(), _int8(row.seq)))
        if draft.idempotency is not None and answer is not None:
            records.append([row.workspace.encode(), *_answer(draft.idempotency, answer), stamp])
    return Statement(
        b"append_many",
        [
            rows[0].shard.encode(),
            _int8(rows[0].epoch),
            _array_of(_INT8, 8, [_int8(row.seq) for row in rows]),
            _array_of(_TIMESTAMPTZ, 8, stamps),
            _names([row.kind for row in rows]),
            _names([row.entry for row in rows]),
            _names([row.workspace for row in rows]),
            _array(_JSON, [row.payload for row in rows]),
            _array_of(_BYTEA, HASH_BYTES, [row.hash for row in rows]),
            *_columns(_SIGNAL_TYPES, signals),
            *_columns(_ANSWER_TYPES, records),
        ],
    )


def _columns(types: tuple[int, ...], records: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Records turned into one array per column."""
    if not records:  # the usual case of facts
        return [_empty_array(0, 0, kind) for kind in types]
    return [_array(kind, column) for kind, column in zip(types, zip(*records, strict=True), strict=True)]


# Arrays are PostgreSQL's binary form: one dimension, no nulls, each item behind its length.


def _array(kind: int, items: Sequence[bytes]) -> bytes:
    parts = [_array_head(1, 0, kind, len(items), 1)]
    for item in items:
        parts += (_int4(len(item)), item)
    return b"".join(parts)


def _array_of(kind: int, size: int, items: Sequence[bytes]) -> bytes:
    """Of items that all have `size` bytes: the length is the same between all of them, so one join does."""
    length = _int4(size)
    return b"".join((_array_head(1, 0, kind, len(items), 1), length, length.join(items)))


def _names(texts: Sequence[str]) -> bytes:
    """Of texts that come again and again."""
    return _array_head(1, 0, _TEXT, len(texts), 1) + b"".join(map(_item, texts))


@lru_cache(maxsize=NAMES_CACHED_MAX)
def _item(text: str) -> bytes:
    raw = text.encode()
    return _int4(len(raw)) + raw
