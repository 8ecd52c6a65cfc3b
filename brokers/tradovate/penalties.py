"""Penalty tickets: which endpoint waits until when, and the request that may be made again with its ticket.

Source: vendor docs "Penalty Tickets" (2026-08): tickets belong to an endpoint; wait `p-time` seconds, then repeat the
identical request with the ticket; earlier, or without it, raises the penalty.
"""

from typing import Final

import msgspec

from brokers.tradovate.answers import Penalty

#: tickets kept for the same request to be made again, oldest leave first
TICKETS_MAX: Final = 64
_NS: Final = 1_000_000_000


class Penalties:
    """Of one login. Pure: the caller brings the monotonic time."""

    __slots__ = ("_closed_until_ns", "_tickets")

    def __init__(self) -> None:
        #: by endpoint: there are five
        self._closed_until_ns: dict[bytes, int] = {}
        self._tickets: dict[tuple[bytes, bytes], str] = {}

    def wait_s(self, endpoint: bytes, now_ns: int) -> float:
        """Seconds until a request may go to the endpoint; 0 for now."""
        until_ns = self._closed_until_ns.get(endpoint, 0)
        return (until_ns - now_ns) / _NS if until_ns > now_ns else 0.0

    def given(self, endpoint: bytes, payload: bytes, penalty: Penalty, until_ns: int, *, again: bool) -> None:
        """The vendor gave a ticket; `again`: the identical request may be decided anew (a placement never is)."""
        self._closed_until_ns[endpoint] = until_ns
        if again and penalty.ticket:
            self._tickets[endpoint, payload] = penalty.ticket
            if len(self._tickets) > TICKETS_MAX:
                del self._tickets[next(iter(self._tickets))]

    def body(self, endpoint: bytes, payload: bytes) -> bytes:
        """The JSON object to write: with the ticket where the same request earned one."""
        ticket = self._tickets.get((endpoint, payload)) if self._tickets else None
        if ticket is None:
            return payload
        return b'%b,"p-ticket":%b}' % (payload[:-1], msgspec.json.encode(ticket))

    def written(self, endpoint: bytes, payload: bytes) -> None:
        """A ticket counts once."""
        if self._tickets:
            self._tickets.pop((endpoint, payload), None)
