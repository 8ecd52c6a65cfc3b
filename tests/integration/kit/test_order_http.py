"""The order session against a scripted server: one-shot, never mismatched, never stuck."""

import asyncio
import time
from dataclasses import replace
from random import Random

from brokers._kit.order_http import HttpReply, Lost, NotSent, OrderHttpPool, Sent
from tests.integration.kit.conftest import Peer, ScriptedServer
from tests.integration.kit.order_desk import OK, ONE, ORDER, Desk, Eventually, Open, echo_ok, silent


async def test_a_request_is_written_at_once_and_answered_once(server: ScriptedServer, pools: Open) -> None:
    server.script = echo_ok
    desk = Desk(await pools(ONE))
    reply = await desk.ask()
    assert isinstance(reply, HttpReply)
    assert (reply.status, reply.body, reply.header(b"content-length")) == (200, b"ok", b"2")
    assert reply.received_ns > reply.sent_ns > 0
    assert server.requests == [ORDER]
    assert len(desk.answers) == 1


async def test_a_link_is_reused_for_the_next_request(server: ScriptedServer, pools: Open) -> None:
    server.script = echo_ok
    desk = Desk(await pools(ONE))
    for key in "abc":
        await desk.ask(key)
    assert server.accepted == 1
    assert len(server.requests) == 3


async def test_no_answer_in_time_is_unknown_and_a_late_one_is_never_matched(
    server: ScriptedServer, pools: Open, eventually: Eventually
) -> None:
    late = asyncio.Event()

    async def answers_late(peer: Peer) -> None:
        if peer.number > 1:
            await echo_ok(peer)
        await peer.request()
        await late.wait()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")

    server.script = answers_late
    desk = Desk(await pools(replace(ONE, timeout_s=0.1)))
    assert await desk.ask("slow") == Lost("timeout", written=True, sent_ns=desk.answers[0].sent_ns)
    late.set()
    await eventually(lambda: desk.pool.open_links == 1)
    second = await desk.ask("other")
    assert isinstance(second, HttpReply)
    assert second.body == b"ok"
    assert len(server.requests) == 2


async def test_a_drop_after_the_write_is_unknown_and_never_sent_again(
    server: ScriptedServer, pools: Open, eventually: Eventually
) -> None:
    """R-007: nothing below the session sends a request again."""

    async def drops_first(peer: Peer) -> None:
        await peer.request()
        if peer.number > 1:
            await peer.say(OK)

    server.script = drops_first
    desk = Desk(await pools(ONE))
    lost = await desk.ask()
    assert isinstance(lost, Lost)
    assert (lost.reason, lost.written) == ("disconnected", True)
    await eventually(lambda: server.accepted == 2)
    assert len(server.requests) == 1
    assert len(desk.answers) == 1


async def test_a_write_that_races_with_the_servers_close_is_unknown(
    server: ScriptedServer, pools: Open, eventually: Eventually
) -> None:
    hang_up = asyncio.Event()

    async def closes_idle(peer: Peer) -> None:
        if peer.number == 1:
            await hang_up.wait()
            peer.writer.transport.abort()
        else:
            await silent(peer)

    server.script = closes_idle
    desk = Desk(await pools(ONE))
    hang_up.set()
    await asyncio.sleep(0)  # the server closes in this very loop turn, the client has not been told
    result = desk.send("raced")
    if result is Sent.WRITTEN:
        await eventually(lambda: len(desk.answers) == 1)
        lost = desk.answers[0]
        assert isinstance(lost, Lost)
        assert (lost.reason, lost.written) == ("disconnected", True)
    else:
        assert result == NotSent("no-connection")
    assert server.requests == []


async def test_a_link_closed_by_the_server_is_not_picked_and_is_replaced(
    server: ScriptedServer, pools: Open, eventually: Eventually
) -> None:
    async def closes_first(peer: Peer) -> None:
        if peer.number > 1:
            await echo_ok(peer)

    server.script = closes_first
    desk = Desk(await pools(replace(ONE, reconnect=replace(ONE.reconnect, first_s=0.3))))
    await eventually(lambda: desk.pool.open_links == 0)
    assert desk.send("early") == NotSent("no-connection")
    await eventually(lambda: desk.pool.open_links == 1)
    assert isinstance(await desk.ask("later"), HttpReply)
    assert len(server.requests) == 1


