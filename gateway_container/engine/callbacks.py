"""Execution callbacks: what an EA or a broker posts about an account, journalled like a report from a session."""

import asyncio
from typing import NamedTuple

from gateway_container.engine.log import Log
from gateway_container.engine.reports import Reports
from gateway_container.engine.state import State
from kopitra.domain.executions import ExecutionReport
from kopitra.domain.journal import Reported
from kopitra.store.drafts import Committed, IdempotencyDraft


class Recorded(NamedTuple):
    """A callback whose commit is in flight."""

    committed: asyncio.Future[Committed]


class Callbacks:
    """Takes callbacks."""

    def __init__(self, state: State, log: Log, reports: Reports) -> None:
        self._state = state
        self._log = log
        self._reports = reports

    def record(
        self, workspace: str, account_id: str, report: ExecutionReport, record: IdempotencyDraft
    ) -> Recorded:
        """Journal the report with its first answer, then let what follows from it follow.

        Raises KeyError for an account that is not the workspace's, Unavailable before anything changed.
        """
        account = self._state.account(account_id)
        if account is None or account.workspace != workspace:
            raise KeyError(account_id)
        future, effect = self._log.decide_one(workspace, Reported(report), record)
        self._reports.after(report, effect)
        return Recorded(future)
