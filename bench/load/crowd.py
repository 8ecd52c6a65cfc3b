"""A crowd of EAs in one process: each has a key and a connection of its own. `python -m bench.load.crowd`

Every line on standard input is an `Order`, every line on standard output the `Told` that answers it. To come is to
connect, to open the session with the key (once: the token is kept), to ask for the link on the same connection, and
to have a first heartbeat accepted.
"""

import asyncio
import re
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from math import ceil
from random import Random
from typing import Final, Literal, cast

import msgspec
import uvloop

from bench.fleet import KEY_SECRET

HOST: Final = "127.0.0.1"
RETRY_S: Final = 0.25
LOST: Final = 0  #: the status of a request whose connection ended
ACCEPTED: Final = 202  #: as the doors answer; a frame that was accepted counts as the same
REFUSED_FRAME: Final = 422
SEED: Final = 6
READY: Final = b'{"ready": true}\n'
_BEAT: Final = b'{"eventType":"StatusHeartbeat","payload":{}}'
#: client frames are masked (RFC 6455 5.3); a mask of zeros leaves the text as it is
_BEAT_FRAME: Final = bytes([0x81, 0x80 | len(_BEAT), 0, 0, 0, 0]) + _BEAT
_SOCKET: Final = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
)
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Order(msgspec.Struct):
    """What the crowd is to do.

    `open`: `count` connections without a word. `come`: drop every connection and open `count` new ones, spread over
    `over_s`, each until it was let in.
    `beat`: one heartbeat per EA and `every_s`, for `over_s`. `burst`: one signal per EA, spread over `over_s`.
    """

    do: Literal["open", "come", "beat", "burst"]
    port: int = 0
    count: int = 0
    over_s: float = 0.0
    every_s: float = 0.0
    patience_s: float = 30.0
    name: str = ""  #: what a burst's signals are called


class _Opened(msgspec.Struct):
    """What is read of an opened session."""

    session_token: str = msgspec.field(name="sessionToken")


class Told(msgspec.Struct):
    """Answers by status, and how long they took from when they were due; 0 is a connection that ended."""

    statuses: dict[int, int]
    p50_ms: float
    p99_ms: float
    accepted_p99_ms: float
    refused_max_ms: float  #: of 429 and 503
    all_after_s: float  #: until the last one was there
    tries: int  #: connections opened or tried


