"""A new process on the same journal: the same book, nothing sent again."""

import dataclasses
from decimal import Decimal

import pytest

from gateway_container.engine.recovery import read_book
from kopitra.domain.book import Book
from kopitra.domain.errors import Conflict, LeaseLost
from kopitra.domain.journal import Doubted, FollowUp, SignalPlanned
from kopitra.store.postgres_shelf import PostgresShelf
from tests.integration.gateway.world import FIRST, LEADER, SECOND, SHORT_GRACE, Follower, engine, street

ONE_EACH = {"a": Follower(FIRST), "b": Follower(SECOND)}


def facts(book: Book) -> dict[str, object]:
    """What a restart must find again; hop times are not journalled."""
    return {
        "positions": book.positions,
        "holdings": book.holdings,
        "leaders": book.leaders,
        "orders": {
            name: (o.state, o.cum_qty, o.qty, o.price, o.stop_price, o.order_id)
            for name, o in book.orders.items()
        },
        "exec_ids": book.exec_ids,
    }


async def test_a_restart_finds_the_same_book_and_sends_nothing_again(dsn: str) -> None:
    async with street(ONE_EACH) as on:
        async with engine(dsn, on) as world:
            await world.send(side="buy", quantity=2)
            await world.holds(a=2, b=2)
            await world.send(action="reduce", quantity=1)
            await world.holds(a=1, b=1)
            before = facts(world.machine.state.book)
        async with engine(dsn, on) as world:
            assert facts(await read_book(PostgresShelf(world.db), "main")) == before
            await world.send(action="exit")
            await world.holds(a=0, b=0)
            for account in ONE_EACH:
                assert len(await world.sim(account).ledger("execution")) == 3
            await world.no_order_is_doubled()


async def test_an_exit_that_waited_for_its_session_when_the_gateway_stopped_leaves_after_the_next_start(
    dsn: str,
) -> None:
    """R-018, R-019: the stop told it unsent, and only the comparison with the broker closed the position, late."""
    async with street({"b": Follower(SECOND)}) as on:
        async with engine(dsn, on) as world:
            await world.send(side="buy", quantity=2)
            await world.holds(b=2)
            await world.sim("b").settings(stream_down=True)
            await world.sim("b").control("drop-streams")
            session = world.machine.sessions.of("b")
            assert session is not None
            await world.until(lambda: session.state != "live", "a session that is down")
            (waited,) = await world.send(action="exit")
            assert world.machine.fanout.waiting == 1
        assert (waited.state, waited.reason) == ("skipped", "stopping")
        await on.sim("b").settings(stream_down=False)
        async with engine(dsn, on) as world:
            await world.holds(b=0)
            assert len(await world.sim("b").placements("b")) == 2
            # no repair, seconds later
            (follow,) = [e for e in await world.journal() if isinstance(e, FollowUp)]
            assert follow.cause == waited.intent.cl_ord_id
            await world.no_order_is_doubled()


async def test_what_was_claimed_when_the_process_died_is_in_doubt_and_then_found_r_017_r_018(
    dsn: str,
) -> None:
    async with street(ONE_EACH) as on:
        async with engine(dsn, on, lease=SHORT_GRACE, stop=False) as world:
            for sim in on.sims.values():
                await sim.settings(ack_delay_ms=60_000, stream_silent=True)
            children = await world.send(side="buy", quantity=1)
            assert {c.state for c in children} == {"claimed"}
            names = {c.intent.cl_ord_id for c in children}
            await world.crash()
        for sim in on.sims.values():
            await sim.settings(ack_delay_ms=0, stream_silent=False)
        async with engine(dsn, on, lease=SHORT_GRACE) as world:
            doubts = {e.cl_ord_id for e in await world.journal() if isinstance(e, Doubted)}
            assert doubts == names
            assert world.machine.lease.taken.dirty
            held_back = await world.send(side="buy", quantity=1)
            assert {c.reason for c in held_back} <= {"take_over_wait", "in_doubt"}
            await world.holds(a=1, b=1)
            await world.no_order_is_doubled()


async def test_a_move_that_a_predecessor_parked_is_told_and_asked_about_r_032(dsn: str) -> None:
    """Its timer died with its process: the successor gives it the same time again, then tells and asks."""
    async with street(ONE_EACH) as on:
        async with engine(dsn, on) as world:
            names = {"orig_leader_order_id": "t9", "leader_order_id": "t9"}
            await world.send(action="replace", price=Decimal(6700), sequence=1, **names)
            assert list(world.machine.state.book.streams[LEADER].parked) == ["t9"]
        async with engine(dsn, on) as world:
            asked: list[tuple[str, str]] = []
            world.machine.streams.ask = lambda leader, why: asked.append((leader, why))
            assert "t9" in (await world.alert("move-dropped")).text
            assert asked == [(LEADER, "move_dropped")]


async def test_a_lost_lease_ends_all_writing(dsn: str) -> None:
    async with street(ONE_EACH) as on, engine(dsn, on, stop=False) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)
        await world.db.run("update lease set epoch = epoch + 1, holder = 'another'")
        pending = world.machine.intake.accept(world.signal(side="buy", quantity=1), None)
        with pytest.raises(LeaseLost):
            await pending.committed
        with pytest.raises(LeaseLost):
            world.machine.intake.accept(world.signal(action="exit"), None)
        assert [len(await world.sim(a).placements(a)) for a in ONE_EACH] == [1, 1]
        assert len([e for e in await world.journal() if isinstance(e, SignalPlanned)]) == 1
        await world.crash()


async def test_a_second_process_is_refused_while_the_lease_is_held(dsn: str) -> None:
    async with street({"a": Follower(FIRST)}) as on, engine(dsn, on):
        with pytest.raises(Conflict, match="held by test"):
            async with engine(dsn, on):
                pass


async def test_settings_that_no_adapter_can_read_stop_only_their_own_login_r_020(dsn: str) -> None:
    async with street(ONE_EACH) as on:
        bad = dataclasses.replace(on.config.logins["login-a"], credentials={}, settings={})
        on.config = dataclasses.replace(on.config, logins={**on.config.logins, "login-a": bad})
        async with engine(dsn, on, live=["b"]) as world:
            await world.alert("session-fatal")
            await world.send(side="buy", quantity=1)
            await world.holds(b=1)
