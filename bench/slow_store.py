"""A relay in front of PostgreSQL that holds every burst of the client's bytes for a while.

`python -m bench.slow_store SOCKET_FOLDER` listens in a folder of its own; each line on stdin is the delay
in milliseconds from now on. Work that makes one trip to the database per signal is slowed by one delay, work
that makes three by three: so trips are counted from outside, whoever the client is.
"""

import asyncio
import json
import signal
import sys
import tempfile
from collections import deque
from pathlib import Path

import uvloop

SOCKET = ".s.PGSQL.5432"
READ_BYTES_MAX = 1 << 16
BURSTS_MAX = 4096


class Delay:
    seconds = 0.0


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(READ_BYTES_MAX):
        writer.write(data)
    writer.close()


async def questions(delay: Delay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bursts keep their order, and a later one never waits for an earlier one's delay to be over first."""
    loop = asyncio.get_running_loop()
    waiting: deque[bytes] = deque()
    while data := await reader.read(READ_BYTES_MAX):
        if not waiting and not delay.seconds:
            writer.write(data)
            continue
        if len(waiting) == BURSTS_MAX:
            raise BufferError(f"{BURSTS_MAX} bursts wait for the database: the client sends without reading")
        waiting.append(data)
        loop.call_later(delay.seconds, lambda: writer.write(waiting.popleft()))
    writer.close()


async def main() -> None:
    target = str(Path(sys.argv[1]) / SOCKET)
    delay, done = Delay(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, done.set)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(target)
        await asyncio.gather(questions(delay, reader, up_writer), answers(up_reader, writer))

    def command() -> None:
        line = sys.stdin.readline()
        if not line:
            done.set()
            return
        delay.seconds = float(line) / 1e3
        print(json.dumps({"delay_ms": float(line)}), flush=True)

    with tempfile.TemporaryDirectory(prefix="kopitra-slow-") as folder:
        await asyncio.start_unix_server(serve, f"{folder}/{SOCKET}")
        loop.add_reader(sys.stdin.fileno(), command)
        print(json.dumps({"folder": folder}), flush=True)
        await done.wait()


if __name__ == "__main__":
    uvloop.run(main())
