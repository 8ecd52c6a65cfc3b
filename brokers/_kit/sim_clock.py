"""The wall clock of a simulator: the Date header of its answers, and how wrong it is."""

import asyncio
from datetime import timedelta
from email.utils import format_datetime
from typing import Final

from kopitra.clock import SystemClock

#: seconds between two changes of the header
TICK_S: Final = 0.2


class SimClock:
    """Writes the header into a list that every answer begins with."""

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self._headers = headers
        self._clock = SystemClock()
        self._skew = timedelta()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Tick until `stop`."""
        at = self._clock.now() + self._skew
        self._headers[:] = [(b"date", format_datetime(at, usegmt=True).encode())]
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self.start)

    def stop(self) -> None:
        """No more ticks."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def command(self, arguments: dict[str, object]) -> dict[str, float]:
        """`clock {skew_s}`: the broker's clock is so many seconds ahead. ValueError for what is no number."""
        skew_s = arguments.get("skew_s", 0)
        if not isinstance(skew_s, int | float):
            raise ValueError("clock takes skew_s, a number of seconds")
        self._skew = timedelta(seconds=skew_s)
        self.stop()
        self.start()
        return {"skew_s": float(skew_s)}
