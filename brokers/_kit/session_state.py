"""The life of a session: one table, and a holder that refuses what is not in it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from kopitra.ports import SessionState

#: from -> where it may go. Orders are taken in `live` only; cancels in `live` and `draining`.
TRANSITIONS: Final[Mapping[SessionState, frozenset[SessionState]]] = MappingProxyType(
    {
        "closed": frozenset({"connecting"}),
        "connecting": frozenset({"logging_in", "backoff", "closed"}),
        "logging_in": frozenset({"reconciling", "backoff", "closed"}),
        "reconciling": frozenset({"live", "backoff", "closed"}),
        "live": frozenset({"draining", "backoff", "closed"}),
        "draining": frozenset({"closed"}),
        "backoff": frozenset({"connecting", "closed"}),
    }
)


class IllegalTransition(RuntimeError):
    """A move that is not in the table: a defect of the caller, never of the broker."""

    def __init__(self, state: SessionState, to: SessionState) -> None:
        super().__init__(f"a session cannot go from {state} to {to}: see TRANSITIONS in session_state")


class StateHolder:
    """The state of one session; every change is told with its reason."""

    __slots__ = ("_on_change", "_state", "takes_cancels", "takes_placements")

    def __init__(self, on_change: Callable[[SessionState, str, bool], None]) -> None:
        """`on_change(state, reason, fatal)` is called after each move."""
        self._on_change = on_change
        self._state: SessionState = "closed"
        self.takes_placements = False
        self.takes_cancels = False

    @property
    def state(self) -> SessionState:
        return self._state

    def move(self, to: SessionState, reason: str = "", *, fatal: bool = False) -> None:
        """Raises IllegalTransition if the table does not contain the move."""
        if to not in TRANSITIONS[self._state]:
            raise IllegalTransition(self._state, to)
        self._state = to
        self.takes_placements = to == "live"
        self.takes_cancels = to in ("live", "draining")
        self._on_change(to, reason, fatal)
