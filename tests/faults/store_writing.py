"""A journal's writer under test, on either store."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from kopitra.store.chain import GENESIS, microseconds
from kopitra.store.chain import link as hash_of
from kopitra.store.drafts import Committed, Draft, JournalRow
from kopitra.store.journal import JournalWriter
from tests.faults.store_rigs import (
    Names,
    Rig,
    held,
)


class Writing:
    """A writer, and what it told."""

    def __init__(
        self, writer: JournalWriter, committed: list[JournalRow], orphaned: list[JournalRow]
    ) -> None:
        self.writer = writer
        self.committed = committed
        self.orphaned = orphaned

    def append(self, *drafts: Draft) -> asyncio.Future[Committed]:
        return self.writer.append(drafts)


@asynccontextmanager
async def writing(rig: Rig, at: Names, epoch: int | None = None) -> AsyncGenerator[Writing]:
    """A writer over the way that may fail; takes the shard if it is told no epoch."""
    committed: list[JournalRow] = []
    orphaned: list[JournalRow] = []
    writer = await JournalWriter.open(
        rig.shelf,
        shard=at.shard,
        epoch=epoch or await held(rig, at),
        on_committed=committed.extend,
        on_orphaned=orphaned.extend,
    )
    yield Writing(writer, committed, orphaned)
    await writer.close()


async def stored(rig: Rig, at: Names) -> list[JournalRow]:
    """All rows, and they are one whole chain."""
    rows = await rig.calm.page(at.shard, 0, 1000)
    previous = GENESIS
    for seq, row in enumerate(rows, 1):
        assert row.seq == seq
        previous = hash_of(
            previous, row.shard, row.seq, row.epoch, microseconds(row.at), row.workspace, row.kind, row.entry,
            row.payload,
        )  # fmt: skip
        assert row.hash == previous
    return rows
