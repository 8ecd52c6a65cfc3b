"""Which of the login's accounts are ours: our id, the broker's number and name, both ways."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from brokers.projectx.wire import Ident, WireAccount, number
from kopitra.ports import AccountLink

ACCOUNTS_MAX: Final = 500  #: accounts of one login


@dataclass(frozen=True, slots=True)
class Account:
    """One of our accounts as this login sees it."""

    account_id: str
    number: int
    name: str


class AccountDirectory:
    """Resolved at login; asked on the hot path."""

    __slots__ = ("_by_id", "_by_number", "_links")

    def __init__(self, links: Sequence[AccountLink]) -> None:
        if len(links) > ACCOUNTS_MAX:
            raise ValueError(f"one login carries at most {ACCOUNTS_MAX} accounts")
        self._links = tuple(links)
        self._by_id: dict[str, Account] = {}
        self._by_number: dict[int, Account] = {}

    def resolve(self, rows: Iterable[WireAccount]) -> tuple[AccountLink, ...]:
        """Match links with the broker's list by number or name; links that the login does not see return."""
        by_key: dict[str, WireAccount] = {}
        for row in rows:
            by_key[row.name] = by_key[str(number(row.id))] = row
        missing: list[AccountLink] = []
        for link in self._links:
            row = by_key.get(link.broker_account)
            if row is None:
                missing.append(link)
                continue
            found = Account(link.account_id, number(row.id), row.name)
            self._by_id[link.account_id] = self._by_number[found.number] = found
        return tuple(missing)

    @property
    def count(self) -> int:
        """Accounts that the login is to carry, found or not."""
        return len(self._links)

    def ours(self, account_id: str) -> Account | None:
        """By our id."""
        return self._by_id.get(account_id)

    def theirs(self, ident: Ident) -> Account | None:
        """By the broker's number; None for accounts of the login that we do not carry."""
        return self._by_number.get(ident if isinstance(ident, int) else number(ident))

    def all(self) -> tuple[Account, ...]:
        """Every account that was found."""
        return tuple(self._by_id.values())
