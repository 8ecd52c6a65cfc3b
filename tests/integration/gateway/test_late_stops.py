"""What stops an entry after its plan stops it before its write too, and stops the moves of one that rests."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial

import pytest

from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.journal import AlertRaised, EntriesBlocked, FlattenNoted
from kopitra.domain.orders import ChildOrder
from kopitra.domain.switches import KillSwitch
from tests.integration.gateway.test_reversals import STOP, patient, turned
from tests.integration.gateway.world import (
    FIRST,
    SECOND,
    WORKSPACE,
    Follower,
    World,
    engine,
    house,
    rule,
    street,
    with_rules,
)

Stop = Callable[[World], Awaitable[None]]
SLOW = Follower(FIRST, partial(rule, delay_ms=300))
PATIENT = Follower(FIRST, patient)


async def blocked(world: World) -> None:
    world.machine.log.note(WORKSPACE, EntriesBlocked("a", "trade 77 was canceled: a person must look"))


async def blocked_there(world: World) -> None:
    entry = EntriesBlocked("a", "orders that are not ours work there", world.contract, orders=("9",))
    world.machine.log.note(WORKSPACE, entry)


async def flatten_failed(world: World) -> None:
    for state in ("requested", "failed"):
        world.machine.log.note(WORKSPACE, FlattenNoted("f1", "a", state, "the broker is away", "ann"))


async def ruled(world: World, present: CopyRule) -> None:
    await world.machine.reconfigure(with_rules(world.machine.state.config, present), ())


async def paused(world: World) -> None:
    await ruled(world, rule("a", pace="paused"))


async def closing_only(world: World) -> None:
    await ruled(world, rule("a", pace="close_only"))


async def retired(world: World) -> None:
    config = world.machine.state.config
    account = replace(config.accounts["a"], active=False)
    await world.machine.reconfigure(replace(config, accounts={**config.accounts, "a": account}), ())


async def halted(world: World) -> None:
    await world.machine.control.set_switch(WORKSPACE, "account", "a", "halted", "stop", "ann")


def stopped_meanwhile(world: World) -> None:
    """A switch was thrown and lifted again: what the gateway remembers of it."""
    world.machine.state.stopped(KillSwitch("account", "a", "halted", "wait", "ann", 1))


STOPS = (
    (blocked, "entries_blocked"),
    (blocked_there, "entries_blocked"),
    (flatten_failed, "entries_blocked"),
    (paused, "paused"),
    (closing_only, "close_only"),
    (retired, "account_inactive"),
)


@pytest.mark.parametrize("stop, reason", STOPS)
async def test_r001_r040_r043_what_stops_an_entry_after_its_plan_stops_its_write(
    dsn: str, stop: Stop, reason: str
) -> None:
    """The entry waits out its follower's delay meanwhile."""
    async with house(dsn, {"a": SLOW}) as world:
        (child,) = await world.send(side="buy", quantity=1)
        await stop(world)
        await world.until(lambda: child.state not in ("planned", "claimed"), "the end of the delay")
        assert (child.state, child.reason) == ("skipped", reason)
        assert await world.sim("a").placements("a") == []


async def test_an_entry_leaves_under_a_new_configuration_and_beside_another_s_block(dsn: str) -> None:
    """Only what concerns it stops it."""
    async with house(dsn, {"a": SLOW, "b": Follower(SECOND)}) as world:
        await world.send(side="buy", quantity=1)
        world.machine.log.note(WORKSPACE, EntriesBlocked("b", "a person must look"))
        await ruled(world, rule("a", max_order=Decimal(3)))
        await world.holds(a=1)


@pytest.mark.parametrize("stop, reason", [(blocked, "entries_blocked"), (paused, "paused")])
async def test_r043_a_reversal_s_entry_is_judged_by_what_stopped_since_its_signal(
    dsn: str, stop: Stop, reason: str
) -> None:
    """It is let go by its close, after the stop; its decision is older."""
    async with house(dsn, {"a": PATIENT}) as world:
        entry = await turned(world, 900)
        await stop(world)
        await world.until(lambda: entry.state not in ("planned", "claimed"), "the entry's end")
        assert (entry.state, entry.reason) == ("skipped", reason)
        await world.holds(a=0)


async def test_i06_a_reversal_s_entry_does_not_leave_after_a_halt_that_was_lifted_meanwhile(dsn: str) -> None:
    """R-092: its signal is older than the halt, only its close is not."""
    async with house(dsn, {"a": PATIENT}) as world:
        entry = await turned(world, 900)
        stopped_meanwhile(world)
        assert entry.state == "planned"
        await world.until(lambda: entry.state not in ("planned", "claimed"), "the entry's end")
        assert (entry.state, entry.reason) == ("skipped", "kill_switch")


# moves -------------------------------------------------------------------------------------------------------


async def resting(world: World) -> ChildOrder:
    """The leader's limit order far below the market, copied."""
    limit = {"action": "add", "side": "buy", "quantity": 2, "ord_type": "limit", "price": Decimal(6700)}
    (child,) = await world.send(**limit, leader_order_id="L1")
    await world.until(lambda: child.state == "working", "the resting entry")
    return child


