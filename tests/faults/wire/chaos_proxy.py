"""A TCP proxy between a session and its broker's simulator that has one fault at a time (T-30)."""

import asyncio
import contextlib
import re
import struct
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from random import Random
from socket import SO_LINGER, SOL_SOCKET
from typing import Final

from kopitra.ports import LoginPlan
from tests.faults.wire.toxics import Messages, Toxic, sliced

_ADDRESS: Final = re.compile(r"127\.0\.0\.1:(\d+)")
#: bytes of one read
_CHUNK: Final = 65_536
_ABORT: Final = struct.pack("ii", 1, 0)


@dataclass(eq=False, slots=True)
class _Line:
    """One connection through the proxy: the client's end and the broker's."""

    client: asyncio.StreamWriter
    broker: asyncio.StreamWriter
    from_broker: int = 0

    def end(self, *, resets: bool) -> None:
        """Both ends, at once."""
        for writer in (self.client, self.broker):
            if resets:
                with contextlib.suppress(OSError):
                    writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _ABORT)
            writer.transport.abort()


class ChaosProxy:
    """Relays everything until a fault is set; `heal` ends it. Counts what it did, by the names of the faults."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)
        self.toxic: Toxic | None = None
        self.injected: Counter[str] = Counter()
        self._servers: dict[int, asyncio.Server] = {}
        self._lines: set[_Line] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def between(self, plan: LoginPlan) -> LoginPlan:
        """The same login, through the proxy."""
        settings = {name: await self._through(value) for name, value in plan.settings.items()}
        assert self._servers, "the login names no address that could be relayed"
        return replace(plan, settings=settings)

    async def _through(self, value: str) -> str:
        for port in sorted({int(found) for found in _ADDRESS.findall(value)}):
            if port not in self._servers:
                self._servers[port] = await asyncio.start_server(self._serving(port), "127.0.0.1", 0)
        return _ADDRESS.sub(lambda found: f"127.0.0.1:{self._port(int(found[1]))}", value)

    def _serving(self, port: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._start(self._serve(port, reader, writer))

        return serve

    def _port(self, port: int) -> int:
        return self._servers[port].sockets[0].getsockname()[1]

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.toxic is not None and self.toxic.refuses:
            self.injected["refused"] += 1
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.transport.abort()
            return
        line = _Line(writer, back)
        self._lines.add(line)
        self._start(self._up(line, reader))
        self._start(self._down(line, there))

    async def _up(self, line: _Line, reader: asyncio.StreamReader) -> None:
        """What we say to the broker."""
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(_CHUNK):
                toxic = self.toxic
                if toxic is not None and toxic.swallows == "both":
                    self.injected["lost request bytes"] += 1
                    continue
                await self._passed(line.broker, chunk, toxic)
        await self._ended(line)

    async def _down(self, line: _Line, reader: asyncio.StreamReader) -> None:
        """What the broker says to us."""
        messages = Messages()
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(_CHUNK):
                toxic = self.toxic
                if toxic is None:
                    line.client.write(messages.feed(chunk, _CLEAR, self._rng) + messages.flush())
                    continue
                if self._lost(line, chunk, toxic):
                    continue
                treated = messages.feed(chunk, toxic, self._rng)
                if treated != chunk:
                    self.injected[toxic.name] += 1
                await self._passed(line.client, treated, toxic)
        await self._ended(line)

    def _lost(self, line: _Line, chunk: bytes, toxic: Toxic) -> bool:
        """The fault keeps the chunk, or ends the connection in its place."""
        if toxic.swallows:
            self.injected["lost answer bytes"] += 1
            return True
        line.from_broker += len(chunk)
        over = toxic.limit and line.from_broker > toxic.limit
        if over or self._rng.random() < toxic.cut:
            self.injected[toxic.name] += 1
            if over:
                line.client.write(chunk[: max(0, toxic.limit - line.from_broker + len(chunk))])
            if toxic.close_s:
                self._start(self._close_later(line, toxic.close_s))
            else:
                line.end(resets=toxic.resets)
            return True
        return False

    async def _close_later(self, line: _Line, after_s: float) -> None:
        """The broker's end goes at once, ours hears of it late."""
        line.broker.transport.abort()
        await asyncio.sleep(after_s)
        line.client.transport.abort()

    async def _passed(self, sink: asyncio.StreamWriter, chunk: bytes, toxic: Toxic | None) -> None:
        if toxic is None:
            sink.write(chunk)
            return
        wait_s = toxic.delay_s + self._rng.random() * toxic.jitter_s
        wait_s += len(chunk) / toxic.rate if toxic.rate else 0.0
        if wait_s:
            self.injected[toxic.name] += 1
            await asyncio.sleep(wait_s)
        for piece in sliced(chunk, self._rng) if toxic.slices else (chunk,):
            if sink.transport.is_closing():
                return
            sink.write(piece)
            if toxic.slices:
                self.injected[toxic.name] += 1
                await asyncio.sleep(0)

    async def _ended(self, line: _Line) -> None:
        toxic = self.toxic
        if toxic is not None and toxic.close_s:
            await asyncio.sleep(toxic.close_s)
        line.end(resets=False)
        self._lines.discard(line)

    def poison(self, toxic: Toxic) -> None:
        """Have this fault from now on, connections that stand included."""
        self.toxic = toxic
        if toxic.refuses:
            for line in list(self._lines):
                line.end(resets=True)

    def heal(self) -> None:
        """No fault any more. What was swallowed stays lost, so connections that lost bytes end."""
        ill, self.toxic = self.toxic, None
        if ill is not None and ill.swallows:
            for line in list(self._lines):
                line.end(resets=True)

    async def stop(self) -> None:
        """End everything."""
        for server in self._servers.values():
            server.close()
        for line in list(self._lines):
            line.end(resets=True)
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)


_CLEAR: Final = Toxic("latency")
