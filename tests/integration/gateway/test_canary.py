"""The canary goes the whole way, leaves nothing behind, and is missed when it does not come through."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from gateway_container.engine.broadcast import Broadcast
from gateway_container.engine.canary import ACCOUNT, CODE, LEADER, WORKSPACE
from gateway_container.engine.config import EMPTY
from gateway_container.engine.machine import Identity, Machine, Supplies
from kopitra.clock import SystemClock
from kopitra.domain.journal import AlertCleared, OrdersSent, SignalPlanned
from kopitra.domain.switches import KillSwitch
from kopitra.store.pool import Database
from kopitra.store.postgres_shelf import PostgresShelf
from kopitra.telemetry import Metrics
from tests.integration.gateway.world import Street, World

NOWHERE = Street(EMPTY, {}, "")


@asynccontextmanager
async def singing(dsn: str) -> AsyncGenerator[World]:
    """A machine with a canary and with no account of anybody."""
    async with Database(dsn) as db:
        shelf = PostgresShelf(db)
        supplies = Supplies(shelf, SystemClock(), {}, Metrics(), canary=True)
        broadcast = Broadcast(shelf, "main")
        lost: list[str] = []
        identity = Identity("main", "test", "dev")
        machine = await Machine.start(identity, supplies, NOWHERE.config, broadcast, lost.append)
        try:
            yield World(machine, NOWHERE, db, broadcast, lost)
        finally:
            await machine.stop(drain_s=0.2)


async def test_it_takes_intake_journal_and_fan_out_and_leaves_nothing(dsn: str) -> None:
    async with singing(dsn) as world:
        for _ in range(2):
            await world.machine.safety.canary.round()
        book = world.machine.state.book
        await world.until(lambda: not list(book.open_children(ACCOUNT, LEADER)), "the cancels")
        assert (book.held(ACCOUNT, LEADER), world.machine.state.prices) == ({}, {})
        journal = await world.journal()
        planned = [e for e in journal if isinstance(e, SignalPlanned)]
        assert [e.signal.action for e in planned] == ["enter", "cancel"] * 2
        sent = {
            f.cl_ord_id
            for e in journal
            if isinstance(e, OrdersSent)
            for f in e.sent
            if f.orig_cl_ord_id is None
        }
        assert len(sent) == 2
        text = "\n".join(str(f) for f in world.machine.supplies.metrics.canary.collect())
        assert "acked" in text


async def test_it_is_not_seen_in_anybodys_workspace(dsn: str) -> None:
    async with singing(dsn) as world:
        await world.machine.safety.canary.round()
        assert world.machine.views.snapshot("ws1", None).accounts == ()
        rows = [e.signal.workspace for e in await world.journal() if isinstance(e, SignalPlanned)]
        assert set(rows) == {WORKSPACE}


async def test_a_canary_that_does_not_come_through_is_told_once_and_again_when_it_does(dsn: str) -> None:
    async with singing(dsn) as world:
        canary = world.machine.safety.canary
        world.machine.log.accepting = False
        await canary.round()
        await canary.round()
        world.machine.log.accepting = True
        await world.alert(CODE, ACCOUNT)
        await canary.round()
        await world.journalled(
            lambda e: isinstance(e, AlertCleared) and e.code == CODE, "the end of the alert"
        )


async def test_a_switch_that_stops_entries_is_no_missing_canary(dsn: str) -> None:
    async with singing(dsn) as world:
        world.machine.control.throw(KillSwitch("global", "", "halted", "night", "ann", 1))
        await world.machine.safety.canary.round()
        assert [e for e in await world.journal() if isinstance(e, SignalPlanned)] == []


async def test_what_a_predecessor_left_is_taken_back(dsn: str) -> None:
    async with singing(dsn) as world:
        canary = world.machine.safety.canary
        canary._send("left", "left", "enter")
        book = world.machine.state.book
        await world.until(
            lambda: any(c.state == "working" for c in book.open_children(ACCOUNT, LEADER)), "it to rest"
        )
    async with singing(dsn) as world:
        await world.machine.safety.canary.round()
        book = world.machine.state.book
        await world.until(lambda: not list(book.open_children(ACCOUNT, LEADER)), "nothing to be left")
