"""Breakers: an account whose broker does not answer gets no more entries; exits go on, slowly (R-053, R-054).

One breaker per account (an account has one broker) for its order calls. What counts against it are failures of the
way, never of the business: an outcome nobody knows, a request without an answer, a session that fell. Closed it costs
an order one look into an empty dictionary. Open it refuses entries at the last look; exits and cancels pass one a
second, and what closes it again is an exit that worked or the one read that is allowed after the open time.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Final

from brokers._kit.breaker import Blocked, Breaker, BreakerState, Permit
from gateway_container.engine.containment import Failed, uncontained
from gateway_container.engine.sessions import Sessions
from kopitra.domain.errors import KopitraError
from kopitra.domain.executions import AccountSnapshot
from kopitra.ports import Clock, NotSent

#: exits and cancels that left while their breaker was open and are not answered yet, all accounts together
EXITS_MAX: Final = 1_024
#: seconds between two looks for breakers whose open time is over
LOOK_EVERY_S: Final = 0.25
#: how far back a probe asks for executions
LOOK_BACK: Final = timedelta(hours=1)

#: (code, text, account_id)
Alert = Callable[[str, str, str], None]


def _quiet(_code: str, _text: str, _account_id: str) -> None:
    """Before the circle is closed nobody listens."""


class Breakers:
    """All accounts' breakers. The event loop alone touches it."""

    def __init__(self, clock: Clock) -> None:
        self._clock_ns = clock.monotonic_ns
        self._breakers: dict[str, Breaker] = {}  # bounded: by the accounts that ever had an order
        #: accounts whose breaker is not closed: what the last look asks
        self.shut: dict[str, Breaker] = {}
        self._exits: OrderedDict[str, Permit] = OrderedDict()
        self._alert: Alert = _quiet

    def attach(self, alert: Alert) -> None:
        """Who hears of breakers that open and close."""
        self._alert = alert

    def state(self, account_id: str) -> BreakerState:
        """For people and metrics."""
        breaker = self._breakers.get(account_id)
        return "closed" if breaker is None else breaker.state

    def answered(self, account_id: str, name: str) -> None:
        """The broker answered an order or request (`name`: its client id), be it with a refusal."""
        if self.shut and account_id in self.shut:
            permit = self._exits.pop(name, None)
            if permit is not None:
                permit.succeeded()
                self._look(account_id)
            return
        breaker = self._breakers.get(account_id)
        if breaker is None:
            breaker = self._breakers[account_id] = Breaker(clock_ns=self._clock_ns, rng=Random(account_id))
        breaker.note(True)

    def failed(self, account_id: str, name: str = "") -> None:
        """No answer, an outcome nobody knows, a session that fell."""
        permit = self._exits.pop(name, None)
        if permit is not None:
            permit.failed()
        breaker = self._breakers.get(account_id)
        if breaker is None:
            breaker = self._breakers[account_id] = Breaker(clock_ns=self._clock_ns, rng=Random(account_id))
        breaker.note(False)
        self._look(account_id)

    def hold(self, account_id: str, name: str) -> NotSent | None:
        """Why an exit or cancel (`name`) waits; None: it may leave now. Ask only while `shut` names the account."""
        breaker = self.shut.get(account_id)
        if breaker is None:
            return None
        asked = breaker.ask("exit")
        if isinstance(asked, Blocked):
            return NotSent(
                "busy", "the account's breaker is open: exits leave one by one", asked.retry_after_s
            )
        self._exits[name] = asked
        if len(self._exits) > EXITS_MAX:
            self._exits.popitem(last=False)
        return None

    def probe(self, account_id: str) -> Permit | None:
        """The right to make the one read after the open time; None: not now."""
        breaker = self.shut.get(account_id)
        asked = breaker.ask("read") if breaker is not None else None
        return asked if isinstance(asked, Permit) else None

    def probed(self, account_id: str, permit: Permit, ok: bool) -> None:
        """What became of that read."""
        if ok:
            permit.succeeded()
        else:
            permit.failed()
        self._look(account_id)

    def _look(self, account_id: str) -> None:
        breaker = self._breakers[account_id]
        was_shut = account_id in self.shut
        if breaker.state == "closed":
            if self.shut.pop(account_id, None) is not None:
                self._alert("breaker-closed", "the broker answers again: entries go on", account_id)
        elif not was_shut:
            self.shut[account_id] = breaker
            text = (
                "the broker does not answer: entries stop, exits leave one a second, and a read tries again soon; "
                "look at the session, and at the broker's own status page"
            )
            self._alert("breaker-open", text, account_id)


class Probes:
    """Reads accounts whose breaker may be tried again: exactly one read each, and only over a live session."""

    def __init__(
        self, breakers: Breakers, sessions: Sessions, sink: Callable[[AccountSnapshot], None], clock: Clock
    ) -> None:
        self._breakers = breakers
        self._sessions = sessions
        self._sink = sink
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()  # bounded: one per account
        #: takes the failure of one account
        self.failed: Failed = uncontained

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                self.look()
        finally:
            for task in self._tasks:
                task.cancel()

    def look(self) -> None:
        """Start the reads that are due."""
        for account_id in tuple(self._breakers.shut):
            session = self._sessions.of(account_id)
            if session is None or session.state != "live":
                continue  # the session's own reconnect comes first; its fall was counted
            permit = self._breakers.probe(account_id)
            if permit is not None:
                task = asyncio.get_running_loop().create_task(self._read(account_id, permit))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _read(self, account_id: str, permit: Permit) -> None:
        session = self._sessions.of(account_id)
        try:
            if session is None:
                raise KeyError(account_id)
            snapshot = await session.snapshot(account_id, self._clock.now() - LOOK_BACK)
        except (KopitraError, OSError, TimeoutError, KeyError):
            self._breakers.probed(account_id, permit, False)
            return
        self._breakers.probed(account_id, permit, True)
        try:
            self._sink(snapshot)
        except Exception as error:  # noqa: BLE001 - one account's answer
            self.failed(account_id, "taking what its broker showed again", error)
