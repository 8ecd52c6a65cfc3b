"""What people do about orders in doubt: see them, park them, or settle them by what the broker's own screen shows."""

from gateway_container.engine.log import Log
from gateway_container.engine.lookup import Lookup
from gateway_container.engine.state import State
from kopitra.domain.book import ChildOrder
from kopitra.domain.journal import AbsenceProved, OrderParked
from kopitra.wire.doubts import DoubtView


class Doubts:
    """Inside one workspace at a time; every decision is a fact with who and why."""

    def __init__(self, state: State, log: Log, lookup: Lookup) -> None:
        self._state = state
        self._log = log
        self._lookup = lookup

    def waiting(self, workspace: str, accounts: frozenset[str] | None) -> list[DoubtView]:
        """Orders in doubt and parked ones, oldest first; `accounts` None: all."""
        return [
            _shown(child)
            for child in self._state.book.doubts.values()
            if self._state.workspace_of(child.intent.account_id) == workspace
            and (accounts is None or child.intent.account_id in accounts)
        ]

    def park(self, workspace: str, cl_ord_id: str, who: str, why: str) -> DoubtView:
        """A person takes it over. Raises KeyError for an order that is not in doubt in this workspace."""
        child = self._find(workspace, cl_ord_id)
        self._log.note(workspace, OrderParked(cl_ord_id, child.intent.account_id, who, why))
        return _shown(child)

    def settle(self, workspace: str, cl_ord_id: str, who: str, why: str) -> DoubtView:
        """A person says that the broker never had it. Raises KeyError likewise."""
        child = self._find(workspace, cl_ord_id)
        fact = AbsenceProved(cl_ord_id, child.intent.account_id, (), who=who, why=why)
        self._log.note(workspace, fact)
        self._lookup.go_on_without(child, None)
        return _shown(child)

    def _find(self, workspace: str, cl_ord_id: str) -> ChildOrder:
        child = self._state.book.doubts.get(cl_ord_id)
        if child is None:
            raise KeyError(cl_ord_id)
        if self._state.workspace_of(child.intent.account_id) != workspace:
            raise KeyError(cl_ord_id)
        return child


def _shown(child: ChildOrder) -> DoubtView:
    intent = child.intent
    return DoubtView(
        cl_ord_id=intent.cl_ord_id,
        account_id=intent.account_id,
        role=intent.role,
        state=child.state,
        symbol=intent.symbol,
        side=intent.side,
        qty=child.qty,
        reason=child.reason,
    )
