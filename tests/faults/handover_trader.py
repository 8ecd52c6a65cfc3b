"""The leader's EA of the hand-overs: it trades for ever, and sees to it that there is always something to reduce."""

import asyncio
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from kopitra.domain.book import Book
from tests.faults.handover_fleet import Fleet

#: contracts that the leader keeps; an entry that is missed in a hand-over leaves followers nothing to reduce
LEADER_MIN: Final = 10
#: and that it has before a hand-over, so that it enters no great number in the middle
STOCK_MIN: Final = 30
#: contracts of the newest signals, which followers may not have yet
BEHIND_MAX: Final = 4
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
        self._qty = 0
        self._least = LEADER_MIN

    @property
    def trades(self) -> bool:
        """It has begun. Raises what it fell over."""
        if self._task is not None and self._task.done():
            self._task.result()
        return self._task is not None

    @property
    def is_followed(self) -> bool:
        """The leader has its stock and followers have about the same: those that missed a large entry have nothing to
        reduce until the leader begins anew."""
        return self._qty >= self._least and self._is_copied

    @property
    def _is_copied(self) -> bool:
        held = Counter[str]()
        for (account, _), position in self._book.positions.items():
            held[account] += int(position.qty)
        return all(held[account] + BEHIND_MAX >= self._qty for account in ("a", "b"))

    def start(self) -> None:
        """Begin to trade."""
        self._task = asyncio.get_running_loop().create_task(self._trade())

    async def stop(self) -> None:
        """No signal after this."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    @contextmanager
    def stocking_up(self) -> Generator[None]:
        """Enter what a hand-over needs before it begins."""
        self._least = STOCK_MIN
        yield
        self._least = LEADER_MIN

    async def _trade(self) -> None:
        since, adding = 0, True
        while True:
            since += 1
            if self._qty < self._least:
                await self._one.send(action="add", side="buy", quantity=20)
                self._qty, since = self._qty + 20, 0
            elif since > PATIENT_SIGNALS and not self._is_copied:
                await self._one.send(action="exit")
                self._qty = 0
            elif adding:
                await self._one.send(action="add", side="buy", quantity=1)
                self._qty += 1
            else:
                await self._one.send(action="reduce", quantity=2)
                self._qty -= 2
            adding = not adding
            await asyncio.sleep(PACE_S)
