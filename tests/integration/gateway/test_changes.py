"""Changes of configuration become facts of the journal; what they leave without exits is told."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import LiteralString

import msgspec
import pytest

from gateway_container.engine.upkeep import CHANGES_MAX, Upkeep
from kopitra.domain.copy_rules import MapEntry
from kopitra.domain.journal import AlertRaised, ConfigChanged
from kopitra.store import config_changes
from kopitra.store.accounts import AccountRow, LoginRow, change_account, create_account, create_login
from kopitra.store.encoding import encode
from kopitra.store.held import StillHeld, caught_up
from kopitra.store.hooks import HookRequest, issue_hook
from kopitra.store.keys import KeyRequest, issue_key, revoke_key
from kopitra.store.leaders import LeaderRow, create_leader
from kopitra.store.pool import Database
from kopitra.store.postgres_shelf import PostgresShelf
from kopitra.store.rules import RuleRow, change_rule, create_rule
from kopitra.store.sealing import FileMasterKey, add_data_key, load_sealer
from kopitra.store.workspaces import WorkspaceRow, create_workspace
from tests.integration.gateway.simulated import PATIENCE_S
from tests.integration.gateway.world import (
    FIRST,
    LEADER,
    WORKSPACE,
    Follower,
    World,
    engine,
    house,
    rule,
    street,
    with_rules,
)

ONE = {"a": Follower(FIRST)}
NOW = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
SEALED = b"canary-sealed-credentials"


async def furnish(db: Database) -> tuple[AccountRow, RuleRow]:
    """The rows that stand for the street's configuration."""
    await create_workspace(db, WorkspaceRow(WORKSPACE, "w", NOW))
    await create_login(db, LoginRow(WORKSPACE, "login-a", FIRST, "t", {}, SEALED))
    account = AccountRow(WORKSPACE, "a", "login-a", "SIMa", "t", {}, b"{}")
    await create_account(db, account)
    await create_leader(db, LeaderRow(WORKSPACE, LEADER, "leader", b"{}"))
    row = RuleRow(WORKSPACE, "rule-a", LEADER, "a", encode(rule("a")), NOW, "ann")
    return account, await create_rule(db, row)


async def changes(world: World) -> list[ConfigChanged]:
    return [entry for entry in await world.journal() if isinstance(entry, ConfigChanged)]


async def journalled(world: World, count: int) -> list[ConfigChanged]:
    """Wait until so many changes are in the journal."""
    await world.journalled(lambda e: isinstance(e, ConfigChanged) and e.change_id == count, f"change {count}")
    return await changes(world)


def told(found: Sequence[ConfigChanged]) -> list[tuple[str, str]]:
    return [(entry.what, entry.what_id) for entry in found]


async def test_what_changed_while_no_gateway_ran_is_journalled_at_the_start(dsn: str) -> None:
    async with street(ONE) as on:
        async with Database(dsn, who="cli:ann smith") as db:
            account, _ = await furnish(db)
            await change_account(db, replace(account, title="Renamed"))
        async with engine(dsn, on) as world:
            found = await journalled(world, 6)
    assert told(found) == [
        ("workspace", WORKSPACE), ("login", "login-a"), ("account", "a"), ("leader", LEADER), ("rule", "rule-a"),
        ("account", "a"),
    ]  # fmt: skip
    assert {entry.who for entry in found} == {"cli:ann smith"}
    before, after = (
        msgspec.json.decode(text, type=dict[str, object]) for text in (found[5].before, found[5].after)
    )
    assert (before["title"], after["title"]) == ("t", "Renamed")
    assert (found[0].before, found[0].changed_at.tzinfo) == ("null", UTC)


async def test_a_change_is_journalled_while_the_gateway_runs(dsn: str) -> None:
    async with house(dsn, ONE) as world:
        _, first = await furnish(world.db)
        await change_rule(world.db, replace(first, body=encode(rule("a", pace="paused"))))
        await world.machine.reconfigure(world.street.config, ())
        found = await journalled(world, 6)
        before, after = (
            msgspec.json.decode(t, type=dict[str, object]) for t in (found[5].before, found[5].after)
        )
    assert told(found)[5] == ("rule", "rule-a")
    assert (before["version"], after["version"]) == (1, 2)
    assert b'"pace":"paused"' in encode(after["body"])
    assert found[5].who.startswith("sql:")


async def test_no_secret_and_no_hash_of_one_reaches_outbox_or_journal(dsn: str, tmp_path: Path) -> None:
    async with house(dsn, ONE) as world:
        db = world.db
        await furnish(db)
        master = FileMasterKey(tmp_path / "master.key")
        await add_data_key(db, master, WORKSPACE, NOW)
        key = await issue_key(db, await load_sealer(db, master), KeyRequest(WORKSPACE, LEADER, "1", "x"), NOW)
        hook = await issue_hook(db, HookRequest(WORKSPACE, LEADER, "tradingview", {}))
        await revoke_key(db, WORKSPACE, key.row.key_id, NOW)
        await world.machine.reconfigure(world.street.config, ())
        found = await journalled(world, 8)
    said = encode(found).decode()
    assert told(found)[5:] == [("key", key.row.key_id), ("hook", hook.row.hook_id), ("key", key.row.key_id)]
    secrets = (SEALED, key.row.secret_sha256, key.row.sealed_signing or b"?", hook.row.secret_sha256)
    for canary in [key.token.split("_", 2)[2], key.signing_secret, hook.path, *(s.hex() for s in secrets)]:
        assert canary not in said
    assert "(hidden, new)" in found[5].after
    assert '"secret_sha256": "(hidden)"' in found[7].after


