"""The server under every HTTP and WebSocket simulator: routes, streams, faults of the wire, the control API.

A bare ASGI application on uvicorn's protocols, inside the running loop and without uvicorn's own supervisor,
so that it starts and stops at once. A simulator's face registers its routes and starts it::

    server = SimServer()
    server.route("POST", "/api/Order/place", place)   # place(Request) -> Response, sync or async
    server.stream("/hubs/user", hub)                  # async hub(SimSocket)
    server.control(command)                           # command({"command": "set-price", ...}) -> JSON value
    await server.start("127.0.0.1", 0)

The control API: ``POST /_sim/<command>`` with the command's arguments as a JSON object, and
``GET /_sim/<question>`` with them in the query (``ledger``, ``positions``, ``orders``, ``accounts``,
``settings``; ``requests``: how often each path was asked), answered as JSON. What is no command is 400 with
``{"error": text}``. The commands are those of
matching/control.py and the face's own.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final, Literal, NamedTuple, cast
from urllib.parse import parse_qsl

import orjson
from uvicorn.config import Config
from uvicorn.server import ServerState

from brokers._kit.sim_clock import SimClock
from brokers._kit.sim_link import HttpLink, StreamLink, transport_of

PATHS_COUNTED_MAX: Final = 1_000  #: paths whose requests are counted
BODY_BYTES_MAX: Final = 4 * 1024 * 1024  #: a longer request body is 413
CONTROL_PREFIX: Final = "/_sim/"
_BACKLOG: Final = 1_024  #: connections that may wait to be accepted
#: turns of the loop in which connections notice their end, and those that were being accepted come up
_STOP_TURNS: Final = 4
_NUMBERS: Final = frozenset({"account_id", "after_seq", "order_id"})  # query arguments that are whole numbers

Headers = tuple[tuple[bytes, bytes], ...]
Scope = Mapping[str, object]
Message = Mapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Request(NamedTuple):
    """What a client asked. Header names are lower case; `query` is still percent-encoded."""

    method: str
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> bytes:
        """The first value of a header (lower-case name), b"" when it is missing."""
        return _header(self.headers, name)

    def params(self) -> dict[str, str]:
        """The query, decoded; the last value of a name wins."""
        return dict(parse_qsl(self.query.decode(), keep_blank_values=True))


class Response(NamedTuple):
    """What to answer, and what the wire does to it.

    ``delay_s`` passes before the first byte. ``fate``: ``dropped`` closes the connection without an answer,
    ``cut`` closes it in the middle of the body.
    """

    body: bytes = b""
    status: int = 200
    content_type: bytes = b"application/json"
    headers: Headers = ()
    delay_s: float = 0.0
    fate: Literal["whole", "dropped", "cut"] = "whole"


Handler = Callable[[Request], Response | Awaitable[Response]]
#: a command with its arguments -> a JSON value; ValueError for what is none
Control = Callable[[dict[str, object]], object]
StreamHandler = Callable[["SimSocket"], Awaitable[None]]


class SimSocket:
    """One client's WebSocket. Nothing travels before `accept`; the connection ends with its handler."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.path = cast("str", scope["path"])
        self.query = cast("bytes", scope["query_string"])
        self.headers = cast("list[tuple[bytes, bytes]]", scope["headers"])
        self._link = cast("StreamLink", cast("Mapping[str, object]", scope["state"])["link"])
        self._receive = receive
        self._send = send

    def header(self, name: bytes) -> bytes:
        """The first value of a header (lower-case name), b"" when it is missing."""
        return _header(self.headers, name)

    def params(self) -> dict[str, str]:
        """The query, decoded; the last value of a name wins."""
        return dict(parse_qsl(self.query.decode(), keep_blank_values=True))

    @property
    def is_open(self) -> bool:
        return self._link.is_open

    async def accept(self, headers: Headers = ()) -> None:
        """Answer the upgrade with 101."""
        await self._receive()
        await self._send({"type": "websocket.accept", "headers": list(headers)})

    async def refuse(self, status: int, body: bytes = b"") -> None:
        """Answer the upgrade with another status instead of `accept`."""
        await self._receive()
        await self._send({"type": "websocket.http.response.start", "status": status, "headers": []})
        await self._send({"type": "websocket.http.response.body", "body": body})

    async def recv(self) -> str | None:
        """The next message; None when the client is gone. Binary messages are read as UTF-8."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            return None
        text = message.get("text")
        return text if isinstance(text, str) else cast("bytes", message["bytes"]).decode()

    async def __aiter__(self) -> AsyncIterator[str]:
        while (text := await self.recv()) is not None:
            yield text

    def send_text(self, message: str | bytes) -> bool:
        """Write one text message now; False when the client is gone or hopelessly slow (it is cut then)."""
        return self._link.write_text(message.encode() if isinstance(message, str) else message)

    async def drained(self) -> None:
        """Until what was written has mostly left, or the client is gone: for what would overflow at once."""
        await self._link.writable.wait()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye; the handler's next `recv` returns None."""
        self._link.finish(code, reason)

    def cut(self) -> None:
        """End the connection without a goodbye, as a dying network does."""
        self._link.cut()


