"""The runaway brake (R-099): an account that writes far more than its limits allow, turns round and round, or writes an
order twice is halted at once, by no person, and only a person lifts it.

Counting costs the hot path one addition; what leaves the minute is taken off once a second, beside the signals.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from gateway_container.engine.state import State
from kopitra.domain.orders import OrderIntent

#: seconds of the window that is counted
WINDOW_S: Final = 60
#: orders that one allowed entry may bring along: stop, targets, exit, and their moves of size
CHILDREN_PER_ENTRY: Final = 6
#: round trips that are never too many, however few entries a minute are allowed
ROUND_TRIPS_MIN: Final = 10

#: (account, reason): stop it now
Halt = Callable[[str, str], None]


class Counter:
    """Events of the last minute by account; at most one second old ones too many."""

    def __init__(self) -> None:
        self._now: dict[str, int] = {}  # bounded: accounts of the configuration
        self.total: dict[str, int] = {}
        self._past: deque[dict[str, int]] = deque(maxlen=WINDOW_S)

    def add(self, account_id: str, events: int = 1) -> int:
        """So many more; how many there are now."""
        self._now[account_id] = self._now.get(account_id, 0) + events
        count = self.total[account_id] = self.total.get(account_id, 0) + events
        return count

    def second(self) -> None:
        """A second has passed."""
        gone = self._past[0] if len(self._past) == WINDOW_S else {}
        self._past.append(self._now)
        self._now = {}
        for account_id, count in gone.items():
            left = self.total[account_id] - count
            if left:
                self.total[account_id] = left
            else:
                del self.total[account_id]


class Brake:
    """Counts what is written and what goes flat; `run` is the task that lets the minute move on."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._halt: Halt | None = None
        self._written = Counter()
        self._round_trips = Counter()

    def attach(self, halt: Halt) -> None:
        """Who stops an account."""
        self._halt = halt

    def wrote(self, account_id: str, orders: int) -> None:
        """So many orders of an account were handed to its socket."""
        count = self._written.add(account_id, orders)
        if count > CHILDREN_PER_ENTRY and count > (allowed := self._allowed(account_id) * CHILDREN_PER_ENTRY):
            self._stop(account_id, f"{count} orders within a minute, {allowed} are plausible")

    def went_flat(self, account_id: str) -> None:
        """A fill closed a position."""
        count = self._round_trips.add(account_id)
        allowed = max(ROUND_TRIPS_MIN, self._allowed(account_id) // 2)
        if count > allowed:
            self._stop(account_id, f"{count} round trips within a minute, {allowed} are plausible")

    def repeated(self, intent: OrderIntent) -> None:
        """An order that was written came to its write again (I-01, I-05): it was held back."""
        self._stop(intent.account_id, f"{intent.cl_ord_id} was about to be written twice")

    def _allowed(self, account_id: str) -> int:
        account = self._state.account(account_id)
        return account.limits.max_orders_per_minute if account is not None else 0

    def _stop(self, account_id: str, reason: str) -> None:
        if self._halt is not None:
            self._halt(account_id, reason)

    async def run(self) -> None:
        """Let the minute move on, until cancelled."""
        while True:
            await asyncio.sleep(1)
            self._written.second()
            self._round_trips.second()
