"""The book of a standby that a machine was given: whoever still reads for it folds nothing into it (R-082, I-01)."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from gateway_container.engine.broadcast import Broadcast
from gateway_container.engine.machine import Identity, Supplies
from gateway_container.standby import Standby
from kopitra.clock import SystemClock
from kopitra.store.drafts import JournalRow
from kopitra.store.shelf import Shelf
from kopitra.store.snapshots import SnapshotRow
from kopitra.telemetry import Metrics

#: seconds until a test gives up
END_S = 10.0


class SlowShelf:
    """A journal of one row that no book takes: who folds it is told so. Each read waits to be let through."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.let_through = asyncio.Event()
        self.pages = 0

    async def latest_snapshot(self, shard: str, layout: int) -> SnapshotRow | None:
        await self._gate()
        return None

    async def page(self, shard: str, after: int, limit: int) -> list[JournalRow]:
        self.pages += 1
        await self._gate()
        return [cast("JournalRow", Row())]

    async def _gate(self) -> None:
        self.asked.set()
        await self.let_through.wait()


class Row:
    """A row that follows no book of this test."""

    seq = 9


def standby_on(shelf: SlowShelf) -> Standby:
    known = cast("Shelf", shelf)
    supplies = Supplies(known, SystemClock(), {}, Metrics())
    return Standby(Identity("main", "me", "dev"), supplies, Broadcast(known, "main"))


def surrender(standby: Standby) -> None:
    standby.surrender()


def forget(standby: Standby) -> None:
    standby.surrender()
    standby.forget()


def keep(standby: Standby) -> None:
    standby.surrender()
    standby.keep()


@pytest.mark.parametrize("seq", [0, 6], ids=["no book yet", "a warm book"])
@pytest.mark.parametrize("meanwhile, folds", [(surrender, False), (forget, False), (keep, True)])
async def test_r082_a_read_under_way_folds_into_the_book_only_if_it_is_still_the_standbys(
    meanwhile: Callable[[Standby], None], seq: int, *, folds: bool
) -> None:
    shelf = SlowShelf()
    standby = standby_on(shelf)
    standby.state.book.seq = seq
    async with asyncio.timeout(END_S), asyncio.TaskGroup() as group:
        group.create_task(standby.follow())
        await shelf.asked.wait()
        meanwhile(standby)
        shelf.let_through.set()
    assert bool(standby.unfit) == folds


async def test_r082_a_surrendered_book_is_not_even_read_for() -> None:
    shelf = SlowShelf()
    standby = standby_on(shelf)
    book = standby.surrender().book
    assert book is None  # a machine finds the snapshot itself
    async with asyncio.timeout(END_S):
        await standby.follow()
    assert shelf.pages == 0
