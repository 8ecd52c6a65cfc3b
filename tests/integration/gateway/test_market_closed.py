"""R-064, R-065: nobody trades. Entries are told at once; exits are tried again until they are filled."""

from kopitra.domain.journal import ExitPending
from kopitra.domain.orders import ChildOrder
from tests.integration.gateway.world import (
    FIRST,
    SECOND,
    SHORT_GRACE,
    Follower,
    World,
    engine,
    house,
    street,
)

ONE_EACH = {"a": Follower(FIRST), "b": Follower(SECOND)}


async def halt(world: World) -> None:
    for sim in world.sims.values():
        await sim.settings(halted_symbols=[world.contract])


async def resume(world: World) -> None:
    for sim in world.sims.values():
        await sim.settings(halted_symbols=[])


def ended(children: list[ChildOrder], state: str) -> bool:
    return all(child.state == state for child in children)


async def test_r064_an_entry_after_a_refusal_is_skipped_as_market_closed_until_somebody_trades(
    dsn: str,
) -> None:
    async with house(dsn, ONE_EACH) as world:
        await halt(world)
        first = await world.send(side="buy", quantity=1)
        await world.until(lambda: ended(first, "rejected"), "the brokers' refusals")
        second = await world.send(action="add", side="buy", quantity=1)
        await world.until(lambda: ended(second, "skipped"), "the skips")
        assert {child.reason for child in second} == {"market_closed"}
        await resume(world)
        markets = world.machine.fanout.look.markets
        await world.until(
            lambda: not any(markets.is_closed(b, world.contract, 1 << 62) for b in (FIRST, SECOND)),
            "old news",
        )
        await world.send(action="add", side="buy", quantity=1)
        await world.holds(a=1, b=1)  # what was missed is not opened late


async def test_r065_a_refused_exit_is_pending_told_at_once_and_filled_after_the_reopen(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        await world.send(side="buy", quantity=2)
        await world.holds(a=2, b=2)
        await halt(world)
        await world.send(action="exit")
        book = world.machine.state.book
        for account_id in ("a", "b"):
            await world.alert("exit-pending", account_id)
        await world.until(lambda: len(book.pending_exits) == 2, "two pending exits")
        await world.until(lambda: all(p.tries >= 2 for p in book.pending_exits.values()), "two tries each")
        await resume(world)
        await world.holds(a=0, b=0)
        await world.until(lambda: not book.pending_exits, "nothing pending")
        await world.no_order_is_doubled()
        noted = [e for e in await world.journal() if isinstance(e, ExitPending)]
        assert {e.account_id for e in noted} == {"a", "b"}


async def test_r065_a_pending_exit_survives_a_crash(dsn: str) -> None:
    async with street({"a": Follower(FIRST)}) as on:
        async with engine(dsn, on, lease=SHORT_GRACE, stop=False) as world:
            await world.send(side="buy", quantity=1)
            await world.holds(a=1)
            await halt(world)
            await world.send(action="exit")
            await world.journalled(lambda e: isinstance(e, ExitPending), "the pending exit")
            await world.crash()
        async with engine(dsn, on, lease=SHORT_GRACE) as world:
            assert len(world.machine.state.book.pending_exits) == 1
            await resume(world)
            await world.holds(a=0)
            await world.no_order_is_doubled()
