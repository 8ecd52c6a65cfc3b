"""WS /link: the session of an EA over one WebSocket."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from gateway_container.api import link
from gateway_container.api.ea_door import NoEa
from tests.api.client import ENTER
from tests.api.console import Console, Frame, connect
from tests.api.test_ea_sessions import Terminal, event, open_session
from tests.api.world import World

LINK = "/trade-agent/v1/link"


@asynccontextmanager
async def linked(terminal: Terminal, query: str = "", account: str = "acc1") -> AsyncGenerator[Console]:
    headers = (("authorization", f"Bearer {terminal.token}"), ("x-tradeagent-account", account))
    async with connect(terminal.world.app, query, headers, LINK) as console:
        yield console


async def accepted(console: Console) -> Frame:
    """The handshake, and the first event."""
    assert (await console.next())["type"] == "websocket.accept"
    return await console.frame()


async def closed(console: Console) -> tuple[int, str]:
    while (message := await console.next())["type"] != "websocket.close":
        pass
    return message["code"], message["reason"]


async def test_what_waits_is_told_at_once_and_news_as_they_come(world: World) -> None:
    terminal = await open_session(world)
    async with linked(terminal) as console:
        first = await accepted(console)
        assert (first["eventType"], first["sequence"], first["requiresAck"]) == ("InitAck", 1, True)
        session = next(iter(world.terminals.sessions.values()))
        world.terminals.tell(session, "SyncRequest", reason="sequence_gap")
        second = await console.frame()
        assert (second["eventType"], second["payload"]) == ("SyncRequest", {"reason": "sequence_gap"})


async def test_it_resumes_by_cursor(world: World) -> None:
    terminal = await open_session(world)
    session = next(iter(world.terminals.sessions.values()))
    async with linked(terminal) as console:
        await accepted(console)
    world.terminals.tell(session, "SyncRequest")
    async with linked(terminal, "cursor=1") as console:
        assert (await accepted(console))["sequence"] == 2


@pytest.mark.parametrize("alone", [True, False])
async def test_events_are_taken_like_those_of_the_inbox(world: World, alone: bool) -> None:
    terminal = await open_session(world)
    told = event("OrderIntent", "e1", **ENTER)
    async with linked(terminal) as console:
        await accepted(console)
        for _ in range(2):
            await console.say(json.dumps(told if alone else {"events": [told]}))
            assert await console.frame() == {
                "eventType": "Accepted",
                "accepted": 1,
                "pendingSession": False,
                "eventIds": ["e1"],
            }
    assert len(world.ledger.signals) == 1


@pytest.mark.parametrize(
    "text, code",
    [
        ("{", "invalid-json"),
        ('{"a":1,"a":2}', "duplicate-key"),
        (json.dumps(event("OrderIntent", None, **ENTER)), "missing-field"),
        (json.dumps(event("OrderIntent", "e", **{**ENTER, "symbol": "NOPE"})), "unknown-symbol"),
        (json.dumps({"events": []}), "invalid-length"),
    ],
)
async def test_a_bad_frame_is_told_what_is_wrong_and_the_link_goes_on(
    world: World, text: str, code: str
) -> None:
    terminal = await open_session(world)
    async with linked(terminal) as console:
        await accepted(console)
        await console.say(text)
        problem = await console.frame()
        assert (problem["eventType"], problem["code"]) == ("Problem", code)
        assert problem["detail"]
        await console.say(json.dumps(event("StatusHeartbeat", leaderSequence=3)))
        assert (await console.frame())["accepted"] == 1
    assert world.ledger.untouched


async def test_pings_are_answered_by_any_frame_and_three_missed_end_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "HEARTBEAT_S", 0.02)
    monkeypatch.setattr(link, "DEAD_AFTER_S", 0.3)
    terminal = await open_session(world)
    async with linked(terminal) as console:
        await accepted(console)
        for _ in range(30):  # twice as long as the silence that would end it
            assert (await console.frame())["eventType"] == "Ping"
            await console.say('{"eventType":"Pong"}')
        assert await closed(console) == (link.DEAD, "silent")


async def test_a_frame_has_a_bound(world: World) -> None:
    terminal = await open_session(world)
    async with linked(terminal) as console:
        await accepted(console)
        await console.say("x" * (link.FRAME_BYTES_MAX + 1))
        assert await closed(console) == (link.TOO_LARGE, "body-too-large")


async def test_the_newer_of_two_connections_stays(world: World) -> None:
    terminal = await open_session(world)
    async with linked(terminal) as old:
        await accepted(old)
        async with linked(terminal, "cursor=1") as new:
            await new.next()
            assert await closed(old) == (link.TAKEN_OVER, "session-contested")
            await new.say(json.dumps(event("StatusHeartbeat")))
            assert (await new.frame())["accepted"] == 1


async def test_a_session_that_ends_is_told_so_and_let_go(world: World) -> None:
    terminal = await open_session(world)
    async with linked(terminal) as console:
        await accepted(console)
        await open_session(world, "o-2")
        notice = await console.frame()
        assert (notice["eventType"], notice["payload"]) == ("ShutdownNotice", {"reason": "session_preempted"})
        assert await closed(console) == (link.NOT_ALLOWED, "session-ended")


async def test_a_holder_that_steps_back_sends_its_terminals_away(world: World) -> None:
    terminal = await open_session(world)
    async with linked(terminal) as console:
        await accepted(console)
        session = next(iter(world.terminals.sessions.values()))
        world.doors.ea = NoEa()
        session.tell_of_news()
        assert (await closed(console))[0] == link.TRY_AGAIN


@pytest.mark.parametrize(
    "query, account, code",
    [
        ("cursor=-1", "acc1", link.BAD_QUERY),
        ("cursor=" + "9" * 30, "acc1", link.BAD_QUERY),
        ("", "acc2", link.NOT_ALLOWED),
    ],
)
async def test_a_wrong_handshake_is_refused(world: World, query: str, account: str, code: int) -> None:
    terminal = await open_session(world)
    async with linked(terminal, query, account) as console:
        assert (await closed(console))[0] == code


async def test_a_wrong_token_is_refused(world: World) -> None:
    terminal = await open_session(world)
    async with linked(terminal._replace(token=terminal.token[:-1] + "!")) as console:
        assert await closed(console) == (link.REFUSED, "invalid-credentials")


async def test_frames_count_against_the_rate(world: World) -> None:
    world.change_key(rate_per_minute=5)
    terminal = await open_session(world)
    async with linked(terminal) as console:
        await accepted(console)
        codes: list[object] = []
        for _ in range(10):
            await console.say(json.dumps(event("StatusHeartbeat")))
            codes.append((await console.frame()).get("code"))
        assert codes[0] is None
        assert codes[-1] == "too-many-requests"
