"""A plan's commit is its children's claim: nothing leaves before it, and a crowd of signals shares one (R-017)."""

import asyncio
from typing import LiteralString, NamedTuple

from kopitra.store.pool import Database
from tests.integration.faulty_line import FaultyLine
from tests.integration.gateway.world import FIRST, SECOND, Follower, engine, house, street

FOUR = {"a": Follower(FIRST), "b": Follower(FIRST), "c": Follower(SECOND), "d": Follower(SECOND)}
_COMMITS: LiteralString = "select xmin::text as xid from journal where entry = 'SignalPlanned'"


class Commit(NamedTuple):
    """The transaction that wrote a row."""

    xid: str


async def test_r017_signals_that_come_together_share_one_commit_and_each_is_one_row(dsn: str) -> None:
    """However many children there are: the first signal goes at once, those that come meanwhile share the next one."""
    async with house(dsn, FOUR) as world:
        await world.until(lambda: world.machine.log.is_quiet, "nothing else on its way")
        accept = world.machine.intake.accept
        pending = [accept(world.signal(side="buy", quantity=1, symbol=s), None) for s in ("ES", "NQ", "ES")]
        await asyncio.gather(*(one.committed for one in pending))
        assert [len(world.children(one.plan.list_id)) for one in pending] == [4, 4, 4]
        commits = await world.db.tuples(Commit, _COMMITS)
        assert len(commits) == 3
        assert len(set(commits)) == 2
        children = [child for one in pending for child in world.children(one.plan.list_id)]
        await world.until(lambda: {child.state for child in children} == {"filled"}, "all copies")
        await world.no_order_is_doubled()


async def test_r017_no_byte_leaves_while_the_commit_is_unanswered(
    dsn: str, faulty_dsn: str, line: FaultyLine
) -> None:
    """The plan is durable, but this process has not heard so."""
    async with Database(dsn) as db, street(FOUR) as on, engine(faulty_dsn, on) as world:
        await world.until(lambda: world.machine.log.is_quiet, "the start in the journal")
        line.lose_answers = True
        pending = world.machine.intake.accept(world.signal(side="buy", quantity=1), None)
        async with asyncio.timeout(10):
            while not await db.tuples(Commit, _COMMITS):
                await asyncio.sleep(0.01)
        children = world.children(pending.plan.list_id)
        assert [child.state for child in children] == ["claimed"] * 4
        assert not any(child.hops for child in children)
        assert [await world.sim(a).placements(a) for a in FOUR] == [[]] * 4
        await line.down()
        await line.up()
        await world.until(lambda: world.machine.log.takes_decisions, "the database")
        assert len(await db.tuples(Commit, _COMMITS)) == 1
        await world.no_order_is_doubled()
