"""What a leader did in one order is never followed in another, whatever becomes of the commits in between."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from gateway_container.engine import control, fanout
from gateway_container.exit_writer import LocalExitFile
from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.journal import SignalPlanned
from tests.integration.faulty_line import FaultyLine
from tests.integration.gateway.world import BOSS, FIRST, SECOND, Follower, World, engine, rule, street

#: seconds after which nobody waits for the answer of a commit any more, and a little
GIVEN_UP_S = 1.1


@pytest.fixture(autouse=True)
def outages_that_age_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Order is asked here. That an outage makes entries too old, or hides the switches from them, is asked elsewhere
    (R-048, R-093), and on a busy machine this one lasts long enough for it."""
    monkeypatch.setattr(control, "SWITCHES_GOOD_S", 60)
    monkeypatch.setattr(fanout, "DEADLINE_MS", 60_000)


def patient(account_id: str) -> CopyRule:
    """An entry is still worth something after the outage."""
    return rule(account_id, max_age_s=Decimal(30))


async def planned(world: World, count: int) -> list[SignalPlanned]:
    """The leader's signals, once there are so many in the journal."""
    while True:
        found = [entry for entry in await world.journal() if isinstance(entry, SignalPlanned)]
        if len(found) >= count:
            return found
        await asyncio.sleep(0.02)


async def loses_its_commit(world: World, line: FaultyLine, held: int) -> float:
    """The leader's last act is in the book, its commit gets no answer, the line is gone. Returns when it began."""
    machine, began = world.machine, asyncio.get_running_loop().time()
    await world.until(lambda: machine.state.book.leader("lead", "ES").qty == held, "the plan of the act")
    await line.down()
    await world.until(lambda: not machine.writer.available, "the outage")
    return began


async def comes_back(world: World, line: FaultyLine, began: float) -> None:
    """Long enough later for the act in between to have been given up."""
    loop, machine = asyncio.get_running_loop(), world.machine
    await world.until(lambda: loop.time() - began > GIVEN_UP_S, "the end of patience")
    await line.up()
    await world.until(lambda: machine.log.takes_decisions and not machine.leaders.waiting, "the journal")


@pytest.mark.parametrize("with_file", [True, False])
async def test_an_exit_never_overtakes_the_entry_whose_commit_was_unclear(
    faulty_dsn: str, line: FaultyLine, tmp_path: Path, with_file: bool
) -> None:
    """I-10, I-09, P3: followers of a leader that has left are never opened, and the next trade is copied."""
    file = LocalExitFile(tmp_path, "main") if with_file else None
    followers = {"a": Follower(SECOND, patient), "b": Follower(SECOND, patient)}
    async with street(followers, leader_at=FIRST) as on, engine(faulty_dsn, on, exits=file) as world:
        machine, boss = world.machine, world.sim(BOSS)
        line.lose_requests = True
        await boss.by_hand(BOSS, world.contract, "buy", 1)
        began = await loses_its_commit(world, line, 1)
        await boss.by_hand(BOSS, world.contract, "sell", 1)
        await world.until(lambda: machine.exits.waiting or machine.leaders.waiting, "the exit")
        await comes_back(world, line, began)
        told = await planned(world, 2)
        assert {entry.signal.action for entry in told} == {"enter", "exit"}
        assert machine.state.book.leader("lead", "ES").qty == 0
        await boss.by_hand(BOSS, world.contract, "buy", 1)
        await world.holds(a=1, b=1)
        assert [len(await world.sim(a).placements(a)) for a in followers] == [1, 1]
        await boss.by_hand(BOSS, world.contract, "sell", 1)
        await world.holds(a=0, b=0)
        await world.no_order_is_doubled()


@pytest.mark.parametrize("with_file", [True, False])
async def test_a_reversal_that_its_exit_overtook_still_closes(
    faulty_dsn: str, line: FaultyLine, tmp_path: Path, with_file: bool
) -> None:
    """I-10, P5: the closes that an unclear commit took with it are made anew, its entry is not."""
    file = LocalExitFile(tmp_path, "main") if with_file else None
    followers = {"a": Follower(SECOND, patient), "b": Follower(SECOND, patient)}
    async with street(followers, leader_at=FIRST) as on, engine(faulty_dsn, on, exits=file) as world:
        machine, boss = world.machine, world.sim(BOSS)
        await boss.by_hand(BOSS, world.contract, "buy", 2)
        await world.holds(a=2, b=2)
        line.lose_requests = True
        await boss.by_hand(BOSS, world.contract, "sell", 3)
        began = await loses_its_commit(world, line, -1)
        await boss.by_hand(BOSS, world.contract, "buy", 1)
        await world.until(lambda: machine.exits.waiting or machine.leaders.waiting, "the exit")
        await comes_back(world, line, began)
        await planned(world, 3)
        await world.holds(a=0, b=0)
        assert machine.state.book.leader("lead", "ES").qty == 0
        sold = [order for a in followers for order in await world.sim(a).placements(a)]
        assert len(sold) == 4  # a buy and a close each
        await world.no_order_is_doubled()


async def test_acts_that_only_grow_are_followed_in_order_after_an_outage(
    faulty_dsn: str, line: FaultyLine
) -> None:
    """P3, R-036: nothing of a leader that scaled in is lost to a commit without an answer."""
    async with (
        street({"a": Follower(SECOND, patient)}, leader_at=FIRST) as on,
        engine(faulty_dsn, on) as world,
    ):
        boss = world.sim(BOSS)
        line.lose_requests = True
        await boss.by_hand(BOSS, world.contract, "buy", 1)
        began = await loses_its_commit(world, line, 1)
        await boss.by_hand(BOSS, world.contract, "buy", 2)
        await world.until(lambda: world.machine.leaders.waiting, "the second act")
        await comes_back(world, line, began)
        legs = [leg for entry in await planned(world, 2) for leg in entry.plan.legs]
        assert [(leg.outcome, leg.reason) for leg in legs] == [("approved", "")] * 2
        await world.holds(a=3)
        assert world.machine.state.book.leader("lead", "ES").qty == 3
        await world.no_order_is_doubled()
