"""Which client should carry orders: twenty requests at once over warm connections, again and again.

`python -m bench.clients answerer`   answers every request on one HTTP and one WebSocket port
`python -m bench.clients KIND PORT`  one client; each line on stdin is a number of batches to run
  raw        bytes on open sockets, answers only counted: the least a Python program can do
  own        `OrderHttpPool`, which the adapters of HTTP brokers use
  socket     `TextStream`, which the adapters of WebSocket brokers use
  aiohttp    one session
  httpx2     one client

CPU is that of the client's process alone, so the answerer's pace does not count.
"""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from random import Random
from statistics import median
from typing import Literal, cast, get_args

import aiohttp
import httpx2
import uvloop
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_create_server,  # pyright: ignore[reportUnknownVariableType] - its **kwargs have no type
)

from brokers._kit.http_request import RequestTemplate
from brokers._kit.order_http import OrderHttpPool, PoolSettings
from brokers._kit.stream import StreamEnd, open_stream

Kind = Literal["raw", "own", "socket", "aiohttp", "httpx2"]
Batch = Callable[[], Awaitable[None]]

ORDERS = 20
WARM_BATCHES = 20
HOST, PATH = "127.0.0.1", "/api/Order/place"
HEADERS = {
    "Authorization": "Bearer " + "t" * 40,
    "Content-Type": "application/json",
    "Accept": "application/json",
}
ORDER = (
    b'{"accountId":4100001,"contractId":"CON.F.US.EP.Z26","type":2,"side":0,"size":2,'
    b'"customTag":"kp0123456789abcdef0123-e"}'
)
ANSWER = b'{"orderId":3500000001,"success":true,"errorCode":0,"errorMessage":null}'
HTTP_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(ANSWER),
    ANSWER,
)


class HttpAnswers(asyncio.Protocol):
    """A request is one packet here, so one packet is one request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"}"):  # the body may come in a packet of its own
            self._transport.write(HTTP_ANSWER)


class SocketAnswers(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, ANSWER)


async def answer(done: asyncio.Event) -> None:
    web = await asyncio.get_running_loop().create_server(HttpAnswers, HOST, 0)
    sockets = await ws_create_server(lambda _request: SocketAnswers(), HOST, 0)
    ports = {"http": web.sockets[0].getsockname()[1], "socket": sockets.sockets[0].getsockname()[1]}
    print(json.dumps(ports), flush=True)
    await done.wait()


class Countdown:
    """Twenty answers, then whoever waits goes on."""

    def __init__(self) -> None:
        self._left = 0
        self._all: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begin(self) -> asyncio.Future[None]:
        self._left, self._all = ORDERS, asyncio.get_running_loop().create_future()
        return self._all

    def one(self, _answer: object = None) -> None:
        self._left -= 1
        if not self._left:
            self._all.set_result(None)


class RawLink(asyncio.Protocol):
    def __init__(self, countdown: Countdown) -> None:
        self._countdown = countdown

    def data_received(self, data: bytes) -> None:
        del data
        self._countdown.one()


async def raw(stack: AsyncExitStack, port: int) -> Batch:
    del stack
    countdown, loop = Countdown(), asyncio.get_running_loop()
    links = [(await loop.create_connection(lambda: RawLink(countdown), HOST, port))[0] for _ in range(ORDERS)]
    request = RequestTemplate(PATH, HOST, HEADERS).with_body(ORDER)

    async def batch() -> None:
        waiting = countdown.begin()
        for link in links:
            link.write(request)
        await waiting

    return batch


async def own(stack: AsyncExitStack, port: int) -> Batch:
    countdown, template = Countdown(), RequestTemplate(PATH, HOST, HEADERS)
    pool = OrderHttpPool(
        HOST,
        port,
        None,
        clock_ns=time.monotonic_ns,
        rng=Random(1),
        settings=PoolSettings(links=ORDERS, waiting_max=0),
    )
    pool.start()
    stack.push_async_callback(pool.close, 0)
    await pool.ready(ORDERS)

    async def batch() -> None:
        waiting = countdown.begin()
        for number in range(ORDERS):
            pool.send(template.with_body(ORDER), countdown.one, key=number)
        await waiting

    return batch


async def socket(stack: AsyncExitStack, port: int) -> Batch:
    countdown = Countdown()

    def ended(_end: StreamEnd) -> None:
        """The process is about to end."""

    streams = [await open_stream(f"ws://{HOST}:{port}/", countdown.one, ended) for _ in range(ORDERS)]
    for stream in streams:
        stack.push_async_callback(stream.aclose)

    async def batch() -> None:
        waiting = countdown.begin()
        for number, stream in enumerate(streams):
            stream.send_text(b"order/placeorder\n%d\n\n%b" % (number, ORDER))
        await waiting

    return batch


async def with_aiohttp(stack: AsyncExitStack, port: int) -> Batch:
    session = await stack.enter_async_context(
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=ORDERS), headers=HEADERS)
    )

    async def one() -> None:
        async with session.post(f"http://{HOST}:{port}{PATH}", data=ORDER) as reply:
            await reply.read()

    return lambda: _together(one)


async def with_httpx2(stack: AsyncExitStack, port: int) -> Batch:
    client = await stack.enter_async_context(
        httpx2.AsyncClient(headers=HEADERS, limits=httpx2.Limits(max_connections=ORDERS), trust_env=False)
    )

    async def one() -> None:
        (await client.post(f"http://{HOST}:{port}{PATH}", content=ORDER)).raise_for_status()

    return lambda: _together(one)


async def _together(one: Batch) -> None:
    await asyncio.gather(*(one() for _ in range(ORDERS)))


CLIENTS: dict[Kind, Callable[[AsyncExitStack, int], Awaitable[Batch]]] = {
    "raw": raw,
    "own": own,
    "socket": socket,
    "aiohttp": with_aiohttp,
    "httpx2": with_httpx2,
}


async def measured(batch: Batch, batches: int) -> dict[str, float]:
    spans_ns: list[int] = []
    cpu_ns = time.process_time_ns()
    for _ in range(batches):
        begun_ns = time.monotonic_ns()
        await batch()
        spans_ns.append(time.monotonic_ns() - begun_ns)
    cpu_ns = time.process_time_ns() - cpu_ns
    return {"batch_p50_us": median(spans_ns) / 1e3, "cpu_us": cpu_ns / 1e3 / batches / ORDERS}


async def serve(kind: Kind, port: int, done: asyncio.Event) -> None:
    lines: asyncio.Queue[int] = asyncio.Queue(maxsize=1)

    def command() -> None:
        line = sys.stdin.readline()
        lines.put_nowait(int(line)) if line else done.set()

    async def work() -> None:
        while True:
            print(json.dumps(await measured(batch, await lines.get())), flush=True)

    async with AsyncExitStack() as stack:
        batch = await CLIENTS[kind](stack, port)
        await measured(batch, WARM_BATCHES)
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), command)
        print(json.dumps({"kind": kind}), flush=True)
        working = asyncio.create_task(work())
        await done.wait()
        working.cancel()


async def main() -> None:
    done = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    kind = sys.argv[1]
    if kind == "answerer":
        await answer(done)
    else:
        await serve(next(known for known in get_args(Kind) if known == kind), int(sys.argv[2]), done)


if __name__ == "__main__":
    uvloop.run(main())
