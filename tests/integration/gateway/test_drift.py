"""Accounts are compared with their brokers, and what two reads confirm is repaired by ordinary orders."""

from dataclasses import replace
from decimal import Decimal

import pytest

from gateway_container.api.doors import FlattenOrder
from gateway_container.engine.comparison import Pace
from gateway_container.engine.repairs import Asked, NoSuchRepair, RepairChanged
from kopitra.domain.executions import ExecutionReport
from kopitra.domain.journal import (
    AlertRaised,
    DriftNoted,
    EntriesBlocked,
    OrdersSent,
    PositionDiffers,
    RepairPlanned,
    Reported,
)
from kopitra.domain.repair import RepairPlan
from kopitra.domain.repairing import Wish
from kopitra.store.drafts import IdempotencyDraft
from tests.integration.gateway.world import FIRST, SECOND, WORKSPACE, Follower, World, house, rule

ONE_EACH = {"a": Follower(FIRST), "b": Follower(SECOND)}
#: everything that takes seconds in the open takes tenths here
QUICK = Pace(every_low_s=0.3, every_high_s=0.5, tick_s=0.05, quiet_s=0.3, lost_s=0.0)


def quick(world: World) -> None:
    world.machine.comparison.pace = QUICK


async def noted(world: World, kind: str, state: str = "found") -> DriftNoted:
    entry = await world.journalled(
        lambda e: isinstance(e, DriftNoted) and (e.drift.kind, e.state) == (kind, state), f"{kind} {state}"
    )
    assert isinstance(entry, DriftNoted)
    return entry


async def orphan(world: World) -> None:
    """Both hold one; the leader leaves while broker of "a" refuses closes, and more than one of them."""
    await world.send(side="buy", quantity=1)
    await world.holds(a=1, b=1)
    await world.sim("a").control("reject-next", count=2, text="refused by a test")
    await world.send(action="exit")
    await world.holds(a=1, b=0)


