"""The stream against a scripted WebSocket server: every message once, one truthful end."""

import asyncio
import struct
from random import Random

import pytest
from picows import WSCloseCode, WSMsgType, WSUpgradeResponse

from brokers._kit.backoff import BackoffPolicy
from brokers._kit.stream import (
    Heartbeat,
    StreamEnd,
    StreamSettings,
    TextStream,
    UpgradeRefused,
    open_stream,
    reconnecting,
)
from kopitra.domain.errors import Disconnected, ProtocolViolation, Throttled
from tests.integration.kit.conftest import Peer, ScriptedServer, Wire, WireServer, until


class Ear:
    """What one client heard."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.ends: list[StreamEnd] = []

    async def open(self, url: str, settings: StreamSettings | None = None) -> TextStream:
        return await open_stream(url, self.texts.append, self.ends.append, settings=settings)


@pytest.fixture
def ear() -> Ear:
    return Ear()


async def test_text_goes_both_ways_with_the_callers_headers(wires: WireServer, ear: Ear) -> None:
    wires.greet = lambda wire: wire.say(b"o")
    stream = await ear.open(wires.url, StreamSettings(headers={"Authorization": "Bearer t"}))
    assert stream.send_text(b"authorize\n1\n\ntoken")
    await until(lambda: ear.texts == [b"o"] and wires.wires[0].heard == [b"authorize\n1\n\ntoken"])
    assert wires.requests[0].headers["Authorization"] == "Bearer t"
    assert wires.requests[0].path == b"/hub?access_token=t"
    await stream.aclose()


async def test_messages_glued_and_cut_anywhere_arrive_whole_and_in_order(wires: WireServer, ear: Ear) -> None:
    frames = b"".join(bytes([0x81, len(text)]) + text for text in (b"a[1]", b"", b"h", b"\xc3\xa9"))

    async def dribble(wire: Wire) -> None:
        for index in range(len(frames)):
            wire.raw(frames[index : index + 1])
            await asyncio.sleep(0)
        wire.raw(frames)

    tasks: list[asyncio.Task[None]] = []
    wires.greet = lambda wire: tasks.append(asyncio.create_task(dribble(wire)))
    stream = await ear.open(wires.url)
    await until(lambda: len(ear.texts) == 8)
    assert ear.texts == [b"a[1]", b"", b"h", b"\xc3\xa9"] * 2
    await stream.aclose()


async def test_a_message_in_fragments_is_put_together_around_a_ping(wires: WireServer, ear: Ear) -> None:
    def fragments(wire: Wire) -> None:
        wire.say(b"one ", fin=False)
        wire.transport.send_ping(b"?")
        wire.say(b"two ", fin=False, kind=WSMsgType.CONTINUATION)
        wire.say(b"three", kind=WSMsgType.CONTINUATION)
        wire.say(b"next")

    wires.greet = fragments
    stream = await ear.open(wires.url)
    await until(lambda: len(ear.texts) == 2 and wires.wires[0].pongs == 1)
    assert ear.texts == [b"one two three", b"next"]
    await stream.aclose()


async def test_a_snapshot_of_several_mebibytes_passes(wires: WireServer, ear: Ear) -> None:
    big = b"x" * (12 * 1024 * 1024)
    wires.greet = lambda wire: wire.say(big)
    stream = await ear.open(wires.url)
    await until(lambda: ear.texts == [big])
    await stream.aclose()


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([(b"x" * 65, True, WSMsgType.TEXT)], id="one-frame"),
        pytest.param(
            [(b"x" * 40, False, WSMsgType.TEXT), (b"x" * 40, True, WSMsgType.CONTINUATION)], id="fragments"
        ),
        pytest.param(
            [(b"x", False, WSMsgType.TEXT)] + [(b"", False, WSMsgType.CONTINUATION)] * 70,
            id="empty-fragments",
        ),
    ],
)
async def test_a_message_above_the_limit_ends_the_stream_with_1009(
    wires: WireServer, ear: Ear, pieces: list[tuple[bytes, bool, WSMsgType]]
) -> None:
    def too_much(wire: Wire) -> None:
        for text, fin, kind in pieces:
            wire.say(text, fin=fin, kind=kind)

    wires.greet = too_much
    await ear.open(wires.url, StreamSettings(message_bytes_max=64))
    await until(lambda: len(ear.ends) == 1 and wires.wires[0].closed_with == 1009)
    assert ear.ends[0].reason == "protocol"
    assert isinstance(ear.ends[0].as_error(), ProtocolViolation)
    assert ear.texts == []


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([(b"x", True, WSMsgType.BINARY)], id="binary"),
        pytest.param([(b"x", True, WSMsgType.CONTINUATION)], id="continuation-of-nothing"),
        pytest.param(
            [(b"x", False, WSMsgType.TEXT), (b"y", True, WSMsgType.TEXT)], id="text-inside-a-message"
        ),
    ],
)
async def test_a_frame_out_of_place_ends_the_stream(
    wires: WireServer, ear: Ear, pieces: list[tuple[bytes, bool, WSMsgType]]
) -> None:
    def misplaced(wire: Wire) -> None:
        for text, fin, kind in pieces:
            wire.say(text, fin=fin, kind=kind)

    wires.greet = misplaced
    await ear.open(wires.url)
    await until(lambda: len(ear.ends) == 1)
    assert ear.ends[0].reason == "protocol"
    assert ear.texts == []


async def test_the_peers_close_code_and_words_are_reported_once(wires: WireServer, ear: Ear) -> None:
    wires.greet = lambda wire: wire.raw(b"\x88\x0a" + struct.pack("!H", 3000) + b"Go away!")
    stream = await ear.open(wires.url)
    end = await stream.wait_end()
    assert end == StreamEnd("peer-closed", 3000, "Go away!")
    assert isinstance(end.as_error(), Disconnected)
    await until(lambda: wires.wires[0].transport.is_disconnected)
    assert ear.ends == [end]


async def test_a_dropped_link_is_reported_and_refuses_to_send(wires: WireServer, ear: Ear) -> None:
    wires.greet = lambda wire: wire.transport.disconnect(graceful=False)
    stream = await ear.open(wires.url)
    assert (await stream.wait_end()).reason == "peer-dropped"
    assert stream.send_text(b"order") is False
    assert ear.ends == [StreamEnd("peer-dropped")]


async def test_closing_here_says_goodbye_and_ends_once(wires: WireServer, ear: Ear) -> None:
    stream = await ear.open(wires.url)
    stream.close()
    assert ear.ends == [StreamEnd("closed-here")]
    assert stream.send_text(b"late") is False
    await stream.aclose()
    await until(lambda: wires.wires[0].closed_with == WSCloseCode.OK)
    assert wires.wires[0].heard == []
    assert len(ear.ends) == 1


async def test_a_handler_that_raises_ends_the_stream_with_its_error(wires: WireServer) -> None:
    def codec(text: bytes) -> None:
        raise ProtocolViolation(f"unknown event {text.decode()}")

    ends: list[StreamEnd] = []
    wires.greet = lambda wire: (wire.say(b"first"), wire.say(b"second"))[0]
    stream = await open_stream(wires.url, codec, ends.append)
    end = await stream.wait_end()
    assert end.reason == "handler-failed"
    assert str(end.as_error()) == "unknown event first"
    await stream.aclose()
    assert ends == [end]


async def test_a_heartbeat_is_sent_on_its_own_timer_beside_other_traffic(wires: WireServer, ear: Ear) -> None:
    stream = await ear.open(wires.url, StreamSettings(heartbeat=Heartbeat(0.02, b"[]")))
    stream.send_text(b"order")
    await until(lambda: wires.wires[0].heard.count(b"[]") >= 3)
    assert wires.wires[0].heard.count(b"order") == 1
    await stream.aclose()
    heard = len(wires.wires[0].heard)
    await asyncio.sleep(0.05)  # absence: two heartbeats
    assert len(wires.wires[0].heard) == heard


async def test_silence_ends_the_stream(wires: WireServer, ear: Ear) -> None:
    stream = await ear.open(wires.url, StreamSettings(silence_max_s=0.08))
    assert (await stream.wait_end()).reason == "silent"
    await until(lambda: wires.wires[0].transport.is_disconnected)


async def test_pings_alone_are_signs_of_life(wires: WireServer, ear: Ear) -> None:
    stream = await ear.open(wires.url, StreamSettings(silence_max_s=0.2))
    for _ in range(20):
        wires.wires[0].transport.send_ping(b"")
        await asyncio.sleep(0.02)
    assert stream.is_open
    await stream.aclose()


async def test_an_echo_comes_behind_what_the_peer_wrote_before(wires: WireServer, ear: Ear) -> None:
    stream = await ear.open(wires.url)
    wires.wires[0].on_ping = lambda wire, payload: [
        wire.say(b"x" * 4_000_000), wire.say(b"last"), wire.transport.send_pong(payload)
    ]  # fmt: skip

    heard = await stream.echo(5.0)

    assert heard
    assert ear.texts[-1] == b"last"
    await stream.aclose()


async def test_a_peer_that_answers_no_ping_or_another_one_is_waited_for_no_longer_than_asked(
    wires: WireServer, ear: Ear
) -> None:
    stream = await ear.open(wires.url)
    assert not await stream.echo(0.05)
    wires.wires[0].on_ping = lambda wire, payload: wire.transport.send_pong(payload + b"?")
    assert not await stream.echo(0.05)
    assert stream.is_open
    await stream.aclose()
    assert not await stream.echo(5.0)


async def test_an_answer_between_the_fragments_of_a_message_counts_behind_it(
    wires: WireServer, ear: Ear
) -> None:
    stream = await ear.open(wires.url)

    def between(wire: Wire, payload: bytes) -> None:
        wire.say(b"one ", fin=False)
        wire.transport.send_pong(payload)
        asyncio.get_running_loop().call_later(0.05, lambda: wire.say(b"two", kind=WSMsgType.CONTINUATION))

    wires.wires[0].on_ping = between
    assert await stream.echo(5.0)
    assert ear.texts == [b"one two"]
    await stream.aclose()


async def test_the_end_of_a_stream_ends_the_wait_for_an_echo(wires: WireServer, ear: Ear) -> None:
    stream = await ear.open(wires.url)
    waiting = asyncio.create_task(stream.echo(60.0))
    await asyncio.sleep(0)

    stream.close()

    async with asyncio.timeout(5):
        assert not await waiting
    await stream.aclose()


async def test_a_peer_that_does_not_read_is_noticed_before_the_buffer_grows(
    wires: WireServer, ear: Ear
) -> None:
    wires.greet = lambda wire: wire.transport.underlying_transport.pause_reading()
    stream = await ear.open(wires.url, StreamSettings(unsent_bytes_max=100_000))
    await until(lambda: len(wires.wires) == 1)
    sent = 0
    while stream.send_text(b"x" * 50_000) and sent < 1000:
        sent += 1
    assert 0 < sent < 1000
    wires.wires[0].transport.underlying_transport.resume_reading()
    await until(lambda: stream.send_text(b"again"))
    await until(lambda: wires.wires[0].heard[-1] == b"again" and len(wires.wires[0].heard) == sent + 1)
    await stream.aclose()


@pytest.mark.parametrize("status", [401, 404, 302, 503])
async def test_a_refused_upgrade_says_its_status(wires: WireServer, ear: Ear, status: int) -> None:
    wires.refuse = (
        WSUpgradeResponse.create_error_response(status)
        if status >= 400
        else WSUpgradeResponse.create_redirect_response(status, f"ws://127.0.0.1:{wires.port}/elsewhere")
    )
    with pytest.raises(UpgradeRefused) as refused:
        await ear.open(wires.url)
    assert refused.value.status == status
    assert len(wires.requests) == 1, "a redirect would carry the token elsewhere"


@pytest.mark.parametrize("told, wait_s", [("7", 7), ("86400", 60)])
async def test_a_throttled_upgrade_says_how_long_to_wait(
    wires: WireServer, ear: Ear, told: str, wait_s: float
) -> None:
    """R-062: a minute at most, because exits may leave by this stream."""
    wires.refuse = WSUpgradeResponse.create_error_response(429, extra_headers={"Retry-After": told})
    with pytest.raises(Throttled) as throttled:
        await ear.open(wires.url)
    assert throttled.value.retry_after_s == wait_s


async def test_a_server_that_never_answers_the_upgrade_times_out(server: ScriptedServer, ear: Ear) -> None:
    async def reads_only(peer: Peer) -> None:
        await peer.reader.read()

    server.script = reads_only
    with pytest.raises(Disconnected, match="TimeoutError"):
        await ear.open(f"ws://127.0.0.1:{server.port}/", StreamSettings(connect_timeout_s=0.05))


async def test_a_server_that_hangs_up_during_the_upgrade_is_disconnected(
    server: ScriptedServer, ear: Ear
) -> None:
    async def hangs_up(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")

    server.script = hangs_up
    with pytest.raises(Disconnected, match="hung up"):
        await ear.open(f"ws://127.0.0.1:{server.port}/")
    assert ear.ends == []


async def test_a_server_that_is_not_there_is_disconnected(ear: Ear) -> None:
    listener = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port: int = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    with pytest.raises(Disconnected):
        await ear.open(f"ws://127.0.0.1:{port}/")


async def test_reconnecting_yields_a_new_stream_after_each_end_and_each_failure(
    wires: WireServer, ear: Ear
) -> None:
    failures: list[Exception] = [Disconnected("down"), Throttled("wait", retry_after_s=0.001)]

    async def open_one() -> TextStream:
        if failures:
            raise failures.pop()
        return await ear.open(wires.url)

    wires.greet = lambda wire: wire.transport.disconnect(graceful=False)
    seen: list[TextStream] = []
    async for stream in reconnecting(open_one, BackoffPolicy(first_s=0.001, max_s=0.002), Random(1)):
        seen.append(stream)
        await stream.wait_end()
        if len(seen) == 3:
            break
    assert len(set(map(id, seen))) == 3
    assert not failures


async def test_reconnecting_does_not_hide_a_fatal_error() -> None:
    async def open_one() -> TextStream:
        raise ProtocolViolation("wrong server")

    with pytest.raises(ProtocolViolation):
        await anext(aiter(reconnecting(open_one, BackoffPolicy(), Random(1))))
