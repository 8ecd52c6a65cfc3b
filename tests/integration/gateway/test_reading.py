"""What others read: the live journal, rows for queries, callbacks."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway_container.api.doors import Batch, Resume, StreamItem
from gateway_container.engine import broadcast
from gateway_container.engine.projector import rebuild
from kopitra.store.projections import (
    executions_of_account,
    orders_of_account,
    orders_of_signal,
    positions_of_workspace,
)
from tests.integration.gateway.world import FIRST, SECOND, WORKSPACE, Follower, World, engine, house, street

ONE_EACH = {"a": Follower(FIRST), "b": Follower(SECOND)}


async def some(stream: AsyncIterator[Batch | Resume], count: int) -> list[StreamItem]:
    items: list[StreamItem] = []
    async for said in stream:
        assert isinstance(said, Batch)
        items += said.items
        if len(items) >= count:
            return items
    raise AssertionError("the stream ended")


async def caught_up(world: World) -> None:
    await world.until(
        lambda: (
            world.machine.projector.applied_seq >= world.machine.writer.head.seq
            and world.machine.log.is_quiet
        ),
        "the projections",
    )


async def test_a_reader_gets_old_rows_then_live_ones_without_a_gap(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)
        stream = world.broadcast.subscribe(WORKSPACE, 0, None)
        before = await some(stream, 5)
        await world.send(action="exit")
        after = await some(stream, 3)
        numbers = [item.seq for item in (*before, *after)]
        assert numbers == sorted(set(numbers))
        assert "SignalPlanned" in [item.entry for item in after]


async def test_a_reader_of_one_account_sees_no_entry_of_another(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)
        items = await some(world.broadcast.subscribe(WORKSPACE, 0, frozenset({"a"})), 2)
        assert {item.entry for item in items} <= {"Reported"}
        assert b'"account_id":"b"' not in b"".join(item.payload for item in items)


async def test_a_slow_reader_is_told_to_resume(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "WAITING_MAX", 3)
    async with house(dsn, ONE_EACH) as world:
        stream = world.broadcast.subscribe(WORKSPACE, 0, None)
        await some(stream, 1)
        live = asyncio.ensure_future(anext(stream))
        while not live.done():
            await world.send(side="buy", quantity=1)
        for _ in range(5):
            await world.send(side="buy", quantity=1)
        said = await anext(stream)
        while isinstance(said, Batch):
            said = await anext(stream)
        assert said.reason


async def test_rows_for_queries_follow_the_journal_and_can_be_made_again(dsn: str) -> None:
    async with street(ONE_EACH) as on:
        async with engine(dsn, on) as world:
            await world.send(side="buy", quantity=2, signal_id="shown")
            await world.holds(a=2, b=2)
            await caught_up(world)
        async with engine(dsn, on) as world:
            await world.send(action="reduce", quantity=1)
            await world.holds(a=1, b=1)
            await caught_up(world)
            of_signal = await orders_of_signal(world.db, WORKSPACE, "shown")
            assert {(o.account_id, o.ord_status, o.cum_qty) for o in of_signal} == {
                ("a", "filled", 2),
                ("b", "filled", 2),
            }
            held = {(p.account_id, p.net_qty) for p in await positions_of_workspace(world.db, WORKSPACE)}
            assert held == {("a", 1), ("b", 1)}
            assert [e.last_qty for e in await executions_of_account(world.db, WORKSPACE, "a")] == [1, 2]

            shown = await orders_of_account(world.db, WORKSPACE, "b")
            await rebuild(world.db, "main")
            again = await orders_of_account(world.db, WORKSPACE, "b")
            assert [(o.cl_ord_id, o.signal_id, o.ord_status) for o in again] == [
                (o.cl_ord_id, o.signal_id, o.ord_status) for o in shown
            ]
            made_again = {
                (p.account_id, p.net_qty) for p in await positions_of_workspace(world.db, WORKSPACE)
            }
            assert made_again == held