async def test_a_slow_answer_holds_one_link_only(
    server: ScriptedServer, pools: Open, eventually: Eventually
) -> None:
    release = asyncio.Event()

    async def first_is_slow(peer: Peer) -> None:
        while True:
            await peer.request()
            if len(server.requests) == 1:
                await release.wait()
            await peer.say(OK)

    server.script = first_is_slow
    desk = Desk(await pools(replace(ONE, links=2)))
    desk.send("slow")
    await eventually(lambda: len(server.requests) == 1)
    assert isinstance(await desk.ask("fast"), HttpReply)
    assert desk.pool.in_flight == 1
    release.set()
    await eventually(lambda: len(desk.answers) == 2)


async def test_a_full_pool_queues_to_its_limit_then_refuses(
    server: ScriptedServer, pools: Open, eventually: Eventually
) -> None:
    """R-051: links and what waits for one are bounded."""
    release = asyncio.Event()

    async def held(peer: Peer) -> None:
        while True:
            await peer.request()
            await release.wait()
            await peer.say(OK)

    server.script = held
    desk = Desk(await pools(replace(ONE, waiting_max=2)))
    assert [desk.send(key) for key in "abcd"] == [Sent.WRITTEN, Sent.WAITING, Sent.WAITING, NotSent("busy")]
    assert desk.send("b") == NotSent("duplicate-key")
    release.set()
    await eventually(lambda: len(desk.answers) == 3)
    assert len(server.requests) == 3


async def test_a_pool_that_refused_says_once_when_it_can_write_again(
    server: ScriptedServer, eventually: Eventually
) -> None:
    server.script = echo_ok
    calls: list[int] = []
    settings = replace(ONE, waiting_max=0)
    pool = OrderHttpPool(
        "127.0.0.1",
        server.port,
        None,
        clock_ns=time.monotonic_ns,
        rng=Random(1),
        settings=settings,
        on_writable=lambda: calls.append(pool.in_flight),
    )
    pool.start()
    await pool.ready()
    desk = Desk(pool)
    assert [desk.send(key) for key in "abc"] == [Sent.WRITTEN, NotSent("busy"), NotSent("busy")]
    await eventually(lambda: len(desk.answers) == 1)
    assert calls == [0]
    await desk.ask("d")
    assert calls == [0]
    await pool.close()


async def test_a_waiting_request_can_be_withdrawn_before_any_byte_leaves(
    server: ScriptedServer, pools: Open, eventually: Eventually
) -> None:
    server.script = silent
    desk = Desk(await pools(ONE))
    for key in "abcd":
        desk.send(key)
    await eventually(lambda: len(server.requests) == 1)
    assert desk.pool.withdraw("b") is True
    assert desk.pool.withdraw("a") is False, "a is in flight: too late"
    assert desk.pool.withdraw_all() == ["c", "d"]
    assert desk.pool.waiting == 0
    await desk.pool.close(drain_s=0)
    assert [type(answer) for answer in desk.answers] == [Lost]
    assert len(server.requests) == 1


async def test_a_request_that_waited_too_long_is_given_back_unwritten(
    server: ScriptedServer, pools: Open, eventually: Eventually
) -> None:
    server.script = silent
    desk = Desk(await pools(replace(ONE, waiting_max_s=0.05)))
    desk.send("a")
    desk.send("b")
    await eventually(lambda: len(desk.answers) == 1)
    assert desk.answers == [Lost("waited-too-long", written=False)]
    assert len(server.requests) == 1


async def test_the_last_look_stops_a_request_that_had_to_wait(
    server: ScriptedServer, eventually: Eventually
) -> None:
    server.script = echo_ok
    pool = OrderHttpPool(
        "127.0.0.1",
        server.port,
        None,
        clock_ns=time.monotonic_ns,
        rng=Random(1),
        settings=ONE,
        may_write=lambda key: key != "halted",
    )
    pool.start()
    await pool.ready()
    desk = Desk(pool)
    for key in ("first", "halted", "last"):
        desk.send(key)
    await eventually(lambda: len(desk.answers) == 3)
    assert Lost("withdrawn", written=False) in desk.answers
    assert len(server.requests) == 2
    await pool.close()


async def test_same_serial_is_never_in_flight_twice_while_others_pass(
    server: ScriptedServer, pools: Open, eventually: Eventually
) -> None:
    release = asyncio.Event()

    async def held(peer: Peer) -> None:
        while True:
            await peer.request()
            await release.wait()
            await peer.say(OK)

    server.script = held
    desk = Desk(await pools(replace(ONE, links=3)))
    order: list[str] = []
    for key, serial in [("es1", "ES"), ("es2", "ES"), ("nq1", "NQ"), ("es3", "ES")]:
        desk.pool.send(ORDER, lambda _, key=key: order.append(key), key=key, serial=serial)
    await eventually(lambda: len(server.requests) == 2)
    assert (desk.pool.in_flight, desk.pool.waiting) == (2, 2)
    release.set()
    await eventually(lambda: len(order) == 4)
    assert [key for key in order if key != "nq1"] == ["es1", "es2", "es3"]


