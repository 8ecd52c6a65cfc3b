"""A reversal's entry leaves in time or not at all, however long the close before it takes, on real wires."""

from decimal import Decimal

import pytest

from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.orders import ChildOrder
from tests.integration.gateway.world import FIRST, SECOND, Follower, World, house, rule

STOP = {"price": "6700"}


async def turned(world: World, slow_ms: int) -> ChildOrder:
    """The leader turns; the entry on the new side waits for its follower's close behind a slow broker."""
    await world.send(side="buy", quantity=1, stop_loss=STOP)
    await world.holds(a=1)
    await world.working("a", 1)
    await world.sim("a").settings(ack_delay_ms=slow_ms, event_delay_ms=slow_ms)
    children = await world.send(action="reverse", side="sell", quantity=1, leader_position=Decimal(-1))
    entry = next(c for c in children if c.intent.role == "entry")
    assert entry.state == "planned"
    return entry


async def ends_unsent(world: World, entry: ChildOrder, reason: str) -> None:
    """No byte of it left, and the follower ends flat."""
    await world.until(lambda: entry.state != "planned" and entry.state != "claimed", "the entry's end")
    assert (entry.state, entry.reason) == ("skipped", reason)
    await world.sim("a").settings(ack_delay_ms=0, event_delay_ms=0)
    await world.holds(a=0)
    written = [row.cl_ord_id for row in await world.sim("a").placements("a")]
    assert entry.intent.cl_ord_id not in written


def patient(account_id: str) -> CopyRule:
    return rule(account_id, max_age_s=Decimal(60))


@pytest.mark.parametrize("broker", [FIRST, SECOND])
async def test_r049_a_reversal_s_deadline_counts_from_the_signal_not_from_its_close(
    dsn: str, broker: str
) -> None:
    """R-048: the broker answers after 2.7 s, so that the close is over only when the entry's 2.5 s are."""
    async with house(dsn, {"a": Follower(broker, patient)}) as world:
        await ends_unsent(world, await turned(world, 2_700), "deadline")


async def test_r068_a_reversal_s_entry_that_grew_too_old_behind_its_close_is_not_sent(dsn: str) -> None:
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        await ends_unsent(world, await turned(world, 2_700), "too_old")


async def test_r068_a_reversal_s_entry_that_is_still_fresh_leaves(dsn: str) -> None:
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        await world.send(side="buy", quantity=1, stop_loss=STOP)
        await world.holds(a=1)
        await world.send(action="reverse", side="sell", quantity=1, leader_position=Decimal(-1))
        await world.holds(a=-1)
