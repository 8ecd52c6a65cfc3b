"""What the way out costs: requests that cancel and close everything of ours that is open at an account (R-060).

The sums are kept as the book is folded, because every fan-out asks for them. They may be too large for a moment (a
cancel that is on its way); they are too small only where an order fills in parts while it is being closed.
"""

from dataclasses import dataclass, field
from decimal import Decimal

from kopitra.domain.orders import TERMINAL, ChildOrder
from kopitra.domain.signals import OrdType


def weight(order: ChildOrder) -> int:
    """Requests that the way out may need because of this order, beside those for what is held.

    An entry at the market: the close of what it fills. One that rests: its cancel too. A stop or target: its cancel,
    and its placement before, where it is held back until its entry fills. A close is counted by what is held.
    """
    intent = order.intent
    if order.state in TERMINAL or intent.role == "exit":
        return 0
    if intent.role == "entry":
        return of_entry(intent.ord_type, 0, 0)
    return 2 if order.state == "planned" else 1


def of_entry(ord_type: OrdType, attached: int, follows: int) -> int:
    """The same for an entry with so many protective orders in its own request, and so many that follow one by one."""
    return (1 if ord_type == "market" else 2) + attached + 2 * follows


@dataclass(slots=True)
class WayOut:
    """The sums of all accounts. Only the fold changes them."""

    #: account -> requests; bounded by the accounts
    requests: dict[str, int] = field(default_factory=dict[str, int])
    #: grows with each change, so that sums over accounts can be remembered
    changes: int = field(default=0, compare=False)

    def count(self, order: ChildOrder) -> None:
        """An order is new, or its state has changed."""
        now = weight(order)
        if now != order.way_out:
            self._move(order.intent.account_id, now - order.way_out)
            order.way_out = now

    def held(self, account_id: str, leader: str, before: Decimal, after: Decimal) -> None:
        """A holding in one contract because of one leader has changed: each that is not flat needs a close, and what a
        flatten holds against it is that close."""
        if bool(before) is not bool(after):
            self._move(account_id, 1 if bool(after) is bool(leader) else -1)

    def _move(self, account_id: str, by: int) -> None:
        self.requests[account_id] = self.requests.get(account_id, 0) + by
        self.changes += 1
