"""What falls over beside the signals: an account's failure is its own, a dead task stops entries (R-020)."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import cast

from gateway_container.engine.containment import ACCOUNT_FAILED, TASK_DEAD, Containment
from gateway_container.engine.log import Log
from gateway_container.engine.seldom import TELL_AGAIN_NS
from gateway_container.engine.state import State
from kopitra.domain.fold import fold
from kopitra.domain.journal import AlertRaised, EntriesBlocked, Entry
from tests.unit.engine.test_marks import Watch


@dataclass
class House:
    """Keeps what is journalled, and whether entries stopped."""

    stopped: bool = False
    journal: list[Entry] = field(default_factory=list[Entry])

    def __post_init__(self) -> None:
        self.clock = Watch()
        self.state = State(self.clock)
        self.containment = Containment(self.state, cast(Log, self), self.stop)

    def note(self, _workspace: str, entry: Entry) -> None:
        self.journal.append(entry)
        fold(self.state.book, entry)

    def stop(self) -> None:
        self.stopped = True

    def alerts(self, code: str) -> list[AlertRaised]:
        return [e for e in self.journal if isinstance(e, AlertRaised) and e.code == code]

    async def run(self, work: Coroutine[object, object, None], *, cancel: bool = False) -> None:
        """A task beside the signals, until its end."""
        task = asyncio.get_running_loop().create_task(work, name="work")
        task.add_done_callback(self.containment.ended)
        await asyncio.sleep(0)
        if cancel:
            task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)


def test_a_failure_halts_its_account_with_the_reason_and_is_told_once_a_minute() -> None:
    """R-020."""
    house = House()
    for _ in range(3):
        house.containment.failed("a", "judging its loss limits", ValueError("secret"))
    assert "judging its loss limits failed (ValueError)" in house.state.book.blocked["a"]
    assert [e.account_id for e in house.alerts(ACCOUNT_FAILED)] == ["a"]
    assert "secret" not in house.alerts(ACCOUNT_FAILED)[0].text
    assert not house.stopped
    house.clock.ns += TELL_AGAIN_NS
    house.containment.failed("a", "judging its loss limits", ValueError())
    assert len(house.alerts(ACCOUNT_FAILED)) == 2


def test_a_failure_keeps_the_reason_of_a_block_that_stands() -> None:
    """R-020: the first reason is the one that somebody must look at; a lifted block comes back while it fails."""
    house = House()
    house.note("w", EntriesBlocked("a", "broker canceled trade 77"))
    house.containment.failed("a", "comparing it", ValueError())
    assert house.state.book.blocked["a"] == "broker canceled trade 77"
    house.note("w", EntriesBlocked("a", ""))
    house.containment.failed("a", "comparing it", ValueError())
    assert "comparing it" in house.state.book.blocked["a"]


async def test_a_task_that_falls_over_stops_entries_and_is_told() -> None:
    """R-100, P6."""

    async def falls() -> None:
        raise ZeroDivisionError

    house = House()
    await house.run(falls())
    assert house.stopped
    assert "'work'" in house.alerts(TASK_DEAD)[0].text


async def test_a_task_that_dies_of_a_future_somebody_else_cancelled_is_dead_too() -> None:
    async def waits() -> None:
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        gone.cancel()
        await gone

    house = House()
    await house.run(waits())
    assert house.stopped
    assert len(house.alerts(TASK_DEAD)) == 1


async def test_a_task_that_is_ended_or_has_no_more_to_do_stops_nothing() -> None:
    async def over() -> None:
        return

    async def waits() -> None:
        await asyncio.get_running_loop().create_future()

    house = House()
    await house.run(over())
    await house.run(waits(), cancel=True)
    assert not house.stopped
    assert not house.journal
