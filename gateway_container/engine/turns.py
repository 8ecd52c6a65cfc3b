"""Turns: an EA's entry that came before the numbers ahead of it waits for them, half a second at most (R-030)."""

import asyncio
from typing import Final

from gateway_container.engine.state import State
from kopitra.domain.signals import Signal
from kopitra.domain.streams import GAP_WAIT_MS, waits

#: entries of one leader that wait; more are judged at once
WAITING_MAX: Final = 100


class Turns:
    """Who waits, by leader."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._waiting: dict[str, list[asyncio.Event]] = {}  # bounded: WAITING_MAX a leader in wait

    async def wait(self, signal: Signal) -> None:
        """Return when it is the signal's turn, or after GAP_WAIT_MS: then what is missing shows as a gap."""
        if not self._early(signal):
            return
        waiting = self._waiting.setdefault(signal.leader, [])
        if len(waiting) >= WAITING_MAX:
            return
        woken = asyncio.Event()
        waiting.append(woken)
        try:
            async with asyncio.timeout(GAP_WAIT_MS / 1000):
                while self._early(signal):
                    woken.clear()
                    await woken.wait()
        except TimeoutError:
            return
        finally:
            waiting.remove(woken)

    def _early(self, signal: Signal) -> bool:
        return waits(signal, self._state.book.streams.get(signal.leader))

    def wake(self, leader: str) -> None:
        """A numbered signal of the leader is in the book."""
        for woken in self._waiting.get(leader, ()):
            woken.set()
