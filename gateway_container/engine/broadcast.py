"""Broadcast: what is durable goes to every subscriber after its sequence number; slow readers resume from Postgres."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from kopitra.store.drafts import JournalRow

#: rows waiting for one subscriber; a reader that falls further behind is told to resume after its last number
WAITING_MAX: Final = 2_048
#: subscribers of one process
SUBSCRIBERS_MAX: Final = 1_000


class Subscription:
    """One reader of one workspace. `rows` returns what is new; `resume` turns True when rows were dropped."""

    __slots__ = ("_rows", "_wake", "resume", "workspace")

    def __init__(self, workspace: str) -> None:
        self.workspace = workspace
        self.resume = False
        self._rows: deque[JournalRow] = deque()
        self._wake = asyncio.Event()

    def offer(self, row: JournalRow) -> None:
        """Take a row unless the reader must resume anyway."""
        if self.resume:
            return
        if len(self._rows) >= WAITING_MAX:
            self._rows.clear()
            self.resume = True
        else:
            self._rows.append(row)
        self._wake.set()

    async def rows(self) -> Sequence[JournalRow]:
        """Wait for rows, then take all; empty when the reader must resume."""
        await self._wake.wait()
        self._wake.clear()
        taken = list(self._rows)
        self._rows.clear()
        return taken


class Broadcast:
    """All subscribers of this process."""

    def __init__(self) -> None:
        self._subscribers: set[Subscription] = set()

    def committed(self, rows: Sequence[JournalRow]) -> None:
        """Called by the journal's writer for rows that are durable."""
        for subscriber in self._subscribers:
            for row in rows:
                if row.workspace == subscriber.workspace:
                    subscriber.offer(row)

    def subscribe(self, workspace: str) -> Subscription | None:
        """A new reader; None when there are too many."""
        if len(self._subscribers) >= SUBSCRIBERS_MAX:
            return None
        subscription = Subscription(workspace)
        self._subscribers.add(subscription)
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """The reader is gone."""
        self._subscribers.discard(subscription)

    @property
    def subscribers(self) -> int:
        """How many read now."""
        return len(self._subscribers)
