"""Loss limits at work on the brokers' real wires: money moves, rungs are climbed, a lock outlives everything."""

import asyncio
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from pathlib import Path

import pytest

from gateway_container.engine.containment import ACCOUNT_FAILED, TASK_DEAD
from gateway_container.exit_writer import LocalExitFile
from kopitra.domain.journal import EquityMarked, FlattenNoted, LimitRung
from kopitra.domain.loss_ladder import Use, uses
from kopitra.domain.measuring import Measure, NewStart, Reading
from kopitra.domain.prop_limits import DailyLoss, MaxLoss, PropLimits
from kopitra.store.pool import Database
from tests.integration.faulty_line import FaultyLine
from tests.integration.gateway.test_exits_without_database import QUICK
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
#: one ES contract makes or loses 50 a point
DAILY = PropLimits(Decimal(50_000), daily_loss=DailyLoss(amount=Decimal(1000)), stale_after_ms=60_000)
TRAILING = PropLimits(
    Decimal(50_000), max_loss=MaxLoss("trailing_intraday", Decimal(2000)), stale_after_ms=60_000
)
ASKED = NewStart(0, None, None, "ann", "the firm reset the account")


def stop_of(world: World) -> str:
    standing = world.machine.state.standings.get("a")
    return standing.stop if standing is not None else "not watched"


async def ready(world: World) -> None:
    await world.until(lambda: stop_of(world) == "", f"an account that may trade, not {stop_of(world)}")


async def market(world: World, bid: int, stop: str) -> None:
    """Move the market until the account stands so."""
    for _ in range(100):
        await world.price(str(bid), f"{bid}.25")
        if stop_of(world) == stop:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"at {bid} the account stands at {stop_of(world)!r}, not {stop!r}")


async def reaches(world: World, bid: int, peak: int) -> None:
    """Move the market up until the account's highest equity is marked."""
    for _ in range(100):
        await world.price(str(bid), f"{bid}.25")
        if world.machine.state.book.measures["a"].peak >= peak:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"the highest equity stays at {world.machine.state.book.measures['a'].peak}")


@BOTH
async def test_an_account_climbs_the_ladder_and_is_locked_once_flat(dsn: str, broker: str) -> None:
    """R-102: reduce-only first, locked once flat; every refusal with its sentence."""
    async with house(dsn, {"a": Follower(broker, prop=(DAILY,)), "b": Follower(FIRST)}) as world:
        await ready(world)
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)
        rests, other = await world.send(
            action="add", side="buy", quantity=1, ord_type="limit", price=Decimal(6000), leader_order_id="L1"
        )
        await world.until(lambda: rests.state == other.state == "working", "two entries that rest")

        await market(world, 6782, "limit_daily_loss")
        await world.until(
            lambda: rests.state == "canceled", "no entry that could fill while it may only reduce"
        )
        assert other.state == "working"
        assert world.machine.state.book.standings["a"].rung == "reducing"
        pending = world.machine.intake.accept(world.signal(side="buy", quantity=1), None)
        await pending.committed
        refused, copied = pending.plan.legs
        assert (refused.reason, copied.outcome) == ("limit_daily_loss", "approved")
        assert "of 1,000.00 used" in refused.detail
        assert "the floor is 49,000.00" in refused.detail
        assert world.held("a") == 1, "reducing closes nothing by itself"

        await market(world, 6780, "limit_daily_loss")
        await world.until(lambda: world.machine.state.book.standings["a"].rung == "locked", "the lock")
        await world.journalled(
            lambda e: isinstance(e, FlattenNoted) and e.account_id == "a" and e.state == "flat_confirmed",
            "the flatten",
        )
        assert await world.sim("a").net("a") == 0
        assert await world.sim("b").net("b") == 2
        await world.price("6800", "6800.25")
        pending = world.machine.intake.accept(world.signal(side="buy", quantity=1), None)
        await pending.committed
        assert pending.plan.legs[0].reason == "limit_daily_loss"
        assert "locked until the next reset" in pending.plan.legs[0].detail
        assert [(await world.alert(f"limit-{rung}", "a")).account_id for rung in ("reducing", "locked")] == [
            "a",
            "a",
        ]
        shown = {
            account.account_id: account.limits
            for account in world.machine.views.snapshot(WORKSPACE, None).accounts
        }
        assert shown["b"] is None
        assert shown["a"] is not None
        assert (shown["a"].rung, shown["a"].stop) == ("locked", "limit_daily_loss")
        assert [rule.rule for rule in shown["a"].rules] == ["limit_daily_loss"]
        assert shown["a"].equity is not None
        await world.no_order_is_doubled()


