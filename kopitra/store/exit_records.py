"""The local exit file's bytes, pure: what a gateway without a database did, until the journal can hold it (R-072).

A frame is a magic word, the payload's length, a checksum over both, and the payload: one `ExitRecord` as JSON. A
fault with nothing readable behind it is a tail that a crash left half-written; a fault with a whole frame behind it
is damage in the middle. Neither ever hides the records around it.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kopitra.domain.errors import Corrupt
from kopitra.store.drafts import IdempotencyDraft
from kopitra.store.encoding import Decoder, encode

#: bytes of one payload; a plan of 1,000 followers takes a tenth of it
PAYLOAD_BYTES_MAX: Final = 4 * 1024 * 1024
_MAGIC: Final = b"KEX1"
_HEAD: Final = struct.Struct("!4sI16s")
#: who the idempotency records of imported exits belong to; no key or hook can have this name
PRINCIPAL: Final = "exit-file"
ENDPOINT: Final = "exits"


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """One entry that waits for the journal. `entry` names its type, `payload` is its stored JSON.

    `epoch` and `number` name it for ever: one process holds an epoch and counts up.
    """

    shard: str
    epoch: int
    number: int
    workspace: str
    at: datetime
    kind: str
    entry: str
    payload: str
    signal_id: str | None = None

    @property
    def record_id(self) -> str:
        """The same in every process that reads the file: the journal takes it once."""
        return f"{self.shard}:{self.epoch}:{self.number}"


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no record: where they begin, how many, and whether whole records follow them."""

    offset: int
    length: int
    in_the_middle: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything in a file that verifies, in its order, and what does not."""

    records: tuple[ExitRecord, ...]
    damages: tuple[Damage, ...] = ()

    @property
    def is_corrupt(self) -> bool:
        """More than a tail that a crash cut off."""
        return any(damage.in_the_middle for damage in self.damages)


_read_record: Final = Decoder(ExitRecord)


def frame(record: ExitRecord) -> bytes:
    """The record as bytes of the file. Raises Corrupt for one that is too long to be read again."""
    payload = encode(record)
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise Corrupt(f"An exit of {len(payload)} bytes is too long for the local file: send it by parts.")
    return _HEAD.pack(_MAGIC, len(payload), _checksum(payload)) + payload


def read(data: bytes) -> Reading:
    """Take a file apart."""
    records: list[ExitRecord] = []
    damages: list[Damage] = []
    offset = 0
    while offset < len(data):
        found = _at(data, offset)
        if found is not None:
            record, offset = found
            records.append(record)
            continue
        behind = next(_whole_frames(data, offset + 1), len(data))
        damages.append(Damage(offset, behind - offset, behind < len(data)))
        offset = behind
    return Reading(tuple(records), tuple(damages))


def once(record: ExitRecord) -> IdempotencyDraft:
    """What makes the journal take a record only once."""
    fingerprint = hashlib.sha256(record.payload.encode()).digest()
    return IdempotencyDraft(
        PRINCIPAL, ENDPOINT, record.record_id, fingerprint, 200, lambda seq: b'{"sequence":%d}' % seq
    )


def _checksum(payload: bytes) -> bytes:
    return hashlib.blake2b(len(payload).to_bytes(4, "big") + payload, digest_size=16).digest()


def _at(data: bytes, offset: int) -> tuple[ExitRecord, int] | None:
    """The record at `offset` and where the next one begins; None when there is none."""
    start = offset + _HEAD.size
    if start > len(data):
        return None
    magic, length, checksum = _HEAD.unpack_from(data, offset)
    payload = data[start : start + length]
    if (
        magic != _MAGIC
        or length > PAYLOAD_BYTES_MAX
        or len(payload) < length
        or _checksum(payload) != checksum
    ):
        return None
    try:
        return _read_record(payload), start + length
    except Corrupt:
        return None


def _whole_frames(data: bytes, offset: int) -> Iterator[int]:
    """Offsets of whole frames from `offset` on."""
    while (offset := data.find(_MAGIC, offset)) >= 0:
        if _at(data, offset) is not None:
            yield offset
        offset += 1
