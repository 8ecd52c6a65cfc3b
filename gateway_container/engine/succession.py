"""What one holder of the shard owes to the one before it, and what it tells the one after it (R-072, R-073, R-085).

What a predecessor may have sent without the journal is known for certain only when this process has put the exits in
question in doubt and the predecessor's grace is over. A holder that ends before that must not hand over as if all were
known: its successor would send entries at once, and held exits a second time.
"""

from typing import Final

import structlog

from gateway_container.engine.exit_file import ExitLog
from kopitra.ports import Clock
from kopitra.store.lease import EXITS_LEFT, Lease, LeaseSettings

_NS: Final = 1_000_000_000

_log = structlog.get_logger("kopitra.succession")


class Succession:
    """How this process came to hold the shard, and how it gives it away."""

    def __init__(self, lease: Lease, exits: ExitLog, clock: Clock, settings: LeaseSettings) -> None:
        self._lease = lease
        self._exits = exits
        self._clock = clock
        self._grace_s = settings.exit_grace_s
        #: monotonic; the end of the grace of a predecessor whose exits may be unknown; 0: it left none
        self._settled_ns = 0
        self._recovered = False

    def begin(self) -> int:
        """Monotonic; no entry leaves before it. A predecessor that was cut off, not dead, may still send exits until
        its grace is over (R-073); its lease has run out already, else it could not have been taken."""
        taken = self._lease.taken
        if taken.may_miss_exits:
            self._settled_ns = self._clock.monotonic_ns() + int(self._grace_s * _NS)
        if not taken.dirty:
            return 0
        _log.warning("dirty_take_over", entries_wait_s=self._grace_s, previous=taken.previous_holder)
        return self._settled_ns

    def recovered(self) -> None:
        """What a predecessor may have done is in the journal by now, as far as it can be known."""
        self._recovered = True

    async def end(self) -> None:
        """Give the shard away, with the word that its next holder goes by."""
        if not self._recovered or self._clock.monotonic_ns() < self._settled_ns:
            await undone(self._lease, self._exits.waiting)
        else:
            await self._lease.release(EXITS_LEFT if self._exits.waiting else "stopped")


async def undone(lease: Lease, exits_waiting: int = 0) -> None:
    """The next holder finds what this one found: after a dirty take-over, no clean hand-over."""
    if lease.taken.dirty:
        await lease.abandon()
    else:
        missing = exits_waiting or lease.taken.may_miss_exits
        await lease.release(EXITS_LEFT if missing else "stopped before it was ready")
