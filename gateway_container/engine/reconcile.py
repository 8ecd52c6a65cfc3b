"""Reconciliation: what a broker shows of an account, compared with what the journal says.

A snapshot is evidence. What it tells of orders of ours goes the way of every report; what differs then is judged by
`comparison.py`.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from gateway_container.engine.log import Log
from gateway_container.engine.reports import Reports
from gateway_container.engine.state import AccountFacts, State
from kopitra.domain.attribution import there
from kopitra.domain.executions import AccountSnapshot, ExecutionReport, PositionReport
from kopitra.domain.journal import PositionDiffers, StrangerSeen
from kopitra.domain.news import filled_by, is_news, listed_child, regained, strangers
from kopitra.domain.react import still_there

#: an execution so old is in every list of the read that tells it
LISTED: Final = timedelta(seconds=10)


class Reconciler:
    """Takes snapshots, whoever asked for them."""

    def __init__(self, state: State, log: Log, reports: Reports) -> None:
        self._state = state
        self._log = log
        self._reports = reports
        #: compares what is in the book then (`comparison.py`)
        self.judge: Callable[[AccountSnapshot], None] = lambda _snapshot: None
        #: hears of whole lists of orders: account, orders, when the collection began
        self.on_listed: Callable[[str, Sequence[ExecutionReport], int], None] = lambda _a, _orders, _ns: None

    def look(self, snapshot: AccountSnapshot) -> None:
        """One snapshot of one account."""
        account_id = snapshot.account_id
        facts = self._state.facts_of(account_id)
        if snapshot.balance is not None:
            facts.balance = snapshot.balance
        # A collection that began before our newest execution says nothing of quantities.
        is_fresh = snapshot.started_ns >= facts.filled_ns
        if snapshot.positions is not None and is_fresh:
            facts.positions = {p.symbol: p.net_qty for p in snapshot.positions}
        self._news(snapshot, facts)
        self._strangers(snapshot)
        if snapshot.orders is not None:
            self._insist(snapshot.orders)
            self.on_listed(account_id, snapshot.orders, snapshot.started_ns)
        self._reports.leader_read(snapshot)
        if is_fresh:
            self.judge(snapshot)

    def _news(self, snapshot: AccountSnapshot, facts: AccountFacts) -> None:
        """What the lists tell of our orders goes the way of every report."""
        rest_ns, newest = facts.filled_ns, None
        orders = snapshot.orders or ()
        names = {order.order_id: order.cl_ord_id for order in orders if order.cl_ord_id}
        for report in (*(snapshot.executions or ()), *orders):
            # An execution of a doubtful order may name only the broker's id, which the order list explains.
            known = report if report.cl_ord_id else report._replace(cl_ord_id=names.get(report.order_id))
            if is_news(self._state.book, known):
                self._reports.handle(known)
                if known.exec_type == "trade":
                    newest = max(newest or known.transact_time, known.transact_time)
        if newest is not None and self._state.clock.now() - newest >= LISTED:
            facts.filled_ns = rest_ns  # the positions of this very read hold it: they can be compared

    def _insist(self, orders: Sequence[ExecutionReport]) -> None:
        """Cancels that were refused or lost until nobody asked any more: the order is still there, so one more."""
        for report in orders:
            child = listed_child(self._state.book, report)
            if child is not None and child.cancels_failed and not child.cancel_requested:
                self._reports.follow(still_there(self._state.book, child))

    def _strangers(self, snapshot: AccountSnapshot) -> None:
        """Orders with our ids that the journal lost: never written again; a plan that names one adopts it (R-077)."""
        account_id = snapshot.account_id
        lost = strangers(self._state.book, snapshot.orders or ())
        for report in lost:
            seen = StrangerSeen(account_id, report.cl_ord_id or "", report.order_id)
            self._log.note(self._state.workspace_of(account_id), seen)
        again = [follow for report in lost if (follow := regained(self._state.book, report)) is not None]
        for follow in again:
            self._log.note(self._state.workspace_of(account_id), follow)
        if again:
            self._news(snapshot, self._state.facts_of(account_id))
        if lost:
            text = (
                f"{len(lost)} orders with ids of ours are not in the journal: was it restored from a backup?"
            )
            self._reports.alert("journal-lost-orders", text, account_id, lost[0].cl_ord_id or "")
        if snapshot.positions is None:
            self._differs(account_id, lost)

    def _differs(self, account_id: str, lost: Sequence[ExecutionReport]) -> None:
        """What orders that the journal lost have filled, where the list of positions does not tell it: nothing that
        they closed is closed again meanwhile (R-012)."""
        book, now = self._state.book, self._state.clock.now()
        for contract, filled in sorted(filled_by(lost).items()):
            if (beside := book.sync.unexplained.get((account_id, contract))) is not None and beside.qty:
                continue
            counted = there(book, account_id, contract)
            report = PositionReport(account_id, contract, counted + filled, None, now)
            self._log.note(self._state.workspace_of(account_id), PositionDiffers(report, counted))
