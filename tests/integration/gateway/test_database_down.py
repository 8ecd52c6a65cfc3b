"""While the database is away: refused fast, heard all the same, journalled afterwards."""

import asyncio

import pytest

from kopitra.domain.errors import Unavailable
from kopitra.domain.journal import OrderNotSent, Reported
from kopitra.store.journal_reader import verify
from tests.integration.faulty_line import FaultyLine
from tests.integration.gateway.world import FIRST, SECOND, Follower, house

ONE_EACH = {"a": Follower(FIRST), "b": Follower(SECOND)}


async def test_signals_are_refused_fast_and_reports_are_journalled_afterwards(
    faulty_dsn: str, line: FaultyLine
) -> None:
    async with house(faulty_dsn, ONE_EACH) as world:
        rests = {"side": "buy", "quantity": 1, "ord_type": "limit", "price": "6790", "leader_order_id": "L1"}
        children = await world.send(**rests)
        await world.until(lambda: all(c.state == "working" for c in children), "working entries")
        await line.down()
        loop = asyncio.get_running_loop()
        started = loop.time()
        with pytest.raises(Unavailable):
            await world.machine.intake.accept(world.signal(side="buy", quantity=1), None).committed
        with pytest.raises(Unavailable):
            world.machine.intake.accept(world.signal(side="buy", quantity=1), None)
        assert loop.time() - started < 3
        await world.price("6789", "6789.25")
        await world.until(lambda: {world.held(a) for a in ONE_EACH} == {1}, "fills that are heard")

        await line.up()
        for account in ONE_EACH:
            await world.journalled(
                lambda e, a=account: (
                    isinstance(e, Reported) and e.report.exec_type == "trade" and e.report.account_id == a
                ),
                f"the fill of {account}",
            )
        await world.until(lambda: world.machine.log.takes_decisions, "the journal to take decisions")
        await world.send(action="exit")
        await world.holds(a=0, b=0)
        await world.no_order_is_doubled()
        assert (await verify(world.db, "main")).bad is None


async def test_a_plan_that_is_durable_after_all_sends_no_entry_and_the_book_knows(
    faulty_dsn: str, line: FaultyLine
) -> None:
    async with house(faulty_dsn, ONE_EACH) as world:
        await world.until(lambda: world.machine.log.is_quiet, "the start in the journal")
        line.lose_answers = True
        pending = world.machine.intake.accept(world.signal(side="buy", quantity=1), None)
        with pytest.raises(Unavailable) as unclear:
            await pending.committed
        assert unclear.value.code == "commit-unknown"
        await line.down()
        await line.up()
        for account in ONE_EACH:
            await world.journalled(
                lambda e, a=account: (
                    isinstance(e, OrderNotSent) and (e.account_id, e.reason) == (a, "commit_unknown")
                ),
                f"the entry of {account} that was not sent",
            )
        assert {c.state for c in world.children(pending.plan.list_id)} == {"skipped"}
        for account in ONE_EACH:
            assert await world.sim(account).placements(account) == []


async def test_an_exit_that_is_durable_after_all_leaves(faulty_dsn: str, line: FaultyLine) -> None:
    async with house(faulty_dsn, ONE_EACH) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1, b=1)
        # Behind a fill whose answer is lost the exit would wait, and be refused unwritten.
        await world.until(lambda: world.machine.log.is_quiet, "the fills in the journal")
        line.lose_answers = True
        with pytest.raises(Unavailable) as unclear:
            await world.machine.intake.accept(world.signal(action="exit"), None).committed
        assert unclear.value.code == "commit-unknown"
        await line.down()
        await line.up()
        await world.holds(a=0, b=0)
        await world.no_order_is_doubled()