class Ea(asyncio.Protocol):
    """One EA: one request at a time on a connection that stays open."""

    def __init__(self, number: int) -> None:
        self.key, self.account = f"ea{number}", f"ea-{number}"
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[int] | None = None
        self._read = self.body = b""
        self._linked = False
        self.token = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._read, self._linked = cast(asyncio.Transport, transport), b"", False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._settle(LOST)

    def data_received(self, data: bytes) -> None:
        self._read += data
        if self._linked:
            self._frames()
            return
        head = self._read.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(self._read, 0, head)
        size = head + 4 + (int(length[1]) if length else 0)
        if len(self._read) >= size:
            status, self.body = int(self._read[9:12]), self._read[head + 4 : size]
            self._read, self._linked = self._read[size:], status == 101
            self._settle(status)
            if self._linked:
                self._frames()

    def _frames(self) -> None:
        """Servers' frames are not masked; pings and news of the outbox answer nothing."""
        while (frame := _frame_at(self._read)) is not None:
            text, size = frame
            self._read = self._read[size:]
            if b'"Accepted"' in text:
                self._settle(ACCEPTED)
            elif b'"Problem"' in text:
                self._settle(REFUSED_FRAME)

    async def ask(self, request: bytes) -> int:
        """The status of the answer, or LOST."""
        if self._transport is None:
            return LOST
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    def leave(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _settle(self, status: int) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(status)

    def opening(self) -> bytes:
        """Opens the session; the same request again gets the same token."""
        key = f"kpt_{self.key}_{KEY_SECRET}"
        body = msgspec.json.encode({"authMethod": "account_session_key", "authenticationKey": key})
        return self._request("POST", "sessions", key, body, "Idempotency-Key: session\r\n")

    def link(self) -> bytes:
        """Makes the connection the session's link."""
        return self._request("GET", "link", self.token, b"", _SOCKET)

    def _request(self, method: str, path: str, bearer: str, body: bytes, more: str) -> bytes:
        head = (
            f"{method} /trade-agent/v1/{path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {bearer}\r\n"
            f"X-TradeAgent-Account: {self.account}\r\n{more}"
        )
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body

    def signal(self, name: str) -> bytes:
        """A market order; its id and Idempotency-Key are this name and the EA's own."""
        body = msgspec.json.encode(
            {
                "signalId": f"{name}-{self.key}",
                "action": "enter",
                "symbol": "ES",
                "side": "buy",
                "quantity": "1",
                "price": "6800.25",
                "occurredAt": datetime.now(UTC).isoformat(timespec="milliseconds"),
            }
        )
        key = f"Idempotency-Key: {name}-{self.key}\r\n"
        return self._request("POST", "signals", f"kpt_{self.key}_{KEY_SECRET}", body, key)


class Crowd:
    """All EAs; one order after the other."""

    def __init__(self) -> None:
        self._eas: list[Ea] = []
        self._took: list[tuple[int, float]] = []  # status, seconds
        self._tries = 0

    async def obey(self, order: Order) -> Told:
        self._took, self._tries = [], 0
        begun_s = time.perf_counter()
        work = {"open": self._open, "come": self._come, "beat": self._beat, "burst": self._burst}[order.do]
        if order.do in ("open", "come"):
            for ea in self._eas:
                ea.leave()
            self._eas = self._eas or [Ea(number) for number in range(order.count)]
        jobs = [asyncio.ensure_future(work(ea, at, order)) for at, ea in enumerate(self._eas)]
        _, late = await asyncio.wait(jobs, timeout=order.over_s + order.patience_s)
        for job in late:
            job.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for job in jobs:
            if not job.cancelled():
                job.result()
        self._took += [(LOST, order.patience_s)] * len(late)
        return told(self._took, time.perf_counter() - begun_s, self._tries)

    async def _open(self, ea: Ea, at: int, order: Order) -> None:
        await _until(time.perf_counter() + order.over_s * at / len(self._eas))
        await asyncio.get_running_loop().create_connection(lambda: ea, HOST, order.port)

    async def _come(self, ea: Ea, at: int, order: Order) -> None:
        due_s = time.perf_counter() + Random(SEED + at).random() * order.over_s
        await _until(due_s)
        while True:
            self._tries += 1
            status = LOST
            try:
                await asyncio.get_running_loop().create_connection(lambda: ea, HOST, order.port)
                status = await _let_in(ea)
            except OSError:
                pass
            if status == ACCEPTED:
                self._took.append((status, time.perf_counter() - due_s))
                return
            ea.leave()
            await asyncio.sleep(RETRY_S)

    async def _beat(self, ea: Ea, at: int, order: Order) -> None:
        begun_s = time.perf_counter()
        due_s = begun_s + order.every_s * at / len(self._eas)
        while due_s < begun_s + order.over_s:
            await _until(due_s)
            await self._timed(ea, _BEAT_FRAME, due_s)
            due_s += order.every_s

    async def _burst(self, ea: Ea, at: int, order: Order) -> None:
        due_s = time.perf_counter() + order.over_s * at / len(self._eas)
        await _until(due_s)
        await self._timed(ea, ea.signal(order.name), due_s)

    async def _timed(self, ea: Ea, request: bytes, due_s: float) -> None:
        status = await ea.ask(request)
        self._took.append((status, time.perf_counter() - due_s))


async def _let_in(ea: Ea) -> int:
    """ACCEPTED once its first heartbeat is taken, else what the door said."""
    if not ea.token:
        status = await ea.ask(ea.opening())
        if status != 201:
            return status
        ea.token = msgspec.json.decode(ea.body, type=_Opened).session_token
    status = await ea.ask(ea.link())
    return await ea.ask(_BEAT_FRAME) if status == 101 else status


def _frame_at(data: bytes) -> tuple[bytes, int] | None:
    """The first frame's text and the bytes that it takes; None while it is not whole. Up to 65,535 bytes."""
    if len(data) < 2:
        return None
    head, size = 2, data[1] & 0x7F
    if size == 126:
        head, size = 4, int.from_bytes(data[2:4])
    return (data[head : head + size], head + size) if len(data) >= head + size else None


async def _until(due_s: float) -> None:
    if (left_s := due_s - time.perf_counter()) > 0:
        await asyncio.sleep(left_s)


def rank_ms(times_s: list[float], share: float) -> float:
    """Nearest rank, in milliseconds; 0 where there is none."""
    ordered = sorted(times_s)
    return ordered[max(0, ceil(share * len(ordered)) - 1)] * 1e3 if ordered else 0.0


def told(took: list[tuple[int, float]], all_after_s: float, tries: int) -> Told:
    """Sum up (status, seconds) of every request."""
    times_s = [took_s for _, took_s in took]
    return Told(
        statuses=dict(Counter(status for status, _ in took)),
        p50_ms=rank_ms(times_s, 0.5),
        p99_ms=rank_ms(times_s, 0.99),
        accepted_p99_ms=rank_ms([s for status, s in took if status == ACCEPTED], 0.99),
        refused_max_ms=rank_ms([s for status, s in took if status in (429, 503)], 1.0),
        all_after_s=all_after_s,
        tries=tries,
    )


async def main() -> None:
    crowd = Crowd()
    loop = asyncio.get_running_loop()
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        answer = await crowd.obey(msgspec.json.decode(line, type=Order))
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(main())
