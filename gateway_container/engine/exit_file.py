"""Exits without a database: written to a local file first, then sent, then taken into the journal (R-072, R-073).

Only what shrinks, cancels, protects or stops goes this way, the marks and locks of loss limits included, and only
while the lease is valid by the local clock or within its `exit_grace`. Each record has a name for ever (shard, epoch,
number), so the journal takes it once, from this process when the database is back or from the next one that can read
the file.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from kopitra.domain.errors import LeaseLost, QueueFull, StoreError, Unavailable
from kopitra.domain.journal import KINDS, AlertRaised, Entry
from kopitra.ports import Clock
from kopitra.store.drafts import Committed, Draft, Duplicate, JournalRow
from kopitra.store.encoding import Decoder, encode
from kopitra.store.exit_records import Damage, ExitRecord, frame, once, read

#: records in the file at a time; more are refused, as all is while there is neither file nor database
RECORDS_MAX: Final = 20_000
#: bytes of the file
BYTES_MAX: Final = 64 * 1024 * 1024

#: how rows get into the journal, and what became of them
Append = Callable[[Sequence[Draft]], Awaitable[Committed]]


class ExitFile(Protocol):
    """The file itself: on a disk beside the loop in production, in memory in a simulation."""

    def append(self, frame: bytes) -> asyncio.Future[bool]:
        """True once it is durable, False when it cannot be; in the order of the calls."""
        ...

    async def load(self) -> bytes:
        """All bytes of it, nothing when there is none. Raises OSError."""
        ...

    async def clear(self) -> None:
        """Begin anew; frames that are appended later stay."""
        ...

    async def copy_aside(self, label: str) -> str:
        """Keep a copy under another name for a person; the name. Raises OSError."""
        ...


class Lease(Protocol):
    """How long exits may still leave, as a local deadline."""

    @property
    def exits_until_ns(self) -> int: ...


class Owner(NamedTuple):
    """Whose records these are."""

    shard: str
    epoch: int


class _Kept(NamedTuple):
    record: ExitRecord
    entry: Entry
    #: its place among everything that this process folded; 0: a predecessor's, before all of it
    turn: int = 0


class ExitLog:
    """What waits for the journal, beside the file that keeps it meanwhile."""

    def __init__(self, file: ExitFile | None, owner: Owner, clock: Clock, lease: Lease) -> None:
        self._file = file
        self._owner = owner
        self._clock = clock
        self._lease = lease
        self._number = 0
        #: written to the file since it was cleared
        self._bytes = 0
        self._waiting: deque[_Kept] = deque()  # bounded: RECORDS_MAX in put
        #: a person must see the file before it is cleared
        self._puzzles = False
        self._copies = 0
        #: records that were written since the start, for the metrics
        self.written = 0

    @property
    def waiting(self) -> int:
        """Records that the journal does not hold yet."""
        return len(self._waiting)

    @property
    def is_stale(self) -> bool:
        """The journal holds all that was written to the file, partly under no name of the file: a start would act on
        it again. `bring` clears it."""
        return bool(self._bytes) and not self._waiting and not self._puzzles

    def put(
        self, workspace: str, entry: Entry, signal_id: str | None = None, turn: int = 0
    ) -> asyncio.Future[bool]:
        """Write an entry to the file; act on it once the future says True. `turn`: its place among all that was folded.

        Raises Unavailable without a file, LeaseLost past the grace, QueueFull beyond the bounds: nothing happened.
        """
        if self._file is None:
            raise Unavailable("This process has no local exit file: exits wait for the database.")
        if self._clock.monotonic_ns() >= self._lease.exits_until_ns:
            raise LeaseLost("The lease and its exit grace are over: a successor acts, this process must not.")
        return self._put(self._file, workspace, entry, signal_id, turn)

    def last_word(self, entry: AlertRaised) -> None:
        """What people must know of an end that the journal does not hear of any more."""
        if self._file is not None:
            with contextlib.suppress(StoreError, QueueFull):
                self._put(self._file, "", entry, None)

    def _put(
        self, file: ExitFile, workspace: str, entry: Entry, signal_id: str | None, turn: int = 0
    ) -> asyncio.Future[bool]:
        kind = type(entry)
        record = ExitRecord(
            self._owner.shard, self._owner.epoch, self._number + 1, workspace, self._clock.now(),
            KINDS[kind], kind.__name__, encode(entry).decode(), signal_id,
        )  # fmt: skip
        data = frame(record)
        if len(self._waiting) >= RECORDS_MAX or self._bytes + len(data) > BYTES_MAX:
            raise QueueFull(
                "The local exit file is full: bring the database back, or close at the brokers by hand."
            )
        self._number += 1
        self.written += 1
        self._bytes += len(data)
        self._waiting.append(_Kept(record, entry, turn))
        return file.append(data)

    def folded(self) -> Iterator[tuple[int, Entry]]:
        """What the journal does not hold yet, each with its turn."""
        return ((kept.turn, kept.entry) for kept in self._waiting)

    def found(self, rows: Sequence[JournalRow]) -> None:
        """Rows that turned out to be durable after all: they need not be taken in again."""
        payloads = {row.payload for row in rows}
        left = (kept for kept in self._waiting if kept.record.payload.encode() not in payloads)
        self._waiting = deque(left, maxlen=RECORDS_MAX)

    async def bring(self, append: Append, before: Callable[[int], Awaitable[None]]) -> list[str]:
        """Take everything into the journal, in order, `before` each what was folded before its turn; what people must
        be told. Raises Unavailable, LeaseLost or QueueFull; what is left stays. A record that the journal can never
        hold is kept aside and holds up nothing."""
        said: list[str] = []
        while self._waiting or self._puzzles:
            if not self._waiting:
                if not await self._copied(said):
                    return said
                continue  # what was put meanwhile is in the file too, and goes in before the file is cleared
            kept = self._waiting[0]
            await before(kept.turn)
            said += await self._journalled(kept.record, append)
            if self._waiting and self._waiting[0] is kept:
                self._waiting.popleft()
        self._bytes = 0
        if self._file is not None:
            await self._file.clear()
        return said

    async def _journalled(self, record: ExitRecord, append: Append) -> list[str]:
        """What the journal has against it; nothing when it is there, be it by an earlier try."""
        try:
            await append([_draft(record)])
        except (Unavailable, LeaseLost):
            raise
        except Duplicate:
            return []
        except StoreError as error:
            self._puzzles = True
            return [f"Exit {record.record_id} cannot be journalled: {error.message}"]
        return []

    async def load(self, newest: JournalRow | None) -> list[str]:
        """At a start, before anything is journalled: what a predecessor left in the file waits for the journal. What
        people must be told. `newest`: the journal's last row."""
        if self._file is None:
            return []
        try:
            data = await self._file.load()
        except OSError as error:
            return [f"The local exit file cannot be read ({error}): compare positions with the brokers."]
        if not data:
            return []
        reading = read(data)
        own = [r for r in reading.records if r.shard == self._owner.shard and r.epoch < self._owner.epoch]
        foreign = len(reading.records) - len(own)
        fresh = _not_overtaken(own, newest)
        said = [_words(damage) for damage in reading.damages]
        if foreign:
            said.append(f"{foreign} records of another shard or of a later time are left alone.")
        if len(fresh) < len(own):
            said.append(
                f"{len(own) - len(fresh)} exits are left alone: another process has traded since without this file "
                "and went by what the brokers showed. Compare the accounts that they name."
            )
        unknown = [fault for record in fresh if (fault := self._left(record))]
        said += unknown
        self._puzzles = bool(reading.is_corrupt or foreign or unknown or len(fresh) < len(own))
        if fresh:
            said.append(f"{len(fresh)} exits that were sent without the database are taken into the journal.")
        return said

    def _left(self, record: ExitRecord) -> str:
        """Let a predecessor's record wait for the journal; why it cannot, else ""."""
        reader = _READERS.get(record.entry)
        if reader is None:
            return f"Exit {record.record_id} is a {record.entry}, which this build does not know."
        try:
            self._waiting.append(_Kept(record, reader(record.payload)))
        except StoreError as error:
            return error.message
        return ""

    async def _copied(self, said: list[str]) -> bool:
        if self._file is not None:
            try:
                kept = await self._file.copy_aside(f"kept-{self._owner.epoch}-{self._copies + 1}")
            except OSError as error:
                said.append(f"The file could not be kept aside ({error}).")
                return False
            self._copies += 1
            said.append(f"The file is kept as {kept}.")
        self._puzzles = False
        return True


def _not_overtaken(records: Sequence[ExitRecord], newest: JournalRow | None) -> Sequence[ExitRecord]:
    """Those after which nobody else has traded (R-072): in the journal nothing of a later holder follows, but for what
    one that did not come further than this took out of this very file."""
    if newest is None:
        return records
    told = (newest.entry, newest.payload)
    if any(r.epoch < newest.epoch and (r.entry, r.payload.encode()) == told for r in records):
        return records
    return [r for r in records if r.epoch >= newest.epoch]


def _words(damage: Damage) -> str:
    if damage.in_the_middle:
        return (
            f"The local exit file is damaged at byte {damage.offset} ({damage.length} bytes are no record): an exit "
            "sent there is unknown to us. Compare positions and orders with the brokers."
        )
    return (
        f"The local exit file ends in a half-written record at byte {damage.offset} ({damage.length} bytes): "
        "it was not sent."
    )


_READERS: Final[dict[str, Decoder[Entry]]] = {cls.__name__: Decoder(cls) for cls in KINDS}


def _draft(record: ExitRecord) -> Draft:
    return Draft(
        record.kind, record.entry, record.workspace, record.at, record.payload.encode(), record.signal_id,
        once(record),
    )  # fmt: skip
