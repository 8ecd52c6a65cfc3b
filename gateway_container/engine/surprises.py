"""What nobody planned for: fates that are unknown, reports that do not fit, words that we do not model.

Each stays inside its account: entries stop there until a person has looked, exits and other accounts go on (R-001).
"""

from collections.abc import Callable
from typing import Final, Protocol

from gateway_container.engine.breakers import Breakers
from gateway_container.engine.log import Log
from gateway_container.engine.state import State
from kopitra.domain.executions import ExecutionReport
from kopitra.domain.fold import Effect
from kopitra.domain.journal import Doubted, EntriesBlocked, RequestFailed
from kopitra.ports import OrderUnknown, ProtocolAlert, RequestUnknown

#: kinds of faults that are counted
FAULTS: Final = ("report", "state")


class Alert(Protocol):
    """Tells people."""

    def __call__(self, code: str, text: str, account_id: str, cl_ord_id: str = "") -> None: ...


def _nobody(_account_id: str) -> None:
    """Before the circle is closed nobody looks anything up."""


class Surprises:
    """Turns them into facts and alerts."""

    def __init__(
        self, state: State, log: Log, breakers: Breakers, alert: Alert, react_to: Callable[[str], None]
    ) -> None:
        self._state = state
        self._log = log
        self._breakers = breakers
        self._alert = alert
        self._react_to = react_to
        #: who looks an account's doubts up
        self.lookup: Callable[[str], None] = _nobody
        #: for the metrics
        self.faults: dict[str, int] = dict.fromkeys(FAULTS, 0)

    def reported(self, report: ExecutionReport, effect: Effect) -> None:
        """A report that its order's state does not allow (R-001), or of an order that was proved absent."""
        name = report.cl_ord_id or ""
        if effect.fault:
            self.faults["report"] += 1
            self._alert("illegal-transition", effect.fault, report.account_id, name)
        elif effect.order is not None and effect.order.state != "not_placed":
            self._alert("absence-was-wrong", f"{name} is at the broker after all", report.account_id, name)

    def told(self, event: ProtocolAlert) -> None:
        """A broker said something that does not parse. A state of an order that we do not model stops the account's
        entries: nobody knows what its orders will do next."""
        account_id = event.account_id or ""
        self._alert("broker-protocol", f"{event.text} {event.payload}".strip(), account_id)
        if not event.unmodelled or not account_id:
            return
        self.faults["state"] += 1
        why = f"{event.text}: look at the account's orders on the broker's screen, then lift the block"
        if account_id not in self._state.book.blocked:
            self._log.note(self._state.workspace_of(account_id), EntriesBlocked(account_id, why))

    def unknown(self, event: OrderUnknown) -> None:
        """The fate of a placement is unknown."""
        account_id, name = event.account_id, event.cl_ord_id
        effect = self._log.note(self._state.workspace_of(account_id), Doubted(name, account_id, event.reason))
        if effect.order is None or not effect.order.attached:
            self._breakers.failed(account_id, name)  # what travels with its entry is one call with it
        if effect.order is not None and effect.order.state != "in_doubt":
            return  # its fate was told already
        text = f"the fate of {name} is unknown ({event.reason}): it is looked up, never sent again"
        self._alert("order-in-doubt", effect.fault or text, account_id, name)
        self.lookup(account_id)
        if effect.order is not None and effect.order.intent.leader:
            self._react_to(name)  # closes may have counted on it

    def request_unknown(self, event: RequestUnknown) -> None:
        """The fate of a cancel or move is unknown; the order itself is not in doubt."""
        account_id, name = event.account_id, event.cl_ord_id
        self._breakers.failed(account_id, name)
        child = self._state.book.orders.get(name)
        wanted = None if child is None else child.cancel
        kind = "cancel" if wanted is not None and wanted.cl_ord_id == event.request_id else "replace"
        failed = RequestFailed(name, account_id, kind, event.reason)
        self._log.note(self._state.workspace_of(account_id), failed)
        self._alert(f"{kind}-unknown", event.reason, account_id, name)
        if child is not None and child.intent.leader:
            self._react_to(name)