async def test_a_change_whose_mark_was_lost_is_not_journalled_again(dsn: str) -> None:
    async with street(ONE) as on:
        async with engine(dsn, on) as world:
            await furnish(world.db)
            await world.machine.reconfigure(on.config, ())
            await journalled(world, 5)
        async with engine(dsn, on) as world:
            await world.db.run("update config_changes set seq = null, shard = null")
            upkeep = Upkeep(PostgresShelf(world.db), world.machine.state.clock, world.machine.log, "main")
            assert await upkeep.journal_changes() == 5
            assert await config_changes.waiting_changes(world.db, 10) == []
            assert len(await changes(world)) == 5


async def test_two_gateways_that_take_the_same_change_journal_it_once(dsn: str) -> None:
    async with house(dsn, ONE) as world:
        await furnish(world.db)
        machine = world.machine
        here, there = (
            Upkeep(PostgresShelf(world.db), machine.state.clock, machine.log, "main") for _ in range(2)
        )
        waiting = await config_changes.waiting_changes(world.db, 10)
        await here.journal_changes()
        # The other had read the outbox before: the journal itself refuses what it holds.
        assert [await there._journal(change) for change in waiting] == [None] * 5
        assert len(await changes(world)) == 5


async def test_many_changes_are_taken_in_batches(dsn: str) -> None:
    async with street(ONE) as on:
        async with Database(dsn) as db:
            for number in range(CHANGES_MAX + 3):
                await create_workspace(db, WorkspaceRow(f"w{number}", "w", NOW))
        async with engine(dsn, on) as world:
            found = await journalled(world, CHANGES_MAX + 3)
    assert [entry.change_id for entry in found] == list(range(1, CHANGES_MAX + 4))


@dataclass(frozen=True, slots=True)
class _Left:
    name: str


_LEFT_SQL = "select key as name from idempotency union all select what_id from config_changes"
_OLD_SQL: tuple[LiteralString, ...] = (
    "insert into idempotency select 'w', 'p', 'e', %s, '', 202, '', now() - %s * interval '1 day'",
    """insert into config_changes (workspace, who, what, what_id, before, after, at, shard, seq)
       select 'w', 'ann', 'rule', %s, 'null', 'null', now() - %s * interval '1 day', 'main', 1""",
)


async def left(db: Database) -> list[str]:
    return [row.name for row in await db.rows(_Left, _LEFT_SQL)]


async def test_what_has_had_its_time_leaves_and_nothing_younger(dsn: str) -> None:
    async with Database(dsn) as db, street(ONE) as on:
        for text in _OLD_SQL:
            await db.run(text, ("old", 8))
            await db.run(text, ("young", 6))
        async with engine(dsn, on), asyncio.timeout(PATIENCE_S):
            while len(await left(db)) > 2:
                pass
        assert await left(db) == ["young", "young"]


async def holding(world: World) -> tuple[AccountRow, RuleRow]:
    """The follower holds one contract because of the leader, and the tables know it."""
    rows = await furnish(world.db)
    await world.send(side="buy", quantity=1)
    await world.holds(a=1)
    await world.until(lambda: world.machine.log.is_quiet, "the journal")
    await caught_up(world.db)
    return rows


async def test_what_would_strand_a_holding_is_refused_until_it_is_flat(dsn: str) -> None:
    async with house(dsn, ONE) as world:
        account, first = await holding(world)
        mapped = encode(rule("a", symbol_map=(MapEntry("ES", "MES"),)))
        for change in (
            change_account(world.db, replace(account, active=False)),
            change_account(world.db, replace(account, shadow=True)),
            change_rule(world.db, replace(first, active=False)),
            change_rule(world.db, replace(first, body=mapped)),
        ):
            with pytest.raises(StillHeld, match=f"a holds 1 {world.contract} because of lead"):
                await change
        paused = await change_rule(world.db, replace(first, body=encode(rule("a", pace="paused"))))
        await world.send(action="exit")
        await world.holds(a=0)
        await world.until(lambda: world.machine.log.is_quiet, "the journal")
        assert (await change_rule(world.db, replace(paused, body=mapped))).version == 3


async def test_a_forced_change_passes_and_the_engine_says_what_is_left_alone(dsn: str) -> None:
    async with house(dsn, ONE) as world:
        account, _ = await holding(world)
        await change_account(world.db, replace(account, active=False), force=True)
        config = world.street.config
        off = replace(config, accounts={"a": replace(config.accounts["a"], active=False)})
        for _ in range(2):  # a second look at the same state says nothing new
            await world.machine.reconfigure(off, ())
        alert = await world.alert("exits-not-followed", "a")
        await world.until(lambda: world.machine.log.is_quiet, "the journal")
        alerts = [e for e in await world.journal() if isinstance(e, AlertRaised) and e.code == alert.code]
    assert len(alerts) == 1
    assert "the account is switched off" in alert.text


async def test_a_map_that_turns_away_from_what_is_held_is_told(dsn: str) -> None:
    async with house(dsn, ONE) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        turned = with_rules(world.street.config, rule("a", symbol_map=(MapEntry("ES", "MES"),)))
        await world.machine.reconfigure(turned, ())
        alert = await world.alert("exits-not-followed", "a")
    assert "does not copy lead's ES to ES any more" in alert.text


async def test_a_close_only_follower_goes_on_following_exits(dsn: str) -> None:
    async with house(dsn, ONE) as world:
        await world.send(side="buy", quantity=1)
        await world.holds(a=1)
        await world.machine.reconfigure(with_rules(world.street.config, rule("a", pace="close_only")), ())
        await world.send(action="add", side="buy", quantity=1)
        await world.send(action="exit")
        await world.holds(a=0)
        assert not [e for e in await world.journal() if isinstance(e, AlertRaised)]
