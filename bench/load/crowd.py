"""A crowd of EAs in one process: each has a key and a connection of its own. `python -m bench.load.crowd`

Every line on standard input is an `Order`, every line on standard output the `Told` that answers it. A heartbeat
is the EA's own first signal once more, with its Idempotency-Key: the door checks the credential, the rate and the
body and answers from memory, so nothing is written.
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
SEED: Final = 6
READY: Final = b'{"ready": true}\n'
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
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._read = cast(asyncio.Transport, transport), b""

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._settle(LOST)

    def data_received(self, data: bytes) -> None:
        self._read += data
        head = self._read.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(self._read, 0, head)
        size = head + 4 + (int(length[1]) if length else 0)
        if len(self._read) >= size:
            status, self._read = int(self._read[9:12]), self._read[size:]
            self._settle(status)

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
        head = (
            f"POST /trade-agent/v1/signals HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer kpt_{self.key}_{KEY_SECRET}\r\nX-TradeAgent-Account: {self.account}\r\n"
            f"Idempotency-Key: {name}-{self.key}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class Crowd:
    """All EAs; one order after the other."""

    def __init__(self) -> None:
        self._eas: list[Ea] = []
        self._beats: dict[str, bytes] = {}
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
        beat = self._beats.setdefault(ea.key, ea.signal("beat"))
        while True:
            self._tries += 1
            status = LOST
            try:
                await asyncio.get_running_loop().create_connection(lambda: ea, HOST, order.port)
                status = await ea.ask(beat)
            except OSError:
                pass
            if status == 202:
                self._took.append((status, time.perf_counter() - due_s))
                return
            ea.leave()
            await asyncio.sleep(RETRY_S)

    async def _beat(self, ea: Ea, at: int, order: Order) -> None:
        begun_s = time.perf_counter()
        due_s = begun_s + order.every_s * at / len(self._eas)
        while due_s < begun_s + order.over_s:
            await _until(due_s)
            await self._timed(ea, self._beats[ea.key], due_s)
            due_s += order.every_s

    async def _burst(self, ea: Ea, at: int, order: Order) -> None:
        due_s = time.perf_counter() + order.over_s * at / len(self._eas)
        await _until(due_s)
        await self._timed(ea, ea.signal(order.name), due_s)

    async def _timed(self, ea: Ea, request: bytes, due_s: float) -> None:
        status = await ea.ask(request)
        self._took.append((status, time.perf_counter() - due_s))


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
        accepted_p99_ms=rank_ms([s for status, s in took if status == 202], 0.99),
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
