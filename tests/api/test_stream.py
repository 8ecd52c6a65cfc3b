"""WS /ops/v1/stream: one ticket, one connection, entries in order, an honest end."""

from datetime import timedelta

import pytest

from gateway_container.api import stream
from gateway_container.api.doors import Batch, Resume, Settings, StreamItem
from tests.api.client import operator
from tests.api.console import connect
from tests.api.stand_ins import NOW
from tests.api.world import World


def item(seq: int) -> StreamItem:
    payload = b'{"cl_ord_id":"kp1","text":"a \\"last_px\\": b","sent":[{"planned_us":1}]}'
    return StreamItem(seq, NOW, "trade.executions", "OrdersSent", payload)


async def ticket(world: World, body: bytes = b"{}", key: str = "v") -> str:
    reply = await world.call("POST", "/ops/v1/stream-tickets", operator(key), body)
    assert reply.status == 201, reply.body
    return str(reply.json["ticket"])


async def test_entries_arrive_in_camel_case_after_the_sequence_asked_for(world: World) -> None:
    token = await ticket(world)
    async with connect(world.app, f"after=41&ticket={token}") as console:
        assert (await console.next())["type"] == "websocket.accept"
        await world.news.queue.put(Batch((item(42), item(43))))
        entries = await console.entries()
        assert world.news.asked == [("w1", 41, None)]
        assert [entry["seq"] for entry in entries] == [42, 43]
        assert entries[0]["payload"] == {
            "clOrdId": "kp1",
            "text": 'a "last_px": b',
            "sent": [{"plannedUs": 1}],
        }
        assert entries[0]["at"] == "2026-11-20T14:30:00.000Z"
    assert world.news.closed == 1


async def test_a_slow_reader_is_told_to_resume_and_let_go(world: World) -> None:
    token = await ticket(world)
    async with connect(world.app, f"after=0&ticket={token}") as console:
        await console.next()
        await world.news.queue.put(Resume(77, "too-slow"))
        assert await console.frame() == {"type": "resume", "after": 77, "reason": "too-slow"}
        closed = await console.next()
        assert (closed["type"], closed["code"]) == ("websocket.close", 1013)
    assert world.news.closed == 1


async def test_a_ticket_opens_one_connection(world: World) -> None:
    token = await ticket(world)
    async with connect(world.app, f"ticket={token}") as console:
        assert (await console.next())["type"] == "websocket.accept"
    async with connect(world.app, f"ticket={token}") as console:
        assert (await console.next())["code"] == stream.REFUSED
    assert len(world.news.asked) == 1


@pytest.mark.parametrize("query", ["", "ticket=", "ticket=guess", "after=1"])
async def test_without_a_ticket_nobody_listens(world: World, query: str) -> None:
    async with connect(world.app, query) as console:
        assert (await console.next())["code"] == stream.REFUSED
    assert world.news.asked == []


@pytest.mark.parametrize("age_s, opened", [(29, True), (30, False)])
async def test_a_ticket_lives_thirty_seconds(world: World, age_s: int, opened: bool) -> None:
    token = await ticket(world)
    world.clock.forward(age_s)
    async with connect(world.app, f"ticket={token}") as console:
        first = await console.next()
        assert (first["type"] == "websocket.accept") == opened


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "9" * 19])
async def test_a_sequence_that_is_none_is_refused(world: World, after: str) -> None:
    token = await ticket(world)
    async with connect(world.app, f"after={after}&ticket={token}") as console:
        assert (await console.next())["code"] == stream.BAD_QUERY


@pytest.mark.parametrize(
    "origin, allowed, opened",
    [
        (None, frozenset[str](), True),
        ("https://gateway", frozenset[str](), True),
        ("https://evil.example", frozenset[str](), False),
        ("https://console.example", frozenset({"https://console.example"}), True),
        ("https://gateway", frozenset({"https://console.example"}), False),
        ("null", frozenset[str](), False),
    ],
)
async def test_foreign_origins_are_refused(
    world: World, origin: str | None, allowed: frozenset[str], opened: bool
) -> None:
    world.set(Settings(origins=allowed))
    token = await ticket(world)
    headers = () if origin is None else (("origin", origin),)
    async with connect(world.app, f"ticket={token}", headers) as console:
        first = await console.next()
        assert (first["type"] == "websocket.accept") == opened


async def test_a_handshake_with_doubled_headers_is_refused(world: World) -> None:
    twice = (("origin", "https://gateway"), ("origin", "https://evil.example"))
    async with connect(world.app, f"ticket={await ticket(world)}", twice) as console:
        assert (await console.next())["code"] == stream.BAD_QUERY
    assert world.news.asked == []


async def test_a_ticket_is_scoped_to_accounts(world: World) -> None:
    token = await ticket(world, b'{"accounts":["f1"]}')
    async with connect(world.app, f"ticket={token}") as console:
        await console.next()
        await world.news.queue.put(Batch((item(1),)))
        await console.frame()
    assert world.news.asked == [("w1", 0, frozenset({"f1"}))]


async def test_an_operator_of_some_accounts_cannot_ask_for_others(world: World) -> None:
    world.change_operator("v", accounts=frozenset({"f1"}))
    reply = await world.call("POST", "/ops/v1/stream-tickets", operator("v"), b'{"accounts":["f2"]}')
    assert (reply.status, reply.code) == (403, "account-not-allowed")
    token = await ticket(world)
    async with connect(world.app, f"ticket={token}") as console:
        await console.next()
        await world.news.queue.put(Batch((item(1),)))
        await console.frame()
    assert world.news.asked == [("w1", 0, frozenset({"f1"}))]


async def test_silence_is_broken_by_pings(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "RECHECK_S", 0.01)
    monkeypatch.setattr(stream, "PING_S", 0.02)
    token = await ticket(world)
    async with connect(world.app, f"ticket={token}") as console:
        await console.next()
        assert (await console.frame())["type"] == "ping"
        assert (await console.frame())["type"] == "ping"


async def test_an_operator_who_is_revoked_is_cut_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "RECHECK_S", 0.01)
    token = await ticket(world)
    async with connect(world.app, f"ticket={token}") as console:
        await console.next()
        world.change_operator("v", revoked_at=NOW - timedelta(seconds=1))
        closed = await console.next()
        assert (closed["type"], closed["code"]) == ("websocket.close", stream.REFUSED)


async def test_a_console_that_talks_too_much_is_let_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "FRAMES_IN_MAX", 3)
    token = await ticket(world)
    async with connect(world.app, f"ticket={token}") as console:
        await console.next()
        for _ in range(3):
            await console.say("hello")
        assert (await console.next())["code"] == stream.TALKS_TOO_MUCH


async def test_limits_are_those_of_the_contract() -> None:
    assert stream.PING_S == 15
    assert stream.RECHECK_S <= 5
