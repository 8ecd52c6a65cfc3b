"""One HTTP link against a server that answers in every bad way: parsed whole, or unknown."""

import asyncio
from dataclasses import replace

import pytest

from brokers._kit.http_link import LinkLimits
from brokers._kit.order_http import HttpReply, Lost
from tests.integration.kit.conftest import Peer, ScriptedServer
from tests.integration.kit.order_desk import OK, ONE, Desk, Eventually, Open, echo_ok

CHUNKED = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n"
    b"3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\nTrailer: x\r\n\r\n"
)


async def test_an_answer_cut_anywhere_is_put_together(server: ScriptedServer, pools: Open) -> None:
    cuts = range(1, len(CHUNKED))

    async def in_two_pieces(peer: Peer) -> None:
        for cut in cuts:
            await peer.request()
            await peer.say(CHUNKED[:cut])
            await asyncio.sleep(0.001)  # lets the first piece travel alone
            await peer.say(CHUNKED[cut:])
        await peer.gone()

    server.script = in_two_pieces
    desk = Desk(await pools(ONE))
    for cut in cuts:
        reply = await desk.ask(f"cut at {cut}")
        assert isinstance(reply, HttpReply), cut
        assert (reply.status, reply.body, reply.header(b"x-a")) == (201, b"abcdefg", b"b"), cut
    assert server.accepted == 1


async def test_an_answer_byte_by_byte_is_put_together(server: ScriptedServer, pools: Open) -> None:
    async def dribble(peer: Peer) -> None:
        await peer.request()
        for index in range(len(CHUNKED)):
            await peer.say(CHUNKED[index : index + 1])
            await asyncio.sleep(0)

    server.script = dribble
    desk = Desk(await pools(ONE))
    reply = await desk.ask()
    assert isinstance(reply, HttpReply)
    assert reply.body == b"abcdefg"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"NONSENSE\r\n\r\n", id="not-http"),
        pytest.param(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", id="101"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="two-framings",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", id="two-lengths"
        ),
    ],
)
async def test_an_answer_that_does_not_parse_is_unknown_and_ends_the_link(
    server: ScriptedServer, pools: Open, answer: bytes
) -> None:
    async def strange(peer: Peer) -> None:
        await peer.request()
        await peer.say(answer)
        await peer.gone()

    server.script = strange
    desk = Desk(await pools(ONE))
    lost = await desk.ask()
    assert isinstance(lost, Lost)
    assert (lost.reason, lost.written) == ("malformed", True)


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param([b"HTTP/1.1 200 OK\r\n"] + [b"X-Pad: " + b"y" * 500 + b"\r\n"] * 99, id="headers"),
        pytest.param([b"HTTP/1.1 200 OK\r\nX: "] + [b"y" * 1000] * 99, id="one-header-line"),
        pytest.param([b"HTTP/1.1 100 Continue\r\n\r\n"] * 999, id="informational"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"] + [b"z" * 1000] * 99, id="body"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
            + [b"1;e=" + b"e" * 500 + b"\r\nz\r\n"] * 99,
            id="chunk-extensions",
        ),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"]
            + [b"T: " + b"t" * 500 + b"\r\n"] * 99,
            id="trailers",
        ),
    ],
)
async def test_an_answer_beyond_the_limits_is_unknown_and_ends_the_link(
    server: ScriptedServer, pools: Open, flood: list[bytes]
) -> None:
    async def pours(peer: Peer) -> None:
        await peer.request()
        for piece in flood:
            await peer.say(piece)
        await peer.gone()

    server.script = pours
    desk = Desk(await pools(replace(ONE, limits=LinkLimits(header_bytes_max=4096, body_bytes_max=4096))))
    lost = await desk.ask()
    assert isinstance(lost, Lost)
    assert (lost.reason, lost.written) == ("oversized", True)


async def test_bytes_nobody_asked_for_end_an_idle_link(
    server: ScriptedServer, pools: Open, eventually: Eventually
) -> None:
    async def speaks_first(peer: Peer) -> None:
        if peer.number == 1:
            await peer.say(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            await peer.gone()
        else:
            await echo_ok(peer)

    server.script = speaks_first
    desk = Desk(await pools(ONE))
    await eventually(lambda: server.accepted == 2 and desk.pool.open_links == 1)
    assert isinstance(await desk.ask(), HttpReply)


async def test_a_second_answer_glued_to_the_first_ends_the_link(
    server: ScriptedServer, pools: Open, eventually: Eventually
) -> None:
    async def doubles(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK + OK)
        await peer.gone()

    server.script = doubles
    desk = Desk(await pools(ONE))
    assert isinstance(await desk.ask(), HttpReply)
    await eventually(lambda: server.accepted == 2)
    assert len(desk.answers) == 1


async def test_connection_close_is_answered_and_the_link_replaced(
    server: ScriptedServer, pools: Open, eventually: Eventually
) -> None:
    async def closes_each(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        await peer.gone()

    server.script = closes_each
    desk = Desk(await pools(ONE))
    assert isinstance(await desk.ask(), HttpReply)
    await eventually(lambda: server.accepted == 2 and desk.pool.open_links == 1)
    assert isinstance(await desk.ask("b"), HttpReply)


async def test_an_answer_framed_only_by_the_close_is_unknown(server: ScriptedServer, pools: Open) -> None:
    async def until_close(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n\r\n{}")

    server.script = until_close
    desk = Desk(await pools(ONE))
    assert isinstance(await desk.ask(), Lost)
