"""One switch set by two processes at once: the stricter stands, here and in the table, and both are told."""

import asyncio
from datetime import UTC, datetime

import pytest

from gateway_container.engine.broadcast import Broadcast
from gateway_container.engine.machine import Identity, Supplies
from gateway_container.standby import Standby
from gateway_container.standby_doors import StandbyControl
from kopitra.clock import SystemClock
from kopitra.domain.errors import Conflict
from kopitra.domain.journal import SwitchChanged
from kopitra.domain.switches import SwitchState
from kopitra.store.pool import Database
from kopitra.store.postgres_shelf import PostgresShelf
from kopitra.store.switches import SwitchRow, read_switch, set_switch
from kopitra.telemetry import Metrics
from tests.integration.gateway.world import (
    FIRST,
    WORKSPACE,
    Follower,
    house,
)


async def test_a_standby_weakens_nothing_that_it_has_not_shown(dsn: str) -> None:
    """R-091, R-098: whether somebody may was judged by what this replica shows; a stop is always taken."""
    async with Database(dsn) as db:
        shelf = PostgresShelf(db)
        supplies = Supplies(shelf, SystemClock(), {}, Metrics())
        standby = Standby(Identity("main", "standby", "dev"), supplies, Broadcast(shelf, "main"))
        control = StandbyControl(standby, db)
        assert await set_switch(db, row_of("reducing", 1))
        with pytest.raises(Conflict, match="bob"):
            await control.set_switch(WORKSPACE, "account", "a", "active", "over", "ann")
        assert await read_switch(db, "account", "a") is not None
        halted = await control.set_switch(WORKSPACE, "account", "a", "halted", "stop", "ann")
        assert (halted.state, halted.epoch) == ("halted", 2)


def row_of(state: SwitchState, epoch: int) -> SwitchRow:
    """What a standby writes."""
    return SwitchRow("account", "a", WORKSPACE, state, epoch, "news", "bob", datetime.now(UTC))


@pytest.mark.parametrize(
    "theirs, ours, stands, who",
    [
        ("halted", "reducing", "halted", "bob"),
        ("halted", "active", "halted", "bob"),
        ("reducing", "halted", "halted", "ann"),
        ("active", "halted", "halted", "ann"),
    ],
)
async def test_a_switch_that_another_process_set_at_the_same_time_is_settled_by_the_stricter(
    dsn: str, theirs: SwitchState, ours: SwitchState, stands: SwitchState, who: str
) -> None:
    """R-091, P6: both took the same epoch; the caller hears what is in force, and the table says the same."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        control, board = world.machine.control, world.machine.state.book.switches
        assert (await control.set_switch(WORKSPACE, "account", "a", "reducing", "wait", "ann")).epoch == 1
        assert await set_switch(world.db, row_of(theirs, 2))
        told = await control.set_switch(WORKSPACE, "account", "a", ours, "mine", "ann")
        assert (told.state, told.who) == (stands, who)
        assert (board.state("account", "a"), board.epoch("account", "a")) == (stands, told.epoch)

        async def stored() -> SwitchState | None:
            found = await read_switch(world.db, "account", "a")
            return found.state if found is not None else None

        while await stored() != stands:
            await asyncio.sleep(0.02)
        await world.journalled(
            lambda e: isinstance(e, SwitchChanged) and (e.switch.state, e.switch.who) == (stands, who),
            "the switch in force",
        )


async def test_a_row_as_new_as_ours_counts_when_it_is_stricter(dsn: str) -> None:
    """R-091: found by the poll before our own row could be written."""
    async with house(dsn, {"a": Follower(FIRST)}) as world:
        control, board = world.machine.control, world.machine.state.book.switches
        lifted = await control.set_switch(WORKSPACE, "account", "a", "reducing", "wait", "ann")
        control.adopt([row_of("active", lifted.epoch)])
        assert board.state("account", "a") == "reducing"
        control.adopt([row_of("halted", lifted.epoch)])
        assert board.state("account", "a") == "halted"
