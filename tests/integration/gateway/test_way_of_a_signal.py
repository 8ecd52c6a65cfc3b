"""One signal becomes confirmed copies: the whole way, with real brokers' wires and a real database."""

from decimal import Decimal

import pytest

from kopitra.domain.copy_rules import Sizing
from kopitra.domain.signals import StopLoss, TakeProfit
from kopitra.store.drafts import Duplicate, IdempotencyDraft, IdempotencyRecord
from tests.integration.gateway.world import FIRST, SECOND, WORKSPACE, Follower, World, house, rule

ONE_EACH = {"a": Follower(FIRST), "b": Follower(SECOND)}


async def protected(world: World, quantity: int) -> None:
    """A filled entry with a stop and two targets at every follower."""
    half = Decimal("0.5")
    await world.send(
        side="buy",
        quantity=quantity,
        stop_loss=StopLoss(price=Decimal(6790)),
        take_profits=(TakeProfit(Decimal(6810), share=half), TakeProfit(Decimal(6820), share=half)),
    )
    await world.holds(a=quantity, b=quantity)


async def test_an_entry_fills_at_every_follower_and_an_exit_makes_them_flat(dsn: str) -> None:
    followers = {
        "p1": Follower(FIRST),
        "p2": Follower(FIRST, lambda a: rule(a, sizing=Sizing("multiplier", Decimal(3)))),
        "t1": Follower(SECOND),
        "t2": Follower(SECOND, lambda a: rule(a, inverse=True)),
    }
    async with house(dsn, followers) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(p1=1, p2=3, t1=1, t2=-1)
        await world.send(action="exit")
        await world.holds(p1=0, p2=0, t1=0, t2=0)
        for sim in world.sims.values():
            assert len(await sim.placements()) == 4
        await world.no_order_is_doubled()


async def test_an_entry_with_stop_and_target_is_protected_for_what_it_filled(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        await world.send(
            side="buy",
            quantity=2,
            stop_loss=StopLoss(price=Decimal(6790)),
            take_profits=(TakeProfit(Decimal(6810)),),
        )
        await world.holds(a=2, b=2)
        for account in ONE_EACH:
            orders = await world.working(account, 2)
            assert {(o.intent.role, o.leaves_qty) for o in orders} == {("stop", 2), ("target", 2)}
            live = await world.sim(account).live(account)
            assert sorted((o.request.side, o.qty) for o in live) == [("sell", 2), ("sell", 2)]

        await world.price("6811", "6811.25")

        await world.holds(a=0, b=0)
        await world.until(lambda: not world.open("a") and not world.open("b"), "the stops to go")
        for account in ONE_EACH:
            assert await world.sim(account).live(account) == []


async def test_when_one_of_two_targets_fills_the_stop_covers_what_is_left(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        await protected(world, 2)
        for account in ONE_EACH:
            await world.working(account, 3)

        await world.price("6811", "6811.25")

        await world.holds(a=1, b=1)
        for account in ONE_EACH:
            await world.until(
                lambda a=account: [o.leaves_qty for o in world.open(a, "stop")] == [1],
                f"a smaller stop of {account}",
            )
            live = await world.sim(account).live(account)
            assert sorted((o.request.ord_type, o.qty) for o in live) == [("limit", 1), ("stop", 1)]


async def test_an_exit_cancels_the_protection_and_closes_what_is_held(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        await protected(world, 2)
        for account in ONE_EACH:
            await world.working(account, 3)

        await world.send(action="exit")

        await world.holds(a=0, b=0)
        await world.until(lambda: not world.open("a") and not world.open("b"), "nothing open")
        for account in ONE_EACH:
            assert await world.sim(account).live(account) == []
        await world.no_order_is_doubled()


async def test_a_limit_entry_is_mirrored_moved_and_canceled(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        rests = {"side": "buy", "quantity": 1, "ord_type": "limit", "leader_order_id": "L1"}
        children = await world.send(**rests, price="6780")
        await world.until(lambda: all(c.state == "working" for c in children), "working entries")
        await world.send(action="replace", leader_order_id="L1", price="6781")
        await world.until(lambda: all(c.price == 6781 for c in children), "moved entries")
        for account in ONE_EACH:
            assert [o.price for o in await world.sim(account).live(account)] in (["6781"], ["6781.00"])
        await world.send(action="cancel", leader_order_id="L1")
        await world.until(lambda: all(c.state == "canceled" for c in children), "canceled entries")
        assert {a: await world.sim(a).net(a) for a in ONE_EACH} == {"a": 0, "b": 0}


async def test_partial_fills_add_up_and_a_close_takes_them_all(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        for sim in world.sims.values():
            await sim.settings(partial_fill_slices=3)
        children = await world.send(side="buy", quantity=3)
        await world.holds(a=3, b=3)
        assert {c.state for c in children} == {"filled"}
        await world.send(action="reduce", quantity=1)
        await world.holds(a=2, b=2)
        await world.send(action="exit")
        await world.holds(a=0, b=0)


async def test_a_rejection_stops_nobody_else_and_says_why(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        await world.sim("a").control(
            "reject-next", account_id=await world.sim("a").number("a"), text="no margin", late=True
        )
        children = await world.send(side="buy", quantity=1)
        await world.until(lambda: all(not c.leaves_qty for c in children), "an end for both")
        assert {c.intent.account_id: c.state for c in children} == {"a": "rejected", "b": "filled"}
        assert "no margin" in next(c.reason for c in children if c.intent.account_id == "a")


async def test_the_same_signal_twice_is_one_signal(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        record = IdempotencyDraft("key1", "signals", "k-1", b"f" * 32, 202, lambda seq: b"answer %d" % seq)
        signal = world.signal(side="buy", quantity=1)
        committed = await world.machine.intake.accept(signal, lambda _: record).committed
        with pytest.raises(Duplicate) as again:
            world.machine.intake.accept(signal, lambda _: record)
        await world.holds(a=1, b=1)

        assert not isinstance(again.value.existing, IdempotencyRecord)
        assert again.value.existing.seq == committed.seq
        first = world.machine.intake.first_answer(WORKSPACE, "key1", "signals", "k-1")
        assert first is not None
        assert (first.status, first.body) == (202, b"answer %d" % committed.seq)
        assert [len(await world.sim(a).placements(a)) for a in ONE_EACH] == [1, 1]


async def test_a_view_of_a_signal_says_states_reasons_and_hops(dsn: str) -> None:
    followers = {**ONE_EACH, "c": Follower(FIRST, lambda a: rule(a, pace="paused"))}
    async with house(dsn, followers) as world:
        await world.send(side="buy", quantity=1, signal_id="shown")
        await world.holds(a=1, b=1, c=0)
        view = await world.machine.views.signal(WORKSPACE, "shown")
        assert view is not None
        legs = {leg.account_id: leg for leg in view.legs}
        assert (legs["c"].outcome, legs["c"].reason) == ("skipped", "paused")
        assert legs["c"].detail
        assert {order.state for a in ("a", "b") for order in legs[a].orders} == {"filled"}
        for order in (*legs["a"].orders, *legs["b"].orders):
            assert order.hops["planned"] <= order.hops["durable"] <= order.hops["sent"] <= order.hops["acked"]
        assert await world.machine.views.signal("another", "shown") is None
