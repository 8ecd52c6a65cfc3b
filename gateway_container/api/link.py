"""WS /trade-agent/v1/link: the session of an EA over one WebSocket, in text frames.

A terminal sends `{"events": [...]}`, or one event by itself, and hears `Accepted` or `Problem` for each frame, in
order. It is told the events of its outbox, and `Ping` every five seconds, which it answers with any frame. One task
serves a connection: it sleeps in its read, and news end that sleep early.
"""

import asyncio
import json
import logging
from contextlib import suppress
from typing import Final

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from gateway_container.api.admission import Admission
from gateway_container.api.credentials import EaVisit
from gateway_container.api.doors import Doors
from gateway_container.api.ea_door import EaSession
from gateway_container.api.edge import Arrival, arrival_of
from gateway_container.api.headers import BODY_BYTES_MAX
from gateway_container.api.inbox import Arrived, Inbox
from gateway_container.api.problems import Problem, is_foreseen, problem_of, render, status_of
from kopitra.domain.ea_sessions import HEARTBEAT_S, OutEvent
from kopitra.wire.scalars import SEQUENCE_MAX, show_time
from kopitra.wire.strict_json import decode_object

#: bytes of a frame
FRAME_BYTES_MAX: Final = BODY_BYTES_MAX
#: seconds without any frame after which a terminal counts as dead: three pings missed
DEAD_AFTER_S: Final = 3 * HEARTBEAT_S
#: seconds that a frame may take to leave before the reader counts as too slow
SEND_TIMEOUT_S: Final = 10

BAD_QUERY: Final = 4400
REFUSED: Final = 4401
NOT_ALLOWED: Final = 4403
DEAD: Final = 4408
TAKEN_OVER: Final = 4409
TRY_AGAIN: Final = 1013
NOT_TEXT: Final = 1003
TOO_LARGE: Final = 1009

_PONG: Final = "Pong"
_log = logging.getLogger(__name__)


def event_id(session: EaSession, event: OutEvent) -> str:
    """What names an event of an outbox."""
    return f"{session.session_id}-{event.sequence}"


async def serve(socket: WebSocket, doors: Doors, admission: Admission, inbox: Inbox) -> None:
    """One connection, from its token to its end."""
    arrival = arrival_of(socket.scope)
    cursor = socket.query_params.get("cursor", "0")
    if not (cursor.isascii() and cursor.isdecimal() and int(cursor[:20]) <= SEQUENCE_MAX):
        await socket.close(BAD_QUERY, "invalid-query")
        return
    try:
        who = admission.session(arrival.visit, ended=True)
    except Problem as problem:
        await socket.close(_close_code(problem), problem.code)
        return
    arrival.trace.known(who.grant.workspace, who.grant.key_id)
    await socket.accept()
    connection = _Connection(socket, doors, admission, inbox, arrival, who, int(cursor))
    with suppress(WebSocketDisconnect, TimeoutError, RuntimeError):  # it left, or is too slow to be told
        await connection.run()
    if socket.client_state is WebSocketState.CONNECTED:
        with suppress(RuntimeError, WebSocketDisconnect):
            await socket.close()


def _close_code(problem: Problem) -> int:
    status = status_of(problem.code).status
    return {400: BAD_QUERY, 401: REFUSED, 403: NOT_ALLOWED}.get(status, TRY_AGAIN)


