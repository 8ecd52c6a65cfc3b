"""WS /ops/v1/stream: the journal, live, for consoles."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final, assert_never

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from gateway_container.api.doors import Batch, Doors, Resume
from gateway_container.api.edge import arrival_of
from gateway_container.api.guards import has_role
from gateway_container.api.tickets import Ticket, TicketBox
from kopitra.wire.stream import entries_frame, entry_json, ping_frame, resume_frame

#: seconds between signs of life
PING_S: Final = 15
#: seconds between looks at whether the operator may still see this
RECHECK_S: Final = 5
#: seconds a frame may take to leave before the reader counts as gone
SEND_TIMEOUT_S: Final = 10
#: frames a console may send; it has nothing to say
FRAMES_IN_MAX: Final = 1_000
#: digits of `after`
_SEQ_DIGITS_MAX: Final = 18

REFUSED: Final = 4401
FOREIGN_ORIGIN: Final = 4403
BAD_QUERY: Final = 4400
TRY_AGAIN: Final = 1013
TALKS_TOO_MUCH: Final = 1008


async def serve(socket: WebSocket, doors: Doors, tickets: TicketBox) -> None:
    """One connection, from its ticket to its end."""
    if not _origin_allowed(socket, doors.settings.origins):
        await socket.close(FOREIGN_ORIGIN, "origin-not-allowed")
        return
    after = socket.query_params.get("after", "0")
    if not (after.isdecimal() and len(after) <= _SEQ_DIGITS_MAX):
        await socket.close(BAD_QUERY, "invalid-query")
        return
    ticket = tickets.redeem(socket.query_params.get("ticket", ""), doors.clock.monotonic_ns())
    if ticket is None:
        await socket.close(REFUSED, "invalid-ticket")
        return
    arrival_of(socket.scope).trace.known(ticket.grant.workspace, ticket.grant.key_id)
    await socket.accept()
    entries = doors.broadcast.subscribe(ticket.grant.workspace, int(after), ticket.accounts)
    with suppress(WebSocketDisconnect, TimeoutError):
        await _Connection(socket, doors, ticket, entries).run()
    if socket.client_state is WebSocketState.CONNECTED:
        with suppress(RuntimeError, WebSocketDisconnect):  # the other side may close first
            await socket.close()


class _Connection:
    def __init__(
        self, socket: WebSocket, doors: Doors, ticket: Ticket, entries: AsyncIterator[Batch | Resume]
    ) -> None:
        self._socket = socket
        self._doors = doors
        self._ticket = ticket
        self._entries = entries
        self._quiet_s = 0

    async def run(self) -> None:
        reader = asyncio.create_task(self._listen())
        upcoming = asyncio.ensure_future(anext(self._entries))
        try:
            while True:
                done, _ = await asyncio.wait(
                    {upcoming, reader}, timeout=RECHECK_S, return_when=asyncio.FIRST_COMPLETED
                )
                if reader in done or not await self._tick(idle=not done):
                    return
                if upcoming not in done:
                    continue
                if not await self._tell(upcoming.result()):
                    return
                upcoming = asyncio.ensure_future(anext(self._entries))
        except StopAsyncIteration:
            return
        finally:
            for task in (reader, upcoming):
                task.cancel()
            await asyncio.gather(reader, upcoming, return_exceptions=True)
            aclose = getattr(self._entries, "aclose", None)
            if aclose is not None:
                await aclose()

    async def _tick(self, *, idle: bool) -> bool:
        """Ping when nothing else was said; False when the operator may not see this any more."""
        grant = self._doors.credentials.operator(self._ticket.grant.key_id)
        now = self._doors.clock.now()
        gone = grant is None or grant.expires_at <= now or not has_role(grant, "viewer")
        if gone or (grant is not None and grant.revoked_at is not None and grant.revoked_at <= now):
            await self._socket.close(REFUSED, "revoked-credentials")
            return False
        self._quiet_s = self._quiet_s + RECHECK_S if idle else 0
        if self._quiet_s >= PING_S:
            self._quiet_s = 0
            await self._send(ping_frame(now))
        return True

    async def _tell(self, news: Batch | Resume) -> bool:
        match news:
            case Batch(items):
                await self._send(entries_frame(entry_json(*item) for item in items))
                return True
            case Resume(seq, reason):
                await self._send(resume_frame(seq, reason))
                await self._socket.close(TRY_AGAIN, reason)
                return False
            case _:
                assert_never(news)

    async def _send(self, frame: str) -> None:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await self._socket.send_text(frame)

    async def _listen(self) -> None:
        """Ends when the console leaves, or talks too much."""
        for _ in range(FRAMES_IN_MAX):
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
        await self._socket.close(TALKS_TOO_MUCH, "too-many-requests")


def _origin_allowed(socket: WebSocket, origins: frozenset[str]) -> bool:
    """Browsers always send Origin; programs may leave it out."""
    origin = socket.headers.get("origin")
    if origin is None or origin in origins:
        return True
    return not origins and origin.partition("://")[2] == socket.headers.get("host", "")