async def test_r043_an_orphan_is_closed_by_a_repair_with_its_cause(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        await orphan(world)
        quick(world)
        drift = await noted(world, "orphan")
        assert (drift.drift.leader, drift.drift.qty) == ("lead", Decimal(-1))
        await world.holds(a=0, b=0)
        entry = await world.journalled(lambda e: isinstance(e, RepairPlanned), "the repair")
        assert isinstance(entry, RepairPlanned)
        assert (entry.plan.run_id, entry.who) == (drift.run_id, "gateway")
        intent = entry.plan.intents[0]
        assert intent.reduce_only
        await world.journalled(
            lambda e: isinstance(e, OrdersSent) and any(f.cl_ord_id == intent.cl_ord_id for f in e.sent),
            "its write",
        )
        await noted(world, "orphan", "cleared")
        await world.no_order_is_doubled()


async def test_r045_a_repair_that_does_not_help_is_parked_after_three_attempts(dsn: str) -> None:
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        await world.sim("a").control("reject-next", count=50, text="refused by a test")
        await world.send(action="exit")
        quick(world)
        parked = await noted(world, "orphan", "parked")
        await world.alert("drift-parked", "a")
        made = [e for e in await world.journal() if isinstance(e, RepairPlanned)]
        assert len(made) == 3
        assert len({e.plan.plan_id for e in made}) == 3
        assert parked.drift.symbol == world.contract
        await world.until(lambda: len(world.machine.comparison.compared_ns) == 1, "another comparison")
        assert len([e for e in await world.journal() if isinstance(e, RepairPlanned)]) == 3


async def test_r043_foreign_contracts_stop_the_entries_of_their_contract_until_they_are_gone(
    dsn: str,
) -> None:
    async with house(dsn, ONE_EACH) as world:
        quick(world)
        await world.sim("a").by_hand("a", world.contract, "buy", 2)
        await noted(world, "external")
        await world.alert("drift-external", "a")
        assert "external 2" in world.machine.comparison.out_of_sync("a")
        await world.send(side="buy", quantity=1)
        await world.holds(b=1)
        assert await world.sim("a").placements("a") == []
        await world.sim("a").by_hand("a", world.contract, "sell", 2)
        await world.journalled(
            lambda e: isinstance(e, EntriesBlocked) and (e.symbol, e.reason) == (world.contract, ""),
            "the lift",
        )
        assert world.machine.comparison.out_of_sync("a") == ""
        await world.send(action="add", side="buy", quantity=1)
        await world.holds(a=1, b=2)


async def test_what_a_person_closed_is_not_closed_again_and_can_be_opened_again_on_request(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)
        await world.sim("a").by_hand("a", world.contract, "sell", 1)
        await world.until(lambda: world.held("a") == 0, "the attribution")
        repairs = world.machine.repair_desk.repairs
        left = await repairs.preview(Asked(WORKSPACE, ("a",)))
        assert [(s.drift.kind, s.verdict) for s in left.steps] == [("closed_by_hand", "left")]
        plan = await repairs.preview(Asked(WORKSPACE, ("a", "b"), wish=Wish(None, True)))
        assert [(s.drift.kind, s.verdict) for s in plan.steps] == [("closed_by_hand", "approved")]
        watched: list[RepairPlan] = []
        assert repairs.on_sent == world.machine.safety.expected.repaired
        repairs.on_sent = watched.append
        done = await repairs.apply(WORKSPACE, plan.plan_id, "ann", None)
        assert done.applied
        assert [plan.plan_id for plan in watched] == [
            plan.plan_id
        ]  # its orders are waited for like a signal's
        await world.holds(a=1, b=1)
        again = await repairs.apply(WORKSPACE, plan.plan_id, "ann", None)
        assert again == done
        await world.send(action="exit")
        await world.holds(a=0, b=0)
        assert len(await world.sim("a").placements("a")) == 3


async def test_r043_a_flatten_is_not_undone_by_a_top_up(dsn: str) -> None:
    """R-043, R-094: what a person flattened is opened by the leader's next entry, or on request."""
    async with house(dsn, {"a": Follower(FIRST, lambda a: rule(a, repair="top_up"))}) as world:
        await world.send(side="buy", quantity=2)
        await world.holds(a=2)
        machine = world.machine
        machine.comparison.pace = machine.comparison.pace._replace(quiet_s=0.0)
        await machine.control.flatten(
            FlattenOrder(WORKSPACE, "workspace", WORKSPACE, "test", "ann", False, None)
        )
        await world.until(lambda: not machine.state.book.flattens, "flat")
        found = await machine.comparison.look("a")
        assert found is not None
        assert (found.drifts, [d.kind for d in found.reopenable]) == ((), ["closed_by_hand"])


async def test_after_a_person_closed_the_leaders_exit_sends_nothing(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)
        await world.sim("a").by_hand("a", world.contract, "sell", 1)
        await world.until(lambda: world.held("a") == 0, "the attribution")
        await world.send(action="exit")
        await world.holds(a=0, b=0)
        assert len(await world.sim("a").placements("a")) == 1


@pytest.mark.parametrize("broker", [FIRST, SECOND])
async def test_a_close_by_hand_that_a_read_shows_before_the_stream_tells_it_counts_once(
    dsn: str, broker: str
) -> None:
    """I-08: its leader keeps the rest."""
    async with house(dsn, {"a": Follower(broker)}) as world:
        await world.send(side="buy", quantity=3)
        await world.holds(a=3)
        machine, sim = world.machine, world.sim("a")
        session = machine.sessions.of("a")
        assert session is not None
        await sim.settings(stream_silent=True)
        await sim.control("manual-close", account_id=sim.numbers["a"], symbol=world.contract, qty=1)
        told = await session.snapshot("a", None)
        read = replace(told, started_ns=machine.state.clock.monotonic_ns() + 10**10)
        now = machine.state.clock.now()
        machine.reconciler.look(read)
        (shown,) = machine.state.book.sync.unexplained.values()
        assert shown.qty == -1
        assert shown.at >= now
        assert world.held("a") == 3
        late = [e for e in told.executions or () if e.cl_ord_id is None]
        assert [e.last_qty for e in late] == [1]
        machine.reports.handle(late[0])
        assert world.held("a") == 2
        quick(world)
        await world.until(
            lambda: not any(x.qty for x in machine.state.book.sync.unexplained.values()), "the next read"
        )
        await world.send(action="exit")
        await world.holds(a=0)
        assert [order.qty for order in await sim.placements("a")] == [3, 2]
        assert not [e for e in await world.journal() if isinstance(e, EntriesBlocked | RepairPlanned)]


async def test_a_plan_of_another_world_is_refused_and_one_that_nobody_previewed_is_unknown(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        await orphan(world)
        repairs = world.machine.repair_desk.repairs
        plan = await repairs.preview(Asked(WORKSPACE, ("a",)))
        assert len(plan.intents) == 1
        await world.sim("a").by_hand("a", world.contract, "sell", 1)
        await world.until(lambda: world.held("a") == 0, "the attribution")
        with pytest.raises(RepairChanged):
            await repairs.apply(WORKSPACE, plan.plan_id, "ann", None)
        for workspace, plan_id in ((WORKSPACE, "rp0"), ("other", plan.plan_id)):
            with pytest.raises(NoSuchRepair):
                await repairs.apply(workspace, plan_id, "ann", None)
        assert len(await world.sim("a").placements("a")) == 3


async def test_r042_an_execution_that_the_stream_lost_is_imported_and_counted(dsn: str) -> None:
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        quick(world)
        await world.sim("a").settings(stream_silent=True)
        children = await world.send(side="buy", quantity=1)
        await world.until(lambda: children[0].state == "filled", "the import")
        await world.holds(a=1)
        lost = await world.alert("stream-loss", "a")
        assert lost.cl_ord_id == children[0].intent.cl_ord_id
        assert world.machine.supplies.metrics.stream_losses.counts == {FIRST: 1}


async def test_r044_a_failed_or_partial_read_changes_nothing(dsn: str) -> None:
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        machine = world.machine
        assert await machine.comparison.look("nobody") is None
        session = machine.sessions.of("a")
        assert session is not None
        whole = await session.snapshot("a", None)
        quick(world)
        for partial in (replace(whole, positions=None), replace(whole, positions=(), orders=None)):
            for _ in range(2):
                machine.reconciler.look(
                    replace(partial, started_ns=machine.state.clock.monotonic_ns() + 10**9)
                )
        assert world.held("a") == 1
        assert machine.state.book.sync.drifts == {}
        assert not [e for e in await world.journal() if isinstance(e, DriftNoted | RepairPlanned)]


async def test_r040_a_posted_fill_of_no_order_of_ours_is_kept_and_starts_a_comparison(dsn: str) -> None:
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        quick(world)
        machine = world.machine
        now = machine.state.clock.now()
        fill = ExecutionReport(
            "a", "b-9", "trade", "filled", world.contract, "buy", now,
            exec_id="x-9", last_qty=Decimal(1), last_px=Decimal(6800),
        )  # fmt: skip
        before_ns = machine.comparison.compared_ns.get("a", 0)
        draft = IdempotencyDraft("ea", "executions", "k-1", b"0" * 32, 200, lambda _seq: b"{}")
        await machine.callbacks.record(WORKSPACE, "a", fill, draft).committed
        alert = await world.alert("orphan-execution", "a")
        assert "x-9" in alert.text
        # The broker has no such position: the difference is evidence, and nothing is sent because of it.
        differs = await world.journalled(lambda e: isinstance(e, PositionDiffers), "the comparison")
        assert isinstance(differs, PositionDiffers)
        assert (differs.book_qty, differs.report.net_qty) == (1, 0)
        assert machine.comparison.compared_ns["a"] > before_ns
        assert await world.sim("a").placements("a") == []


async def test_r040_a_fill_told_with_two_quantities_blocks_its_contract_only(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)
        told = await world.journalled(
            lambda e: isinstance(e, Reported) and e.report.exec_type == "trade", "a fill"
        )
        assert isinstance(told, Reported)
        world.machine.reports.handle(told.report._replace(last_qty=Decimal(7)))
        account_id = told.report.account_id
        await world.alert("illegal-transition", account_id)
        shown = {x.account_id: x for x in world.machine.views.snapshot(WORKSPACE, None).accounts}[account_id]
        assert (shown.entries_blocked, list(shown.blocked_symbols)) == ("", [world.contract])
        world.machine.repair_desk.lift(WORKSPACE, account_id, world.contract, "ann: compared")
        assert world.machine.state.book.sync.blocked == {}
        assert world.held(account_id) == 1


async def test_r041_accounts_that_cannot_be_compared_are_told_of_and_others_are_not(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        comparison = world.machine.comparison
        session = world.machine.sessions.of("a")
        assert session is not None
        session.keep(lambda: 1_000_000)  # the ways out of what is held take all the login's room
        comparison.overdue.overdue_s = 1.0
        quick(world)
        told = await world.alert("comparison-late", "a")
        assert "login has no room" in told.text
        assert comparison.compared_ns["b"] > comparison.compared_ns["a"]
        before_ns = comparison.compared_ns["a"]
        late = [
            e for e in await world.journal() if isinstance(e, AlertRaised) and e.code == "comparison-late"
        ]
        assert {e.account_id for e in late} == {"a"}
        session.keep(lambda: 0)
        await world.until(
            lambda: comparison.compared_ns["a"] > before_ns, "its comparison once there is room"
        )
