"""A commit whose answer was lost: what was told as not durable and is durable after all counts once."""

import asyncio
from decimal import Decimal
from pathlib import Path
from threading import Event

from gateway_container.exit_writer import LocalExitFile
from kopitra.domain.journal import AlertRaised, DriftNoted, FlattenNoted
from kopitra.domain.sync import Drift
from tests.integration.faulty_line import FaultyLine
from tests.integration.gateway.world import FIRST, LEADER, WORKSPACE, Follower, World, engine, street


class SlowDisk(LocalExitFile):
    """Its frames are written only once somebody clears the file."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "main")
        self.path = folder / "exits-main.bin"
        self._gate = Event()
        #: after each clear: the file was still there
        self.left: list[bool] = []

    def stall(self) -> None:
        self._gate.clear()
        self._worker.submit(self._gate.wait)

    async def clear(self) -> None:
        asyncio.get_running_loop().call_soon(self._gate.set)
        await super().clear()
        self.left.append(self.path.exists())


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


async def test_r072_an_unclear_flatten_that_is_durable_after_all_is_over_for_the_next_start_too(
    faulty_dsn: str, line: FaultyLine, tmp_path: Path
) -> None:
    """R-072, R-094: the local exit file kept it under a name that the journal does not know; nobody asks again."""
    asked, disk = FlattenNoted("f1", "a", "requested", "", "ann"), SlowDisk(tmp_path)
    async with street({"a": Follower(FIRST)}) as on:
        async with engine(faulty_dsn, on, exits=disk) as world:
            machine = world.machine
            await world.until(lambda: machine.log.is_quiet, "the start in the journal")
            line.lose_answers = True
            line.lost.clear()
            kept = machine.log.secure(WORKSPACE, asked)
            assert kept is not None
            disk.stall()
            await world.until(lambda: machine.exits.waiting, "the end of patience")
            await goes_on(world, line)
            assert await kept
            assert not any(disk.left)
            assert not disk.path.exists()
            assert [e for e in await world.journal() if isinstance(e, FlattenNoted)] == [asked]
            machine.log.note(WORKSPACE, FlattenNoted("f1", "a", "flat_confirmed", "", "ann"))
            await world.send(side="buy", quantity=1)
            await world.holds(a=1)
        async with engine(faulty_dsn, on, exits=LocalExitFile(tmp_path, "main")) as world:
            assert world.machine.state.book.flattens == {}
            await world.machine.comparison.look("a")
            await world.holds(a=1)
            assert [e.state for e in await world.journal() if isinstance(e, FlattenNoted)] == [
                "requested", "flat_confirmed",
            ]  # fmt: skip
