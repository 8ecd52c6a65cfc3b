"""The right to write a shard: one row, an epoch that only grows, and a deadline that is checked locally.

Advisory locks are no fence (a paused holder knows nothing of having lost one), so the epoch is checked
inside every append, and the holder stops itself before anyone else can start: `valid_until_ns` is compared
right before each write to a broker, without I/O.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import psycopg

from kopitra.domain.errors import Conflict, LeaseLost, Unavailable
from kopitra.ports import Clock
from kopitra.store.ending import ended
from kopitra.store.shelf import LeaseTable, TakeTry

_NS: Final = 1_000_000_000
#: attempts to hand over; each may meet one connection that a restart of the server has left dead
RELEASE_TRIES: Final = 3
#: the note of a holder that hands over while its local exit file holds what the journal does not
EXITS_LEFT: Final = "stopped; exits wait in its local file"
#: what is tried again until the deadline: a database that is away, or that answers with an error of its own
_FAILED: Final = (Unavailable, TimeoutError, psycopg.Error)


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """The timers of single writing, in one place because their order is what makes it safe; seconds."""

    #: life of a lease without renewal
    ttl_s: float = 10.0
    #: time between renewals
    renew_s: float = 10.0 / 3
    #: how long before the end of its lease a holder stops itself
    margin_s: float = 2.0
    #: longest time that a holder without a database may still send exits (and a successor holds back entries)
    exit_grace_s: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.margin_s < self.ttl_s:
            raise ValueError(f"margin_s {self.margin_s} must lie between 0 and ttl_s {self.ttl_s}.")
        if not 0 < 2 * self.renew_s <= self.ttl_s - self.margin_s:
            raise ValueError(
                f"Two renewals ({self.renew_s} s apart) must fit before a holder stops itself "
                f"({self.ttl_s - self.margin_s} s): one lost packet must not end a lease. Lower renew_s."
            )
        if not 0 <= self.exit_grace_s <= 60:
            raise ValueError(f"exit_grace_s {self.exit_grace_s} must lie between 0 and 60.")

    @classmethod
    def of(cls, ttl_s: float, exit_grace_s: float) -> "LeaseSettings":
        """The usual proportions: three renewals in a life, a fifth of it as the margin."""
        return cls(ttl_s, ttl_s / 3, ttl_s / 5, exit_grace_s)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a successor must know: `dirty` means that the previous holder did not hand over."""

    epoch: int
    dirty: bool
    previous_holder: str
    previous_note: str

    @property
    def may_miss_exits(self) -> bool:
        """The previous holder may have sent exits that only its own disk knows of (R-072)."""
        return self.dirty or self.previous_note == EXITS_LEFT


class ShardHeld(Conflict):
    """Another process holds the shard; nothing was taken."""


class Lease:
    """A lease that is held and renewed by its own task. Made by `Lease.take`."""

    def __init__(
        self,
        table: LeaseTable,
        shard: str,
        holder: str,
        taken: Taken,
        *,
        clock: Clock,
        settings: LeaseSettings,
        started_ns: int,
        on_lost: Callable[[str], None],
    ) -> None:
        self.shard = shard
        self.holder = holder
        self.taken = taken
        self.epoch = taken.epoch
        #: monotonic; a write to a broker is allowed strictly before it. 0 when the lease is lost or released.
        self.valid_until_ns = 0
        #: monotonic; until then exits may go on while the database is away (R-073). 0 like the one above.
        self.exits_until_ns = 0
        self._table = table
        self._clock = clock
        self._settings = settings
        self._on_lost = on_lost
        self._lost = ""
        self._stopped = asyncio.Event()
        self._extend(started_ns)
        self._task = asyncio.get_running_loop().create_task(self._keep())

    @classmethod
    async def take(
        cls,
        table: LeaseTable,
        shard: str,
        holder: str,
        *,
        clock: Clock,
        build: str,
        on_lost: Callable[[str], None],
        settings: LeaseSettings | None = None,
    ) -> "Lease":
        """Become the writer of a shard, under a new epoch. Raises ShardHeld while another process holds it.

        `on_lost(reason)` is called once, on the event loop, when the lease is over without `release`.
        """
        chosen = settings or LeaseSettings()
        started_ns = clock.monotonic_ns()
        taken = _taken(await table.take_lease(shard, holder, build, chosen.ttl_s), shard)
        return cls(
            table, shard, holder, taken, clock=clock, settings=chosen, started_ns=started_ns, on_lost=on_lost
        )

    @property
    def valid(self) -> bool:
        """One comparison; the hot path may inline it."""
        return self._clock.monotonic_ns() < self.valid_until_ns

    def check(self) -> None:
        """Raises LeaseLost once it is lost: for those who could not listen yet when `on_lost` was called."""
        if self._lost:
            raise LeaseLost(self._lost)

    async def release(self, note: str) -> None:
        """Hand over: a successor may start at once. Close the broker sessions first.

        While the database is away nobody can be told: then a successor waits for the lease to end, as after a crash.
        """
        await self._stop()
        was_held = self.valid_until_ns
        self._end()
        for _ in range(RELEASE_TRIES if was_held else 0):
            with contextlib.suppress(*_FAILED):  # a pool's connections of before a restart
                await self._table.release_lease(self.shard, self.epoch, self.holder, note)
                return

    async def abandon(self) -> None:
        """Stop renewing without a word, as a crash would."""
        await self._stop()
        self._end()

    def _end(self) -> None:
        self.valid_until_ns = self.exits_until_ns = 0

    async def _stop(self) -> None:
        self._stopped.set()
        await ended([self._task])

    def _extend(self, started_ns: int) -> None:
        """Counted from before the request left: the database's clock started later than that."""
        self.valid_until_ns = started_ns + int((self._settings.ttl_s - self._settings.margin_s) * _NS)
        self.exits_until_ns = self.valid_until_ns + int(self._settings.exit_grace_s * _NS)

    async def _keep(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._settings.renew_s)
                await self._renew_until_deadline()
        except LeaseLost as lost:
            self._lose(lost.message)
        except Exception as error:  # noqa: BLE001 - a task that ended silently would renew no more and tell nobody
            self._lose(f"the lease could not be renewed: {error!r}")

    def _lose(self, reason: str) -> None:
        self._end()
        self._lost = reason
        self._on_lost(reason)

    async def _renew_until_deadline(self) -> None:
        """Renew once; while the database is away or refuses, try again until the exit grace is over.

        A renewal past the local deadline is good as long as nobody else has taken the row.
        """
        while True:
            started_ns = self._clock.monotonic_ns()
            left_s = (self.exits_until_ns - started_ns) / _NS
            if left_s <= 0:
                raise LeaseLost("the lease ran out before it could be renewed")
            with contextlib.suppress(*_FAILED):
                async with asyncio.timeout(left_s):
                    await self._renew(started_ns)
                return
            await asyncio.sleep(min(0.1, max(left_s, 0)))

    async def _renew(self, started_ns: int) -> None:
        if not await self._table.renew_lease(self.shard, self.epoch, self.holder, self._settings.ttl_s):
            raise LeaseLost("another process took the lease")
        self._extend(started_ns)


def _taken(tried: TakeTry, shard: str) -> Taken:
    before = tried.before
    if tried.epoch is None:
        holder = before.holder if before is not None else "another process"
        raise ShardHeld(f"Shard {shard} is held by {holder}: wait for its lease to end.")
    if before is None:
        return Taken(tried.epoch, dirty=False, previous_holder="", previous_note="")
    return Taken(tried.epoch, not before.released, before.holder, before.note)
