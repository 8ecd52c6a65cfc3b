"""The leader's EA of the hand-overs: it trades for ever, and sees to it that there is always something to reduce."""

import asyncio
from collections import Counter
from typing import Final

from kopitra.domain.book import Book
from tests.faults.handover_fleet import Fleet

#: contracts that the leader keeps
LEADER_MIN: Final = 10
#: signals after which followers should have what the leader entered with
PATIENT_SIGNALS: Final = 10
#: seconds between two signals
PACE_S: Final = 0.05


class Trader:
    """It adds one and takes away two. `book` is what the journal has told so far."""

    def __init__(self, one: Fleet, book: Book) -> None:
        self._one = one
        self._book = book
        self._task: asyncio.Task[None] | None = None

    @property
    def trades(self) -> bool:
        """It has begun. Raises what it fell over."""
        if self._task is not None and self._task.done():
            self._task.result()
        return self._task is not None

    @property
    def is_followed(self) -> bool:
        """Followers hold enough to follow exits with: those that missed the large entry have nothing to reduce until
        the leader begins anew."""
        held = Counter[str]()
        for (account, _), position in self._book.positions.items():
            held[account] += int(position.qty)
        return all(held[account] >= LEADER_MIN // 2 for account in ("a", "b"))

    def start(self) -> None:
        """Begin to trade."""
        self._task = asyncio.get_running_loop().create_task(self._trade())

    async def stop(self) -> None:
        """No signal after this."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _trade(self) -> None:
        leader_qty, since, adding = 0, 0, True
        while True:
            since += 1
            if leader_qty < LEADER_MIN:
                await self._one.send(action="add", side="buy", quantity=20)
                leader_qty, since = leader_qty + 20, 0
            elif since > PATIENT_SIGNALS and not self.is_followed:
                await self._one.send(action="exit")
                leader_qty = 0
            elif adding:
                await self._one.send(action="add", side="buy", quantity=1)
                leader_qty += 1
            else:
                await self._one.send(action="reduce", quantity=2)
                leader_qty -= 2
            adding = not adding
            await asyncio.sleep(PACE_S)
