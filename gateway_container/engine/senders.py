"""What is known of the clocks of those who send signals (R-068).

Without a heartbeat of its own a sender's clock shows only in one direction: a signal "from the future" proves that the
clock is ahead by so much, and from then on its signals count as that much older. A clock that is behind makes signals
look old, which refuses: the safe side.
"""

from collections import OrderedDict
from datetime import timedelta
from typing import Final

from kopitra.domain.risk import FUTURE_MS_MAX

#: senders remembered
SENDERS_MAX: Final = 1_000


class Senders:
    """How far ahead the clocks of signal senders are known to be."""

    def __init__(self) -> None:
        self._ahead_ms: OrderedDict[str, int] = OrderedDict()

    def ahead_ms(self, leader: str) -> int:
        """Milliseconds to add to the ages of a leader's signals."""
        return self._ahead_ms.get(leader, 0)

    def from_the_future(self, leader: str, ahead: timedelta) -> None:
        """A signal came that was dated so much after its arrival. What is beyond the tolerance is refused, and no
        measure of a clock: it may be a slip of a minute or a year."""
        by_ms = round(ahead.total_seconds() * 1000)
        if by_ms > FUTURE_MS_MAX:
            return
        if by_ms > self._ahead_ms.get(leader, 0):
            self._ahead_ms[leader] = by_ms
            self._ahead_ms.move_to_end(leader)
            if len(self._ahead_ms) > SENDERS_MAX:
                self._ahead_ms.popitem(last=False)
