"""A flatten that failed leaves nothing behind that closes later, and none is forgotten, on the brokers' real wires."""

from dataclasses import replace
from datetime import datetime

import pytest

from gateway_container.engine import flatten
from kopitra.domain.executions import AccountSnapshot
from kopitra.ports import ReadLane
from tests.integration.gateway.flattens import EVERYTHING, begun, closes
from tests.integration.gateway.test_flattens_at_work import BOTH
from tests.integration.gateway.world import (
    FIRST,
    SHORT_GRACE,
    WORKSPACE,
    Follower,
    World,
    engine,
    house,
    street,
)


def fates(world: World) -> list[str]:
    return [order.state for order in closes(world)]


def unheard(*_: object) -> None:
    """A cancel that never leaves."""


def unreadable(world: World, monkeypatch: pytest.MonkeyPatch, answer_ms: int) -> None:
    """From the first close on the broker answers no read, and everything else so late."""
    session = world.machine.sessions.of("a")
    assert session is not None
    read = session.snapshot

    async def fails(account_id: str, since: datetime | None, *, lane: ReadLane = "exit") -> AccountSnapshot:
        if closes(world):
            raise OSError("503")
        found = await read(account_id, since, lane=lane)
        await world.sim("a").settings(ack_delay_ms=answer_ms)
        return found

    monkeypatch.setattr(session, "snapshot", fails)


@pytest.mark.parametrize("answer_ms", [0, 1_500])
@BOTH
async def test_r094_the_last_close_of_a_flatten_that_failed_is_canceled_though_no_read_showed_it(
    dsn: str, broker: str, answer_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-094, R-095: a person closes the account then, and nothing turns it, also when the close is answered late."""
    monkeypatch.setattr(flatten, "GIVE_UP_S", 0.8)
    monkeypatch.setattr(flatten, "AGAIN_PAUSES_S", (30.0,))
    async with house(dsn, {"a": Follower(broker)}) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        sim = world.sim("a")
        await sim.settings(fill_delay_ms=60_000)
        unreadable(world, monkeypatch, answer_ms)
        asked = await begun(world)
        await world.until(lambda: asked().state == "failed", "a failure")
        world.machine.repair_desk.lift(WORKSPACE, "a", "", "ann")
        await world.until(lambda: fates(world) == ["canceled"], "the end of its close")
        await sim.settings(fill_delay_ms=0, ack_delay_ms=0)
        await sim.by_hand("a", world.contract, "sell", 1)
        assert await sim.net("a") == 0
        assert await sim.live("a") == []


async def test_r094_a_cancel_that_falls_over_ends_no_flatten(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-094, R-020: it is told, and tried again like the rest."""
    monkeypatch.setattr(flatten, "GIVE_UP_S", 0.8)
    monkeypatch.setattr(flatten, "AGAIN_PAUSES_S", (0.5,))
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        await world.sim("a").settings(fill_delay_ms=60_000)
        kind = type(world.machine.sessions.of("a"))

        def broken(*_: object) -> object:
            raise RuntimeError("a bug in an adapter")

        with monkeypatch.context() as bug:
            bug.setattr(kind, "cancel", broken)
            asked = await begun(world)
            await world.until(lambda: asked().state == "failed", "a failure")
            alert = await world.journalled(lambda e: "a bug in an adapter" in str(e), "an alert")
            assert "flatten-failed" in str(alert)
        await world.sim("a").settings(fill_delay_ms=0)
        await world.until(lambda: asked().state == "flat_confirmed", "flat")
        assert await world.sim("a").net("a") == 0


async def test_r094_a_mark_whose_login_comes_back_later_gets_its_run(dsn: str) -> None:
    """R-094, R-012: until somebody is at it the mark would hold back every exit of a leader."""
    async with street({"a": Follower(FIRST)}) as on:
        async with engine(dsn, on, lease=SHORT_GRACE, stop=False) as world:
            await world.send(side="buy", quantity=2)
            await world.holds(a=2)
            await world.sim("a").settings(halted_symbols=[world.contract])
            await world.machine.control.flatten(EVERYTHING)
            await world.crash()
        await on.sim("a").settings(halted_symbols=[])
        full = on.config
        on.config = replace(full, version=2, logins={})
        async with engine(dsn, on, lease=SHORT_GRACE, live=()) as world:
            machine = world.machine
            assert "a" in machine.state.book.flattens
            assert not machine.flattener.is_at_work("a")
            await machine.reconfigure(replace(full, version=3), ())
            assert machine.flattener.is_at_work("a")
            await world.until(lambda: not machine.state.book.flattens, "flat")
            assert await world.sim("a").net("a") == 0


async def test_r094_a_shadow_without_a_login_is_flattened_on_after_a_crash(dsn: str) -> None:
    """R-094: it has a session of its own, which no login shows."""
    async with street({"a": Follower(FIRST)}) as on:
        alone = replace(on.config.accounts["a"], shadow=True, login_id="")
        on.config = replace(on.config, accounts={"a": alone}, logins={})
        async with engine(dsn, on, lease=SHORT_GRACE, live=(), stop=False) as world:
            kept = world.machine.flattener.start(WORKSPACE, ["a"], "ann", "1").kept
            assert await kept[0]
            await world.crash()
        async with engine(dsn, on, lease=SHORT_GRACE) as world:
            await world.until(lambda: not world.machine.state.book.flattens, "flat")


async def test_r094_a_close_that_outlived_its_lifted_flatten_and_a_crash_is_canceled(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-094, R-095: no mark names it any more."""
    monkeypatch.setattr(flatten, "GIVE_UP_S", 0.8)
    async with street({"a": Follower(FIRST)}) as on:
        async with engine(dsn, on, lease=SHORT_GRACE, stop=False) as world:
            await world.send(side="buy", quantity=1)
            await world.holds(a=1)
            await world.sim("a").settings(fill_delay_ms=60_000)
            with monkeypatch.context() as lost:
                lost.setattr(type(world.machine.sessions.of("a")), "cancel", unheard)
                asked = await begun(world)
                await world.until(lambda: asked().state == "failed", "a failure")
                world.machine.repair_desk.lift(WORKSPACE, "a", "", "ann")
                await world.journalled(lambda e: "EntriesBlocked" in type(e).__name__, "the lift")
                await world.crash()
        async with engine(dsn, on, lease=SHORT_GRACE) as world:
            assert not world.machine.state.book.flattens
            await world.until(lambda: fates(world) == ["canceled"], "the end of its close")
            assert await world.sim("a").live("a") == []


async def test_r102_a_flatten_is_answered_when_a_crash_cannot_forget_it(dsn: str) -> None:
    """R-102: the request is durable before the answer."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        view = await world.machine.control.flatten(EVERYTHING)
        run = world.machine.flattener.progress(view.flatten_id)
        assert run is not None
        assert [kept.done() and kept.result() for kept in run.kept] == [True]
