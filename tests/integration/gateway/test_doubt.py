"""What nobody knows: it is looked up, never sent again, and it stops nobody else."""

from kopitra.domain.journal import Doubted
from kopitra.domain.orders import ChildOrder
from tests.integration.gateway.world import FIRST, SECOND, Follower, World, engine, house, street

ONE_EACH = {"a": Follower(FIRST), "b": Follower(SECOND)}


def of(children: list[ChildOrder], account_id: str) -> ChildOrder:
    return next(c for c in children if c.intent.account_id == account_id)


async def in_doubt(world: World) -> ChildOrder:
    """An entry of account "a" that was executed, whose answer and events were lost."""
    await world.sim("a").settings(stream_silent=True, drop_answer_ratio=1.0)
    children = await world.send(side="buy", quantity=1)
    child = of(children, "a")
    await world.until(lambda: child.state == "in_doubt", f"doubt, not {child.state}")
    await world.until(lambda: of(children, "b").state == "filled", "the fill of the other account")
    return child


async def test_a_lost_answer_is_doubt_with_an_alert_and_one_placement(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        child = await in_doubt(world)
        alert = await world.alert("order-in-doubt", "a")
        assert alert.cl_ord_id == child.intent.cl_ord_id
        assert len(await world.sim("a").placements("a")) == 1

        again = await world.send(side="buy", quantity=1)
        refused = (await world.machine.views.signal("ws1", f"s1-{world.sequence}")).legs  # pyright: ignore[reportOptionalMemberAccess]
        assert {leg.account_id: leg.reason for leg in refused} == {"a": "in_doubt", "b": ""}
        assert [c.intent.account_id for c in again] == ["b"]

        await world.sim("a").settings(stream_silent=False, drop_answer_ratio=0.0)
        await world.until(
            lambda: child.state == "filled", "the report or the snapshot that resolves the doubt"
        )
        assert len(await world.sim("a").placements("a")) == 1
        await world.send(action="exit")
        await world.holds(a=0, b=0)


async def test_an_answer_that_does_not_parse_is_doubt_and_other_accounts_go_on(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        await world.sim("a").settings(stream_silent=True)
        await world.sim("a").control("quirks", garbage_next=1)
        children = await world.send(side="buy", quantity=1)
        await world.alert("broker-protocol")
        await world.until(lambda: of(children, "b").state == "filled", "the fill of the other account")
        await world.journalled(lambda e: isinstance(e, Doubted) and e.account_id == "a", "the doubt")
        assert len(await world.sim("a").placements("a")) == 1


async def test_exits_pass_while_an_entry_is_in_doubt_and_close_its_late_fill_r_013(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        child = await in_doubt(world)
        await world.send(action="exit")
        await world.holds(b=0)
        await world.sim("a").settings(stream_silent=False, drop_answer_ratio=0.0)
        await world.until(lambda: child.state == "filled", "the fill to be told")
        await world.holds(a=0)
        await world.no_order_is_doubled()


async def test_a_broker_that_is_down_at_start_stops_only_its_own_accounts_r_020(dsn: str) -> None:
    async with street(ONE_EACH) as on:
        await on.sims[FIRST].running.stop()
        async with engine(dsn, on, live=["b"]) as world:
            await world.send(side="buy", quantity=1, signal_id="one")
            await world.holds(b=1)
            view = await world.machine.views.signal("ws1", "one")
            assert view is not None
            leg = next(leg for leg in view.legs if leg.account_id == "a")
            assert leg.reason == "session_down" or leg.orders[0].reason == "session_down"
            assert world.machine.views.health().status == "degraded"


async def test_a_stalled_broker_delays_no_other(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        await world.sim("a").settings(ack_delay_ms=30_000, event_delay_ms=30_000)
        for _ in range(5):
            children = await world.send(side="buy", quantity=1)
            mine = of(children, "b")
            await world.until(lambda mine=mine: mine.state == "filled", "a fill at the other broker")
            assert mine.hops["filled"] < 1_000_000
