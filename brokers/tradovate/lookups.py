"""What the stream tells in part: waited for, looked up within the budget, and told once when nothing helps."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final

from brokers._kit.budget import KEPT_FOR_CLOSES, Budget, Denied, Lane
from brokers.tradovate.events import Events
from brokers.tradovate.join import ASK_WAIT_S, Joiner
from brokers.tradovate.link import Link
from brokers.tradovate.snapshot import LISTS, Reader, explain
from brokers.tradovate.symbols import ContractBook
from brokers.tradovate.tracks import Missing, Track, missing_of
from kopitra.domain.errors import SessionError, Throttled

#: orders that are looked up one by one, with up to three requests each; more are read together
FEW: Final = 4
#: how often an order is asked for until it is told of as lost, and how often it is put off for want of room
TRIES_MAX: Final = 3
PUT_OFF_MAX: Final = 6
#: what a Throttled says when not the vendor, but our own budget refuses
OWN_BUDGET: Final = "own-budget"
#: requests that wait for an answer
TASKS_MAX: Final = 64
#: orders that an alert names
_NAMED_MAX: Final = 5
_LOOK_S: Final = 0.25
_NS: Final = 1_000_000_000


class Lookups:
    """The orders of one login of which something is missing.

    The budget pays for it as for moves of stops, and some is left to those: what finds no room is put off.
    """

    def __init__(
        self,
        joiner: Joiner,
        events: Events,
        reader: Reader,
        contracts: ContractBook,
        budget: Budget,
        clock_ns: Callable[[], int],
        *,
        alert: Callable[[str], None],
        penalized: Callable[[float, str], None],
    ) -> None:
        self._joiner = joiner
        self._events = events
        self._reader = reader
        self._contracts = contracts
        self._budget = budget
        self._clock_ns = clock_ns
        self._alert = alert
        self._penalized = penalized
        self._link: Link | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reading: asyncio.Task[None] | None = None
        self._next_read_ns = 0
        self._tasks: set[asyncio.Task[None]] = set()  # bounded: TASKS_MAX and the reading

    def use(self, link: Link | None) -> None:
        """A life whose snapshot was taken in; None: it is over."""
        self._link = link
        if link is not None:
            self.look()
            return
        for task in list(self._tasks):
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look(self) -> None:
        """After each frame: something may be missing now."""
        if self._timer is None and self._joiner.waiting and self._link is not None:
            self._arm()

    def ask(self, missing: Missing, key: int) -> bool:
        """Look one thing up; False: there is no room for it now."""
        if not self._has_room(1):
            return False
        self._begin(missing, key)
        return True

    # -- looking -----------------------------------------------------------------------------------------

    def _arm(self) -> None:
        due_ns = self._joiner.next_due_ns
        if due_ns is not None:
            wait_s = min(max(0.0, (due_ns - self._clock_ns()) / _NS), _LOOK_S)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._on_due)

    def _on_due(self) -> None:
        self._timer, now_ns = None, self._clock_ns()
        lost: list[Track] = []
        wanted: list[Track] = []
        for track in self._joiner.due(now_ns):
            in_vain = track.tries >= (TRIES_MAX if track.asked else PUT_OFF_MAX)
            (lost if in_vain else wanted).append(track)
        for track in lost:
            self._joiner.lose(track, now_ns)
        if len(self._joiner.waiting) > FEW:
            self._read(wanted, now_ns)
        else:
            for track in wanted:
                self._look_up(track, now_ns)
        self._tell(lost)
        self._arm()

    def _look_up(self, track: Track, now_ns: int) -> None:
        missing = missing_of(track, self._contracts)
        if missing and not self._has_room(len(missing)):
            _put_off(track, now_ns)
            return
        track.tries += 1
        self._joiner.asked(track, now_ns)
        for kind, key in missing:
            self._begin(kind, key)

    def _read(self, wanted: list[Track], now_ns: int) -> None:
        busy = (self._reading is not None and not self._reading.done()) or now_ns < self._next_read_ns
        room = self._budget.forecast(Lane.PROTECT, now_ns, LISTS + KEPT_FOR_CLOSES)
        if wanted and not busy and not isinstance(room, Denied):
            self._next_read_ns = now_ns + int(ASK_WAIT_S * _NS)
            due = {track.order_id: track for track in wanted}
            due |= {track.order_id: track for track in self._joiner.waiting if not track.asked}
            self._reading, wanted = self._spawn(self._explained(due)), list(due.values())
        for track in wanted:
            _put_off(track, now_ns)  # until the lists are there

    async def _explained(self, tracks: dict[int, Track]) -> None:
        try:
            _, seen = await self._reader.lists(Lane.PROTECT)
        except Throttled as error:
            if error.code != OWN_BUDGET:
                self._silence(error)
            return
        except (SessionError, TimeoutError):
            return  # they were put off
        now_ns = self._clock_ns()
        explain(seen, self._joiner, tracks.keys(), now_ns)
        for track in tracks.values():
            if track.due_ns:
                self._joiner.asked(track, now_ns)

    # -- asking ------------------------------------------------------------------------------------------

    def _has_room(self, requests: int) -> bool:
        if self._link is None or len(self._tasks) + requests > TASKS_MAX:
            return False
        granted = self._budget.try_take(Lane.PROTECT, self._clock_ns(), requests, KEPT_FOR_CLOSES)
        return not isinstance(granted, Denied)

    def _begin(self, missing: Missing, key: int) -> None:
        if self._link is not None:
            self._spawn(self._asked(self._link, missing, key))

    async def _asked(self, link: Link, missing: Missing, key: int) -> None:
        try:
            await self._events.look_up(link, missing, key, self._clock_ns)
        except Throttled as error:
            self._silence(error)

    def _silence(self, error: Throttled) -> None:
        now_ns = self._clock_ns()
        if not self._budget.paused_s(now_ns):  # many may be answered so at once
            self._budget.pause(now_ns, error.retry_after_s, Lane.PROTECT)
            self._penalized(error.retry_after_s, error.message)

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _tell(self, lost: list[Track]) -> None:
        if not lost:
            return
        named = ", ".join(str(track.order_id) for track in lost[:_NAMED_MAX])
        more = f" and {len(lost) - _NAMED_MAX} more" if len(lost) > _NAMED_MAX else ""
        self._alert(f"Told in part, and no look-up explained it: order {named}{more}. Compare by snapshot.")


def _put_off(track: Track, now_ns: int) -> None:
    """Each time for twice as long: 2 s, 4 s, ... a minute."""
    track.due_ns = now_ns + int(ASK_WAIT_S * 2**track.tries * _NS)
    track.tries += 1
