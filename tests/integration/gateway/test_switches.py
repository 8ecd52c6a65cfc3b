"""Kill switches stop entries at once and never exits; a flatten ends when the broker shows nothing, twice."""

import pytest

from gateway_container.api.doors import FlattenOrder
from gateway_container.engine.brake import CHILDREN_PER_ENTRY
from gateway_container.engine.containment import ACCOUNT_FAILED
from gateway_container.engine.control import SWITCHES_GOOD_S
from gateway_container.engine.queue import Stamp
from kopitra.domain.drift import Found
from kopitra.domain.executions import AccountSnapshot
from kopitra.domain.journal import FlattenNoted
from kopitra.domain.limits import RiskLimits
from kopitra.domain.switches import SwitchScope, broker_in
from kopitra.wire.views import FlattenView
from tests.integration.faulty_line import FaultyLine
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
)

ONE_EACH = {"a": Follower(FIRST), "b": Follower(SECOND)}


def everything(*, halt: bool = False) -> FlattenOrder:
    return FlattenOrder(WORKSPACE, "workspace", WORKSPACE, "test", "ann", halt, None)


async def flat(world: World, view: FlattenView) -> None:
    def shown() -> FlattenView:
        found = world.machine.control.flatten_progress(WORKSPACE, view.flatten_id)
        assert found is not None
        return found

    await world.until(lambda: shown().done, "the end of the flatten")
    assert {a.state for a in shown().accounts} == {"flat_confirmed"}, shown()
    for account in ONE_EACH:
        assert await world.sim(account).net(account) == 0
        assert await world.sim(account).live(account) == []


async def active(world: World, scope: SwitchScope, scope_id: str) -> None:
    switches = world.machine.state.book.switches
    await world.until(lambda: switches.state(scope, scope_id) == "active", f"{scope} {scope_id} to be lifted")


async def test_a_kill_switch_stops_entries_lets_exits_pass_and_is_lifted(dsn: str) -> None:
    """R-091, R-092, R-098: entries stop at accept; what was lifted starts in reducing."""
    async with house(dsn, ONE_EACH) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)
        control = world.machine.control
        await control.set_switch(WORKSPACE, "workspace", WORKSPACE, "reducing", "news", "ann")
        assert await world.send(side="buy", quantity=1) == []
        await world.send(action="exit")
        await world.holds(a=0, b=0)
        assert [len(await world.sim(a).placements(a)) for a in ONE_EACH] == [2, 2]

        lifted = await control.set_switch(WORKSPACE, "workspace", WORKSPACE, "active", "over", "ann")
        assert (lifted.state, lifted.lifting) == ("reducing", True)
        await active(world, "workspace", WORKSPACE)
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)


async def test_a_lifted_scope_leaves_an_account_that_differs_behind(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-098: reconciliation is what lets an account go; one that does not pass holds nobody else back."""
    monkeypatch.setattr("gateway_container.engine.lifting.WAIT_S", 0.1)
    async with house(dsn, ONE_EACH) as world:
        control, board = world.machine.control, world.machine.state.book.switches
        await control.set_switch(WORKSPACE, "workspace", WORKSPACE, "halted", "news", "ann")
        await world.sim("a").by_hand("a", world.contract, "buy", 1)
        await control.set_switch(WORKSPACE, "workspace", WORKSPACE, "active", "over", "ann")
        await active(world, "workspace", WORKSPACE)
        behind = board.get("account", "a")
        assert behind is not None
        assert (behind.state, behind.lifting) == ("reducing", True)
        assert "external" in behind.reason
        assert board.state("account", "b") == "active"
        await world.sim("a").by_hand("a", world.contract, "sell", 1)
        await active(world, "account", "a")


async def test_an_account_whose_comparison_fails_stays_behind_and_is_halted_alone(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-020, R-098: neither the lifting of the others nor their comparison ends with it."""
    monkeypatch.setattr("gateway_container.engine.lifting.WAIT_S", 0.1)
    async with house(dsn, ONE_EACH) as world:
        machine = world.machine
        control, real = machine.control, machine.comparison._found

        def found(snapshot: AccountSnapshot) -> Found | None:
            if snapshot.account_id == "a":
                raise ValueError("what nobody thought of")
            return real(snapshot)

        monkeypatch.setattr(machine.comparison, "_found", found)
        await control.set_switch(WORKSPACE, "workspace", WORKSPACE, "halted", "news", "ann")
        await control.set_switch(WORKSPACE, "workspace", WORKSPACE, "active", "over", "ann")
        await active(world, "workspace", WORKSPACE)
        assert machine.state.book.switches.state("account", "a") == "reducing"
        assert "ValueError" in machine.state.book.blocked["a"]
        await world.alert(ACCOUNT_FAILED, "a")
        await world.send(side="buy", quantity=1)
        await world.holds(b=1, a=0)
        assert not any(task.done() for task in machine._tasks if task.get_name() in ("lifting", "comparison"))


async def test_switches_that_cannot_be_read_count_as_reducing(dsn: str) -> None:
    """R-093: entries stop, exits go on, and people see it; a good look ends it."""
    async with house(dsn, ONE_EACH) as world:
        control, clock = world.machine.control, world.machine.state.clock
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)
        control.switches_read(clock.monotonic_ns() - SWITCHES_GOOD_S * 1_000_000_000)
        assert await world.send(side="buy", quantity=1) == []
        shown = world.machine.views.snapshot(WORKSPACE, None)
        assert {a.switch for a in shown.accounts} == {"reducing"}
        await world.send(action="exit")
        await world.holds(a=0, b=0)
        control.switches_read(clock.monotonic_ns())
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)