@BOTH
async def test_a_kill_at_the_peak_does_not_lower_it_and_a_lock_outlives_a_restart(
    dsn: str, broker: str
) -> None:
    """R-101 and R-104."""
    async with street({"a": Follower(broker, prop=(TRAILING,))}) as on:
        async with engine(dsn, on, lease=SHORT_GRACE, stop=False) as world:
            await ready(world)
            await world.send(side="buy", quantity=1)
            await world.holds(a=1)
            await reaches(world, 6830, 51_000)
            reached = world.machine.state.book.measures["a"].peak
            await world.journalled(
                lambda e: isinstance(e, EquityMarked) and e.measure.peak == reached, "the mark"
            )
            await world.crash()
        await on.price("6800", "6800.25")
        async with engine(dsn, on, lease=SHORT_GRACE) as world:
            await world.until(lambda: stop_of(world) != "limit_equity_unknown", "a reading")
            measure = world.machine.state.book.measures["a"]
            assert measure.peak >= reached
            await market(world, 6791, "limit_max_loss")
            await world.until(lambda: world.machine.state.book.standings["a"].rung == "locked", "the lock")
            await world.holds(a=0)
            await world.until(lambda: not world.machine.state.book.flattens, "the end of its flatten")
        async with engine(dsn, on) as world:
            await world.until(lambda: stop_of(world) == "limit_max_loss", "the lock after a restart")
            assert "limits restart" in world.machine.state.standings["a"].text

            assert [view.rung for view in world.machine.limits.standing(WORKSPACE, None)] == ["locked"]
            assert world.machine.limits.standing("another", None) == []
            world.machine.limits.restart("a", ASKED)
            await ready(world)
            begun = await world.journalled(
                lambda e: isinstance(e, EquityMarked) and e.who == "ann", "the new start"
            )
            assert isinstance(begun, EquityMarked)
            assert (begun.reason, begun.measure.number) == (ASKED.reason, 1)
            assert begun.measure.peak < reached
            await ready(world)  # the first reading of the new start may have stood between
            await world.send(side="buy", quantity=1)
            await world.holds(a=1)


async def test_a_peak_and_a_lock_without_the_database_outlive_a_kill(
    faulty_dsn: str, line: FaultyLine, tmp_path: Path
) -> None:
    """R-101, R-104, I-19: both are in the local exit file before the lock is acted upon."""
    async with street({"a": Follower(FIRST, prop=(TRAILING,))}) as on:
        file = LocalExitFile(tmp_path, "main")
        async with engine(faulty_dsn, on, lease=QUICK, exits=file, stop=False) as world:
            await ready(world)
            await world.send(side="buy", quantity=1)
            await world.holds(a=1)
            await world.until(lambda: world.machine.log.is_quiet, "the fill in the journal")
            await line.down()
            await reaches(world, 6830, 51_000)
            book = world.machine.state.book
            reached = book.measures["a"].peak
            await market(world, 6791, "limit_max_loss")
            await world.until(lambda: book.standings["a"].rung == "locked", "the lock")
            await world.until(lambda: world.held("a") == 0, "the close")
            await world.crash()
        await on.price("6800", "6800.25")
        await line.up()
        async with Database(faulty_dsn) as db:
            await db.run("update lease set expires_at = clock_timestamp()")
        async with engine(faulty_dsn, on, lease=QUICK, exits=LocalExitFile(tmp_path, "main")) as world:
            book = world.machine.state.book
            assert book.measures["a"].peak >= reached
            assert book.standings["a"].rung == "locked"
            pending = world.machine.intake.accept(world.signal(side="buy", quantity=1), None)
            await pending.committed
            assert not pending.plan.legs[0].orders
            assert stop_of(world) == "limit_max_loss"
            entries = await world.journal()
            (lock,) = [
                n for n, e in enumerate(entries) if isinstance(e, LimitRung) and e.standing.rung == "locked"
            ]
            assert any(isinstance(e, EquityMarked) and e.measure.peak == reached for e in entries[:lock])
            assert world.held("a") == await world.sim("a").net("a") == 0


async def test_equity_that_gets_old_stops_entries_while_something_is_held(dsn: str) -> None:
    limits = replace(TRAILING, stale_after_ms=700)
    async with house(dsn, {"a": Follower(FIRST, prop=(limits,))}) as world:
        await ready(world)
        # absence: flat, the account needs no price
        await asyncio.sleep(1.0)  # absence: longer than equity may be old
        assert stop_of(world) == ""
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)

        await world.until(lambda: stop_of(world) == "limit_equity_stale", "stale equity")

        assert "(0.7 s allowed)" in world.machine.state.standings["a"].text
        assert (await world.alert("limit-equity-stale", "a")).account_id == "a"
        await market(world, 6801, "")
        await world.send(action="exit")
        await world.holds(a=0)
        await ready(world)


