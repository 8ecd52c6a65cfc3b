"""Flattens among slow fills, other flattens, leaders' exits, closed markets and crashes, on the brokers' real wires."""

import pytest

from gateway_container.engine import flatten
from gateway_container.engine.repair_desk import FlattenUnderWay
from kopitra.domain.journal import EntriesBlocked
from tests.integration.gateway.flattens import EVERYTHING, begun, closes
from tests.integration.gateway.world import (
    FIRST,
    SECOND,
    SHORT_GRACE,
    WORKSPACE,
    Follower,
    World,
    engine,
    house,
    street,
)

BOTH = pytest.mark.parametrize("broker", [FIRST, SECOND])
FAULT = "the broker canceled trade 77: compare the account with the broker, then lift the block"


async def traded(world: World) -> list[tuple[str | None, int | None]]:
    return [(row.side, row.qty) for row in await world.sim("a").ledger("execution")]


@pytest.mark.parametrize("delay_ms", [400, 2_000])
@BOTH
async def test_a_flatten_waits_for_its_own_close(dsn: str, broker: str, delay_ms: int) -> None:
    """R-094, R-102: a close that fills slowly is neither canceled nor sent again."""
    async with house(dsn, {"a": Follower(broker)}) as world:
        await world.send(side="buy", quantity=2)
        await world.holds(a=2)
        await world.sim("a").settings(fill_delay_ms=delay_ms)
        asked = await begun(world)
        await world.until(lambda: asked().state == "flat_confirmed", "flat")
        assert await traded(world) == [("buy", 2), ("sell", 2)]
        assert len(closes(world)) == 1
        assert world.held("a") == 0
        assert not world.machine.state.book.flattens


@BOTH
async def test_two_flattens_of_one_account_are_one_run(dsn: str, broker: str) -> None:
    """R-094, R-095: the second request joins the first one and gets its outcome."""
    async with house(dsn, {"a": Follower(broker)}) as world:
        await world.send(side="buy", quantity=2)
        await world.holds(a=2)
        await world.sim("a").settings(fill_delay_ms=300)
        one, two = await begun(world), await begun(world)
        await world.until(lambda: closes(world), "a close on its way")
        # The sentence of the run, not one like it: of two runs the second would only wait for the first one's close.
        (close,) = closes(world)
        working = f"{close.intent.cl_ord_id} works in {world.contract}"
        expected = f"0 orders to cancel, 1 positions; {working}"
        await world.until(lambda: two().detail == one().detail == expected, "the run's own words")
        await world.until(lambda: one().state == two().state == "flat_confirmed", "both flat")
        assert two().detail == one().detail, "the two reads that confirmed it"
        assert await traded(world) == [("buy", 2), ("sell", 2)]
        assert len(closes(world)) == 1


@BOTH
async def test_a_leaders_exit_in_the_same_moment_is_left_to_the_flatten(dsn: str, broker: str) -> None:
    """R-012, R-095: the flatten was first, so the exit does not leave, and nothing of it comes later."""
    async with house(dsn, {"a": Follower(broker)}) as world:
        await world.send(side="buy", quantity=2)
        await world.holds(a=2)
        await world.sim("a").settings(fill_delay_ms=300)
        asked = await begun(world)
        await world.until(lambda: closes(world), "a close on its way")
        (exit_,) = await world.send(action="exit")
        assert (exit_.state, exit_.reason) == ("skipped", "flattening")
        await world.until(lambda: asked().state == "flat_confirmed", "flat")
        assert await traded(world) == [("buy", 2), ("sell", 2)]
        assert (await world.send(side="buy", quantity=1))[0].state != "skipped"
        await world.holds(a=1)


@BOTH
async def test_a_leaders_exit_on_the_wire_is_waited_for(dsn: str, broker: str) -> None:
    """R-012, R-095: the exit was first, so the flatten closes nothing that it still closes."""
    async with house(dsn, {"a": Follower(broker)}) as world:
        await world.send(side="buy", quantity=2)
        await world.holds(a=2)
        await world.sim("a").settings(fill_delay_ms=800)
        await world.send(action="exit")
        asked = await begun(world)
        await world.until(lambda: asked().state == "flat_confirmed", "flat")
        assert await traded(world) == [("buy", 2), ("sell", 2)]
        assert not closes(world)


