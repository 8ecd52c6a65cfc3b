"""What each login must keep of its request budget: the way out of all that is open at its accounts (R-060)."""

from gateway_container.engine.state import State


class Keeping:
    """Asked before nearly every request of a login that is no exit: the sum is made anew only when the book moved."""

    __slots__ = ("_accounts", "_at", "_state", "_sum")

    def __init__(self, state: State, account_ids: tuple[str, ...]) -> None:
        self._state = state
        self._accounts = account_ids
        #: the book of this sum and its number of changes; a book that was read anew is another one
        self._at: tuple[object, int] = (None, 0)
        self._sum = 0

    def __call__(self) -> int:
        """Requests."""
        way_out = self._state.book.way_out
        known, changes = self._at
        if known is not way_out or changes != way_out.changes:
            self._at = (way_out, way_out.changes)
            costs = way_out.requests
            self._sum = sum([costs.get(account_id, 0) for account_id in self._accounts])
        return self._sum