class _Connection:
    def __init__(
        self,
        socket: WebSocket,
        doors: Doors,
        admission: Admission,
        inbox: Inbox,
        arrival: Arrival,
        who: EaVisit,
        cursor: int,
    ) -> None:
        self._socket = socket
        self._doors = doors
        self._admission = admission
        self._inbox = inbox
        self._arrival = arrival
        self._who = who
        self._session = who.session
        self._cursor = cursor
        self._loop = asyncio.get_running_loop()
        self._heard_s = self._loop.time()
        self._ping_s = self._heard_s + HEARTBEAT_S
        self._sleep: asyncio.Timeout | None = None
        self._woken = True  # what waits is told first
        self._retired = False

    # the session's side --------------------------------------------------------------------------------------

    def wake(self) -> None:
        """There is something to tell."""
        self._woken = True
        if self._sleep is not None:
            with suppress(RuntimeError):  # it is just ending by itself
                self._sleep.reschedule(self._loop.time())

    def retire(self) -> None:
        """Another connection has taken over."""
        self._retired = True
        self.wake()

    # the connection's life -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until the terminal leaves or may not stay."""
        if self._session.link is not None:
            self._session.link.retire()
        self._session.link = self
        try:
            while await self._turn():
                pass
        finally:
            if self._session.link is self:
                self._session.link = None

    async def _turn(self) -> bool:
        if self._retired:
            return await self._close(TAKEN_OVER, "session-contested")
        now = self._loop.time()
        if (self._woken or now >= self._ping_s) and not await self._speak(now):
            return False
        message = await self._next()
        if message is None:
            return True
        self._heard_s = self._loop.time()
        if len(message.encode()) > FRAME_BYTES_MAX:
            return await self._close(TOO_LARGE, "body-too-large")
        await self._hear(message)
        return True

    async def _next(self) -> str | None:
        """The next frame; None when it is time to speak. Raises WebSocketDisconnect."""
        try:
            async with asyncio.timeout_at(self._loop.time() if self._woken else self._ping_s) as self._sleep:
                return await self._socket.receive_text()
        except TimeoutError:
            return None
        except KeyError:
            await self._close(NOT_TEXT, "unsupported-media-type")
            raise WebSocketDisconnect(NOT_TEXT) from None
        finally:
            self._sleep = None

    async def _speak(self, now: float) -> bool:
        """Tell what waits, and ping; False when this is the end."""
        self._woken = False
        try:
            for event in self._doors.ea.pull(self._session, self._cursor):
                await self._send(_frame_of(self._session, event))
                self._cursor = max(self._cursor, event.sequence)
            self._who = self._admission.still(self._arrival.visit)
        except Problem as problem:
            return await self._close(_close_code(problem), problem.code)
        if now < self._ping_s:
            return True
        self._ping_s = now + HEARTBEAT_S
        if now - self._heard_s >= DEAD_AFTER_S:
            return await self._close(DEAD, "silent")
        await self._send(json.dumps({"eventType": "Ping", "sentAt": show_time(self._doors.clock.now())}))
        return True

    async def _hear(self, text: str) -> None:
        clock = self._doors.clock
        when = Arrived(clock.now(), clock.monotonic_ns())
        ids: list[str] = []
        try:
            value = decode_object(text.encode("utf-8", "surrogatepass"))
            if value == {"eventType": _PONG}:
                return
            self._who = self._admission.still(self._arrival.visit)
            taking = self._inbox.read(self._who, value, None, when)
            ids = [event.event_id for event in taking.events if event.event_id is not None]
            for action in taking.actions or [None]:
                self._admission.charge(self._who.grant, action, when.received_ns)
            count = await self._inbox.take(self._who, taking, when)
        except Exception as error:  # noqa: BLE001 - the rim: every error becomes a frame
            if not is_foreseen(error):
                _log.error("frame of %s failed", self._arrival.trace.request_id, exc_info=error)
            await self._send(_problem_frame(error, self._arrival.trace.request_id, ids))
            return
        pending = self._session.pending
        answer = {"eventType": "Accepted", "accepted": count, "pendingSession": pending, "eventIds": ids}
        await self._send(json.dumps(answer))

    async def _close(self, code: int, reason: str) -> bool:
        await self._socket.close(code, reason)
        return False

    async def _send(self, frame: str) -> None:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await self._socket.send_text(frame)


def _frame_of(session: EaSession, event: OutEvent) -> str:
    head = {
        "id": event_id(session, event),
        "sequence": event.sequence,
        "eventType": event.event_type,
        "requiresAck": event.requires_ack,
    }
    return json.dumps({**head, "payload": json.loads(event.payload)})


def _problem_frame(error: Exception, request_id: str, ids: list[str]) -> str:
    document = json.loads(render(problem_of(error), request_id).body)
    return json.dumps({"eventType": "Problem", **document, "eventIds": ids})
