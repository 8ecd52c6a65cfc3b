"""The outermost layer: stamps, collects headers, bounds bodies, sends signals the short way."""

import logging
from typing import Final, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway_container.api.admission import Admission, Visit, read_body
from gateway_container.api.doors import Doors
from gateway_container.api.headers import check_request_id, collect
from gateway_container.api.problems import Answer, Problem, is_foreseen, problem_of, render
from gateway_container.api.signals import SIGNALS_PATH, SignalDoor
from gateway_container.api.trace import GUARDS, RequestIds, Trace, headers_of

log = logging.getLogger(__name__)

#: WebSocket close code for a handshake that we cannot read
BAD_REQUEST: Final = 4400
_SCOPE_KEY: Final = "kopitra.arrival"
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Arrival(NamedTuple):
    """What the edge learnt of a request, for the routes behind it."""

    visit: Visit
    trace: Trace


def arrival_of(scope: Scope) -> Arrival:
    """What the edge learnt of this request."""
    found: object = scope[_SCOPE_KEY]
    if not isinstance(found, Arrival):
        raise TypeError("The routes stand behind the edge; build the application by build_app.")
    return found


class Edge:
    """The ASGI application: the hot path by itself, everything else through `rest`."""

    def __init__(self, doors: Doors, admission: Admission, rest: ASGIApp) -> None:
        self._doors = doors
        self._clock = doors.clock
        self._observe = doors.observe
        self._admission = admission
        self._signals = SignalDoor(doors, admission)
        self._rest = rest
        self._ids = RequestIds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._rest(scope, receive, send)
            return
        trace = Trace(self._clock, self._ids, scope)
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send, trace)
        elif scope["path"] == SIGNALS_PATH and scope["method"] == "POST":
            await self._hot(scope, receive, send, trace)
        else:
            await self._http(scope, receive, send, trace)

    async def _hot(self, scope: Scope, receive: Receive, send: Send, trace: Trace) -> None:
        try:
            answer = await self._signals.answer(scope, receive, trace)
        except Exception as error:  # noqa: BLE001 - the rim: every error becomes an answer
            answer = self.refusal(error, trace)
        await self._send(answer, send, trace)

    async def _http(self, scope: Scope, receive: Receive, send: Send, trace: Trace) -> None:
        closing = _Closing(send, trace)
        try:
            headers = collect(scope)
            check_request_id(headers)
            if scope["method"] in _WITH_BODY:
                receive = _Replay(await read_body(receive), receive)
            visit = self._admission.visit(scope, headers, trace.received_ns)
            scope[_SCOPE_KEY] = Arrival(visit, trace)
            await self._rest(scope, receive, closing)
        except Exception as error:  # noqa: BLE001 - the rim: every error becomes an answer
            answer = self.refusal(error, trace)
            if closing.status == 0:
                await self._send(answer, send, trace)
                return
        trace.route = trace.route or _template_of(scope)
        self._observe(trace.served(closing.status, trace.code, self._clock.monotonic_ns()))

    async def _websocket(self, scope: Scope, receive: Receive, send: Send, trace: Trace) -> None:
        try:
            visit = self._admission.visit(scope, collect(scope), trace.received_ns)
        except Problem as problem:
            await send({"type": "websocket.close", "code": BAD_REQUEST, "reason": problem.code})
            return
        scope[_SCOPE_KEY] = Arrival(visit, trace)
        await self._rest(scope, receive, send)
        self._observe(trace.served(101, trace.code, self._clock.monotonic_ns()))

    def refusal(self, error: Exception, trace: Trace) -> Answer:
        """An error as an answer; what nobody foresaw is logged with its stack, and never told."""
        if not is_foreseen(error):
            log.error("request %s failed", trace.request_id, exc_info=error)
        return render(problem_of(error), trace.request_id)

    async def _send(self, answer: Answer, send: Send, trace: Trace) -> None:
        headers = headers_of(answer, trace.request_id)
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
        self._observe(trace.served(answer.status, answer.code, self._clock.monotonic_ns()))


def _template_of(scope: Scope) -> str:
    """The route's path with its placeholders, never the path itself: that can hold a hook's secret."""
    route: object = scope.get("route")
    path: object = getattr(route, "path", "")
    return path if isinstance(path, str) else ""


class _Replay:
    """Gives the body that was read already, then what the connection says."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class _Closing:
    """Adds the headers that every answer has, and remembers its status."""

    def __init__(self, send: Send, trace: Trace) -> None:
        self._send = send
        self._trace = trace
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = [(b"x-tradeagent-request-id", self._trace.request_id.encode()), *GUARDS]
            message = {**message, "headers": [*message["headers"], *own]}
        await self._send(message)
