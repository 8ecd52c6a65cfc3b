"""A leader's fills while no read has said what its account holds (a list with one bad row never does).

They cannot be counted, so at first they are kept: the first good read explains them. Where none comes, followers must
not stay in what their leader leaves: the fills are handed on, to be followed as far as they shrink what is known.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from kopitra.domain.executions import ExecutionReport

#: seconds from the first of them until they are handed on: a read asked for comes within the first five
UNREAD_S: Final = 10.0
#: fills of one leader that are kept, to hand them on and to recognise repeats; the oldest leave first
FILLS_MAX: Final = 1_000


class Unread:
    """Of one leader; `follow` gets each fill once, in order, UNREAD_S after the first of them and from then on."""

    __slots__ = ("_fills", "_follow", "_is_over", "_timer")

    def __init__(self, follow: Callable[[ExecutionReport], None]) -> None:
        self._follow = follow
        #: by execution id
        self._fills: dict[str, ExecutionReport] = {}  # bounded: FILLS_MAX in `fill`
        self._is_over = False
        self._timer: asyncio.TimerHandle | None = None

    def fill(self, exec_id: str, report: ExecutionReport) -> None:
        """A fill that cannot be counted; called on the loop."""
        if exec_id in self._fills:
            return
        if len(self._fills) >= FILLS_MAX:
            del self._fills[next(iter(self._fills))]
        self._fills[exec_id] = report
        if self._is_over:
            self._follow(report)
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(UNREAD_S, self._over)

    def _over(self) -> None:
        self._timer, self._is_over = None, True
        for report in list(self._fills.values()):
            self._follow(report)

    def end(self) -> None:
        """A read has said where the leader stands, or nobody follows it any more: forget them."""
        self._fills.clear()
        self._is_over = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
