"""Work that has time: changes of configuration go into the journal, and what has had its time leaves the database.

The configuration is changed by other processes and the journal has one writer, so changes wait in an outbox until a
gateway runs. All of it is bounded per look and rests between batches: a signal never waits for it.
"""

import asyncio
from contextlib import suppress
from typing import Final

import structlog

from gateway_container.engine.log import Log
from kopitra.domain.errors import LeaseLost, QueueFull, StoreError
from kopitra.domain.journal import ConfigChanged
from kopitra.ports import Clock
from kopitra.store.config_changes import (
    ChangeRow,
    Place,
    place_in,
    record_of,
)
from kopitra.store.drafts import Duplicate
from kopitra.store.shelf import Shelf

#: changes of one batch: small, because its commit is one that a signal may have to wait for
CHANGES_MAX: Final = 20
#: seconds between two batches
REST_S: Final = 0.1
#: seconds between two looks when nobody wakes us
LOOK_EVERY_S: Final = 30.0
#: seconds before a look that failed is tried again
RETRY_S: Final = 1.0
#: seconds between two purges; while batches come back full, every look purges one more
PURGE_EVERY_S: Final = 600.0

_log = structlog.get_logger("kopitra.upkeep")


class Upkeep:
    """`run` is the task's body; `wake` says that the configuration has moved."""

    def __init__(self, shelf: Shelf, clock: Clock, log: Log, shard: str) -> None:
        self._shelf = shelf
        self._clock = clock
        self._log = log
        self._shard = shard
        self._wake = asyncio.Event()
        self._purge_at_s = 0.0

    def wake(self) -> None:
        """Look soon."""
        self._wake.set()

    async def run(self) -> None:
        """Look until cancelled or until the shard is another's; an outage is waited out."""
        while True:
            pause_s = LOOK_EVERY_S
            self._wake.clear()
            try:
                if await self.journal_changes() == CHANGES_MAX:
                    pause_s = REST_S
                else:
                    await self._purge()
            except LeaseLost:
                return
            except (StoreError, QueueFull) as error:
                _log.warning("upkeep_waits", error=error.message)
                pause_s = RETRY_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()

    async def journal_changes(self) -> int:
        """One batch of the outbox, each change once; how many were taken out. Raises StoreError or QueueFull."""
        changes = await self._shelf.waiting_changes(CHANGES_MAX)
        places = [(c.change_id, place_in(c.record)) for c in changes if c.record is not None]
        fresh = [c for c in changes if c.record is None]
        written = await asyncio.gather(*(self._journal(c) for c in fresh), return_exceptions=True)
        places += [
            (c.change_id, place) for c, place in zip(fresh, written, strict=True) if isinstance(place, Place)
        ]
        if places:
            await self._shelf.mark_journalled(places)
        for failed in written:
            if isinstance(failed, BaseException):
                raise failed
        return len(changes)

    async def _journal(self, change: ChangeRow) -> Place | None:
        entry = ConfigChanged(
            change.who, change.what, change.what_id, change.before, change.after, change.change_id, change.at
        )
        record = record_of(change.change_id, self._shard)
        try:
            committed = await self._log.evidence(change.workspace, entry, record)
        except (
            Duplicate
        ):  # another shard's gateway was faster, or we were and never heard: the next look finds it
            return None
        return Place(self._shard, committed.seq)

    async def _purge(self) -> None:
        now_s = self._clock.monotonic_ns() / 1e9
        if now_s < self._purge_at_s:
            return
        now = self._clock.now()
        gone = await self._shelf.purge_answers(now) + await self._shelf.purge_changes(now)
        if gone:
            _log.info("purged", rows=gone)
        else:
            self._purge_at_s = now_s + PURGE_EVERY_S
