"""The table of switches and our own: whatever is lost, late or set at the same time, no stop is (R-091, P6)."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_container.engine import switch_rows
from gateway_container.engine.state import State
from gateway_container.engine.switch_rows import SwitchRows, switch_of
from kopitra.domain.errors import Unavailable
from kopitra.domain.fold import fold
from kopitra.domain.journal import SwitchChanged
from kopitra.domain.switches import KillSwitch, SwitchScope, SwitchState, strictness
from kopitra.store.shelf import Shelf
from kopitra.store.switches import SwitchRow
from tests.unit.engine.test_marks import NOW, Watch

STATES: tuple[SwitchState, ...] = ("active", "reducing", "halted")


class Clock(Watch):
    def now(self) -> datetime:
        return NOW


@dataclass
class Table:
    """One switch's row, and a way to it that loses asks and answers."""

    rng: Random
    row: SwitchRow | None = None
    faults: int = 4

    async def set_switch(self, row: SwitchRow, known: int) -> bool:
        await self._way()
        taken = self.row is None or self.row.epoch <= known
        if taken:
            self.row = row
        await self._way()
        return taken

    async def read_switch(self, _scope: SwitchScope, _scope_id: str) -> SwitchRow | None:
        await self._way()
        return self.row

    async def _way(self) -> None:
        for _ in range(self.rng.randint(0, 3)):
            await asyncio.sleep(0)
        if self.faults and self.rng.random() < 0.3:
            self.faults -= 1
            raise Unavailable("the answer was lost")


@dataclass
class House:
    """This process: its board, and what stands before it is asked."""

    rng: Random
    taken: list[KillSwitch] = field(default_factory=list[KillSwitch])

    def __post_init__(self) -> None:
        self.state = State(Clock())
        self.table = Table(self.rng)
        self.rows = SwitchRows(self.state, cast(Shelf, self.table), self.take)

    @property
    def here(self) -> KillSwitch | None:
        return self.state.book.switches.get("account", "a")

    def take(self, _workspace: str, switch: KillSwitch) -> None:
        self.taken.append(switch)
        fold(self.state.book, SwitchChanged(switch))

    def throw(self, state: SwitchState, who: str) -> None:
        """What control does for a person here."""
        known = self.here.epoch if self.here is not None else 0
        switch = KillSwitch("account", "a", state, "", who, known + 1)
        self.take("w", switch)
        self.rows.write("w", switch, known)

    def elsewhere(self, state: SwitchState, who: str) -> None:
        """A standby sets it, with what it knows: the row."""
        epoch = self.table.row.epoch if self.table.row is not None else 0
        self.table.row = SwitchRow("account", "a", "w", state, epoch + 1, "", who, NOW)

    def poll(self) -> None:
        row = self.table.row
        if row is not None and self.rows.takes(row):
            self.take("w", switch_of(row))


async def played(acts: list[tuple[str, SwitchState]], seed: int) -> House:
    """Let it happen, then come to rest."""
    house = House(Random(seed))
    for number, (act, state) in enumerate(acts):
        if act == "here":
            house.throw(state, f"ann {number}")
        elif act == "elsewhere":
            house.elsewhere(state, f"bob {number}")
        else:
            house.poll()
        for _ in range(house.rng.randint(0, 4)):
            await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while house.rows._unwritten:
            await asyncio.sleep(0)
    house.poll()
    return house


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch_rows, "ROW_RETRY_S", 0.0)


ACTS = st.lists(
    st.tuples(st.sampled_from(["here", "elsewhere", "poll"]), st.sampled_from(STATES)), max_size=8
)


@given(ACTS, st.integers(0, 999))
@settings(max_examples=300, deadline=None)
def test_board_and_table_agree_when_everything_has_come_to_rest(
    acts: list[tuple[str, SwitchState]], seed: int
) -> None:
    """R-091."""
    house = asyncio.run(played(acts, seed))
    stored = switch_of(house.table.row) if house.table.row is not None else None
    assert strictness(house.here) == strictness(stored)
    assert (house.here.epoch if house.here else 0) == (stored.epoch if stored else 0)


@given(
    st.lists(st.sampled_from(STATES), max_size=4),
    st.sampled_from(STATES),
    st.sampled_from(STATES),
    st.integers(0, 999),
)
@settings(max_examples=300, deadline=None)
def test_of_two_that_are_set_at_the_same_time_the_stricter_stands(
    before: list[SwitchState], ours: SwitchState, theirs: SwitchState, seed: int
) -> None:
    """R-091, P6: neither knew of the other, whichever row was first and whatever answers were lost."""
    house = asyncio.run(played([("here", state) for state in before], seed))

    async def both() -> None:
        house.rows._tasks.clear()
        if seed % 2:
            house.elsewhere(theirs, "bob")
            house.throw(ours, "ann")
        else:
            house.throw(ours, "ann")
            house.elsewhere(theirs, "bob")
        async with asyncio.timeout(5):
            while house.rows._unwritten:
                await asyncio.sleep(0)

    asyncio.run(both())
    house.poll()
    stored = house.table.row
    assert stored is not None
    wanted = max(ours, theirs, key=STATES.index)
    assert (stored.state, house.state.book.switches.state("account", "a")) == (wanted, wanted)
