"""Accounts that nobody could compare with their broker for long: an operator hears of it (R-041).

A login without room for reads, lists that fail again and again, or an account that never comes to rest would otherwise
look like an account that agrees.
"""

from collections.abc import Callable, Mapping
from typing import Final

from gateway_container.engine.seldom import Seldom

#: the alert's code
COMPARISON_LATE: Final = "comparison-late"
#: seconds of a live session without a whole comparison: three times the longest pace
OVERDUE_S: Final = 180.0
_NS: Final = 1_000_000_000


class Overdue:
    """Watches when each account of a live session was compared last; all times are monotonic nanoseconds."""

    def __init__(self, compared_ns: Mapping[str, int], alert: Callable[[str, str, str], None]) -> None:
        self._compared_ns = compared_ns
        self._alert = alert
        #: account -> since when its session is live; bounded by the accounts of the configuration
        self._live_ns: dict[str, int] = {}
        self._told = Seldom()
        self.overdue_s = OVERDUE_S

    def look(self, account_id: str, now_ns: int, *, live: bool) -> None:
        """Tell once a minute while it is late."""
        if not live:
            self._live_ns.pop(account_id, None)
            return
        live_ns = self._live_ns.setdefault(account_id, now_ns)
        late_ns = now_ns - max(live_ns, self._compared_ns.get(account_id, 0))
        if late_ns < self.overdue_s * _NS or not self._told.is_due(account_id, now_ns):
            return
        text = (
            f"the account was not compared with its broker for {late_ns // _NS} s: its login has no room for reads, "
            "they fail, or it never comes to rest; look at it at the broker, and at the login's budget"
        )
        self._alert(COMPARISON_LATE, text, account_id)
