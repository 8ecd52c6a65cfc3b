"""What falls over beside the signals, kept small: an account's failure stays that account's, a dead task is told.

A loop that looks at many accounts hands the failure of one to `failed`: its entries stop until a person lifts the
block, the others are looked at as before (R-020). A task that ends although nobody ended it guards nothing any more:
the entries of this process stop for good, exits go on, and people are told; a restart brings it back.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from gateway_container.engine.log import Log
from gateway_container.engine.seldom import Seldom
from gateway_container.engine.state import State
from kopitra.domain.journal import AlertRaised, EntriesBlocked

#: the alerts' codes
ACCOUNT_FAILED: Final = "account-failed"
TASK_DEAD: Final = "task-dead"

#: (account, what was done for it, why that failed)
Failed = Callable[[str, str, Exception], None]

_log = structlog.get_logger("kopitra.containment")


def uncontained(_account_id: str, _what: str, error: Exception) -> None:
    """Before somebody contains it a failure is everybody's."""
    raise error


class Containment:
    """`failed` takes an account's failure, `ended` is told of every task that ends."""

    def __init__(self, state: State, log: Log, stop_entries: Callable[[], None]) -> None:
        self._state = state
        self._log = log
        self._stop_entries = stop_entries
        self._told = Seldom()

    def failed(self, account_id: str, what: str, error: Exception) -> None:
        """Something that is done for every account failed for this one: it is halted with the reason (R-020)."""
        workspace = self._state.workspace_of(account_id)
        why = f"{what} failed ({type(error).__name__}): read the log, repair the cause, then lift the block"
        if account_id not in self._state.book.blocked:
            self._log.note(workspace, EntriesBlocked(account_id, why))
        if not self._told.is_due((account_id, what), self._state.clock.monotonic_ns()):
            return
        _log.error("account_failed", account=account_id, what=what, exc_info=error)
        self._log.note(workspace, AlertRaised(ACCOUNT_FAILED, f"{why}; its exits go on", account_id))

    def ended(self, task: asyncio.Task[None]) -> None:
        """A task beside the signals has ended; if nobody ended it, and it did not say so itself, nobody guards now."""
        if task.cancelling():
            return
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            return
        _log.error("task_failed", task=task.get_name(), exc_info=error)
        self._stop_entries()
        text = (
            f"the task {task.get_name()!r} fell over ({type(error).__name__}): entries of this process stop, exits go "
            "on; read the log, then restart the gateway"
        )
        self._log.note("", AlertRaised(TASK_DEAD, text))
