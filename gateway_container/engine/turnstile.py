"""The turnstile: how many copies are decided at once (L-4).

What is let in must become durable and be written soon, and the event loop, on which the lease is renewed too, must
breathe between two commits. A burst therefore waits here, a little and in its order, and what finds no room by then
is refused while nothing has happened: its sender may simply send it again. What closes something never waits.
"""

import asyncio
import contextlib
from collections import deque
from typing import Final

from kopitra.domain.errors import QueueFull

#: legs (followers of a signal) whose decision is not durable and written yet; one signal may exceed it, no second one
LEGS_MAX: Final = 160
#: signals that wait: what comes while the loop was busy for a moment
WAITING_MAX: Final = 48
#: how many of them stay once that was not enough: more would only grow old, because the refusals take the loop too
WAITING_IN_A_FLOOD: Final = 8
#: seconds that one waits at most, where a single signal has hundreds of followers
WAIT_S: Final = 0.5


class Turnstile:
    """Counts legs under way. Only the event loop touches it."""

    __slots__ = ("_flooded", "_legs", "_waiting")

    def __init__(self) -> None:
        self._legs = 0
        self._waiting: deque[asyncio.Future[None]] = deque(maxlen=WAITING_MAX)
        #: more came than may wait, and not all who waited then have been let in
        self._flooded = False

    @property
    def crowded(self) -> bool:
        """The next signal has to wait: there is no room, or others were here before it."""
        return self._legs >= LEGS_MAX or bool(self._waiting)

    async def wait(self) -> None:
        """Return when it is this one's turn. Raises QueueFull when it is not in time, or too many wait."""
        self._flooded = self._flooded and bool(self._waiting)
        if len(self._waiting) >= (WAITING_IN_A_FLOOD if self._flooded else WAITING_MAX):
            self._flood()
            raise _refusal()
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append(turn)
        self._let_in()
        try:
            async with asyncio.timeout(WAIT_S):
                await turn
        except TimeoutError:
            raise _refusal() from None
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(turn)
            loop.call_soon(self._let_in)  # behind this one's own entering, or instead of it

    def _flood(self) -> None:
        self._flooded = True
        while len(self._waiting) > WAITING_IN_A_FLOOD:
            turn = self._waiting.pop()
            if not turn.done():
                turn.set_exception(_refusal())

    def entered(self, legs: int) -> None:
        """A signal with so many legs is being decided."""
        self._legs += legs

    def left(self, legs: int) -> None:
        """It is written, or came to nothing."""
        self._legs -= legs
        self._let_in()

    def _let_in(self) -> None:
        """Whoever came first, one at a time: only what has entered is counted."""
        while self._waiting and self._legs < LEGS_MAX:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return


def _refusal() -> QueueFull:
    return QueueFull("More signals came at once than can be copied in time; nothing happened: send it again.")
