"""Comparing accounts with their brokers: on a timer, after each reconnect, and when an account has come to rest.

A read that failed or told only a part changes nothing (R-044); while anything of ours is on its way nothing is judged;
and no difference is believed before a second read, five seconds later, has shown the same (R-041, R-043). The same
reads are the poor man's drop copy: executions that the stream did not tell are imported and counted (R-042).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Final, NamedTuple
from zlib import crc32

from gateway_container.engine.containment import Failed, uncontained
from gateway_container.engine.log import Log
from gateway_container.engine.overdue import Overdue
from gateway_container.engine.repairs import Alert, Repairs, run_name
from gateway_container.engine.sessions import Sessions
from gateway_container.engine.state import State
from kopitra.domain.drift import Found, asks_of, fills_now, find
from kopitra.domain.errors import KopitraError, Throttled
from kopitra.domain.executions import AccountSnapshot, ExecutionReport, PositionReport
from kopitra.domain.flattening import is_flattening
from kopitra.domain.foreign_orders import blocks, foreign_orders, shown_twice
from kopitra.domain.journal import DriftNoted, EntriesBlocked, FollowUp, PositionDiffers
from kopitra.domain.news import is_news
from kopitra.domain.orders import ZERO
from kopitra.domain.react import refit
from kopitra.domain.sync import Drift
from kopitra.ports import BrokerSession
from kopitra.telemetry import Metrics

#: reads that may run at once
READS_MAX: Final = 8
#: requests that one read may cost at most: the login must have room for them beside everything else
READ_REQUESTS: Final = 6
#: how far back a read asks for executions, and how far once per trade date
LOOK_BACK: Final = timedelta(hours=1)
LOOK_BACK_DAY: Final = timedelta(hours=24)


class Pace(NamedTuple):
    """When accounts are read, in seconds. Between `every_low_s` and `every_high_s` by the account's name, so that not
    all read at once."""

    every_low_s: float = 30.0
    every_high_s: float = 60.0
    #: between two looks at who is due
    tick_s: float = 1.0
    #: without an execution before an account is judged, and between the two reads that confirm a difference
    quiet_s: float = 5.0
    #: an execution that the stream has not told after so long is lost there
    lost_s: float = 10.0
    #: between two tries of the day's long read, which may fail where a short one succeeds
    day_again_s: float = 600.0

    @property
    def quiet_ns(self) -> int:
        """The same in nanoseconds."""
        return int(self.quiet_s * 1_000_000_000)


PACE: Final = Pace()


class _Seen(NamedTuple):
    drift: Drift
    since_ns: int


class Comparison:
    """Who is read when, and what follows. `run` is its task."""

    def __init__(
        self, state: State, log: Log, sessions: Sessions, repairs: Repairs, alert: Alert, metrics: Metrics
    ) -> None:
        self._state = state
        self._log = log
        self._sessions = sessions
        self._repairs = repairs
        self._alert = alert
        #: takes the failure of one account
        self.failed: Failed = uncontained
        self.pace = PACE
        self._take: Callable[[AccountSnapshot], None] = self.judge
        self._follow: Callable[[FollowUp], None] = lambda _follow: None
        #: loop time of an account's next read
        self._next_s: dict[str, float] = {}
        self._reads: dict[str, asyncio.Task[None]] = {}  # bounded: READS_MAX in _round
        self._began_ns: dict[str, int] = {}
        #: the trade date for which the whole day was read: what the session's end left untold
        self._day: dict[str, date] = {}
        #: loop time at which the day's long read was tried last
        self._day_tried_s: dict[str, float] = {}  # bounded: accounts
        self._seen: dict[str, dict[tuple[str, str, str], _Seen]] = {}
        #: account -> contract -> when the first read began that showed foreign orders there (monotonic)
        self._foreign_ns: dict[str, Mapping[str, int]] = {}  # bounded: accounts, contracts of foreign orders
        #: account -> when its last whole comparison began (monotonic)
        self.compared_ns: dict[str, int] = {}
        self.overdue = Overdue(self.compared_ns, alert)
        self._kinds = metrics.drifts.counts
        self._lost = metrics.stream_losses.counts

    def attach(self, take: Callable[[AccountSnapshot], None], follow: Callable[[FollowUp], None]) -> None:
        """Who takes snapshots (and asks `judge` in the end), and who carries out what follows."""
        self._take = take
        self._follow = follow

    # reading -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read who is due until cancelled."""
        try:
            while True:
                await asyncio.sleep(self.pace.tick_s)
                self._round()
        finally:
            for task in self._reads.values():
                task.cancel()

    def _round(self) -> None:
        loop = asyncio.get_running_loop()
        for account_id, account in self._state.config.accounts.items():
            session = self._sessions.of(account_id) if account.active else None
            live = session is not None and session.state == "live"
            self.overdue.look(account_id, self._state.clock.monotonic_ns(), live=live)
            if session is None or not live:
                continue
            if account_id in self._reads or not self._is_due(account_id, loop.time()):
                continue
            if len(self._reads) >= READS_MAX or session.forecast().polls < READ_REQUESTS:
                continue  # it stays due
            task = loop.create_task(self._read(account_id, session), name=f"compare {account_id}")
            self._reads[account_id] = task
            task.add_done_callback(lambda _done, name=account_id: self._reads.pop(name, None))

    def _is_due(self, account_id: str, now_s: float) -> bool:
        """Its time has come, or it has come to rest since the last read."""
        due_s = self._next_s.get(account_id)
        if due_s is None:
            due_s = self._next_s[account_id] = now_s + _spread(account_id) * self.pace.every_low_s
        filled_ns = self._state.facts_of(account_id).filled_ns
        rested = filled_ns > self._began_ns.get(account_id, 0)
        return now_s >= due_s or (
            rested and self._state.clock.monotonic_ns() - filled_ns >= self.pace.quiet_ns
        )

    def soon(self, account_id: str) -> None:
        """Something speaks for a difference: compare as soon as the account is at rest."""
        if account_id in self._next_s or account_id in self._state.config.accounts:
            due_s = asyncio.get_running_loop().time() + self.pace.quiet_s
            self._next_s[account_id] = min(due_s, self._next_s.get(account_id, due_s))

    async def _read(self, account_id: str, session: BrokerSession) -> None:
        loop = asyncio.get_running_loop()
        low, high = self.pace.every_low_s, self.pace.every_high_s
        self._next_s[account_id] = loop.time() + low + _spread(account_id) * (high - low)
        self._began_ns[account_id] = self._state.clock.monotonic_ns()
        now = self._state.clock.now()
        today = self._state.trade_date(now)
        whole = self._day.get(account_id) != today and self._may_read_day(account_id, loop.time())
        try:
            since = now - (LOOK_BACK_DAY if whole else LOOK_BACK)
            snapshot = await session.snapshot(account_id, since, lane="status")
        except Throttled as wait:
            self._next_s[account_id] = loop.time() + wait.retry_after_s
        except (KopitraError, OSError, TimeoutError, KeyError):
            pass  # a failed read changes nothing
        else:
            if whole and snapshot.executions is not None:
                self._day[account_id] = today
            self._compare(snapshot)

    def _may_read_day(self, account_id: str, now_s: float) -> bool:
        """Now, or again: one long read that never succeeds must not take the place of the short ones."""
        tried_s = self._day_tried_s.get(account_id)
        if tried_s is not None and now_s - tried_s < self.pace.day_again_s:
            return False
        self._day_tried_s[account_id] = now_s
        return True

    def _compare(self, snapshot: AccountSnapshot) -> None:
        try:
            self._count_lost(snapshot)
            self._take(snapshot)
        except Exception as error:  # noqa: BLE001 - one account that cannot be compared is halted, no other is
            self.failed(snapshot.account_id, "comparing it with its broker", error)

    async def look(self, account_id: str) -> Found | None:
        """Read now, for a person who asks; None: it cannot be read, or came to no rest meanwhile."""
        session = self._sessions.of(account_id)
        if session is None or session.state != "live":
            return None
        try:
            snapshot = await session.snapshot(account_id, self._state.clock.now() - LOOK_BACK)
        except (KopitraError, OSError, TimeoutError, KeyError):
            return None
        self._take(snapshot)
        fresh = snapshot.started_ns >= self._state.facts_of(account_id).filled_ns
        return self._found(snapshot) if fresh else None

    def _count_lost(self, snapshot: AccountSnapshot) -> None:
        """Executions of ours that only the broker's list told: imported like all its news (R-042)."""
        before = self._state.clock.now() - timedelta(seconds=self.pace.lost_s)
        book = self._state.book
        lost = [e for e in snapshot.executions or () if e.transact_time < before and is_news(book, e)]
        if lost:
            account = self._state.account(snapshot.account_id)
            broker = account.broker if account is not None else ""
            self._lost[broker] = self._lost.get(broker, 0) + len(lost)
            names = ", ".join(sorted({e.exec_id or e.order_id for e in lost})[:3])
            text = (
                f"the stream lost {len(lost)} executions ({names}); they were imported from the broker's list"
            )
            self._alert("stream-loss", text, snapshot.account_id, lost[0].cl_ord_id or "")

    # judging -----------------------------------------------------------------------------------------------

    def judge(self, snapshot: AccountSnapshot) -> None:
        """Compare one whole snapshot that is in the book already."""
        account_id = snapshot.account_id
        account, facts = self._state.account(account_id), self._state.facts_of(account_id)
        quiet = not facts.filled_ns or snapshot.started_ns - facts.filled_ns >= self.pace.quiet_ns
        if account is None or not account.active or not quiet:
            return
        if is_flattening(self._state.book.flattens, account_id):
            return
        if snapshot.positions is not None:
            self._evidence(account_id, snapshot.positions)
        found = self._found(snapshot)
        if found is None:
            return
        self.compared_ns[account_id] = snapshot.started_ns
        confirmed = self._confirmed(account_id, found)
        self._cleared(account_id, found)
        run_id = run_name(account_id, confirmed)
        self._found_out(account_id, confirmed, run_id)
        self._blocks(snapshot)
        if confirmed:
            repairable = [d for d in confirmed if d.kind != "closed_by_hand"]
            self._repairs.by_itself(account_id, repairable, run_id)

    def _found(self, snapshot: AccountSnapshot) -> Found | None:
        """The account's drift; None where the broker told only a part (R-044)."""
        if snapshot.positions is None or snapshot.orders is None:
            return None
        account_id, book = snapshot.account_id, self._state.book
        rules = self._repairs.rules_of(account_id)
        asks = asks_of(book, rules, self._repairs.inputs(rules))
        positions = {p.symbol: p.net_qty for p in snapshot.positions}
        leads = any(x.account_id == account_id for x in self._state.config.leaders.values())
        return find(book, account_id, positions, asks, leads=leads or not rules)

    def _evidence(self, account_id: str, positions: Sequence[PositionReport]) -> None:
        """Where the broker's position is not the sum of the executions we know of: journalled once per change, and
        once more where executions were told since."""
        book, now = self._state.book, self._state.clock.now()
        known = {c: p.qty for (a, c), p in book.positions.items() if a == account_id}
        told = {report.symbol: report for report in positions}
        noted = {c for a, c in book.sync.unexplained if a == account_id}
        for contract in sorted(known.keys() | told.keys() | noted):
            # The list is whole: what it does not name is flat.
            report = told.get(contract) or PositionReport(account_id, contract, ZERO, None, now)
            counted = known.get(contract, ZERO)
            before, qty = book.sync.unexplained.get((account_id, contract)), report.net_qty - counted
            says_more = qty != 0 if before is None else before.is_open or qty != before.qty
            if says_more and not fills_now(book, account_id, contract):
                # By our clock: a broker may give the time at which the position changed.
                self._note(account_id, PositionDiffers(replace(report, at=now), counted))

    def _blocks(self, snapshot: AccountSnapshot) -> None:
        """Entries stop where something is foreign, and go on where nothing is any more (R-043, R-047)."""
        account_id, book = snapshot.account_id, self._state.book
        listed = snapshot.orders if self._follows(account_id) else None
        foreign = foreign_orders(book, account_id, listed or ())
        adapter = self._sessions.adapter_of(account_id)
        lag_ms = adapter.capabilities.lists_lag_ms_max if adapter is not None else 0
        apart_ns = max(self.pace.quiet_ns, lag_ms * 1_000_000)
        shown = shown_twice(
            book, account_id, foreign, self._foreign_ns.get(account_id, {}), snapshot.started_ns, apart_ns
        )
        self._foreign_ns[account_id] = shown.since_ns
        if len(shown.confirmed) < len(foreign.orders):
            self.soon(account_id)
        for entry in blocks(book, account_id, shown.confirmed, foreign.unsure):
            known = book.sync.foreign_orders.get((account_id, entry.symbol))
            self._note(account_id, entry)
            if entry.orders and not known:
                text = (
                    f"{len(entry.orders)} working orders in {entry.symbol} are not ours: entries there stop; is "
                    "another copier on this account? Cancel them at the broker, or accept them with `kopitra "
                    "repairs lift`"
                )
                self._alert("foreign-orders", text, account_id)

    def _follows(self, account_id: str) -> bool:
        leads = any(x.account_id == account_id for x in self._state.config.leaders.values())
        return bool(self._repairs.rules_of(account_id)) and not leads

    def out_of_sync(self, account_id: str) -> str:
        """Why the account is not what we think, in words; "" when it is (R-047)."""
        drifts = self._state.book.sync.of_account(account_id)
        said = [f"{d.kind.replace('_', ' ')} {abs(d.qty):f} {d.symbol}" for d in drifts]
        orders = sorted(self._state.book.sync.foreign_orders.items())
        said += [f"{len(ids)} foreign orders {c}" for (a, c), ids in orders if a == account_id]
        return "; ".join(said)

    def _confirmed(self, account_id: str, found: Found) -> list[Drift]:
        """What an earlier read, far enough back, has shown as well."""
        now_ns, before = self._state.clock.monotonic_ns(), self._seen.get(account_id, {})
        seen: dict[tuple[str, str, str], _Seen] = {}
        for drift in found.drifts:
            first = before.get(drift.key)
            same = first is not None and first.drift == drift
            seen[drift.key] = first if first is not None and same else _Seen(drift, now_ns)
        self._seen[account_id] = seen
        confirmed = [s.drift for s in seen.values() if now_ns - s.since_ns >= self.pace.quiet_ns]
        if len(confirmed) < len(seen):
            self.soon(account_id)
        return confirmed

    def _cleared(self, account_id: str, found: Found) -> None:
        """Drift that stands in the book and is not there any more; contracts that cannot be judged keep theirs."""
        present = {drift.key for drift in found.drifts}
        waiting = {contract for contract, _ in found.waiting}
        for drift in self._state.book.sync.of_account(account_id):
            if drift.key in present or drift.symbol in waiting:
                continue
            self._note(account_id, DriftNoted(run_name(account_id, [drift]), drift, "cleared"))

    def _found_out(self, account_id: str, confirmed: Sequence[Drift], run_id: str) -> None:
        """Write down what is new."""
        sync = self._state.book.sync
        for drift in confirmed:
            if sync.drifts.get((account_id, drift.symbol, drift.leader, drift.kind)) == drift:
                continue
            self._kinds[drift.kind] = self._kinds.get(drift.kind, 0) + 1
            self._note(account_id, DriftNoted(run_id, drift, "found"))
            if drift.kind == "external":
                text = (
                    f"{account_id} holds {-drift.qty:f} {drift.symbol} that are not ours: entries there stop; close "
                    "them at the broker, or accept them with `kopitra repairs lift`"
                )
                self._alert("drift-external", text, account_id)
            elif drift.kind == "closed_by_hand":
                self._unprotect(account_id, drift.leader, drift.symbol)

    def _unprotect(self, account_id: str, leader: str, contract: str) -> None:
        """What protected the contracts that a person closed would open a position now."""
        for child in list(self._state.book.open_children(account_id, leader)):
            if child.intent.symbol == contract:
                self._follow(refit(self._state.book, child))
                return

    def foreign(self, report: ExecutionReport) -> None:
        """An execution of no order of ours: stops follow what it closed, and the account is compared soon (R-040)."""
        account_id = report.account_id
        leaders = sorted({leader for account, leader in self._state.book.open if account == account_id})
        for leader in leaders:
            self._unprotect(account_id, leader, report.symbol)
        self.soon(account_id)

    def _note(self, account_id: str, entry: DriftNoted | EntriesBlocked | PositionDiffers) -> None:
        self._log.note(self._state.workspace_of(account_id), entry)


def _spread(account_id: str) -> float:
    """0 to 1, the same in every process."""
    return crc32(account_id.encode()) / 2**32
