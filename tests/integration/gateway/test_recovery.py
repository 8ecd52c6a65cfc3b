"""R-016 to R-022: start is recovery. What cannot be read stops it, what is old is not sent, nothing is done twice."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal

import pytest

from gateway_container.engine.recovery import decode_row, read_book, saved_book
from gateway_container.engine.snapshots import save_book
from kopitra.clock import SystemClock
from kopitra.domain.book import Book
from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.errors import Corrupt
from kopitra.domain.executions import AccountSnapshot, PositionReport
from kopitra.domain.journal import OrderNotSent, OrderParked, PositionDiffers, SignalPlanned
from kopitra.domain.orders import ChildOrder
from kopitra.store.pool import Database
from kopitra.store.postgres_shelf import PostgresShelf
from tests.integration.gateway.test_restart import facts
from tests.integration.gateway.world import (
    FIRST,
    SECOND,
    SHORT_GRACE,
    Follower,
    Street,
    World,
    engine,
    house,
    rule,
    street,
)

ONE = {"a": Follower(FIRST)}
ONE_EACH = {"a": Follower(FIRST), "b": Follower(SECOND)}


async def spoil(db: Database, statement: str) -> None:
    """What only somebody with the keys of the database could do."""
    async with db.transaction() as session:
        await session.run("set local session_replication_role = replica")  # past the guards of the journal
        await session.run(statement)  # pyright: ignore[reportArgumentType]


@asynccontextmanager
async def lived(dsn: str) -> AsyncGenerator[tuple[Street, Database]]:
    """A street on which a machine traded and stopped."""
    async with street(ONE) as on:
        async with engine(dsn, on) as world:
            await world.send(side="buy", quantity=1)
            await world.holds(a=1)
        async with Database(dsn) as db:
            yield on, db


@pytest.mark.parametrize(
    "statement, told",
    [
        ("update journal set payload = '{\"x\":1}' where seq = 3", "Journal row 3 and its hash disagree"),
        ("delete from journal where seq = 3", "Journal row 3 is missing"),
        ("update journal set workspace = 'other' where seq = 3", "Journal row 3 and its hash disagree"),
        ("update journal set entry = 'FromTomorrow' where seq = 3", "Journal row 3"),
    ],
    ids=["altered", "missing", "moved to another workspace", "another type"],
)
async def test_a_row_that_is_not_as_written_stops_the_start_and_is_named_r_018(
    dsn: str, statement: str, told: str
) -> None:
    async with lived(dsn) as (on, db):
        await spoil(db, statement)
        with pytest.raises(Corrupt, match=told):
            async with engine(dsn, on):
                pass
        with pytest.raises(
            Corrupt, match=told
        ):  # the lease was given back: the next one may try, and sees the same
            async with engine(dsn, on):
                pass


async def test_a_start_goes_on_from_the_newest_snapshot_r_018(dsn: str) -> None:
    async with street(ONE) as on:
        async with engine(dsn, on) as world:
            await world.send(side="buy", quantity=1)
            await world.holds(a=1)
            await world.journalled(lambda e: type(e).__name__ == "OrdersSent", "the writes")
            seq = await world.machine.snapshots.save()
            assert seq > 3
            await world.send(action="exit")
            await world.holds(a=0)
        async with Database(dsn) as db:
            shelf = PostgresShelf(db)
            assert (await saved_book(shelf, "main")).seq == seq
            whole = await read_book(shelf, "main", Book())
            assert facts(await read_book(shelf, "main")) == facts(whole)
            # Rows before it are not read again: `kopitra verify` is there for them.
            await spoil(db, "update journal set payload = '{}' where seq = 2")
        async with engine(dsn, on) as world:
            assert facts(world.machine.state.book) == facts(whole)


@pytest.mark.parametrize(
    "statement",
    [
        "update snapshots set payload = 'broken'",
        "update snapshots set layout = layout + 1",
        "delete from journal where seq > 2",
    ],
    ids=["does not read", "of another build", "ahead of a restored journal"],
)
async def test_a_snapshot_that_cannot_be_trusted_is_ignored_r_018(dsn: str, statement: str) -> None:
    async with lived(dsn) as (_, db):
        shelf = PostgresShelf(db)
        await save_book(shelf, "main", SystemClock())
        assert (await saved_book(shelf, "main")).seq > 2
        await spoil(db, statement)
        assert (await saved_book(shelf, "main")).seq == 0
        assert (await read_book(shelf, "main")).seq >= 2


def brief(account_id: str) -> CopyRule:
    return rule(account_id, max_age_s=Decimal("0.5"))


async def test_an_entry_that_waited_for_a_close_is_not_sent_late_after_a_restart_r_019(dsn: str) -> None:
    async with street({"a": Follower(FIRST, brief)}) as on:
        async with engine(dsn, on, lease=SHORT_GRACE, stop=False) as world:
            await world.send(side="buy", quantity=1, stop_loss={"offset": Decimal(10)})
            await world.holds(a=1)
            await world.working("a", 1)
            await on.sim("a").settings(ack_delay_ms=60_000, stream_silent=True)
            children = await world.send(action="reverse", side="sell", quantity=1)
            held = [c.intent.cl_ord_id for c in children if c.intent.role == "entry"]
            assert {c.intent.role for c in children if c.state == "planned"} == {"entry", "exit"}
            too_old = world.machine.state.clock.now() + timedelta(seconds=0.6)
            await world.crash()
            await world.until(lambda: world.machine.state.clock.now() > too_old, "the rule's maximum age")
            await world.db.run("update lease set released = true")
        await on.sim("a").settings(ack_delay_ms=0, stream_silent=False)
        async with engine(dsn, on, lease=SHORT_GRACE) as world:
            await world.holds(a=0)
            late = [e for e in await world.journal() if isinstance(e, OrderNotSent) and e.cl_ord_id in held]
            assert {e.reason for e in late} == {"stale_after_restart"}
            sides = [row.side for row in await world.sim("a").placements("a")]
            assert sides == [
                "buy",
                "sell",
                "sell",
            ]  # entry, its stop, the close that was planned before the crash


async def test_a_snapshot_older_than_the_newest_fill_says_nothing_of_quantities_r_004(dsn: str) -> None:
    async with house(dsn, ONE) as world:
        before_ns = world.machine.state.clock.monotonic_ns()
        await world.send(side="buy", quantity=2)
        await world.holds(a=2)
        state = world.machine.state
        now = state.clock.now()

        def shown(started_ns: int) -> AccountSnapshot:
            flat = (PositionReport("a", world.contract, Decimal(0), None, now),)
            return AccountSnapshot("a", flat, (), (), None, started_ns)

        world.machine.reconciler.look(shown(before_ns))
        assert state.facts_of("a").positions.get(world.contract) != 0
        assert not [e for e in await world.journal() if isinstance(e, PositionDiffers)]
        world.machine.reconciler.look(shown(state.clock.monotonic_ns()))
        assert state.facts_of("a").positions[world.contract] == 0
        assert world.held("a") == 2


def child_of(children: list[ChildOrder], account_id: str) -> ChildOrder:
    return next(c for c in children if c.intent.account_id == account_id)


async def doubted(world: World) -> ChildOrder:
    """An entry of "a" that was executed and that no read shows yet."""
    await world.sim("a").settings(stream_silent=True, drop_answer_ratio=1.0, list_visibility_lag_ms=600_000)
    child = child_of(await world.send(side="buy", quantity=1), "a")
    await world.until(lambda: child.state == "in_doubt", "doubt")
    return child


async def test_a_parked_order_is_left_to_its_person_until_evidence_comes_r_001(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        child = await doubted(world)
        name = child.intent.cl_ord_id
        (seen,) = world.machine.doubts.waiting("ws1", None)
        assert seen.cl_ord_id == name
        assert world.machine.doubts.park("ws1", name, "ann", "I call them").state == "parked"
        with pytest.raises(KeyError):
            world.machine.doubts.park("another", name, "eve", "mine")
        parked = await world.journalled(lambda e: isinstance(e, OrderParked), "who parked it")
        assert parked == OrderParked(name, "a", "ann", "I call them")
        await world.until(lambda: not world.machine.lookup.doubtful("a"), "no more looking up")
        again = await world.send(side="buy", quantity=1)
        assert {c.intent.account_id for c in again} == {"b"}
        await world.sim("a").settings(stream_silent=False, drop_answer_ratio=0.0, list_visibility_lag_ms=0)
        await world.sim("a").control("drop-streams")
        await world.until(lambda: child.state == "filled", "evidence")
        await world.send(action="exit")
        await world.holds(a=0, b=0)


async def test_a_state_that_we_do_not_model_stops_its_account_and_no_other_r_001(dsn: str) -> None:
    async with house(dsn, ONE_EACH) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)
        await world.sim("a").control("quirks", odd_state_next=1)
        resting = {"side": "buy", "quantity": 1, "ord_type": "limit", "price": Decimal(6700)}
        await world.send(**resting)
        await world.alert("broker-protocol", "a")
        book = world.machine.state.book
        await world.until(lambda: "a" in book.blocked, "the block of the account")
        assert "b" not in book.blocked
        assert world.machine.reports.surprises.faults["state"] == 1
        again = await world.send(side="buy", quantity=1)
        assert {c.intent.account_id for c in again} == {"b"}
        await world.send(action="exit")
        await world.holds(a=0, b=0)
        world.machine.control.unblock("ws1", "a")
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)


async def test_one_row_holds_a_signal_its_plan_and_all_claims_before_anything_leaves_r_016_r_017(
    dsn: str,
) -> None:
    async with house(dsn, ONE_EACH) as world:
        pending = world.machine.intake.accept(world.signal(side="buy", quantity=1), None)
        for account in ONE_EACH:  # the commit is in flight: nothing may have left
            assert await world.sim(account).placements(account) == [] or pending.committed.done()
        committed = await pending.committed
        assert len(committed.rows) == 1
        planned = decode_row(committed.rows[0])
        assert isinstance(planned, SignalPlanned)
        claimed = {a.intent.account_id for leg in planned.plan.legs for a in leg.orders if not a.intent.after}
        assert claimed == set(ONE_EACH)
        assert all(leg.orders[0].checks is not None for leg in planned.plan.legs)
        await world.holds(a=1, b=1)
