"""The sink of a card's session, and the machine's clock."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, TypeVar

from kopitra.ports import SessionEvent

T = TypeVar("T")
E = TypeVar("E")

PATIENCE_S: Final = 10.0  #: how long a card waits for anything; a healthy broker needs milliseconds


class MachineClock:
    """The machine's time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


class Ear:
    """The sink of one session: keeps every event in order, and lets a card wait for what it expects."""

    def __init__(self) -> None:
        self.events: list[SessionEvent] = []
        self._news = asyncio.Event()

    def __call__(self, event: SessionEvent) -> None:
        self.events.append(event)
        self._news.set()

    def of(self, kind: type[E]) -> list[E]:
        """All events of one kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, found: Callable[[], T], what: str, within_s: float = PATIENCE_S) -> T:
        """What `found` says as soon as that is true; looks again after each event."""
        try:
            async with asyncio.timeout(within_s):
                while not (value := found()):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            heard = "\n  ".join(repr(event)[:300] for event in self.events[-12:])
            raise AssertionError(f"never heard: {what}. Last heard:\n  {heard or 'nothing'}") from None
        return value

    async def next(self, within_s: float) -> None:
        """Until the next event, or until so much time has passed."""
        self._news.clear()
        try:
            async with asyncio.timeout(within_s):
                await self._news.wait()
        except TimeoutError:
            return
