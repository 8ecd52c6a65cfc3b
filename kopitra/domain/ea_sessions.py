"""Sessions of expert advisors: what counts as alive, whether a leader is where we think, what is told again.

Pure: times are seconds of the caller's monotonic clock.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Final, Literal, NamedTuple

#: seconds between two heartbeats of an EA
HEARTBEAT_S: Final = 5
#: seconds of silence after which a leader's stream is stale (R-035)
SILENT_MAX_S: Final = 15.0
#: seconds more after a start of the gateway: every EA has to find it again
START_GRACE_S: Final = 15.0
#: seconds of silence after which a session ends by itself
LEASE_S: Final = 86_400.0
#: seconds after which an event that was told and not acknowledged is told again
REDELIVER_S: Final = 5.0
#: events that wait in one session's outbox
OUTBOX_MAX: Final = 64
#: events of one answer
TOLD_AT_ONCE_MAX: Final = 32
#: seconds: an older snapshot of a leader who numbers nothing may tell of a past that signals have overtaken
SNAPSHOT_AGE_MAX_S: Final = 30.0

SessionStatus = Literal["pending", "authenticated", "ended"]
OutType = Literal["InitAck", "OrderCommand", "OrderCancel", "ShutdownNotice", "SyncRequest"]
#: why a heartbeat does not fit what we know; "" when it does
Mismatch = Literal["", "sequence_ahead", "sequence_behind", "positions"]
#: each in words, for the alert
MISMATCHES: Final[Mapping[Mismatch, str]] = {
    "sequence_ahead": "its EA has numbered acts that have not arrived",
    "sequence_behind": "its EA counts from an older number: was its disk restored?",
    "positions": "its EA holds other positions than its signals told of",
}


@dataclass(frozen=True, slots=True)
class OutEvent:
    """Something told to a terminal; `payload` is its JSON object."""

    sequence: int
    event_type: OutType
    payload: bytes
    requires_ack: bool


class Beat(NamedTuple):
    """What one heartbeat says: the number of the last act, and `positions_hash` of what is held; None: not said."""

    sequence: int | None = None
    positions: str | None = None


def positions_hash(positions: Iterable[tuple[str, Decimal]]) -> str:
    """SHA-256, in hex, of `ROOT:QTY` joined by `;`, sorted by root, signed, without zeros and trailing zeros."""
    held = sorted((root, qty) for root, qty in positions if qty)
    return sha256(";".join(f"{root}:{_plain(qty)}" for root, qty in held).encode()).hexdigest()


def _plain(qty: Decimal) -> str:
    text = format(qty, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def mismatch(beat: Beat, sequence: int, held: str) -> Mismatch:
    """What is wrong with a heartbeat, given the newest number in the book and the hash of what it holds.

    Positions are compared at the same act only, or by an EA that numbers nothing.
    """
    if beat.sequence is not None and beat.sequence != sequence:
        return "sequence_ahead" if beat.sequence > sequence else "sequence_behind"
    return "" if beat.positions is None or beat.positions == held else "positions"


def is_certain(beat: Beat, found: Mismatch, before: Mismatch) -> bool:
    """A signal may be on its way beside the heartbeat: only positions at the same number are wrong at once."""
    return found != "" and (found == before or (found == "positions" and beat.sequence is not None))


def is_silent(now_s: float, heard_s: Sequence[float]) -> bool:
    """None of a leader's sessions was heard in time; a leader without sessions is not waited for."""
    return bool(heard_s) and now_s - max(heard_s) >= SILENT_MAX_S


def deliverable(
    waiting: Mapping[int, OutEvent], told_s: Mapping[int, float], cursor: int, now_s: float
) -> list[OutEvent]:
    """What a terminal that has read up to `cursor` is told now, in order.

    What needs an acknowledgement is told again until it has come, whatever the cursor says.
    """
    found = [
        event
        for number, event in sorted(waiting.items())
        if number > cursor or (event.requires_ack and now_s - told_s.get(number, -REDELIVER_S) >= REDELIVER_S)
    ]
    return found[:TOLD_AT_ONCE_MAX]


def read_up_to(waiting: Mapping[int, OutEvent], cursor: int) -> list[int]:
    """Numbers that the cursor itself acknowledges: what needs no other acknowledgement."""
    return [
        number for number, event in sorted(waiting.items()) if number <= cursor and not event.requires_ack
    ]


def overtaken(sequence: int | None, known: int, age_s: float) -> bool:
    """A snapshot that tells of a time before signals that are known already must not undo them."""
    if sequence is not None:
        return sequence < known
    return age_s > SNAPSHOT_AGE_MAX_S