class SimServer:
    """Routes and streams of one simulator. ``ignore_case``: paths match in any case, as in ASP.NET."""

    def __init__(self, *, ignore_case: bool = False, keep_alive_s: int = 300) -> None:
        self._ignore_case = ignore_case
        self._routes: dict[tuple[str, str], Handler] = {}
        self._prefixes: list[tuple[str, str, Handler]] = []
        self._streams: dict[str, StreamHandler] = {}
        self._control: Control = _no_command
        self._asked: dict[str, int] = {}
        self._config = Config(
            self._serve,
            http=HttpLink,
            ws=StreamLink,
            interface="asgi3",
            proxy_headers=False,
            lifespan="off",
            log_config=None,
            timeout_keep_alive=keep_alive_s,
            ws_ping_interval=None,
            ws_per_message_deflate=False,
        )
        self._state = ServerState()
        self._clock = SimClock(self._state.default_headers)
        self._server: asyncio.Server | None = None
        self._address = ("", 0)

    # ---- set-up

    def route(self, method: str, path: str, handler: Handler) -> None:
        """Requests of this method and path. ValueError when they are taken."""
        key = (method, self._key(path))
        if key in self._routes:
            raise ValueError(f"{method} {path} has a handler already")
        self._routes[key] = handler

    def prefix(self, method: str, path: str, handler: Handler) -> None:
        """Requests whose path begins so and that no route takes; the longest prefix wins."""
        self._prefixes.append((method, self._key(path), handler))
        self._prefixes.sort(key=lambda item: -len(item[1]))

    def stream(self, path: str, handler: StreamHandler) -> None:
        """WebSocket connections to this path."""
        self._streams[self._key(path)] = handler

    def control(self, handler: Control) -> None:
        """Serve the control API with this function."""
        self._control = handler
        self.prefix("GET", CONTROL_PREFIX, self._ask)
        self.prefix("POST", CONTROL_PREFIX, self._command)

    # ---- life

    async def start(self, host: str, port: int) -> int:
        """Listen; the port, also when 0 asked for any. OSError when the address is taken."""
        if not self._config.loaded:
            self._config.load()
        listener = socket.create_server((host, port), backlog=_BACKLOG)
        # asyncio sets this only on sockets that name their protocol, and create_server's do not: without it the
        # second small message waits 40 ms for the first one's acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._address = (host, cast("int", listener.getsockname()[1]))
        self._server = await asyncio.get_running_loop().create_server(self._connection, sock=listener)
        self._clock.start()
        return self._address[1]

    @property
    def host(self) -> str:
        return self._address[0]

    @property
    def port(self) -> int:
        return self._address[1]

    @property
    def url(self) -> str:
        """Such as ``http://127.0.0.1:8123``; also the base of the control API."""
        return f"http://{self.host}:{self.port}"

    @property
    def tasks_count(self) -> int:
        """Requests and streams in hand."""
        return len(self._state.tasks)

    async def stop(self) -> None:
        """Stop listening and cut every connection. May be called twice."""
        server, self._server = self._server, None
        if server is None:
            return
        self._clock.stop()
        server.close()
        for _ in range(_STOP_TURNS):
            for connection in list(self._state.connections):
                transport = transport_of(connection)
                if transport is not None:
                    transport.abort()
            await asyncio.sleep(0)
        tasks = list(self._state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()

    def _connection(self) -> HttpLink:
        return HttpLink(self._config, self._state, {})

    # ---- the ASGI application

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(asyncio.CancelledError):  # only `stop` cancels, and it has cut the wire before
            if scope["type"] == "http":
                await self._exchange(scope, receive, send)
            else:
                await self._stream(SimSocket(scope, receive, send))

    async def _stream(self, ws: SimSocket) -> None:
        handler = self._streams.get(self._key(ws.path))
        await (ws.refuse(404) if handler is None else handler(ws))

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        path = cast("str", scope["path"])
        if body is None:
            answer = Response(_error(f"a body may have {BODY_BYTES_MAX} bytes"), 413)
        else:
            request = Request(
                cast("str", scope["method"]),
                path,
                cast("bytes", scope["query_string"]),
                cast("list[tuple[bytes, bytes]]", scope["headers"]),
                body,
            )
            self._count(path)
            answer = self._find(request)(request)
            if not isinstance(answer, Response):
                answer = await answer
        if answer.delay_s > 0:
            await asyncio.sleep(answer.delay_s)
        await _reply(answer, scope, receive, send)

    def _count(self, path: str) -> None:
        if path in self._asked or len(self._asked) < PATHS_COUNTED_MAX:
            self._asked[path] = self._asked.get(path, 0) + 1

    def _find(self, request: Request) -> Handler:
        method, path = request.method, self._key(request.path)
        handler = self._routes.get((method, path))
        if handler is not None:
            return handler
        for wanted, prefix, candidate in self._prefixes:
            if wanted == method and path.startswith(prefix):
                return candidate
        return _not_found

    def _key(self, path: str) -> str:
        return path.lower() if self._ignore_case else path

    # ---- the control API

    def _ask(self, request: Request) -> Response:
        arguments: dict[str, object] = dict(request.params())
        try:
            arguments |= {name: int(request.params()[name]) for name in _NUMBERS & arguments.keys()}
        except ValueError:
            return Response(_error(f"{', '.join(sorted(_NUMBERS))} take whole numbers"), 400)
        return self._do(request, arguments)

    def _command(self, request: Request) -> Response:
        try:
            arguments = cast("object", orjson.loads(request.body or b"{}"))
        except orjson.JSONDecodeError as wrong:
            return Response(_error(f"the body must be a JSON object: {wrong}"), 400)
        if not isinstance(arguments, dict):
            return Response(_error("the body must be a JSON object"), 400)
        return self._do(request, cast("dict[str, object]", arguments))

    def _do(self, request: Request, arguments: dict[str, object]) -> Response:
        name = request.path[len(CONTROL_PREFIX) :]
        if name == "requests":
            return Response(orjson.dumps(self._asked))
        try:
            if name == "clock":
                return Response(orjson.dumps(self._clock.command(arguments)))
            return Response(orjson.dumps(self._control({**arguments, "command": name})))
        except ValueError as wrong:
            return Response(_error(str(wrong)), 400)


def _no_command(command: dict[str, object]) -> object:
    raise ValueError("this simulator takes no commands")


def _not_found(request: Request) -> Response:
    return Response(_error(f"no {request.method} {request.path}"), 404)


def _error(text: str) -> bytes:
    return orjson.dumps({"error": text})


def _header(headers: list[tuple[bytes, bytes]], name: bytes) -> bytes:
    for known, value in headers:
        if known == name:
            return value
    return b""


async def _body(receive: Receive) -> bytes | None:
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        part = cast("bytes", message.get("body", b""))
        size += len(part)
        if size > BODY_BYTES_MAX:
            return None
        parts.append(part)
        more = message.get("more_body") is True
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _reply(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    link = cast("HttpLink", cast("Mapping[str, object]", scope["state"])["link"])
    body = answer.body
    if answer.fate == "dropped":
        link.cut()
        await receive()  # until the connection is gone
        return
    length = b"%d" % len(body)
    headers = [(b"content-type", answer.content_type), (b"content-length", length), *answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if answer.fate == "cut":
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        link.hang_up()
        await receive()
        return
    await send({"type": "http.response.body", "body": body})
