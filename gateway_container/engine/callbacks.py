"""Execution callbacks: what an EA or a broker posts about an account, journalled like a report from a session."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from gateway_container.engine.log import Log
from gateway_container.engine.reports import Reports
from gateway_container.engine.state import State
from kopitra.domain.executions import ExecutionReport
from kopitra.domain.journal import Reported
from kopitra.store.drafts import Committed, Duplicate, IdempotencyDraft, SignalRef

#: (workspace, first answer, its commit): so that the same call again is answered from memory
Remember = Callable[[str, IdempotencyDraft, "asyncio.Future[Committed]"], None]


class Recorded(NamedTuple):
    """A callback whose commit is in flight."""

    committed: asyncio.Future[Committed]


class Callbacks:
    """Takes callbacks."""

    def __init__(self, state: State, log: Log, reports: Reports, remember: Remember) -> None:
        self._state = state
        self._log = log
        self._reports = reports
        self._remember = remember
        #: (account, execution id) whose commit is in flight
        self._running: dict[tuple[str, str], asyncio.Future[Committed]] = {}

    def record(
        self, workspace: str, account_id: str, report: ExecutionReport, record: IdempotencyDraft | None
    ) -> Recorded:
        """Journal the report with its first answer, then let what follows from it follow.

        An execution that is known is not journalled again: whoever tells it under another key hears with the first
        call, or Duplicate when that is durable. `record` None: its sender has an answer already. Raises KeyError for an
        account that is not the workspace's, Unavailable before anything changed.
        """
        account = self._state.account(account_id)
        if account is None or account.workspace != workspace:
            raise KeyError(account_id)
        name = (account_id, report.exec_id or "")
        running = self._running.get(name)
        if self._is_known(report) and self._log.takes_decisions:
            if running is not None:
                return Recorded(running)
            told = SignalRef(workspace, name[1], "", 0)
            raise Duplicate("This execution was recorded before.", told)
        future, effect = self._log.decide_one(workspace, Reported(report), record)
        if record is not None:
            self._remember(workspace, record, future)
        if report.exec_id:
            self._running[name] = future
            future.add_done_callback(lambda _done: self._running.pop(name, None))
        self._reports.after(report, effect)
        if effect.order is None and effect.new_execution:
            text = f"{report.exec_id} is of no order of ours; it is kept, and {report.symbol} is compared"
            self._reports.alert("orphan-execution", text, account_id)
        return Recorded(future)

    def _is_known(self, report: ExecutionReport) -> bool:
        """The book has this execution with this quantity; with another one it is flagged, not dropped (R-040)."""
        if report.exec_type != "trade" or not report.exec_id:
            return False
        known = self._state.book.counted(report.account_id, report.exec_id)
        return known is not None and known.qty == report.last_qty
