"""One request to an ASGI application in another process, without sockets."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from starlette.types import ASGIApp, Message

from tests.faults.virtual_loop import Process


class Reply(NamedTuple):
    """What came back."""

    status: int
    body: bytes
    #: the process that answered
    by: str = ""


#: (method, path, headers, body) -> answer; waits for ever when nobody answers
Knock = Callable[[str, str, Mapping[str, str], bytes], Awaitable[Reply]]


async def knock(
    app: ASGIApp, process: Process, method: str, path: str, headers: Mapping[str, str], body: bytes
) -> Reply:
    """Ask; the answer never comes when the process dies meanwhile."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Reply] = loop.create_future()
    scope: dict[str, object] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 8080),
        "state": {},
    }
    task = loop.create_task(_serve(app, scope, body, answer, process.name), context=process.context.copy())
    try:
        return await answer
    finally:
        del task  # it goes on by itself: a client that hangs up changes nothing


async def _serve(
    app: ASGIApp, scope: dict[str, object], body: bytes, answer: "asyncio.Future[Reply]", by: str
) -> None:
    bodies = [body]
    status, parts = 0, list[bytes]()

    async def receive() -> Message:
        if not bodies:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": bodies.pop(), "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            return
        parts.append(message.get("body", b""))
        if not message.get("more_body", False) and not answer.done():
            answer.set_result(Reply(status, b"".join(parts), by))

    await app(scope, receive, send)
