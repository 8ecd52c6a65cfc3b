"""What the stream tells in part: waited for, looked up within bounds, and told once when nothing helps."""

import asyncio
from collections.abc import Callable

from brokers._kit.budget import Budget, Denied, Lane
from brokers.tradovate.events import Events
from brokers.tradovate.join import ASKS_MAX, Joiner
from brokers.tradovate.link import Link
from brokers.tradovate.tracks import Missing
from kopitra.domain.errors import Disconnected, Throttled

#: orders that an alert names
_NAMED_MAX = 5


class Lookups:
    """The orders of one login of which something is missing.

    More than can be looked up end the life: its snapshot was not whole, and a new one costs one request.
    """

    def __init__(
        self,
        joiner: Joiner,
        events: Events,
        budget: Budget,
        clock_ns: Callable[[], int],
        *,
        alert: Callable[[str], None],
        penalized: Callable[[float, str], None],
    ) -> None:
        self._joiner = joiner
        self._events = events
        self._budget = budget
        self._clock_ns = clock_ns
        self._alert = alert
        self._penalized = penalized
        self._link: Link | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # bounded: ASKS_MAX
        self._renewed = False

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
        if self._timer is None and self._joiner.waits and self._link is not None:
            self._arm()

    def ask(self, missing: Missing, key: int) -> None:
        """Look it up, if there is room and the budget pays: what is not asked for is told as unexplained."""
        link, full = self._link, len(self._tasks) >= ASKS_MAX
        if link is None or full:
            return
        if isinstance(self._budget.take_read(Lane.PROTECT, self._clock_ns(), 1), Denied):
            return
        task = asyncio.get_running_loop().create_task(self._look_up(link, missing, key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look_up(self, link: Link, missing: Missing, key: int) -> None:
        try:
            await self._events.look_up(link, missing, key, self._clock_ns)
        except Throttled as error:
            now_ns = self._clock_ns()
            if not self._budget.paused_s(now_ns):  # many may be answered so at once
                self._budget.pause(now_ns, error.retry_after_s, Lane.PROTECT)
                self._penalized(error.retry_after_s, error.message)

    def _arm(self) -> None:
        due_ns = self._joiner.next_due_ns
        if due_ns is not None:
            wait_s = max(0.0, (due_ns - self._clock_ns()) / 1e9)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._on_due)

    def _on_due(self) -> None:
        self._timer, now_ns = None, self._clock_ns()
        many = self._joiner.unexplained(now_ns) > ASKS_MAX
        if many and not self._renewed and self._link is not None:
            self._renewed = True
            why = f"the vendor told of more than {ASKS_MAX} orders in part: a new snapshot is taken"
            self._link.end(Disconnected(why))
            return
        self._renewed = many
        lost = self._joiner.overdue(now_ns)
        if lost:
            named = ", ".join(str(order_id) for order_id in lost[:_NAMED_MAX])
            more = f" and {len(lost) - _NAMED_MAX} more" if len(lost) > _NAMED_MAX else ""
            self._alert(
                f"Told in part, and no look-up explained it: order {named}{more}. Compare by snapshot."
            )
        self._arm()
