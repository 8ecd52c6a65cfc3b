"""A TCP relay between a session and its simulator that can keep the answers to itself."""

import asyncio
import contextlib
import re
from dataclasses import replace

from kopitra.ports import LoginPlan

_ADDRESS = re.compile(r"127\.0\.0\.1:(\d+)")


class Relay:
    """Relays bytes both ways. `swallow`: what the broker says is lost, what we say still arrives."""

    def __init__(self) -> None:
        self.swallow = False
        self._servers: dict[int, asyncio.Server] = {}
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def between(self, plan: LoginPlan) -> LoginPlan:
        """The same login, through the relay."""
        settings = {name: await self._through(value) for name, value in plan.settings.items()}
        assert self._servers, "the login names no address that could be relayed"
        return replace(plan, settings=settings)

    async def _through(self, value: str) -> str:
        for port in {int(found) for found in _ADDRESS.findall(value)}:
            if port not in self._servers:
                self._servers[port] = await asyncio.start_server(
                    lambda reader, writer, port=port: self._serve(port, reader, writer), "127.0.0.1", 0
                )
        return _ADDRESS.sub(lambda found: f"127.0.0.1:{self._port(int(found[1]))}", value)

    def _port(self, port: int) -> int:
        return self._servers[port].sockets[0].getsockname()[1]

    async def _serve(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        self._writers |= {writer, back}
        for source, sink, answers in ((reader, back, False), (there, writer, True)):
            task = asyncio.get_running_loop().create_task(self._relay(source, sink, answers))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _relay(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, answers: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if not (answers and self.swallow):
                    sink.write(data)
        sink.transport.abort()

    def cut(self) -> None:
        """End every connection."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def stop(self) -> None:
        """End everything."""
        for server in self._servers.values():
            server.close()
        self.cut()
        while self._tasks:
            await asyncio.wait(self._tasks)
