"""A commit whose answer was lost: what was told as not durable and is durable after all counts once."""

from decimal import Decimal

from kopitra.domain.journal import AlertRaised, DriftNoted
from kopitra.domain.sync import Drift
from tests.integration.faulty_line import FaultyLine
from tests.integration.gateway.world import FIRST, LEADER, WORKSPACE, Follower, World, engine, street


async def no_answer_comes(world: World, line: FaultyLine) -> None:
    """Until what was noted waits in the backlog, although the journal holds it."""
    await line.lost.wait()
    await world.until(lambda: world.machine.log.backlog, "the end of patience")


async def goes_on(world: World, line: FaultyLine) -> None:
    line.lose_answers = False
    line.cut()
    log = world.machine.log
    await world.until(lambda: log.takes_decisions and not log.backlog and log.is_quiet, "the journal")


async def test_r037_what_a_person_closed_is_closed_once_although_its_commit_was_unclear(
    faulty_dsn: str, line: FaultyLine
) -> None:
    """I-08, R-037: once in the journal, in this process and after the next start."""
    async with street({"a": Follower(FIRST)}) as on:
        async with engine(faulty_dsn, on) as world:
            await world.send(side="buy", quantity=3)
            await world.holds(a=3)
            left = Decimal(2)
            drift = Drift(
                "a", world.contract, LEADER, "closed_by_hand", Decimal(1), Decimal(3), left, left, "ES", "ES"
            )
            await world.until(lambda: world.machine.log.is_quiet, "the fills in the journal")
            line.lose_answers = True
            line.lost.clear()
            world.machine.log.note(WORKSPACE, DriftNoted("dr1", drift, "found"))
            await no_answer_comes(world, line)
            await goes_on(world, line)
            assert world.held("a") == left
            assert [e.run_id for e in await world.journal() if isinstance(e, DriftNoted)] == ["dr1"]
        async with engine(faulty_dsn, on) as world:
            assert world.held("a") == left


async def test_a_fact_that_happened_twice_is_there_twice_although_the_first_commit_was_unclear(
    faulty_dsn: str, line: FaultyLine
) -> None:
    """I-08: only what the journal holds is taken out of what waits, even where two facts read the same."""
    async with street({"a": Follower(FIRST)}) as on, engine(faulty_dsn, on) as world:
        again = AlertRaised("test", "the same again")
        await world.until(lambda: world.machine.log.is_quiet, "the start in the journal")
        line.lose_answers = True
        line.lost.clear()
        world.machine.log.note(WORKSPACE, again)
        await no_answer_comes(world, line)
        world.machine.log.note(WORKSPACE, again)
        world.machine.log.note(WORKSPACE, AlertRaised("test", "another"))
        await goes_on(world, line)
        told = [e.text for e in await world.journal() if isinstance(e, AlertRaised) and e.code == "test"]
        assert told == [again.text, again.text, "another"]