@BOTH
async def test_a_flatten_that_failed_is_tried_again_when_the_market_trades(
    dsn: str, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-094, R-102, R-064: failed is told, entries stay stopped, and the re-open finds somebody who closes."""
    monkeypatch.setattr(flatten, "GIVE_UP_S", 0.7)
    monkeypatch.setattr(flatten, "AGAIN_PAUSES_S", (0.3,))
    async with house(dsn, {"a": Follower(broker)}) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        sim, desk = world.sim("a"), world.machine.repair_desk
        await sim.settings(halted_symbols=[world.contract])
        asked = await begun(world)
        with pytest.raises(FlattenUnderWay):
            desk.lift(WORKSPACE, "a", "", "ann")
        await world.until(lambda: asked().state == "failed", "a failure")
        shown = world.machine.views.snapshot(WORKSPACE, None).accounts[0].entries_blocked
        assert shown.startswith("a flatten has failed (not flat after")
        assert (await world.alert("flatten-failed", "a")).account_id == "a"
        await sim.settings(halted_symbols=[])
        await world.until(lambda: asked().state == "flat_confirmed", "flat")
        assert await sim.net("a") == 0
        assert not world.machine.state.book.flattens


async def test_a_person_ends_a_flatten_that_failed_by_lifting_its_block(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-041, R-102: a failed one is compared, may be lifted, and then nobody closes behind the person's back."""
    monkeypatch.setattr(flatten, "GIVE_UP_S", 0.7)
    monkeypatch.setattr(flatten, "AGAIN_PAUSES_S", (1.0,))
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        machine, sim = world.machine, world.sim("a")
        await sim.settings(halted_symbols=[world.contract])
        asked = await begun(world)
        await world.until(lambda: asked().state == "failed", "a failure")
        machine.comparison.pace = machine.comparison.pace._replace(quiet_s=0.0)
        assert await machine.comparison.look("a") is not None
        assert "a" in machine.comparison.compared_ns
        machine.repair_desk.lift(WORKSPACE, "a", "", "ann")
        assert not machine.state.book.flattens
        before = len(closes(world))
        await world.until(lambda: not machine.flattener.is_at_work("a"), "nobody at work")
        await sim.settings(halted_symbols=[])
        assert len(closes(world)) == before
        (child,) = await world.send(side="buy", quantity=1)
        assert child.reason != "entries_blocked"


async def test_a_contract_that_nobody_trades_holds_up_no_other(dsn: str) -> None:
    """R-094: each contract on its own."""
    async with house(dsn, {"a": Follower(SECOND)}) as world:
        await world.send(side="buy", quantity=1)
        await world.send(side="buy", quantity=1, symbol="NQ")
        sim = world.sim("a")
        await world.until(lambda: len(world.machine.state.book.held("a", "lead")) == 2, "two positions")
        await sim.settings(halted_symbols=[world.contract])
        await begun(world)
        holdings = world.machine.state.book.held("a", "lead")
        await world.until(lambda: sum(p.qty for p in holdings.values()) == 1, "one closed")
        assert holdings[world.contract].qty == 1
        await sim.settings(halted_symbols=[])


@BOTH
async def test_a_flatten_lifts_no_block_but_its_own(dsn: str, broker: str) -> None:
    """R-001, R-040, R-094: what a person has to look at stands beside the flatten and after it."""
    async with house(dsn, {"a": Follower(broker)}) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        world.machine.log.note(WORKSPACE, EntriesBlocked("a", FAULT))
        asked = await begun(world)
        await world.until(lambda: asked().state == "flat_confirmed", "flat")
        assert world.machine.state.book.blocked == {"a": FAULT}
        assert not world.machine.state.book.flattens


@BOTH
async def test_a_flatten_outlives_a_crash_beside_another_block(dsn: str, broker: str) -> None:
    """R-094, R-102, R-020: the mark is journalled, whatever else stops the account; its requester finds it again."""
    async with street({"a": Follower(broker)}) as on:
        async with engine(dsn, on, lease=SHORT_GRACE, stop=False) as world:
            await world.send(side="buy", quantity=2)
            await world.holds(a=2)
            sim = world.sim("a")
            await sim.settings(halted_symbols=[world.contract])
            flatten_id = (await world.machine.control.flatten(EVERYTHING)).flatten_id
            await world.until(lambda: closes(world), "a close on its way")
            world.machine.log.note(WORKSPACE, EntriesBlocked("a", FAULT))
            await world.journalled(lambda e: isinstance(e, EntriesBlocked), "the block")
            await world.crash()
        await sim.settings(halted_symbols=[])
        async with engine(dsn, on, lease=SHORT_GRACE) as world:
            control = world.machine.control

            def is_flat() -> bool:
                view = control.flatten_progress(WORKSPACE, flatten_id)
                return view is not None and view.accounts[0].state == "flat_confirmed"

            await world.until(is_flat, "flat")
            assert await sim.net("a") == 0
            assert world.machine.state.book.blocked == {"a": FAULT}
            assert sum(qty or 0 for side, qty in await traded(world) if side == "sell") == 2