async def test_switches_that_become_unread_between_the_commit_and_the_write_stop_the_entry(dsn: str) -> None:
    """R-092, R-093: the last look compares one number."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        pending = world.machine.intake.accept(world.signal(side="buy", quantity=1), None)
        world.machine.control.switches_read(-SWITCHES_GOOD_S * 1_000_000_000)
        await pending.committed
        (child,) = world.children(pending.plan.list_id)
        await world.until(lambda: child.state == "skipped", "the refusal")
        assert child.reason == "switches_unread"
        assert await world.sim("a").placements("a") == []


async def test_an_entry_that_was_decided_before_a_halt_does_not_leave_after_it_was_lifted(dsn: str) -> None:
    """I-06, R-092: it waited out its follower's delay meanwhile; what is decided afterwards leaves."""
    patient = Follower(FIRST, lambda account_id: rule(account_id, delay_ms=400))
    async with house(dsn, {"a": patient}) as world:
        control = world.machine.control
        (child,) = await world.send(side="buy", quantity=1)
        await control.set_switch(WORKSPACE, "account", "a", "halted", "wait", "ann")
        await control.set_switch(WORKSPACE, "account", "a", "active", "over", "ann")
        await active(world, "account", "a")
        await world.until(lambda: child.state == "skipped", "the end of the delay")
        assert child.reason == "kill_switch"
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        assert len(await world.sim("a").placements("a")) == 1


async def test_lifting_a_broker_leaves_what_the_brake_and_others_stopped(dsn: str) -> None:
    """R-091, R-099: what stands under another name is neither weakened nor lifted."""
    async with house(dsn, ONE_EACH) as world:
        control, state = world.machine.control, world.machine.state
        control.brake("a", "runs away")
        await control.set_switch(WORKSPACE, "broker", FIRST, "reducing", "news", "ann")
        assert state.switch(state.config.accounts["a"]) == "halted"
        assert [(s.scope_id, s.state) for s in control.switches(WORKSPACE) if s.scope == "broker"] == [
            (FIRST, "reducing")
        ]
        await control.set_switch(WORKSPACE, "broker", FIRST, "active", "over", "ann")
        await active(world, "broker", broker_in(WORKSPACE, FIRST))
        assert state.switch(state.config.accounts["a"]) == "halted"
        assert await world.send(side="buy", quantity=1) != []
        await world.holds(b=1, a=0)
        await control.set_switch(WORKSPACE, "account", "a", "active", "looked at", "ann")
        await active(world, "account", "a")
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=2)


async def test_a_broker_is_stopped_in_its_workspace(dsn: str) -> None:
    """R-091: its accounts' entries stop, those of others go on."""
    async with house(dsn, ONE_EACH) as world:
        await world.machine.control.set_switch(WORKSPACE, "broker", FIRST, "halted", "news", "ann")
        await world.send(side="buy", quantity=1)
        await world.holds(b=1, a=0)
        assert await world.sim("a").placements("a") == []


async def test_a_flatten_that_stops_entries_never_weakens_a_halt(dsn: str) -> None:
    """R-091, P6: `halt` of a flatten means reducing at least."""
    async with house(dsn, ONE_EACH) as world:
        control, board = world.machine.control, world.machine.state.book.switches
        await control.set_switch(WORKSPACE, "workspace", WORKSPACE, "halted", "stop", "ann")
        await flat(world, await control.flatten(everything(halt=True)))
        switch = board.get("workspace", WORKSPACE)
        assert switch is not None
        assert (switch.state, switch.reason) == ("halted", "stop")


async def test_a_flatten_stops_entries_of_a_scope_that_is_being_lifted(dsn: str) -> None:
    """R-098: reducing that ends by itself is less than a stop that a person lifts."""
    async with house(dsn, ONE_EACH) as world:
        control, board = world.machine.control, world.machine.state.book.switches
        await control.set_switch(WORKSPACE, "workspace", WORKSPACE, "halted", "stop", "ann")
        lifted = await control.set_switch(WORKSPACE, "workspace", WORKSPACE, "active", "over", "ann")
        assert lifted.lifting
        await control.flatten(everything(halt=True))
        switch = board.get("workspace", WORKSPACE)
        assert switch is not None
        assert (switch.state, switch.lifting) == ("reducing", False)


