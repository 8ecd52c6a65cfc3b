"""The statement that appends a batch, pure: one round trip, one commit, fenced by the lease.

A batch of one fact (the usual case) has its own statements: unnest costs 0.1 ms more on a 0.4 ms commit.
All values travel in PostgreSQL's binary format, so nothing is quoted or escaped on the way.
"""

import struct
from collections.abc import Sequence
from typing import Final, LiteralString, NamedTuple

from kopitra.store.chain import link, microseconds
from kopitra.store.drafts import Draft, Head, IdempotencyDraft, JournalRow

_int8: Final = struct.Struct("!q").pack
_int4: Final = struct.Struct("!i").pack
_array_head: Final = struct.Struct("!iiiii").pack
_empty_array: Final = struct.Struct("!iii").pack

#: type numbers of pg_type, stable since PostgreSQL 9
_BYTEA, _INT8, _INT4, _TEXT, _JSON, _TIMESTAMPTZ = 17, 20, 23, 25, 114, 1184

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


def number(drafts: Sequence[Draft], shard: str, epoch: int, head: Head) -> list[JournalRow]:
    """The drafts as rows: numbered and chained after `head`."""
    rows: list[JournalRow] = []
    seq, previous = head.seq, head.hash
    for draft in drafts:
        seq += 1
        previous = link(
            previous,
            shard=shard,
            seq=seq,
            epoch=epoch,
            at_us=microseconds(draft.at),
            workspace=draft.workspace,
            kind=draft.kind,
            entry=draft.entry,
            payload=draft.payload,
        )
        rows.append(
            JournalRow(
                shard, seq, epoch, draft.at, draft.kind, draft.entry, draft.workspace, draft.payload, previous
            )
        )
    return rows


def statement(
    rows: Sequence[JournalRow], drafts: Sequence[Draft], answers: Sequence[bytes | None]
) -> Statement:
    """The statement for a batch; the three sequences run side by side and are not empty."""
    if len(rows) == 1:
        return _one(rows[0], drafts[0], answers[0])
    return _many(rows, drafts, answers)


def _one(row: JournalRow, draft: Draft, answer: bytes | None) -> Statement:
    values = [
        row.shard.encode(),
        _int8(row.epoch),
        _int8(row.seq),
        _int8(microseconds(row.at)),
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


def _many(rows: Sequence[JournalRow], drafts: Sequence[Draft], answers: Sequence[bytes | None]) -> Statement:
    at = [_int8(microseconds(row.at)) for row in rows]
    signals = [
        (row.workspace.encode(), draft.signal_id.encode(), _int8(row.seq))
        for row, draft in zip(rows, drafts, strict=True)
        if draft.signal_id is not None
    ]
    records = [
        [row.workspace.encode(), *_answer(draft.idempotency, answer), stamp]
        for row, draft, answer, stamp in zip(rows, drafts, answers, at, strict=True)
        if draft.idempotency is not None and answer is not None
    ]
    return Statement(
        b"append_many",
        [
            rows[0].shard.encode(),
            _int8(rows[0].epoch),
            _array(_INT8, [_int8(row.seq) for row in rows]),
            _array(_TIMESTAMPTZ, at),
            _array(_TEXT, [row.kind.encode() for row in rows]),
            _array(_TEXT, [row.entry.encode() for row in rows]),
            _array(_TEXT, [row.workspace.encode() for row in rows]),
            _array(_JSON, [row.payload for row in rows]),
            _array(_BYTEA, [row.hash for row in rows]),
            *_columns((_TEXT, _TEXT, _INT8), signals),
            *_columns((_TEXT, _TEXT, _TEXT, _TEXT, _BYTEA, _INT4, _BYTEA, _TIMESTAMPTZ), records),
        ],
    )


def _columns(types: tuple[int, ...], records: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Records turned into one array per column."""
    return [_array(kind, [record[i] for record in records]) for i, kind in enumerate(types)]


def _array(kind: int, items: Sequence[bytes]) -> bytes:
    """PostgreSQL's binary form of a one-dimensional array without nulls."""
    if not items:
        return _empty_array(0, 0, kind)
    parts = [_array_head(1, 0, kind, len(items), 1)]
    for item in items:
        parts += (_int4(len(item)), item)
    return b"".join(parts)
