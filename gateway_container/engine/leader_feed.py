"""The leader drop copy: reports of leader accounts become signals and go through the same intake as all others.

A leader's fill has happened whether or not the database is there: signals that cannot be accepted now wait, in
order and bounded, and are tried again; the plan's own age check decides what late entries are still worth.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from gateway_container.engine.away import Away
from gateway_container.engine.intake import Intake
from gateway_container.engine.state import State
from kopitra.domain.book import root_of
from kopitra.domain.errors import QueueFull, SignalRefused, StoreError, Unavailable
from kopitra.domain.executions import TERMINAL_STATUS, AccountSnapshot, ExecutionReport
from kopitra.domain.leader import LeaderTracker
from kopitra.domain.leader_snapshot import LeaderSnapshot, reductions
from kopitra.domain.orders import ZERO
from kopitra.domain.signals import Signal
from kopitra.store.drafts import Committed, Duplicate

#: leader signals that wait for the database
WAITING_MAX: Final = 5_000
#: seconds between attempts
RETRY_S: Final = 0.25
#: seconds that a difference between a read and the stream must stand before the read is believed (R-041)
QUIET_S: Final = 5


class _Difference(NamedTuple):
    """Counted positions, positions by the broker, and the start of the first read that showed them."""

    counted: dict[str, Decimal]
    held: dict[str, Decimal]
    since_ns: int


class LeaderFeed:
    """Trackers of all leader accounts."""

    def __init__(
        self,
        state: State,
        intake: Intake,
        away: Away,
        on_reset: Callable[[LeaderSnapshot], object],
        alert: Callable[[str, str, str], None],
    ) -> None:
        self._state = state
        self._intake = intake
        self._away = away
        self._on_reset = on_reset
        self._alert = alert
        #: (account, leader) -> what a read showed that the stream has not told
        self._differs: dict[tuple[str, str], _Difference] = {}
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

    def look(self, snapshot: AccountSnapshot) -> None:
        """A read of a leader's account. The first one says where it stands: known, not copied. Later ones bring the
        fills that the stream lost; what they cannot explain is believed once it has stood still for QUIET_S.
        """
        account_id = snapshot.account_id
        trackers = self._trackers.get(account_id, ())
        if not trackers:
            return
        executions = snapshot.executions or ()
        first = account_id not in self._based
        if not first:
            for report in sorted(executions, key=lambda report: report.transact_time):
                self.observe(report)
            for order in snapshot.orders or ():
                if any(tracker.rests(order.order_id) for tracker in trackers):
                    self.observe(order)  # its move or its end, if the stream lost it
        if snapshot.positions is None:
            return
        held = {p.symbol: p.net_qty for p in snapshot.positions if p.net_qty}
        for tracker in trackers:
            if first or self._stood_still(tracker, held, snapshot.started_ns):
                self._reset(tracker, held, executions, _live(snapshot) if first else None)

    def _stood_still(self, tracker: LeaderTracker, held: dict[str, Decimal], read_ns: int) -> bool:
        """The same difference in two reads QUIET_S apart, and nothing told of in between: an event is not late, it
        is lost. A single read may simply be ahead of the stream."""
        key = (tracker.account_id, tracker.leader)
        if tracker.counted == held:
            self._differs.pop(key, None)
            return False
        seen = self._differs.get(key)
        if seen is None or (seen.counted, seen.held) != (tracker.counted, held):
            self._differs[key] = _Difference(tracker.counted, held, read_ns)
            return False
        return read_ns - seen.since_ns >= QUIET_S * 1_000_000_000

    def _reset(
        self,
        tracker: LeaderTracker,
        held: dict[str, Decimal],
        executions: Sequence[ExecutionReport],
        live: dict[str, ExecutionReport] | None,
    ) -> None:
        """The leader is where its broker says. Followers shrink with it; they open nothing late (R-033, R-043).

        `live`: its working orders at our first look: what an earlier process told of and is not there is canceled.
        """
        first = tracker.account_id not in self._based
        roots: dict[str, Decimal] = {}
        for symbol, qty in held.items():
            roots[root_of(symbol)] = roots.get(root_of(symbol), ZERO) + qty
        now, book = self._state.clock.now(), self._state.book
        told = LeaderSnapshot(
            tracker.workspace,
            tracker.leader,
            "drop_copy",
            now,
            tuple(sorted(roots.items())),
            None if live is None else frozenset(live),
        )
        try:
            if reductions(told, book, now):
                self._on_reset(told)
        except (StoreError, QueueFull):
            if first:  # fills that come meanwhile count from here on (simulation, seed 2018)
                tracker.baseline(held.items(), executions)
            return  # the next read finds the same
        tracker.baseline(held.items(), executions)
        self._differs.pop((tracker.account_id, tracker.leader), None)
        self._based.add(tracker.account_id)
        if first:
            self._resume(tracker, live or {})

    def _resume(self, tracker: LeaderTracker, live: dict[str, ExecutionReport]) -> None:
        """Go on with the resting orders that an earlier process told of: their moves and ends are to be copied."""
        for (leader, _), position in list(self._state.book.leaders.items()):
            if leader != tracker.leader:
                continue
            for order_id, order in list(position.working.items()):
                report = live.get(order_id)
                tracker.resume(order_id, order, ZERO if report is None else report.cum_qty or ZERO)
                if report is not None:
                    self.observe(report)

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
        if self._away.shrinks(signal):
            self._take_away()
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(RETRY_S, self._again)

    def _take_away(self) -> None:
        """An exit does not wait for the database, and what came before it must not come after it."""
        while self._waiting:
            signal, received_ns = self._waiting[0]
            try:
                self._away.take(signal, received_ns)
            except SignalRefused as refused:
                self._alert("leader-signal-refused", refused.message, "")
            except (StoreError, QueueFull):
                return  # neither the journal nor the file: it waits
            self._waiting.popleft()

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


def _live(snapshot: AccountSnapshot) -> dict[str, ExecutionReport] | None:
    """Working orders by id; None when the read does not tell."""
    if snapshot.orders is None:
        return None
    return {o.order_id: o for o in snapshot.orders if o.ord_status not in TERMINAL_STATUS}
