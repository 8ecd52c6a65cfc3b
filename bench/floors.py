"""The floors: what this machine, Python and PostgreSQL cost before any product is written.

`python -m bench.floors --broker PORT --n N --order-bytes B [--dsn DSN]` takes one signal, writes N orders of
B bytes on N open connections and replies 202. Without a DSN that is the fan-out floor; with one, a single row
is committed first, by the product's driver, and that is the durable floor. Nothing is parsed or decided.
"""

import argparse
import asyncio
import json
from collections.abc import Coroutine
from typing import cast

import psycopg
import uvloop

TABLE = "create table if not exists floor_signal(id bigint primary key, body jsonb not null)"
INSERT = "insert into floor_signal(id, body) values (%s, %s)"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 21\r\n\r\n" + b'{"status":"accepted"}'


def order_of(account: int, size_bytes: int) -> bytes:
    """One HTTP order of that account, padded to the size (never cut: at least what its words need)."""
    head = "POST /api/Order/place HTTP/1.1\r\nHost: broker\r\nContent-Length: {:>6}\r\n\r\n"
    body = f'{{"accountId":{account},"size":1,"pad":"'
    body = body.ljust(size_bytes - len(head.format(0)) - 2, "x") + '"}'
    return (head.format(len(body)) + body).encode()


class BrokerLine(asyncio.Protocol):
    """One open connection to the broker; its answers are dropped unread."""


class Door(asyncio.Protocol):
    """Signals are shorter than one segment, so one read is one signal."""

    def __init__(self, floor: "Floor") -> None:
        self._floor = floor

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        body = data[data.find(b"\r\n\r\n") + 4 :]
        if self._floor.conn is None:
            self._floor.dispatch(self._transport)
        else:
            self._floor.later(self._floor.commit_and_dispatch(self._transport, body))


class Floor:
    """Everything one floor process holds."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._signals = 0
        self.lines: list[tuple[asyncio.WriteTransport, bytes]] = []
        self.conn: psycopg.AsyncConnection | None = None

    def dispatch(self, client: asyncio.WriteTransport) -> None:
        for line, order in self.lines:
            line.write(order)
        client.write(ACCEPTED)

    async def commit_and_dispatch(self, client: asyncio.WriteTransport, body: bytes) -> None:
        assert self.conn is not None
        self._signals += 1
        await self.conn.execute(INSERT, (self._signals, body.decode()))
        self.dispatch(client)

    def later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def serve(broker_port: int, n: int, order_bytes: int, dsn: str | None) -> None:
    loop = asyncio.get_running_loop()
    floor = Floor()
    for account in range(1, n + 1):
        transport, _protocol = await loop.create_connection(BrokerLine, "127.0.0.1", broker_port)
        floor.lines.append((transport, order_of(account, order_bytes)))
    if dsn is not None:
        floor.conn = await psycopg.AsyncConnection.connect(dsn, autocommit=True, prepare_threshold=0)
        await floor.conn.execute("drop table if exists floor_signal")
        await floor.conn.execute(TABLE)
    server = await loop.create_server(lambda: Door(floor), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", type=int, required=True, help="port of the tap's raw face")
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--order-bytes", type=int, required=True)
    parser.add_argument("--dsn")
    args = parser.parse_args()
    uvloop.run(serve(args.broker, args.n, args.order_bytes, args.dsn))


if __name__ == "__main__":
    main()