async def ends_unmoved(world: World, child: ChildOrder, reason: str) -> None:
    """It is canceled where it stood, and people hear why."""
    await world.until(lambda: child.state == "canceled", "the cancel")
    assert (child.price, child.qty) == (Decimal(6700), 2)
    assert await world.sim("a").live("a") == []
    assert await world.sim("a").net("a") == 0
    assert reason in (await world.alert("move-stopped", "a")).text


@pytest.mark.parametrize("broker", [FIRST, SECOND])
async def test_i06_a_halted_entry_is_not_moved_into_the_market_but_canceled(dsn: str, broker: str) -> None:
    """R-092, P6: it rests on under the halt until its leader moves it."""
    async with house(dsn, {"a": Follower(broker)}) as world:
        child = await resting(world)
        await halted(world)
        assert [order.price for order in await world.sim("a").live("a")] == ["6700"]
        await world.send(action="replace", leader_order_id="L1", price=Decimal(6810))
        await ends_unmoved(world, child, "kill_switch")


async def unread(world: World) -> None:
    world.machine.state.switches_until_ns = 0


async def unguarded(world: World) -> None:
    world.machine.fanout.look.unguarded = True


@pytest.mark.parametrize(
    "stop, reason",
    [
        (blocked, "entries_blocked"),
        (flatten_failed, "entries_blocked"),
        (unread, "switches_unread"),
        (unguarded, "unguarded"),
    ],
)
async def test_i06_whatever_stops_entries_stops_their_moves(dsn: str, stop: Stop, reason: str) -> None:
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        child = await resting(world)
        await stop(world)
        await world.send(action="replace", leader_order_id="L1", price=Decimal(6810))
        await ends_unmoved(world, child, reason)


async def test_i06_a_move_that_a_predecessor_left_is_judged_by_the_rules_of_now(dsn: str) -> None:
    """R-087: its successor would send it; meanwhile a person has paused the follower."""
    async with street({"a": Follower(FIRST)}) as on:
        async with engine(dsn, on) as world:
            child = await resting(world)
            world.machine.fanout.look.draining = True
            await world.send(action="replace", leader_order_id="L1", price=Decimal(6810))
            assert child.replace is not None
            assert not child.replace_sent
        on.config = with_rules(on.config, rule("a", pace="paused"))
        async with engine(dsn, on) as world:
            await ends_unmoved(world, world.machine.state.book.orders[child.intent.cl_ord_id], "paused")


async def test_i06_an_entry_does_not_grow_after_a_halt_though_its_move_was_decided_before(dsn: str) -> None:
    """R-092: the move waited for the answer of the one before it."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        child = await resting(world)
        await world.sim("a").settings(ack_delay_ms=400, event_delay_ms=400)
        await world.send(action="replace", leader_order_id="L1", price=Decimal(6701))
        await world.send(action="replace", leader_order_id="L1", quantity=5)
        assert child.replace_sent
        assert child.replace is not None
        await halted(world)
        await world.until(lambda: child.state == "canceled", "the cancel")
        assert child.qty == 2
        assert "kill_switch" in (await world.alert("move-stopped", "a")).text


async def test_i06_a_halt_that_was_lifted_meanwhile_still_stops_a_move_decided_before(dsn: str) -> None:
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        child = await resting(world)
        await world.sim("a").settings(ack_delay_ms=900, event_delay_ms=900)
        await world.send(action="replace", leader_order_id="L1", price=Decimal(6701))
        await world.send(action="replace", leader_order_id="L1", quantity=5)
        stopped_meanwhile(world)
        assert child.replace_sent
        await world.until(lambda: child.state == "canceled", "the cancel")
        assert child.qty == 2


async def test_an_entry_under_a_halt_shrinks_with_its_leader_s(dsn: str) -> None:
    """R-091: less exposure is never held back."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        child = await resting(world)
        await halted(world)
        await world.send(action="replace", leader_order_id="L1", quantity=1)
        await world.until(lambda: child.qty == 1, "the smaller size")
        assert [(o.qty, o.price) for o in await world.sim("a").live("a")] == [(1, "6700")]
        assert not [
            e for e in await world.journal() if isinstance(e, AlertRaised) and e.code == "move-stopped"
        ]


async def test_r085_a_move_waits_while_a_predecessor_may_still_write(dsn: str) -> None:
    """It is neither sent nor given up: the wait ends by itself."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        child = await resting(world)
        look, clock = world.machine.fanout.look, world.machine.state.clock
        look.entries_from_ns = clock.monotonic_ns() + 10**12
        await world.send(action="replace", leader_order_id="L1", price=Decimal(6701))
        assert child.replace is not None
        assert not child.replace_sent
        look.entries_from_ns = 0
        await world.until(lambda: child.price == 6701, "the move")


async def test_stops_under_a_halt_still_follow_the_holding(dsn: str) -> None:
    """I-09: what protects may be moved: too large a stop would turn the account."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        await world.send(side="buy", quantity=2, stop_loss=STOP)
        await world.holds(a=2)
        (stop,) = await world.working("a", 1)
        await world.machine.control.set_switch(WORKSPACE, "account", "a", "reducing", "stop", "ann")
        await world.send(action="reduce", quantity=1)
        await world.holds(a=1)
        await world.until(lambda: stop.qty == 1, "the smaller stop")
