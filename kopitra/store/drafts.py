"""What goes into the journal and what comes out of it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from kopitra.domain.errors import Conflict
from kopitra.store.chain import GENESIS


@dataclass(frozen=True, slots=True)
class IdempotencyDraft:
    """The first answer to a request, stored with its journal row or not at all.

    `body` is called once with the row's sequence number (the answer names it) and must be pure: when a
    neighbour in the batch is refused, the row gets another number and the body is made again.
    """

    principal: str
    endpoint: str
    key: str
    fingerprint: bytes
    status: int
    body: Callable[[int], bytes]


class Draft(NamedTuple):
    """A fact that is not numbered yet. `kind` is the event stream, `entry` the type of `payload` (JSON)."""

    kind: str
    entry: str
    workspace: str
    at: datetime
    payload: bytes
    signal_id: str | None = None
    idempotency: IdempotencyDraft | None = None


class JournalRow(NamedTuple):
    """A fact in the journal. A named tuple, because one is made per fact on the hot path."""

    shard: str
    seq: int
    epoch: int
    at: datetime
    kind: str
    entry: str
    workspace: str
    payload: bytes
    hash: bytes


class Committed(NamedTuple):
    """What an append became: its rows, durable, in the order of the drafts; `answers` beside them."""

    rows: tuple[JournalRow, ...]
    #: body of the idempotency record of each draft, None where it had none
    answers: tuple[bytes | None, ...]

    @property
    def seq(self) -> int:
        """Number of the first row."""
        return self.rows[0].seq


@dataclass(frozen=True, slots=True)
class Head:
    """The last row of a shard."""

    seq: int = 0
    hash: bytes = GENESIS


EMPTY: Final = Head()


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """A stored first answer."""

    workspace: str
    principal: str
    endpoint: str
    key: str
    fingerprint: bytes
    status: int
    body: bytes
    at: datetime


@dataclass(frozen=True, slots=True)
class SignalRef:
    """Where a signal was planned."""

    workspace: str
    signal_id: str
    shard: str
    seq: int


class Duplicate(Conflict):
    """An append repeats a fact that exists; `existing` is that fact, as it was recorded first."""

    code = "duplicate"

    def __init__(self, message: str, existing: IdempotencyRecord | SignalRef) -> None:
        super().__init__(message)
        self.existing = existing
