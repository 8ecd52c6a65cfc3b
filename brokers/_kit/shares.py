"""How many of a login's connections the entries of one account may hold.

Accounts of one login share its connections. Without a share an account whose orders are not answered would come to
hold them all, and its neighbours would wait for its timeouts. Exits take no share: they may use any connection.
"""

from typing import Final

#: connections for each account of a login with several, so that a burst does not wait for one answer after another
LINKS_PER_ACCOUNT: Final = 2


def links_for(wanted: int, accounts: int) -> int:
    """Connections of a login that asked for `wanted` and carries so many accounts."""
    return wanted if accounts <= 1 else max(wanted, LINKS_PER_ACCOUNT * accounts)


class Shares:
    """Counts entries without an answer. Every account has the same share, at least one."""

    __slots__ = ("_held", "_most", "_refused")

    def __init__(self, links: int, accounts: int) -> None:
        self._most = max(1, links // max(1, accounts))
        self._held: dict[str, int] = {}  # bounded: accounts with an entry in flight
        self._refused: set[str] = set()  # bounded: likewise

    def has_room(self, account_id: str) -> bool:
        """May another entry of the account be written? Whoever hears no is told by `give_back`."""
        if self._held.get(account_id, 0) < self._most:
            return True
        self._refused.add(account_id)
        return False

    def take(self, account_id: str) -> None:
        """An entry of the account was written."""
        self._held[account_id] = self._held.get(account_id, 0) + 1

    def give_back(self, account_id: str) -> bool:
        """An entry of the account was answered or lost. True: one was refused meanwhile and may try again."""
        left = self._held.pop(account_id, 0) - 1
        if left > 0:
            self._held[account_id] = left
        if account_id in self._refused:
            self._refused.discard(account_id)
            return True
        return False
