"""The leader drop copy: reports of leader accounts become signals and go through the same intake as all others.

A leader's fill has happened whether or not the database is there: signals that cannot be accepted now wait, in
order and bounded, and are tried again; the plan's own age check decides what late entries are still worth.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Final

from gateway_container.engine.intake import Intake
from gateway_container.engine.state import State
from kopitra.domain.errors import QueueFull, SignalRefused, StoreError, Unavailable
from kopitra.domain.executions import ExecutionReport
from kopitra.domain.leader import LeaderTracker
from kopitra.domain.signals import Signal
from kopitra.store.drafts import Committed, Duplicate

#: leader signals that wait for the database
WAITING_MAX: Final = 5_000
#: seconds between attempts
RETRY_S: Final = 0.25


class LeaderFeed:
    """Trackers of all leader accounts."""

    def __init__(self, state: State, intake: Intake, alert: Callable[[str, str, str], None]) -> None:
        self._state = state
        self._intake = intake
        self._alert = alert
        self._trackers: dict[str, list[LeaderTracker]] = {}
        self._based: set[str] = set()
        self._waiting: deque[tuple[Signal, int]] = deque()  # bounded: WAITING_MAX in _wait
        self._timer: asyncio.TimerHandle | None = None

    def configure(self) -> None:
        """Follow the configuration: one tracker per leader that has an account; known ones keep their memory."""
        known = {(t.account_id, t.leader): t for trackers in self._trackers.values() for t in trackers}
        self._trackers = {}
        for leader in self._state.config.leaders.values():
            if leader.account_id is None:
                continue
            key = (leader.account_id, leader.leader_id)
            tracker = known.get(key) or LeaderTracker(leader.workspace, leader.leader_id, leader.account_id)
            self._trackers.setdefault(leader.account_id, []).append(tracker)

    def is_leader(self, account_id: str) -> bool:
        """The account's own trades are signals."""
        return account_id in self._trackers

    def baseline(self, account_id: str, positions: Iterable[tuple[str, Decimal]]) -> None:
        """What the account held when we first looked: known, not copied. Later snapshots change nothing here."""
        if account_id in self._based:
            return
        self._based.add(account_id)
        held = list(positions)
        for tracker in self._trackers.get(account_id, ()):
            tracker.baseline(held)

    def observe(self, report: ExecutionReport) -> None:
        """Copy what the leader did."""
        trackers = self._trackers.get(report.account_id)
        if trackers is None:
            return
        if (report.account_id, report.order_id) in self._state.book.by_order_id:
            return  # our own order at this account, whatever id the broker shows: never copied back
        now = self._state.clock.now()
        for tracker in trackers:
            for signal in tracker.signals(report, now):
                self._take(signal, report.received_ns)

    def _take(self, signal: Signal, received_ns: int) -> None:
        if self._waiting:
            self._wait(signal, received_ns)
            return
        self._accept(signal, received_ns)

    def _accept(self, signal: Signal, received_ns: int) -> bool:
        try:
            pending = self._intake.accept(signal, None, received_ns or None)
        except SignalRefused as refused:
            self._alert("leader-signal-refused", refused.message, "")
            return True
        except Duplicate:
            return True  # told twice: the drop copy of a fill that came again
        except (StoreError, QueueFull):
            self._wait(signal, received_ns)
            return False
        pending.committed.add_done_callback(lambda done: self._settled(done, signal, received_ns))
        return True

    def _settled(self, done: asyncio.Future[Committed], signal: Signal, received_ns: int) -> None:
        # An unclear commit is tried again too: if it was durable after all, the second try is a duplicate.
        if not done.cancelled() and isinstance(done.exception(), Unavailable):
            self._wait(signal, received_ns)

    def _wait(self, signal: Signal, received_ns: int) -> None:
        if len(self._waiting) >= WAITING_MAX:
            lost, _ = self._waiting.popleft()
            self._alert(
                "leader-signal-lost",
                f"too many signals wait for the database; {lost.signal_id} is dropped",
                "",
            )
        self._waiting.append((signal, received_ns))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(RETRY_S, self._again)

    def _again(self) -> None:
        self._timer = None
        waiting, self._waiting = self._waiting, deque()  # bounded: WAITING_MAX in _wait
        for signal, received_ns in waiting:
            self._take(signal, received_ns)

    def stop(self) -> None:
        """No more retries."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
