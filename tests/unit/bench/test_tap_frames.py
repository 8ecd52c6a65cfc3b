"""Orders inside masked frames, however TCP cuts them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.tap import Load, Tap
from tests.unit.bench.tap_world import (
    ACCEPTED,
    FRAME_CARD,
    SWITCHED,
    UPGRADE,
    Streams,
    client_frame,
    connected,
    gateway,
    order_frame,
    read_frame,
    run,
    server,
    server_frame,
    tap_to,
)


class Simulator:
    """Accepts the upgrade and remembers what it was told."""

    def __init__(self) -> None:
        self.head = ""
        self.heard: asyncio.Queue[str] = asyncio.Queue()
        self.writer: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.writer = writer
        writer.write(SWITCHED)
        while True:
            self.heard.put_nowait(await read_frame(reader))

    def say(self, data: bytes) -> None:
        assert self.writer is not None
        self.writer.write(data)


@asynccontextmanager
async def session(*, pass_through: bool = False) -> AsyncGenerator[tuple[Tap, Simulator, Streams]]:
    """A client that has been upgraded through the tap."""
    simulator = Simulator()
    async with server(simulator.serve) as port:
        with tap_to(FRAME_CARD, port, pass_through=pass_through) as tap:
            async with connected(tap.face_ports[0]) as (reader, writer):
                writer.write(UPGRADE)
                assert (await reader.readuntil(b"\r\n\r\n")) == SWITCHED
                yield tap, simulator, (reader, writer)


async def test_an_order_is_answered_by_the_tap_and_never_reaches_the_simulator() -> None:
    async with session() as (_tap, simulator, (reader, writer)):
        writer.write(order_frame(4) + client_frame("[]"))
        answer = await read_frame(reader)
        assert answer.startswith('a[{"s":200,"i":4,"d":{"orderId":')
        assert await simulator.heard.get() == "[]"


async def test_frames_that_share_a_read_are_told_apart() -> None:
    async with session() as (_tap, simulator, (reader, writer)):
        frames = client_frame("authorize\n1\n\ntoken"), order_frame(2), client_frame("[]"), order_frame(3)
        writer.write(b"".join(frames))
        assert '"i":2' in await read_frame(reader)
        assert '"i":3' in await read_frame(reader)
        assert [await simulator.heard.get() for _ in range(2)] == ["authorize\n1\n\ntoken", "[]"]


async def test_a_frame_cut_at_every_byte_is_still_one_order(template: Path) -> None:
    async with session() as (tap, simulator, (_reader, writer)):

        async def on_signal(_body: str) -> bytes:
            for byte in order_frame(7, note="x" * 100):
                writer.write(bytes([byte]))
                await writer.drain()
            writer.write(client_frame("[]"))
            await simulator.heard.get()
            return ACCEPTED

        async with gateway(on_signal) as port:
            reading = await run(tap, port, template, Load(n=1, count=2, warmup=0, gap_us=0))
        assert (reading.orders, reading.complaint()) == (2, None)


async def test_an_entry_with_brackets_counts_as_one_order(template: Path) -> None:
    async with session() as (tap, _simulator, (_reader, writer)):

        async def on_signal(_body: str) -> bytes:
            writer.write(order_frame(1, route="order/placeOSO") + order_frame(2, route="order/placeoso"))
            return ACCEPTED

        async with gateway(on_signal) as port:
            reading = await run(tap, port, template, Load(n=2, count=3, warmup=0, gap_us=0))
        assert (reading.orders, reading.complaint()) == (6, None)


async def test_an_answer_never_lands_inside_a_frame_of_the_simulator() -> None:
    async with session() as (_tap, simulator, (reader, writer)):
        event = server_frame('a[{"e":"props"}]')
        simulator.say(event[:5])
        writer.write(client_frame("[]"))
        await simulator.heard.get()
        writer.write(order_frame(9))
        assert '"i":9' in await read_frame(reader)
        simulator.say(event[5:])
        assert await read_frame(reader) == 'a[{"e":"props"}]'


async def test_long_frames_pass_in_both_directions() -> None:
    async with session() as (_tap, simulator, (reader, writer)):
        long = "a" * 60_000
        writer.write(client_frame(long))
        assert await simulator.heard.get() == long
        simulator.say(server_frame(long))
        assert await read_frame(reader) == long


async def test_compression_is_not_negotiated() -> None:
    async with session() as (_tap, simulator, _streams):
        assert "Extensions" not in simulator.head
        assert simulator.head.startswith("GET /v1/websocket HTTP/1.1\r\n")
        assert simulator.head.endswith("\r\nSec-WebSocket-Key: eA==\r\n\r\n")


async def test_with_pass_through_the_simulator_gets_the_order_and_answers(template: Path) -> None:
    async with session(pass_through=True) as (tap, simulator, (_reader, writer)):

        async def on_signal(_body: str) -> bytes:
            writer.write(order_frame(5))
            assert (await simulator.heard.get()).startswith("order/placeorder\n5\n")
            return ACCEPTED

        async with gateway(on_signal) as port:
            reading = await run(tap, port, template, Load(n=1, count=1, warmup=0))
        assert (reading.orders, reading.complaint()) == (1, None)