async def test_entries_wait_until_equity_is_known_and_are_stopped_again_before_the_write(dsn: str) -> None:
    async with street({"a": Follower(FIRST, prop=(TRAILING,))}) as on, engine(dsn, on, live=[]) as world:
        assert stop_of(world) == "limit_equity_unknown"
        await ready(world)
        pending = world.machine.intake.accept(world.signal(side="buy", quantity=1), None)
        known = world.machine.state.standings["a"]
        world.machine.state.standings["a"] = known._replace(stop="limit_max_loss")
        await pending.committed
        (child,) = world.children(pending.plan.list_id)
        await world.until(lambda: child.state == "skipped", "the last look")
        assert child.reason == "limit_max_loss"
        assert not await world.sim("a").placements("a")


async def test_an_account_without_money_is_locked_and_the_others_are_watched(dsn: str) -> None:
    """R-100, R-020: five per cent of nothing allows no loss; nobody else's limits end with it."""
    empty = replace(DAILY, daily_loss=DailyLoss(percent=Decimal(5), percent_of="day"))
    followers = {
        "z": Follower(FIRST, balance=Decimal(0), prop=(empty,)),
        "a": Follower(SECOND, prop=(DAILY,)),
    }
    async with house(dsn, followers) as world:
        await ready(world)
        standings = world.machine.state.standings
        await world.until(lambda: standings["z"].stop == "limit_daily_loss", "the lock")
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, z=0)
        await market(world, 6782, "limit_daily_loss")


async def test_an_account_whose_limits_cannot_be_judged_is_halted_and_the_others_are_watched(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-020, R-100: contained, with its reason, and told."""
    broken = replace(DAILY, version=99)

    def judged(limits: PropLimits, measure: Measure, reading: Reading) -> tuple[Use, ...]:
        if limits.version == 99:
            raise InvalidOperation("a number that is none")
        return uses(limits, measure, reading)

    monkeypatch.setattr("gateway_container.engine.equity.uses", judged)
    followers = {"z": Follower(FIRST, prop=(broken,)), "a": Follower(SECOND, prop=(DAILY,))}
    async with house(dsn, followers) as world:
        await ready(world)
        await world.alert(ACCOUNT_FAILED, "z")
        assert "InvalidOperation" in world.machine.state.book.blocked["z"]
        assert "a" not in world.machine.state.book.blocked
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, z=0)
        await market(world, 6782, "limit_daily_loss")
        assert not any(task.done() for task in world.machine._tasks if task.get_name() == "equity")


async def test_a_task_beside_the_signals_that_falls_over_is_told_and_stops_entries_never_exits(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-100, P6: nobody guards what it guarded."""
    async with house(dsn, {"a": Follower(FIRST, prop=(DAILY,))}) as world:
        await ready(world)
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        monkeypatch.setattr(world.machine.equity, "_take_up_versions", lambda: 1 / 0)
        alert = await world.alert(TASK_DEAD)
        assert "'equity'" in alert.text
        (entry,) = await world.send(side="buy", quantity=1)
        await world.until(lambda: entry.state == "skipped", "the last look")
        assert entry.reason == "unguarded"
        await world.send(action="exit")
        await world.holds(a=0)


async def test_new_limits_count_at_once_and_their_removal_frees_the_account(dsn: str) -> None:
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        assert stop_of(world) == "not watched"
        config = world.street.config
        tight = replace(DAILY, max_trades_per_day=0)
        accounts = {"a": replace(config.accounts["a"], prop=(tight,))}
        await world.machine.reconfigure(replace(config, version=2, accounts=accounts), ())
        await world.until(lambda: world.machine.state.book.measures.get("a") is not None, "a start")
        pending = world.machine.intake.accept(world.signal(side="buy", quantity=1), None)
        await pending.committed
        assert pending.plan.legs[0].reason == "limit_trades"
        await world.machine.reconfigure(replace(config, version=3), ())
        assert stop_of(world) == "not watched"
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)


async def test_a_rung_is_journalled_behind_the_mark_that_it_relies_on(dsn: str) -> None:
    async with house(dsn, {"a": Follower(FIRST, prop=(TRAILING,))}) as world:
        await ready(world)
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        await reaches(world, 6830, 51_000)
        await market(world, 6791, "limit_max_loss")
        await world.journalled(lambda e: isinstance(e, LimitRung) and e.standing.rung == "locked", "the lock")
        entries = await world.journal()
        marks = [n for n, e in enumerate(entries) if isinstance(e, EquityMarked)]
        locks = [n for n, e in enumerate(entries) if isinstance(e, LimitRung) and e.standing.rung == "locked"]
        assert marks[-1] < locks[0]
