"""Which of the broker's accounts are ours: names and numbers, resolved once at login."""

from collections.abc import Sequence
from typing import Final

from brokers.tradovate.codec import Heads
from brokers.tradovate.entities import Account
from brokers.tradovate.snapshot import Reader
from kopitra.domain.errors import Disconnected
from kopitra.ports import AccountLink, NotSent

_NOT_LIVE: Final = NotSent("session_down", "The session was not live yet: wait until it is.")


class Accounts:
    """`ours`: the broker's account id -> our account id; `heads`: ours -> the start of its orders."""

    def __init__(self, links: Sequence[AccountLink]) -> None:
        self._links = links
        self.ours: dict[int, str] = {}
        self.heads: dict[str, Heads] = {}
        self._refused: dict[str, NotSent] = {}

    @property
    def unresolved(self) -> bool:
        """Whether account/list has to be read."""
        return len(self.heads) < len(self._links)

    async def resolve(self, reader: Reader) -> list[str]:
        """Find each account by name or number; texts for those that cannot be traded."""
        listed = await reader.rows("/account/list", Account, "account", [])
        by_name = {account.name: account for account in listed} | {
            str(account.id): account for account in listed
        }
        alerts: list[str] = []
        for link in self._links:
            account = by_name.get(link.broker_account)
            if account is None:
                text = f"The login has no account {link.broker_account!r}: check name and API key."
                self._refused[link.account_id] = NotSent("session_down", text)
                alerts.append(text)
                continue
            self.ours[account.id] = link.account_id
            self.heads[link.account_id] = Heads.of(account.id, account.name)
            if not account.tradable:
                alerts.append(
                    f"Account {account.name} is closed, restricted or read-only: orders will be refused."
                )
        return alerts

    def missing(self, account_id: str) -> NotSent:
        """Why an account takes no orders."""
        return self._refused.get(account_id, _NOT_LIVE)

    def broker_id(self, account_id: str) -> int:
        """The broker's number; raises Disconnected while it is not known."""
        heads = self.heads.get(account_id)
        if heads is None:
            raise Disconnected(self.missing(account_id).text)
        return heads.account_id
