"""The hash chain of the journal, pure.

hash = SHA-256(previous hash | seq | epoch | at | shard NUL workspace NUL kind NUL entry NUL payload), where
the numbers are 8 bytes big-endian and `at` is microseconds since 2000 (PostgreSQL's own form). Texts
cannot contain NUL (PostgreSQL refuses it), so no byte can move from one field to the next unseen. Every
column of a row is covered.
"""

import hashlib
import struct
from datetime import UTC, datetime, timedelta
from typing import Final

HASH_BYTES: Final = 32
#: hash before the first row of a shard
GENESIS: Final = bytes(HASH_BYTES)

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_numbers: Final = struct.Struct("!qqq").pack


def microseconds(at: datetime) -> int:
    """Since 2000-01-01 UTC, exact (a float of seconds is not)."""
    return (at - _EPOCH) // _MICROSECOND


def link(
    previous: bytes,
    shard: str,
    seq: int,
    epoch: int,
    at_us: int,
    workspace: str,
    kind: str,
    entry: str,
    payload: bytes,
) -> bytes:
    """The hash of a row, given the hash of the row before it."""
    texts = f"{shard}\0{workspace}\0{kind}\0{entry}\0".encode()
    return hashlib.sha256(b"".join((previous, _numbers(seq, epoch, at_us), texts, payload))).digest()
