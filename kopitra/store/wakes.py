"""Word of what other processes did, by NOTIFY, on a connection of its own: a poll that comes early.

Notices can get lost with a connection, so whoever waits looks by itself at the end of its patience.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final, LiteralString, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from kopitra.domain.errors import Unavailable
from kopitra.store.ending import ended
from kopitra.store.pool import listening, translated

#: channels of the schema's triggers; payloads: shard, shard, inbox id
LEASE: Final = "kopitra_lease"
INBOX: Final = "kopitra_inbox"
INBOX_DONE: Final = "kopitra_inbox_done"

#: seconds that one connect may take: TLS and a login over a slow line, far more than a waiter's patience
CONNECT_S: Final = 2.0
#: seconds between two connects, the first ones and at most; a connection that was heard on starts anew
PAUSE_S: Final = 0.1
PAUSE_MAX_S: Final = 2.0

_LISTEN: Final[dict[str, LiteralString]] = {
    LEASE: "listen kopitra_lease",
    INBOX: "listen kopitra_inbox",
    INBOX_DONE: "listen kopitra_inbox_done",
}


class Notice(NamedTuple):
    """One NOTIFY."""

    channel: str
    payload: str


class Wakes:
    """`wait` returns what was told, or nothing after its patience. One waiter at a time."""

    def __init__(self, dsn: str, channels: Sequence[str]) -> None:
        self._dsn = dsn
        self._channels = tuple(channels)
        self._connection: AsyncConnection[TupleRow] | None = None
        #: goes on while `wait` comes and goes: its patience is far shorter than a connect may be
        self._connecting: asyncio.Task[None] | None = None
        #: seconds before the next connect
        self._pause_s = 0.0

    async def wait(self, patience_s: float) -> list[Notice]:
        """Notices, as soon as there are any; empty after `patience_s`, and when the connection is new or broken."""
        connection = self._connection
        if connection is None:
            await self._come(patience_s)
            return []  # what happened before is found by looking
        try:
            with translated():
                told = await self._heard(connection, patience_s)
        except Unavailable:
            self._later()
            await self._drop()
            return []
        self._pause_s = 0.0
        return told

    async def _heard(self, connection: AsyncConnection[TupleRow], patience_s: float) -> list[Notice]:
        # psycopg gives all that came in one packet together, and then stops.
        told = connection.notifies(timeout=patience_s, stop_after=1)
        return [Notice(notice.channel, notice.payload) async for notice in told]

    async def _come(self, patience_s: float) -> None:
        """Return once the connection listens, or after `patience_s`."""
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect(), name="wakes")
        await asyncio.wait([self._connecting], timeout=patience_s)
        if self._connecting.done():
            done, self._connecting = self._connecting, None
            done.result()

    async def _connect(self) -> None:
        """Try until it listens, ever more slowly: a server in trouble is not helped by connections."""
        while self._connection is None:
            await asyncio.sleep(self._pause_s)
            self._later()
            with contextlib.suppress(Unavailable, TimeoutError), translated():
                async with asyncio.timeout(CONNECT_S):
                    self._connection = await self._listen()

    def _later(self) -> None:
        self._pause_s = min(PAUSE_MAX_S, max(PAUSE_S, 2 * self._pause_s))

    async def _listen(self) -> AsyncConnection[TupleRow]:
        return await listening(self._dsn, "kopitra wakes", [_LISTEN[name] for name in self._channels])

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Unavailable), translated():
                await connection.close()

    async def close(self) -> None:
        """Close the connection."""
        if self._connecting is not None:
            await ended([self._connecting])
            self._connecting = None
        await self._drop()
