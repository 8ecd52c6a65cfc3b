"""A way to PostgreSQL that a test may cut."""

import asyncio
import contextlib
from pathlib import Path


class FaultyLine:
    """A Unix-socket relay in front of PostgreSQL that can lose answers, lose requests or be cut."""

    def __init__(self, target: str, folder: str) -> None:
        self.folder = folder
        self._target = target
        self._path = f"{folder}/.s.PGSQL.5432"
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._relays: set[asyncio.Task[None]] = set()
        self.lose_answers = False
        self.lose_requests = False
        #: connections that were made through it
        self.served = 0
        #: set when something was lost
        self.lost = asyncio.Event()

    async def up(self) -> None:
        self.lose_answers = self.lose_requests = False
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    async def down(self) -> None:
        """Cut every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
            Path(self._path).unlink(missing_ok=True)  # noqa: ASYNC240 - one system call
        self.cut()
        while self._relays:
            await asyncio.wait(self._relays)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.served += 1
        try:
            there, back = await asyncio.open_unix_connection(self._target)
        except OSError:  # the server is down
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        for source, sink, answers in ((reader, back, False), (there, writer, True)):
            relay = asyncio.get_running_loop().create_task(self._relay(source, sink, answers=answers))
            self._relays.add(relay)
            relay.add_done_callback(self._relays.discard)

    async def _relay(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if self.lose_answers if answers else self.lose_requests:
                    self.lost.set()
                else:
                    sink.write(data)
        sink.transport.abort()
