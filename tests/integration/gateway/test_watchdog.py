"""A loop that stood still lets no entry out until it has woken on time; exits leave (R-068)."""

import time

import pytest

from gateway_container.engine.watchdog import STUCK_S, WATCH_EVERY_S
from tests.integration.gateway.world import FIRST, Follower, house

ONE = {"a": Follower(FIRST)}


@pytest.fixture(autouse=True)
def stuck_after() -> None:
    """The product's own second."""


async def test_after_a_second_of_standing_still_entries_are_held_back_until_a_look_is_on_time(
    dsn: str,
) -> None:
    async with house(dsn, ONE) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        look = world.machine.fanout.look
        end_s = time.monotonic() + STUCK_S + 2 * WATCH_EVERY_S
        while time.monotonic() < end_s:
            pass  # the loop itself stands still
        (entry,) = await world.send(side="buy", quantity=1)
        assert (entry.state, entry.reason) == ("skipped", "loop_stuck")
        stuck_ns = look.awake_until_ns
        await world.until(lambda: look.awake_until_ns > stuck_ns, "a look on time")
        await world.send(side="buy", quantity=1)
        await world.until(lambda: world.held("a") >= 2, "the entry after it")


async def test_exits_leave_although_the_loop_stood_still(dsn: str) -> None:
    async with house(dsn, ONE) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        world.machine.fanout.look.awake_until_ns = 0
        await world.send(action="exit")
        await world.holds(a=0)
