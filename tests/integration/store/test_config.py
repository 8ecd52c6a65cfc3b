"""One consistent look at the configuration, and word of every change."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest_asyncio

from kopitra.ports import Clock
from kopitra.store import accounts, leaders, rules, switches, workspaces
from kopitra.store.config import ConfigWatch, Seen, load_config
from kopitra.store.pool import Database

NOW = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


@pytest_asyncio.fixture
async def watch(db: Database, clock: Clock) -> AsyncIterator[ConfigWatch]:
    """Hears by notification only: the poll is far away."""
    hearing = ConfigWatch(db.dsn, clock, poll_s=30)
    yield hearing
    await hearing.close()


async def following(watch: ConfigWatch) -> Seen:
    return await asyncio.wait_for(watch.following(), 5)


async def fill(db: Database, workspace: str) -> None:
    await workspaces.create_workspace(db, workspaces.WorkspaceRow(workspace, workspace, NOW))
    await accounts.create_login(db, accounts.LoginRow(workspace, f"{workspace}-l", "b", "", {}))
    await accounts.create_account(
        db, accounts.AccountRow(workspace, f"{workspace}-a", f"{workspace}-l", "1", "", {}, b"{}")
    )
    await leaders.create_leader(db, leaders.LeaderRow(workspace, f"{workspace}-boss", "", b"{}"))
    rule = rules.RuleRow(workspace, "r", f"{workspace}-boss", f"{workspace}-a", b"{}", NOW, "ann")
    await rules.change_rule(db, await rules.create_rule(db, rule))


async def test_everything_is_read_with_current_rules_only(db: Database) -> None:
    await fill(db, "w1")
    await fill(db, "w2")
    await switches.set_switch(db, switches.SwitchRow("global", "", "", "reducing", 1, "", "ann", NOW))
    await switches.set_switch(db, switches.SwitchRow("account", "w2-a", "w2", "halted", 1, "", "ann", NOW))
    everything = await load_config(db)
    assert [row.workspace for row in everything.workspaces] == ["w1", "w2"]
    assert [(row.workspace, row.version) for row in everything.rules] == [("w1", 2), ("w2", 2)]
    assert len(everything.switches) == 2
    own = await load_config(db, "w1")
    parts = (own.workspaces, own.logins, own.accounts, own.leaders, own.rules)
    assert {row.workspace for part in parts for row in part} == {"w1"}
    assert [row.scope for row in own.switches] == ["global"]
    assert own.version == everything.version > 1


async def test_each_change_raises_the_version_once(db: Database) -> None:
    before = (await load_config(db)).version
    await fill(db, "w1")
    assert (await load_config(db)).version == before + 6


async def test_a_change_is_told_at_once(db: Database, watch: ConfigWatch) -> None:
    start = await following(watch)
    await workspaces.create_workspace(db, workspaces.WorkspaceRow("w1", "", NOW))
    assert await following(watch) == Seen(start.version + 1, start.switches)


async def test_a_kill_switch_is_told_at_once(db: Database, watch: ConfigWatch) -> None:
    start = await following(watch)
    await switches.set_switch(db, switches.SwitchRow("global", "", "", "halted", 1, "", "ann", NOW))
    assert await following(watch) == Seen(start.version, start.switches + 1)


async def test_a_lost_notification_is_found_by_looking(db: Database, clock: Clock) -> None:
    watch = ConfigWatch(db.dsn, clock, poll_s=0.05)
    start = await following(watch)
    await db.run("alter table workspaces disable trigger config_changed")
    await db.run("update config_version set version = version + 1")
    assert (await following(watch)).version == start.version + 1
    assert watch.read_ns > 0
    await watch.close()


async def test_an_outage_of_the_watch_ends_by_itself(db: Database, watch: ConfigWatch) -> None:
    start = await following(watch)
    await db.run(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'kopitra config watch' and datname = current_database()"
    )
    await workspaces.create_workspace(db, workspaces.WorkspaceRow("w1", "", NOW))
    assert (await following(watch)).version == start.version + 1
