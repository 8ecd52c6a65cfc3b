"""The turnstile: how many copies are decided at once (L-4).

What is let in must become durable and be written soon, and the event loop, on which the lease is renewed too, must
breathe between two commits. A burst therefore waits here, a little and in its order, and what finds no room by then
is refused while nothing has happened: its sender may simply send it again. Exits never wait.
"""

import asyncio
from typing import Final

from kopitra.domain.errors import QueueFull

#: legs (followers of a signal) whose decision is not durable and written yet; one signal may exceed it, no second one
LEGS_MAX: Final = 320
#: signals that wait; more are refused at once
WAITING_MAX: Final = 64
#: seconds that one waits at most
WAIT_S: Final = 0.1


class Turnstile:
    """Counts legs under way. Only the event loop touches it."""

    __slots__ = ("_legs", "_room", "_waiting")

    def __init__(self) -> None:
        self._legs = 0
        self._waiting = 0
        self._room = asyncio.Event()

    @property
    def crowded(self) -> bool:
        """The next signal has to wait."""
        return self._legs >= LEGS_MAX

    async def wait(self) -> None:
        """Return when there is room. Raises QueueFull when there is none in time, or too many wait."""
        if self._waiting >= WAITING_MAX:
            raise _refusal()
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_S):
                while self._legs >= LEGS_MAX:
                    self._room.clear()
                    await self._room.wait()
        except TimeoutError:
            raise _refusal() from None
        finally:
            self._waiting -= 1

    def entered(self, legs: int) -> None:
        """A signal with so many legs is being decided."""
        self._legs += legs

    def left(self, legs: int) -> None:
        """It is written, or came to nothing."""
        self._legs -= legs
        if self._legs < LEGS_MAX:
            self._room.set()


def _refusal() -> QueueFull:
    return QueueFull("More signals came at once than can be copied in time; nothing happened: send it again.")
