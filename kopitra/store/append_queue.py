"""Appends that wait for the next commit, in order and bounded."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from kopitra.domain.errors import QueueFull, StoreError
from kopitra.store.drafts import Committed, Draft

#: facts that may wait for a commit
WAITING_ROWS_MAX: Final = 4096
#: facts and payload bytes of one commit (one append is never split)
BATCH_ROWS_MAX: Final = 256
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024


class Fate(asyncio.Future[Committed]):
    """What became of an append. Whoever waits may be cancelled, the append may not: it is on its way.

    `asyncio.shield` says the same one turn of the loop later, and in that turn the brokers' answers come first.
    """

    def cancel(self, msg: object = None) -> bool:
        """Refused; the waiting task is cancelled as soon as the fate is known."""
        del msg
        return False


class Pending(NamedTuple):
    """One append: facts that become durable together, and who waits for them."""

    drafts: Sequence[Draft]
    future: asyncio.Future[Committed]
    size: int  # payload bytes

    def fail(self, error: StoreError) -> None:
        """Tell the owner, unless it was told."""
        if not self.future.done():
            self.future.set_exception(error)


class AppendQueue:
    """First in, first out, in batches."""

    __slots__ = ("_alone", "_waiting", "rows")

    def __init__(self) -> None:
        self._waiting: deque[Pending] = deque()  # bounded: put refuses past WAITING_ROWS_MAX
        self._alone = 0  # appends to hand out one by one
        #: facts that wait
        self.rows = 0

    def __len__(self) -> int:
        """Appends that wait."""
        return len(self._waiting)

    def put(self, drafts: Sequence[Draft], future: asyncio.Future[Committed]) -> None:
        """Take an append, or raise QueueFull."""
        if self.rows + len(drafts) > WAITING_ROWS_MAX:
            raise QueueFull(f"{WAITING_ROWS_MAX} facts wait for the database: slow down and try again.")
        self._waiting.append(Pending(drafts, future, sum(len(draft.payload) for draft in drafts)))
        self.rows += len(drafts)

    def put_back(self, pendings: Sequence[Pending], *, alone: bool = False) -> None:
        """Return a batch to the front; `alone` hands its appends out one by one from now on."""
        self._waiting.extendleft(reversed(pendings))
        self.rows += sum(len(pending.drafts) for pending in pendings)
        if alone:
            self._alone += len(pendings)

    def take(self) -> list[Pending]:
        """The next batch: everything that waits, within the limits of one commit."""
        taken = [self._waiting.popleft()]
        rows, size = len(taken[0].drafts), taken[0].size
        if self._alone:
            self._alone -= 1
        else:
            while self._waiting:
                following = self._waiting[0]
                if rows + len(following.drafts) > BATCH_ROWS_MAX or size + following.size > BATCH_BYTES_MAX:
                    break
                rows += len(following.drafts)
                size += following.size
                taken.append(self._waiting.popleft())
        self.rows -= rows
        return taken

    def fail_all(self, error: StoreError) -> None:
        """Tell every owner and forget them."""
        for pending in self._waiting:
            pending.fail(error)
        self._waiting.clear()
        self.rows = 0
        self._alone = 0

    def futures(self) -> list[asyncio.Future[Committed]]:
        """What the owners wait for."""
        return [pending.future for pending in self._waiting]