async def test_what_waits_is_given_back_when_the_last_link_dies(
    server: ScriptedServer, pools: Open, eventually: Eventually
) -> None:
    die = asyncio.Event()

    async def dies(peer: Peer) -> None:
        await peer.request()
        await die.wait()

    server.script = dies
    desk = Desk(await pools(ONE))
    desk.send("written")
    desk.send("waiting")
    die.set()
    await eventually(lambda: len(desk.answers) == 2)
    assert [(a.reason, a.written) for a in desk.answers if isinstance(a, Lost)] == [
        ("disconnected", True),
        ("disconnected", False),
    ]


async def test_close_gives_back_what_waits_and_lets_an_answer_arrive(
    server: ScriptedServer, pools: Open, eventually: Eventually
) -> None:
    release = asyncio.Event()

    async def held(peer: Peer) -> None:
        await peer.request()
        await release.wait()
        await peer.say(OK)

    server.script = held
    desk = Desk(await pools(ONE))
    desk.send("written")
    desk.send("waiting")
    closing = asyncio.create_task(desk.pool.close(drain_s=5))
    await eventually(lambda: len(desk.answers) == 1)
    assert desk.answers == [Lost("closed", written=False)]
    assert desk.send("late") == NotSent("closed")
    release.set()
    await closing
    assert isinstance(desk.answers[1], HttpReply)
    assert desk.pool.open_links == 0


async def test_a_link_that_dies_inside_its_own_callback_is_not_used_again(
    server: ScriptedServer, pools: Open, eventually: Eventually
) -> None:
    server.script = echo_ok
    desk = Desk(await pools(ONE))
    link = desk.pool._links[0]
    answers: list[HttpReply | Lost] = []

    def die(answer: HttpReply | Lost) -> None:
        answers.append(answer)
        link.fail("disconnected")

    assert desk.pool.send(ORDER, die, key="a") is Sent.WRITTEN
    await eventually(lambda: len(answers) == 1)
    assert link not in desk.pool._idle
    await eventually(lambda: desk.pool.open_links == 1)
    assert isinstance(await desk.ask("b"), HttpReply)


async def test_a_callback_that_raises_costs_its_link_and_nothing_else(
    server: ScriptedServer, pools: Open, eventually: Eventually
) -> None:
    server.script = echo_ok
    desk = Desk(await pools(ONE))
    loop_errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: loop_errors.append(context))

    def defect(_: HttpReply | Lost) -> None:
        raise RuntimeError("defect")

    assert desk.pool.send(ORDER, defect, key="a") is Sent.WRITTEN
    await eventually(lambda: server.accepted == 2 and desk.pool.open_links == 1)
    assert loop_errors
    assert isinstance(await desk.ask("a"), HttpReply)


async def test_an_unused_link_is_replaced_before_it_goes_stale(
    server: ScriptedServer, pools: Open, eventually: Eventually
) -> None:
    server.script = echo_ok
    desk = Desk(await pools(replace(ONE, links=2, idle_max_s=0.05)))
    await eventually(lambda: server.accepted >= 5)
    assert 2 <= desk.pool.open_links <= 3
    assert isinstance(await desk.ask(), HttpReply)


async def test_the_pool_comes_back_after_the_server_was_away(
    server: ScriptedServer, pools: Open, eventually: Eventually
) -> None:
    async def hangs_up_on_the_first_five(peer: Peer) -> None:
        if peer.number > 5:
            await echo_ok(peer)

    server.script = hangs_up_on_the_first_five
    settings = replace(ONE, reconnect=replace(ONE.reconnect, first_s=0.001, max_s=0.01))
    desk = Desk(await pools(settings))
    await eventually(lambda: server.accepted > 5 and desk.pool.open_links == 1)
    assert isinstance(await desk.ask(), HttpReply)


async def test_a_connect_that_fails_is_kept_as_last_error(eventually: Eventually) -> None:
    listener = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port: int = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    pool = OrderHttpPool("127.0.0.1", port, None, clock_ns=time.monotonic_ns, rng=Random(1), settings=ONE)
    pool.start()
    await eventually(lambda: pool.last_error is not None)
    assert pool.send(ORDER, lambda _: None, key="a") == NotSent("no-connection")
    await pool.close()
