"""One-time tickets for the stream: a browser sends no headers with a WebSocket, and URLs are logged."""

from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Final

from gateway_container.api.doors import OperatorGrant
from gateway_container.api.problems import Problem

#: seconds from issue to use
TICKET_S: Final = 30
#: tickets waiting to be used; beyond it the oldest leaves
TICKETS_MAX: Final = 1_000
_BYTES: Final = 24


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the bearer may see: `accounts` None means all of the workspace."""

    grant: OperatorGrant
    accounts: frozenset[str] | None
    expires_ns: int


class TicketBox:
    """Tickets in memory; a restart voids them."""

    def __init__(self) -> None:
        self._tickets: dict[str, Ticket] = {}

    def issue(self, grant: OperatorGrant, asked: frozenset[str] | None, now_ns: int) -> tuple[str, Ticket]:
        """A ticket for what was asked, inside what the operator may see. Raises Problem."""
        allowed = grant.accounts
        if asked is not None and allowed is not None and not asked <= allowed:
            raise Problem("account-not-allowed", "You may not see some of these accounts; leave them out.")
        ticket = Ticket(grant, allowed if asked is None else asked, now_ns + TICKET_S * 1_000_000_000)
        token = token_urlsafe(_BYTES)
        self._tickets[token] = ticket
        if len(self._tickets) > TICKETS_MAX:
            del self._tickets[next(iter(self._tickets))]
        return token, ticket

    def redeem(self, token: str, now_ns: int) -> Ticket | None:
        """The ticket, once; None when it is unknown, used or too old."""
        ticket = self._tickets.pop(token, None)
        return ticket if ticket is not None and now_ns < ticket.expires_ns else None
