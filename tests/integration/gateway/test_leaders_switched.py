"""Leaders that are added, switched off and on, or share an account, while everything runs."""

from dataclasses import replace

from gateway_container.engine.config import LeaderConfig
from kopitra.domain.journal import SignalPlanned
from tests.integration.gateway.world import (
    BOSS,
    FIRST,
    SECOND,
    WORKSPACE,
    Follower,
    World,
    engine,
    house,
    street,
)


async def quick(world: World) -> None:
    """Reads follow each other at once."""
    comparison = world.machine.comparison
    comparison.pace = comparison.pace._replace(quiet_s=0.2, tick_s=0.05)


async def test_a_leader_switched_off_and_on_is_not_counted_from_zero(dsn: str) -> None:
    """P5, R-033, I-09: its reduction is a reduction, although nobody looked in between."""
    async with house(dsn, {"a": Follower(SECOND)}, leader_at=FIRST) as world:
        machine, boss = world.machine, world.sim(BOSS)
        full = machine.state.config
        await quick(world)
        await boss.by_hand(BOSS, world.contract, "buy", 2)
        await world.holds(a=2)
        await machine.reconfigure(replace(full, version=2, leaders={}), ())
        await machine.reconfigure(replace(full, version=3), ())
        await boss.by_hand(BOSS, world.contract, "sell", 1)
        await world.holds(a=1)
        await boss.by_hand(BOSS, world.contract, "sell", 1)
        await world.holds(a=0)
        assert machine.state.book.leader("lead", "ES").qty == 0


async def test_what_a_leader_did_while_it_was_off_is_found_when_it_is_on(dsn: str) -> None:
    """R-033, R-043: followers leave with it, and are not opened late."""
    async with house(dsn, {"a": Follower(SECOND)}, leader_at=FIRST) as world:
        machine, boss = world.machine, world.sim(BOSS)
        full = machine.state.config
        await quick(world)
        await boss.by_hand(BOSS, world.contract, "buy", 2)
        await world.holds(a=2)
        await machine.reconfigure(replace(full, version=2, leaders={}), ())
        await boss.by_hand(BOSS, world.contract, "sell", 3)
        await machine.reconfigure(replace(full, version=3), ())
        await world.holds(a=0)
        await boss.by_hand(BOSS, world.contract, "sell", 1)
        await world.until(lambda: machine.state.book.leader("lead", "ES").qty == -2, "its next act")
        assert await world.sim("a").net("a") <= 0


async def test_a_leader_added_to_an_account_that_holds_something_turns_nobody(dsn: str) -> None:
    """P5, R-033: what it held before is known and not copied; its first close opens nothing."""
    async with street({"a": Follower(SECOND)}, leader_at=FIRST) as on:
        full = on.config
        on.config = replace(full, leaders={}, rules={})
        async with engine(dsn, on) as world:
            machine, boss = world.machine, world.sim(BOSS)
            await quick(world)
            await boss.by_hand(BOSS, world.contract, "buy", 2)
            await machine.reconfigure(replace(full, version=2), ())
            await boss.by_hand(BOSS, world.contract, "sell", 1)
            since_ns, read = machine.state.clock.monotonic_ns(), machine.comparison.compared_ns
            await world.until(lambda: read.get(BOSS, 0) > since_ns, "the first read")
            await boss.by_hand(BOSS, world.contract, "sell", 1)
            told = await world.journalled(lambda entry: isinstance(entry, SignalPlanned), "its close")
            assert isinstance(told, SignalPlanned)
            assert (told.signal.action, told.signal.leader_position) == ("exit", 0)
            await boss.by_hand(BOSS, world.contract, "buy", 1)
            await world.holds(a=1)
            assert len(await world.sim("a").placements("a")) == 1


async def test_two_leaders_at_one_account_are_both_followed(dsn: str) -> None:
    """P3: the second one's acts are not taken for the first one's told twice."""
    async with street({"a": Follower(SECOND), "b": Follower(SECOND)}, leader_at=FIRST) as on:
        full = on.config
        first, second = full.rules["lead"]
        on.config = replace(
            full,
            leaders={**full.leaders, "lead2": LeaderConfig("lead2", WORKSPACE, "second", BOSS)},
            rules={"lead": (first,), "lead2": (replace(second, leader="lead2"),)},
        )
        async with engine(dsn, on) as world:
            boss, book = world.sim(BOSS), world.machine.state.book

            def held(leader: str, account: str) -> int:
                found = book.held(account, leader).get(world.contract)
                return 0 if found is None else int(found.qty)

            for side, qty in (("buy", 1), ("sell", 0)):
                await boss.by_hand(BOSS, world.contract, side, 1)
                await world.until(
                    lambda qty=qty: (held("lead", "a"), held("lead2", "b")) == (qty, qty), "both followers"
                )
            assert [len(await world.sim(a).placements(a)) for a in ("a", "b")] == [2, 2]
            await world.no_order_is_doubled()
