"""A flatten that cannot have its way at once: it reads less and less often, passes a penalty, takes closes back."""

import asyncio

import pytest

from brokers import registry
from gateway_container.api.doors import FlattenOrder
from kopitra.domain.flattening import READ_PAUSES_S
from kopitra.domain.journal import FlattenNoted
from tests.integration.gateway.world import FIRST, SECOND, WORKSPACE, Follower, World, house

#: a broker with a close of its own, which tells how long a penalised request has to wait
NATIVE = next(code for code, a in sorted(registry().items()) if a.capabilities.closes_position)
BOTH = pytest.mark.parametrize("broker", [FIRST, SECOND])
EVERYTHING = FlattenOrder(WORKSPACE, "workspace", WORKSPACE, "test", "ann", False, None)


async def confirmed(world: World) -> None:
    await world.journalled(
        lambda e: isinstance(e, FlattenNoted) and e.state == "flat_confirmed", "the confirmation"
    )
    assert await world.sim("a").net("a") == 0


@BOTH
async def test_the_reads_of_a_flatten_that_is_stuck_slow_down_and_two_confirm_its_end(
    dsn: str, broker: str
) -> None:
    async with house(dsn, {"a": Follower(broker)}) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        sim = world.sim("a")
        await sim.settings(halted_symbols=[world.contract])
        before = await sim.requests("position")
        started_s = asyncio.get_running_loop().time()
        await world.machine.control.flatten(EVERYTHING)

        while (reads := await sim.requests("position") - before) < 4:
            pass
        assert reads == 4
        # the loop measures from answer to answer, so that this can only take longer
        assert asyncio.get_running_loop().time() - started_s >= sum(READ_PAUSES_S[:3])

        await sim.settings(halted_symbols=[])
        await confirmed(world)
        # one that sees the position again, one or two until it is gone, and the one that confirms
        assert 6 <= await sim.requests("position") - before <= 9


@BOTH
async def test_a_flatten_passes_the_penalty_of_an_entry(dsn: str, broker: str) -> None:
    async with house(dsn, {"a": Follower(broker)}) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        await world.sim("a").control("quirks", throttle_next=1)
        (hit,) = await world.send(side="buy", quantity=1)
        await world.until(lambda: hit.state == "in_doubt", "the answer 429")
        (refused,) = await world.send(side="sell", quantity=1, symbol="NQ")
        assert (refused.state, refused.reason) == ("skipped", "penalty")

        await world.machine.control.flatten(EVERYTHING)

        await confirmed(world)
        assert len(await world.sim("a").placements("a")) <= 2  # a native close is no placement


async def test_a_close_that_has_not_left_is_taken_back_when_somebody_else_closes(dsn: str) -> None:
    async with house(dsn, {"a": Follower(NATIVE)}) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        sim = world.sim("a")
        await sim.settings(penalty_ticket_s=30)
        await sim.control("quirks", penalty_next=1)
        await world.machine.control.flatten(EVERYTHING)
        await world.until(lambda: world.machine.fanout.waiting, "a close that waits out its penalty")

        await sim.by_hand("a", world.contract, "sell", 1)

        await confirmed(world)
        assert world.machine.fanout.waiting == 0
        closes = [c for c in world.machine.state.book.orders.values() if c.intent.leader == ""]
        assert [c.reason for c in closes if c.state == "skipped"] == ["withdrawn"]


async def test_a_penalised_close_goes_again_when_the_vendor_said(dsn: str) -> None:
    async with house(dsn, {"a": Follower(NATIVE)}) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        await world.sim("a").settings(penalty_ticket_s=1)
        await world.sim("a").control("quirks", penalty_next=1)
        await world.machine.control.flatten(EVERYTHING)

        await confirmed(world)
        assert len(await world.sim("a").ledger("close")) == 1
