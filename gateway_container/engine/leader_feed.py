"""The leader drop copy: reports of leader accounts become signals and go through the same intake as all others.

A leader's fill has happened whether or not the database is there: signals that cannot be accepted now wait
(`leader_queue.py`); the plan's own age check decides what late entries are still worth. Nothing is a signal before a
read has said what the account holds: counted from zero, a close would be an entry. Where no read ever says it, what
shrinks is followed from what followers were told (`leader_unread.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Final, NamedTuple

from gateway_container.engine.away import Away
from gateway_container.engine.intake import Intake
from gateway_container.engine.leader_queue import LeaderQueue
from gateway_container.engine.leader_unread import UNREAD_S, Unread
from gateway_container.engine.seldom import Seldom
from gateway_container.engine.state import State
from kopitra.domain.book import root_of
from kopitra.domain.errors import QueueFull, StoreError
from kopitra.domain.executions import TERMINAL_STATUS, AccountSnapshot, ExecutionReport
from kopitra.domain.ids import is_own
from kopitra.domain.leader import LeaderTracker
from kopitra.domain.leader_snapshot import LeaderSnapshot, reductions
from kopitra.domain.orders import ZERO
from kopitra.domain.signals import Signal

#: seconds that a difference between a read and the stream must stand before the read is believed (R-041)
QUIET_S: Final = 5
#: executions so much older than the first read are in its positions, whichever later list names them first
BEFORE: Final = timedelta(minutes=30)


class _Difference(NamedTuple):
    """Counted positions, positions by the broker, and the start of the first read that showed them."""

    counted: dict[str, Decimal]
    held: dict[str, Decimal]
    since_ns: int


@dataclass(slots=True)
class _Watched:
    """One leader at its account, and what is known of it; forgotten with the tracker (R-033)."""

    tracker: LeaderTracker
    #: its fills before the first read
    unread: Unread
    #: executions before it were in the positions of the first read; None: no read yet, so nothing to count from
    since: datetime | None = None
    #: the book has what the first read showed
    is_told: bool = False
    #: what a read showed that the stream has not told
    differs: _Difference | None = None


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
        self._on_reset = on_reset
        self._alert = alert
        self._told = Seldom()
        self._watched: dict[str, list[_Watched]] = {}
        self._queue = LeaderQueue(state, intake, away, alert, self._at_rest)
        self._take: Callable[[Signal, int], None] = self._queue.take
        #: asks for a read of an account as soon as it is at rest
        self.soon: Callable[[str], None] = lambda _account_id: None

    @property
    def waiting(self) -> tuple[Signal, ...]:
        """Signals that wait for the database, in order."""
        return self._queue.waiting

    def configure(self) -> None:
        """Follow the configuration: one tracker per leader that has an account; known ones keep their memory.

        The first leader of an account, by name, has the ids of the account alone: they outlive a deploy either way.
        """
        known = {
            (w.tracker.account_id, w.tracker.leader): w for found in self._watched.values() for w in found
        }
        self._watched = {}
        for leader_id, leader in sorted(self._state.config.leaders.items()):
            account_id = leader.account_id
            if account_id is None:
                continue
            one = known.pop((account_id, leader_id), None)
            one = one or self._unknown(LeaderTracker(leader.workspace, leader_id, account_id))
            beside = self._watched.setdefault(account_id, [])
            one.tracker.scope = (leader_id,) if beside else ()
            beside.append(one)
        for left in known.values():
            left.unread.end()

    def _unknown(self, tracker: LeaderTracker) -> _Watched:
        return _Watched(tracker, Unread(partial(self._follow_unread, tracker)))

    def read_soon(self) -> None:
        """Have the accounts read of which nothing is known yet."""
        for account_id, found in self._watched.items():
            if any(one.since is None for one in found):
                self.soon(account_id)

    def is_leader(self, account_id: str) -> bool:
        """The account's own trades are signals."""
        return account_id in self._watched

    def look(self, snapshot: AccountSnapshot) -> None:
        """A read of a leader's account. The first one says where it stands: known, not copied. Later ones bring the
        fills that the stream lost; what they cannot explain is believed once it has stood still for QUIET_S.
        """
        for one in self._watched.get(snapshot.account_id, ()):
            if one.since is not None:
                self._lost_by_the_stream(one, snapshot, one.since)
            if snapshot.positions is None:
                continue
            held = {p.symbol: p.net_qty for p in snapshot.positions if p.net_qty}
            if not one.is_told or self._stood_still(one, held, snapshot.started_ns):
                self._reset(one, held, snapshot)

    def _lost_by_the_stream(self, one: _Watched, snapshot: AccountSnapshot, since: datetime) -> None:
        for report in sorted(snapshot.executions or (), key=lambda report: report.transact_time):
            if report.transact_time >= since:
                self._hear(one, report)
        for order in snapshot.orders or ():
            if one.tracker.rests(order.order_id):
                self._hear(one, order)  # its move or its end

    def _stood_still(self, one: _Watched, held: dict[str, Decimal], read_ns: int) -> bool:
        """The same difference in two reads QUIET_S apart, and nothing told of in between: an event is not late, it
        is lost. A single read may simply be ahead of the stream."""
        counted, seen = one.tracker.counted, one.differs
        if counted == held:
            one.differs = None
            return False
        if seen is None or (seen.counted, seen.held) != (counted, held):
            one.differs = _Difference(counted, held, read_ns)
            return False
        return read_ns - seen.since_ns >= QUIET_S * 1_000_000_000

    def _reset(self, one: _Watched, held: dict[str, Decimal], snapshot: AccountSnapshot) -> None:
        """The leader is where its broker says. Followers shrink with it; they open nothing late (R-033, R-043).

        At our first look its working orders count too: what an earlier process told of and is not there is canceled.
        """
        tracker, first = one.tracker, not one.is_told
        live = _live(snapshot) if first else None
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
                self._base(one, held, snapshot)
            return  # the next read finds the same
        self._base(one, held, snapshot)
        one.differs, one.is_told = None, True
        if first:
            self._resume(one, live or {})

    def _base(self, one: _Watched, held: dict[str, Decimal], snapshot: AccountSnapshot) -> None:
        """From here on fills are counted."""
        one.tracker.baseline(held.items(), snapshot.executions or ())
        one.unread.end()
        if one.since is None:
            # Without a list nothing tells which executions are in the positions: a later list begins here.
            before = timedelta(0) if snapshot.executions is None else BEFORE
            one.since = self._state.clock.now() - before

    def _resume(self, one: _Watched, live: dict[str, ExecutionReport]) -> None:
        """Go on with the resting orders that an earlier process told of: their moves and ends are to be copied."""
        for (leader, _), position in list(self._state.book.leaders.items()):
            if leader != one.tracker.leader:
                continue
            for order_id, order in list(position.working.items()):
                report = live.get(order_id)
                one.tracker.resume(order_id, order, ZERO if report is None else report.cum_qty or ZERO)
                if report is not None:
                    self._hear(one, report)

    def observe(self, report: ExecutionReport) -> None:
        """Copy what the leader did."""
        for one in self._watched.get(report.account_id, ()):
            if one.since is None:
                self.soon(report.account_id)  # the read that says where it stands has it, or the one after it
                self._not_counted(one, report)
            else:
                self._hear(one, report)

    def _hear(self, one: _Watched, report: ExecutionReport) -> None:
        if self._is_ours(report):
            return
        for signal in one.tracker.signals(report, self._state.clock.now()):
            self._take(signal, report.received_ns)

    def _is_ours(self, report: ExecutionReport) -> bool:
        """Our own order at this account, whatever id the broker shows: never copied back."""
        return (report.account_id, report.order_id) in self._state.book.by_order_id

    def _not_counted(self, one: _Watched, report: ExecutionReport) -> None:
        """It came before the first read."""
        if report.exec_type != "trade" or report.exec_id is None:
            return
        if is_own(report.cl_ord_id) or self._is_ours(report):
            return
        leader = one.tracker.leader
        if self._told.is_due((report.account_id, leader), self._state.clock.monotonic_ns()):
            text = (
                f"no read says yet what leader {leader} holds, so its acts are not copied; if none does for "
                f"{UNREAD_S:.0f} s, its fills close what they can and open nothing: look at its followers, and at "
                "its positions at the broker"
            )
            self._alert("leader-not-read", text, report.account_id)
        one.unread.fill(report.exec_id, report)

    def _follow_unread(self, tracker: LeaderTracker, report: ExecutionReport) -> None:
        if self._is_ours(report):
            return  # known to be by now
        root = root_of(report.symbol)
        told = self._state.book.leader(tracker.leader, root)
        known, resting = self._known(tracker.leader, root), told.exposure - told.qty
        signal = tracker.shrinking(report, known, resting, self._state.clock.now())
        if signal is not None:
            self._take(signal, report.received_ns)

    def _known(self, leader: str, root: str) -> Decimal:
        """What the leader holds by all that was told, what waits for the database included."""
        for signal in reversed(self.waiting):
            if (signal.leader, signal.symbol) == (leader, root) and signal.leader_position is not None:
                return signal.leader_position
        return self._state.book.leader(leader, root).qty

    def _at_rest(self, signal: Signal) -> Signal | None:
        """The signal of a resting order with the prices that the order has now; None: the order is over."""
        for found in self._watched.values():
            for one in found:
                if (one.tracker.workspace, one.tracker.leader) == (signal.workspace, signal.leader):
                    return one.tracker.at_rest(signal)
        return None

    def stop(self) -> None:
        """No more retries."""
        self._queue.stop()
        for found in self._watched.values():
            for one in found:
                one.unread.end()


def _live(snapshot: AccountSnapshot) -> dict[str, ExecutionReport] | None:
    """Working orders by id; None when the read does not tell."""
    if snapshot.orders is None:
        return None
    return {o.order_id: o for o in snapshot.orders if o.ord_status not in TERMINAL_STATUS}
