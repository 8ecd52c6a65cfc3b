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
from kopitra.store.pool import listening, translated

#: channels of the schema's triggers; payloads: shard, shard, inbox id
LEASE: Final = "kopitra_lease"
INBOX: Final = "kopitra_inbox"
INBOX_DONE: Final = "kopitra_inbox_done"

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

    async def wait(self, patience_s: float) -> list[Notice]:
        """Notices, as soon as there are any; empty after `patience_s` or when the connection is new or broken."""
        try:
            with translated():
                if self._connection is None:
                    self._connection = await asyncio.wait_for(self._listen(), patience_s)
                    return []  # what happened before is found by looking
                return await self._heard(self._connection, patience_s)
        except (Unavailable, TimeoutError):
            await self.close()
            await asyncio.sleep(patience_s)
            return []

    async def _heard(self, connection: AsyncConnection[TupleRow], patience_s: float) -> list[Notice]:
        # psycopg gives all that came in one packet together, and then stops.
        told = connection.notifies(timeout=patience_s, stop_after=1)
        return [Notice(notice.channel, notice.payload) async for notice in told]

    async def _listen(self) -> AsyncConnection[TupleRow]:
        return await listening(self._dsn, "kopitra wakes", [_LISTEN[name] for name in self._channels])

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Unavailable), translated():
                await connection.close()
