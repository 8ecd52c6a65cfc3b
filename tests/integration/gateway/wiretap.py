"""Listens between sessions and their brokers: every byte that the gateway's side says, WebSocket frames unmasked."""

import asyncio
import contextlib
import re
from dataclasses import replace

from kopitra.domain.ids import OWN_PREFIX
from tests.integration.gateway.world import Street

_ADDRESS = re.compile(r"127\.0\.0\.1:(\d+)")
#: an order id of our making
_OURS = re.compile(OWN_PREFIX.encode() + rb"[0-9a-f]{20}-[a-z0-9]+")


class Wiretap:
    """Relays bytes both ways and keeps what our side said, by login."""

    def __init__(self) -> None:
        self._said: dict[str, list[bytearray]] = {}
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def on(self, street: Street) -> None:
        """Put it between every login of a street and its simulator."""
        logins = dict(street.config.logins)
        for login_id, login in logins.items():
            settings = {name: await self._through(login_id, value) for name, value in login.settings.items()}
            logins[login_id] = replace(login, settings=settings)
        street.config = replace(street.config, logins=logins)

    async def _through(self, login_id: str, value: str) -> str:
        for port in {int(found) for found in _ADDRESS.findall(value)}:
            server = await asyncio.start_server(
                lambda reader, writer, port=port: self._serve(login_id, port, reader, writer), "127.0.0.1", 0
            )
            self._servers.append(server)
            value = value.replace(f"127.0.0.1:{port}", f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        return value

    async def _serve(
        self, login_id: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        self._writers |= {writer, back}
        said = bytearray()
        self._said.setdefault(login_id, []).append(said)
        for source, sink, heard in ((reader, back, said), (there, writer, bytearray())):
            task = asyncio.get_running_loop().create_task(_relay(source, sink, heard))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def order_ids(self, login_id: str) -> set[bytes]:
        """Ids of our orders in anything that left for this login."""
        return {name for said in self._said.get(login_id, []) for name in _OURS.findall(_plain(bytes(said)))}

    def connections(self, login_id: str) -> int:
        """How many connections this login made."""
        return len(self._said.get(login_id, []))

    async def stop(self) -> None:
        """End everything."""
        for server in self._servers:
            server.close()
        for writer in self._writers:
            writer.transport.abort()
        while self._tasks:
            await asyncio.wait(self._tasks)


async def _relay(source: asyncio.StreamReader, sink: asyncio.StreamWriter, heard: bytearray) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            heard += data
            sink.write(data)
    sink.transport.abort()


def _plain(said: bytes) -> bytes:
    """HTTP as it is; after an upgrade the payloads of the frames."""
    head, found, rest = said.partition(b"\r\n\r\n")
    if not found or b"upgrade: websocket" not in head.lower():
        return said
    payloads: list[bytes] = []
    while len(rest) >= 2:
        size, at = rest[1] & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(rest[2 : 2 + width], "big"), 2 + width
        mask = rest[at : at + 4] if rest[1] & 0x80 else b"\0\0\0\0"
        at += 4 if rest[1] & 0x80 else 0
        payloads.append(bytes(b ^ mask[i % 4] for i, b in enumerate(rest[at : at + size])))
        rest = rest[at + size :]
    return head + b"\n".join(payloads)
