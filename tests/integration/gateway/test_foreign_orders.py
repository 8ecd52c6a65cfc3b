"""R-043, R-047: somebody else's working order at a follower's account stops the entries there, and nothing else."""

from gateway_container.engine.comparison import Pace
from kopitra.domain.foreign_orders import FOREIGN_ORDERS
from kopitra.domain.journal import EntriesBlocked
from tests.integration.gateway.world import FIRST, SECOND, WORKSPACE, Follower, World, engine, house, street

ONE_EACH = {"a": Follower(FIRST), "b": Follower(SECOND)}
#: everything that takes seconds in the open takes tenths here
QUICK = Pace(every_low_s=0.3, every_high_s=0.5, tick_s=0.05, quiet_s=0.3, lost_s=0.0)


async def rests(world: World, account_id: str) -> int:
    """Somebody at the broker's screen places an order far from the market; its number."""
    before = {order.order_id for order in await world.sim(account_id).live(account_id)}
    await world.sim(account_id).by_hand(account_id, world.contract, "buy", 1, ord_type="limit", price="6000")
    return next(o.order_id for o in await world.sim(account_id).live(account_id) if o.order_id not in before)


async def stops(world: World, account_id: str) -> EntriesBlocked:
    """Wait until the entries of the contract stop there."""
    entry = await world.journalled(
        lambda e: isinstance(e, EntriesBlocked) and (e.account_id, e.reason) == (account_id, FOREIGN_ORDERS),
        "the block",
    )
    assert isinstance(entry, EntriesBlocked)
    return entry


async def test_r043_a_foreign_order_stops_entries_lets_exits_pass_and_lifts_itself_when_it_is_gone(
    dsn: str,
) -> None:
    async with house(dsn, ONE_EACH) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)
        world.machine.comparison.pace = QUICK
        number = await rests(world, "a")
        assert (await stops(world, "a")).orders == (str(number),)
        await world.alert("foreign-orders", "a")
        shown = {x.account_id: x for x in world.machine.views.snapshot(WORKSPACE, None).accounts}
        assert shown["a"].blocked_symbols == {world.contract: FOREIGN_ORDERS}
        assert shown["a"].out_of_sync == f"1 foreign orders {world.contract}"
        assert (shown["b"].blocked_symbols, shown["b"].out_of_sync) == ({}, "")
        await world.send(action="add", side="buy", quantity=1)
        await world.holds(a=1, b=2)
        await world.send(action="exit")
        await world.holds(a=0, b=0)
        assert len(await world.sim("a").placements("a")) == 2
        await world.sim("a").control("manual-cancel", order_id=number)
        await world.until(lambda: not world.machine.state.book.sync.blocked, "the lift")
        assert world.machine.comparison.out_of_sync("a") == ""
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)


async def test_r047_the_block_is_there_after_a_restart_and_a_person_may_accept_the_order(dsn: str) -> None:
    async with street(ONE_EACH) as on:
        async with engine(dsn, on) as world:
            world.machine.comparison.pace = QUICK
            await rests(world, "b")
            await stops(world, "b")
        async with engine(dsn, on) as world:
            assert world.machine.state.book.sync.blocked == {("b", world.contract): FOREIGN_ORDERS}
            world.machine.comparison.pace = QUICK
            await world.send(side="buy", quantity=1)
            await world.holds(a=1, b=0)
            world.machine.repair_desk.lift(WORKSPACE, "b", world.contract, "ann: a hedge of mine")
            read_ns = world.machine.state.clock.monotonic_ns()
            compared = world.machine.comparison.compared_ns
            await world.until(lambda: compared.get("b", 0) > read_ns + QUICK.quiet_ns, "later reads")
            assert world.machine.state.book.sync.blocked == {}
            await world.send(action="add", side="buy", quantity=1)
            await world.until(lambda: world.held("a") == 2, "the copy")
            await world.holds(a=2, b=1)
