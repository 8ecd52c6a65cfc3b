"""The watch of the configuration outlives whatever it cannot take (R-093): it ended, and no switch was heard of."""

import asyncio
from types import SimpleNamespace
from typing import cast

from gateway_container.compose import LiveGrants, Stores, follow_config
from gateway_container.config_source import Grants
from gateway_container.replica import Replica
from kopitra.clock import SystemClock
from kopitra.domain.errors import Corrupt
from kopitra.store.config import ConfigSnapshot
from kopitra.store.pool import Database
from kopitra.store.sealing import Sealer

#: seconds until the test gives up
END_S = 15.0


class Damaged:
    """Every read finds another damage."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.damages: list[Exception] = [ValueError("odd"), Corrupt("half"), KeyError("x"), OSError("gone")]
        self.all_read = asyncio.Event()

    async def read(self) -> tuple[ConfigSnapshot, Sealer, Grants]:
        if len(self.damages) == 1:
            self.all_read.set()
        raise self.damages.pop(0) if len(self.damages) > 1 else self.damages[0]


async def test_r093_the_watch_goes_on_after_a_configuration_that_cannot_be_taken(db: Database) -> None:
    stores = Damaged(db.dsn)
    replica = SimpleNamespace(switches_read=list[int]().append)
    watch = asyncio.create_task(
        follow_config(
            cast("Stores", stores), cast("Replica", replica), cast("LiveGrants", None), SystemClock()
        )
    )
    read = asyncio.create_task(stores.all_read.wait())
    await asyncio.wait([watch, read], timeout=END_S, return_when=asyncio.FIRST_COMPLETED)
    assert read.done()
    assert not watch.done()
    for task in (watch, read):
        task.cancel()
    await asyncio.wait([watch, read])
