"""In a crowd: what closes goes ahead, and nothing is opened after its leader's exit."""

import asyncio

import pytest

from gateway_container.api.once import Once
from gateway_container.api.taking import queue, take
from gateway_container.engine.turnstile import LEGS_MAX
from kopitra.domain.errors import SignalRefused
from kopitra.domain.signals import Signal
from tests.integration.gateway.world import FIRST, WORKSPACE, Follower, World, house


async def comes(world: World, signal: Signal) -> None:
    """Through a door, as a webhook does; returns when it is durable."""
    intake, once = world.machine.intake, Once(WORKSPACE, "hook", "/signals", signal.signal_id, b"f")
    await queue(intake, signal, once)
    pending = take(intake, signal, once, world.machine.state.clock.monotonic_ns())
    await pending.committed


async def test_i10_an_entry_that_waits_for_room_is_not_copied_after_its_leaders_exit(dsn: str) -> None:
    """I-10, R-031: it is refused for good, so that sending it again opens nothing either."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        stile = world.machine.intake._turnstile
        stile.entered(LEGS_MAX)
        entry = asyncio.create_task(comes(world, world.signal(source="webhook", side="buy", quantity=1)))
        await asyncio.sleep(0)
        assert stile.crowded
        await comes(world, world.signal(source="webhook", action="exit"))
        stile.left(LEGS_MAX)
        with pytest.raises(SignalRefused) as refused:
            await entry
        assert refused.value.code == "superseded"
        assert await world.sim("a").placements("a") == []
        # What comes after the exit is copied.
        await comes(world, world.signal(source="webhook", side="buy", quantity=1))
        await world.holds(a=1)


async def test_i10_those_who_wait_do_not_overtake_one_another(dsn: str) -> None:
    """Each says where its leader stands, and the later one counts."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        stile = world.machine.intake._turnstile
        stile.entered(LEGS_MAX)
        buys = [
            world.signal(source="webhook", side="buy", quantity=1, leader_position=position)
            for position in (1, 2)
        ]
        entries = [asyncio.create_task(comes(world, buy)) for buy in buys]
        await asyncio.sleep(0)
        stile.left(LEGS_MAX)
        await asyncio.gather(*entries)
        await world.holds(a=2)


@pytest.mark.parametrize("action", ["reverse", "enter"])
async def test_r050_a_reversal_is_let_in_although_there_is_no_room(dsn: str, action: str) -> None:
    """What is held on the old side must not stay because others trade."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        world.machine.intake._turnstile.entered(LEGS_MAX)
        quantity = 1 if action == "reverse" else 2
        await comes(world, world.signal(source="webhook", action=action, side="sell", quantity=quantity))
        await world.holds(a=-1)