async def test_an_account_that_runs_away_is_halted_at_once(dsn: str) -> None:
    """R-099: orders go, the next is stopped, a person is told; the switch stays until a person lifts it."""
    careful = Follower(FIRST, limits=RiskLimits(max_orders_per_minute=2))
    async with house(dsn, {"a": careful}) as world:
        brake = world.machine.fanout.brake
        brake.wrote("a", 2 * CHILDREN_PER_ENTRY)
        await world.send(side="buy", quantity=1)
        await world.alert("runaway-brake", "a")
        switch = world.machine.state.book.switches.get("account", "a")
        assert switch is not None
        assert (switch.state, switch.who) == ("halted", "runaway-brake")
        assert await world.send(side="buy", quantity=1) == []
        assert len(await world.sim("a").placements("a")) == 1


async def test_an_order_that_is_dispatched_twice_is_written_once(dsn: str) -> None:
    """I-01, I-05, R-099: orders out never exceed plan in, whatever goes wrong above the socket."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        fanout, clock = world.machine.fanout, world.machine.state.clock
        pending = world.machine.intake.accept(world.signal(side="buy", quantity=1), None)
        (child,) = world.children(pending.plan.list_id)
        now_ns = clock.monotonic_ns()
        again = fanout.encode([child.intent], Stamp(now_ns, now_ns, now_ns))
        await pending.committed
        fanout.dispatch(again, now_ns)
        await world.holds(a=1)
        await world.alert("runaway-brake", "a")
        assert len(await world.sim("a").placements("a")) == 1


async def test_a_halt_lets_no_copied_exit_out_but_a_flatten(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)
        control = world.machine.control
        await control.set_switch(WORKSPACE, "workspace", WORKSPACE, "halted", "hands off", "ann")
        kept_back = await world.send(action="exit")
        await world.until(lambda: all(c.reason == "kill_switch" for c in kept_back), "the refusal")
        assert [await world.sim(a).net(a) for a in ONE_EACH] == [1, 1]
        await flat(world, await control.flatten(everything()))


async def test_a_switch_set_between_the_commit_and_the_write_stops_the_entry(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        pending = world.machine.intake.accept(world.signal(side="buy", quantity=1), None)
        await world.machine.control.set_switch(WORKSPACE, "account", "a", "halted", "now", "ann")
        await pending.committed
        await world.holds(b=1)
        children = {c.intent.account_id: c for c in world.children(pending.plan.list_id)}
        assert (children["a"].state, children["a"].reason) == ("skipped", "kill_switch")
        assert await world.sim("a").placements("a") == []


async def test_a_flatten_closes_everything_foreign_things_too(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        await world.send(side="buy", quantity=2)
        await world.holds(a=2, b=2)
        for account in ONE_EACH:
            sim = world.sim(account)
            await sim.by_hand(account, world.contract, "buy", 1)
            await sim.by_hand(account, world.contract, "buy", 1, ord_type="limit", price="6700")
        await flat(world, await world.machine.control.flatten(everything(halt=True)))
        assert {world.held(a) for a in ONE_EACH} == {0}
        assert await world.send(side="buy", quantity=1) == []
        await world.no_order_is_doubled()
        for account in ONE_EACH:
            number = await world.sim(account).number(account)
            fills = [r for r in await world.sim(account).ledger("execution") if r.account_id == number]
            assert [r.qty for r in fills if r.side == "sell"] == [3]


async def test_a_flatten_works_while_the_database_is_down(faulty_dsn: str, line: FaultyLine) -> None:
    async with house(faulty_dsn, ONE_EACH) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)
        await line.down()
        await flat(world, await world.machine.control.flatten(everything()))
        await line.up()
        await world.until(
            lambda: not world.machine.log.backlog and world.machine.log.takes_decisions, "the journal"
        )
        for account in ONE_EACH:
            await world.journalled(
                lambda e, a=account: (
                    isinstance(e, FlattenNoted) and (e.account_id, e.state) == (a, "flat_confirmed")
                ),
                f"the confirmation of {account}",
            )
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)
        await world.no_order_is_doubled()


@pytest.mark.parametrize("broker", [FIRST, SECOND])
async def test_a_flatten_that_a_restart_interrupts_goes_on(dsn: str, broker: str) -> None:
    async with street({"a": Follower(broker)}) as on:
        async with engine(dsn, on) as world:
            await world.send(side="buy", quantity=1)
            await world.holds(a=1)
            await world.sim("a").settings(halted_symbols=[world.contract])
            await world.machine.control.flatten(everything())
            await world.journalled(
                lambda e: isinstance(e, FlattenNoted) and e.state == "pending", "an attempt"
            )
        await on.sims[broker].settings(halted_symbols=[])
        async with engine(dsn, on) as world:
            await world.journalled(
                lambda e: isinstance(e, FlattenNoted) and e.state == "flat_confirmed", "the confirmation"
            )
            assert await world.sim("a").net("a") == 0
            assert not world.machine.state.book.blocked
