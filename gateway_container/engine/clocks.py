"""Whose clock says what: ours against PostgreSQL's and each broker's, once a minute (R-070).

Ages of signals are differences of two wall clocks. When ours is wrong they all are, so entries stop; when a broker's is
wrong only those that its drop copy makes are. Durations never depend on this: they are monotonic.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from gateway_container.engine.state import State
from kopitra.domain.errors import KopitraError
from kopitra.ports import BrokerTime

#: seconds between two looks at the database's clock
SAMPLE_EVERY_S: Final = 60.0
#: milliseconds of difference at which people hear of it, and at which entries stop
WARN_MS: Final = 500
STOP_MS: Final = 2_000
#: milliseconds a question about the time may take and still mean something
ROUND_TRIP_MS_MAX: Final = 400
#: samples of a broker's clock: the best of them counts, because an answer can only be late
SAMPLES: Final = 3

#: (code, text, account_id)
Alert = Callable[[str, str, str], None]


class Clocks:
    """Compares clocks and tells the plan which ages mean nothing. `run` is the task's body."""

    def __init__(self, state: State, ask: Callable[[], Awaitable[datetime]], alert: Alert) -> None:
        self._state = state
        self._ask = ask
        self._alert = alert
        #: broker -> its newest samples, milliseconds we are ahead of it
        self._samples: dict[str, deque[int]] = {}
        self._told: dict[str, str] = {}
        #: milliseconds we are ahead of PostgreSQL and of each broker, as last judged
        self.ahead_ms: dict[str, int] = {}

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            await self.sample()
            await asyncio.sleep(SAMPLE_EVERY_S)

    async def sample(self) -> None:
        """One look at the database's clock; a database that is away says nothing."""
        clock = self._state.clock
        before, before_ns = clock.now(), clock.monotonic_ns()
        try:
            theirs = await self._ask()
        except (KopitraError, OSError, TimeoutError):
            return
        took_ms = (clock.monotonic_ns() - before_ns) / 1e6
        if took_ms > ROUND_TRIP_MS_MAX:
            return
        ahead = before + timedelta(milliseconds=took_ms / 2) - theirs
        self._judge("the database", round(ahead.total_seconds() * 1000), 0)
        self._state.wall_clock_off = abs(self.ahead_ms["the database"]) > STOP_MS

    def heard(self, time: BrokerTime) -> None:
        """A broker's answer told its time."""
        login = self._state.config.logins.get(time.login_id)
        if login is None:
            return
        ahead_ms = round((time.ours - time.at).total_seconds() * 1000) - time.resolution_ms // 2
        samples = self._samples.setdefault(login.broker, deque(maxlen=SAMPLES))
        samples.append(ahead_ms)
        slack_ms = time.resolution_ms // 2
        self._judge(login.broker, min(samples, key=abs), slack_ms)
        off = self._state.brokers_off_clock
        if len(samples) == SAMPLES and abs(self.ahead_ms[login.broker]) > STOP_MS + slack_ms:
            off.add(login.broker)
        else:
            off.discard(login.broker)

    def _judge(self, whose: str, ahead_ms: int, slack_ms: int) -> None:
        """Keep it, and tell people once when it grows beyond a bound."""
        self.ahead_ms[whose] = ahead_ms
        distance = abs(ahead_ms) - slack_ms
        level = "stops" if distance > STOP_MS else "warns" if distance > WARN_MS else ""
        if level and self._told.get(whose) != level:
            effect = "entries whose age depends on it are refused" if level == "stops" else "entries go on"
            text = f"our clock is {ahead_ms} ms ahead of {whose}'s: {effect}; check the time service of this host"
            if whose != "the database":
                text += ", and ask the broker if the others agree"
            self._alert("clock-off", text, "")
        self._told[whose] = level
