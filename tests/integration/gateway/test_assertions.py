"""The invariants that are asserted while running: one safeguard is taken out, the assertion sees what follows."""

from dataclasses import replace
from decimal import Decimal

import pytest

from gateway_container.engine.assertions import WHO
from gateway_container.engine.queue import Place, Stamp
from kopitra.domain.orders import ChildOrder
from kopitra.domain.switches import KillSwitch
from kopitra.ports import Encoded, NotSent, Sent
from tests.integration.gateway.world import FIRST, WORKSPACE, Follower, World, house

ONE = {"a": Follower(FIRST)}


async def entry(world: World) -> ChildOrder:
    """A filled entry of one contract."""
    (child, *_) = await world.send(side="buy", quantity=1)
    await world.holds(a=1)
    return child


def again(world: World, child: ChildOrder) -> list[Place]:
    """The same order as if it were about to leave."""
    now_ns = world.machine.state.clock.monotonic_ns()
    return world.machine.fanout.encode([child.intent], Stamp(now_ns, now_ns, now_ns))


def blind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the last look away."""

    def unseen(_place: object, _now_ns: int) -> None:
        return None

    monkeypatch.setattr(world.machine.fanout.look, "refusal", unseen)


async def test_i01_a_second_write_of_a_leg_is_held_back_and_stops_all_entries(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-01: without the brake against repeats and without the last look, still one placement."""
    async with house(dsn, ONE) as world:
        child = await entry(world)
        blind(world, monkeypatch)
        world.machine.fanout._written.clear()
        world.machine.fanout.dispatch(again(world, child), 0)
        switches = world.machine.state.book.switches
        assert switches.state("global", "") == "reducing"
        stop = switches.get("global", "")
        assert stop is not None
        assert stop.who == WHO
        await world.alert("invariant-i-01", "a")
        assert len(await world.sim("a").placements("a")) == 1
        assert world.machine.supplies.metrics.breaks.counts["I-01"] == 1
        await world.send(action="exit")
        await world.holds(a=0)


async def test_i05_an_order_that_nobody_decided_does_not_leave(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-05: orders out never exceed plan in."""
    async with house(dsn, ONE) as world:
        child = await entry(world)
        blind(world, monkeypatch)
        stray = child.intent._replace(cl_ord_id=f"{child.intent.cl_ord_id}x", leg="e9")
        now_ns = world.machine.state.clock.monotonic_ns()
        stamp = Stamp(now_ns, now_ns, now_ns)
        world.machine.fanout.dispatch(world.machine.fanout.encode([stray], stamp), now_ns)
        await world.alert("invariant-i-05", "a")
        assert world.machine.state.book.switches.state("global", "") == "reducing"
        assert len(await world.sim("a").placements("a")) == 1


async def test_i06_no_entry_leaves_after_the_flag_though_the_last_look_is_blind(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-06: set between the decision and the write."""
    async with house(dsn, ONE) as world:
        blind(world, monkeypatch)
        pending = world.machine.intake.accept(world.signal(side="buy", quantity=1), None)
        await world.machine.control.set_switch(WORKSPACE, "account", "a", "reducing", "stop", "ann")
        await pending.committed
        await world.alert("invariant-i-06", "a")
        (child,) = world.children(pending.plan.list_id)
        assert (child.state, child.reason) == ("skipped", "kill_switch")
        assert await world.sim("a").placements("a") == []
        assert "I-06" in world.machine.state.book.blocked["a"]


async def test_i06_no_entry_leaves_that_was_decided_before_a_halt_that_is_lifted_already(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-06: the decision is older than the halt."""
    async with house(dsn, ONE) as world:
        blind(world, monkeypatch)
        state = world.machine.state
        pending = world.machine.intake.accept(world.signal(side="buy", quantity=1), None)
        switch = KillSwitch("account", "a", "halted", "stop", "ann", 1)
        world.machine.control.throw(switch)
        state.book.switches.set(replace(switch, state="active", epoch=2))
        await pending.committed
        await world.alert("invariant-i-06", "a")
        assert await world.sim("a").placements("a") == []


async def test_i08_a_position_that_is_not_the_sum_of_its_fills_stops_the_account(dsn: str) -> None:
    """I-08."""
    async with house(dsn, ONE) as world:
        await entry(world)
        world.machine.state.book.positions["a", world.contract].qty += Decimal(3)
        await world.send(side="buy", quantity=1)
        await world.alert("invariant-i-08", "a")
        assert "add up to 2" in world.machine.state.book.blocked["a"]


async def test_i11_a_write_after_the_right_to_write_is_told_and_ends_the_entries_of_this_process(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-11, R-085: the clock was looked at, then the process stood still, then the bytes left."""
    async with house(dsn, ONE) as world:
        session = world.machine.sessions.of("a")
        assert session is not None
        submit = session.submit
        late_ns = world.machine.lease.valid_until_ns + 1

        def paused(encoded: Encoded, lane_exit: bool) -> Sent | NotSent:
            assert isinstance(submit(encoded, lane_exit), Sent)
            return Sent(late_ns)

        monkeypatch.setattr(session, "submit", paused, raising=False)
        await world.send(side="buy", quantity=1)
        await world.alert("invariant-i-11", "a")
        monkeypatch.setattr(session, "submit", submit, raising=False)
        (child,) = await world.send(side="buy", quantity=1)
        assert (child.state, child.reason) == ("skipped", "unguarded")
        assert len(await world.sim("a").placements("a")) == 1


async def test_ordinary_trading_breaks_nothing(dsn: str) -> None:
    """Entries with stop and target, a move, a reversal and an exit: no assertion speaks."""
    async with house(dsn, ONE) as world:
        await world.send(side="buy", quantity=2, stop_loss={"offset": "10"})
        await world.holds(a=2)
        await world.send(action="reverse", side="sell", quantity=1)
        await world.holds(a=-1)
        await world.send(action="exit")
        await world.holds(a=0)
        asserts = world.machine.fanout.asserts
        asserts.count()
        asserts.marked(world.machine.state.book.measures)
        assert set(world.machine.supplies.metrics.breaks.counts.values()) == {0}
        assert set(asserts._credit.values()) == {0}
