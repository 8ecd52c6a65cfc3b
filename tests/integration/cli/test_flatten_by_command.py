"""`kopitra flatten` on real processes: through a gateway that lives, without one that is dead, in spite of one."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway_container.engine.recovery import decode_row
from gateway_container.operators import add_operator, make_operator
from kopitra.domain.journal import Entry, FlattenNoted, Heartbeat, SwitchChanged
from kopitra.store.builds import Verdict, judge, list_builds
from kopitra.store.exit_records import ExitRecord, frame
from kopitra.store.exposure import exposure_of
from kopitra.store.journal_reader import replay
from kopitra.store.lease_table import read_lease
from kopitra.store.pool import Database
from tests.integration.gateway.process import Ea, House, running
from tests.integration.gateway.world import FIRST, SECOND, WORKSPACE

#: seconds for a command that has to wait out a lease
PATIENCE_S = 60


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended, and what it said to the person."""

    code: int
    text: str


async def flatten(dsn: str, folder: Path, *words: str, **environment: str) -> Said:
    """Run the command as its own process."""
    fixed = ("flatten", "--reason", "drill", "--workspace", WORKSPACE, "--yes")
    return await command(dsn, folder, *fixed, *words, **environment)


async def command(dsn: str, folder: Path, *words: str, **environment: str) -> Said:
    """Run any command of `kopitra` as its own process, with nobody to answer it."""
    here = {"DATABASE_URL": dsn, "KOPITRA_DATA_DIR": str(folder), "COLUMNS": "200", "NO_PROXY": "127.0.0.1"}
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli.main",
        *words,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, **here, **environment},
    )
    out, err = await asyncio.wait_for(child.communicate(), PATIENCE_S)
    return Said(child.returncode or 0, " ".join((out + err).decode().split()))


@asynccontextmanager
async def in_position(dsn: str, folder: Path) -> AsyncGenerator[tuple[House, Ea, Process]]:
    """A gateway process whose two followers hold something."""
    async with running(dsn, folder) as (house, ea, gateway):
        try:
            for account in ("a", "b"):
                await house.follow(account)
            wanted = {"a", "b"}
            while 0 in [await house.on.sims[FIRST].net("a"), await house.on.sims[SECOND].net("b")]:
                await ea.send(action="add", side="buy", quantity=1)
            while {row.account_id for row in await exposure_of(house.db, sorted(wanted))} != wanted:
                await asyncio.sleep(0.05)  # the rows for queries come behind the journal
            yield house, ea, gateway
        finally:
            if gateway.returncode is None:
                gateway.kill()
            await gateway.communicate()


def address(ea: Ea) -> str:
    return ea.base.removesuffix("/trade-agent/v1")


async def is_flat(house: House, account: str) -> bool:
    sim = house.on.sim(account)
    return await sim.net(account) == 0 and await sim.live(account) == []


async def journal(db: Database) -> list[Entry]:
    return [decode_row(row) async for row in replay(db, "main")]


async def test_a_dead_gateway_is_replaced_by_the_command_which_keeps_nothing(
    dsn: str, tmp_path: Path
) -> None:
    """R-097: the lease is waited out, the scope and nothing else is closed, everything is journalled under a name; then
    the shard is free, at once or, while the dead one's grace lasts (R-073), when the lease has ended."""
    async with in_position(dsn, tmp_path) as (house, ea, gateway):
        gateway.kill()
        await gateway.wait()
        said = await flatten(dsn, tmp_path, "--scope", "account", "--id", "a", "--url", address(ea))

        assert said.code == 0, said.text
        assert "a: flat confirmed" in said.text
        assert house.on.contract in said.text  # what it held, shown first
        assert (await is_flat(house, "a"), await is_flat(house, "b")) == (True, False)
        told = [e for e in await journal(house.db) if isinstance(e, FlattenNoted | SwitchChanged)]
        noted = [e for e in told if isinstance(e, FlattenNoted)]
        assert {e.account_id for e in noted} == {"a"}
        assert {e.who.split(":")[0] for e in noted} == {"break-glass"}
        switches = [e.switch for e in told if isinstance(e, SwitchChanged)]
        assert [(s.scope, s.scope_id, s.state, s.reason) for s in switches] == [
            ("account", "a", "reducing", "drill")
        ]
        async with asyncio.timeout(PATIENCE_S):
            while (row := await read_lease(house.db, "main")) and not row.released and row.left_s > 0:
                await asyncio.sleep(0.1)
        assert row is not None
        assert row.epoch == 2


async def test_a_gateway_that_lives_is_asked_and_does_it_itself(dsn: str, tmp_path: Path) -> None:
    """R-097: with the gateway alive the command goes through its door, as an operator."""
    grant, token = make_operator(WORKSPACE, "ann", "admin", datetime.now(UTC))
    add_operator(tmp_path / "operators.json", grant)
    async with in_position(dsn, tmp_path) as (house, ea, _):
        url = ("--url", address(ea))
        refused = await flatten(dsn, tmp_path, "--scope", "workspace", *url)
        assert (refused.code, "KOPITRA_OPERATOR_KEY" in refused.text) == (2, True)

        asked = await flatten(dsn, tmp_path, "--scope", "global", *url, KOPITRA_OPERATOR_KEY=token)
        assert (asked.code, "--take-over" in asked.text) == (2, True)
        said = await flatten(dsn, tmp_path, "--scope", "workspace", *url, KOPITRA_OPERATOR_KEY=token)

        assert said.code == 0, said.text
        assert [await is_flat(house, a) for a in ("a", "b")] == [True, True]
        row = await read_lease(house.db, "main")
        assert row is not None
        assert (row.epoch, row.released) == (1, False)

        here = {"KOPITRA_OPERATOR_KEY": token, "KOPITRA_URL": address(ea)}
        words = ("switch", "set", "--scope", "workspace", "--id", WORKSPACE, "--state", "active")
        unsure = await command(dsn, tmp_path, *words, "--reason", "over", **here)
        assert unsure.code != 0  # lifting is asked once more
        lifted = await command(dsn, tmp_path, *words, "--reason", "over", "--yes", **here)
        assert (lifted.code, "is reducing; it becomes active once" in lifted.text) == (0, True)
        shown = await command(dsn, tmp_path, "switch", "list", "--json", **here)
        assert '"reason": "over"' in shown.text


async def test_a_gateway_that_does_not_obey_is_fenced(dsn: str, tmp_path: Path) -> None:
    """R-097, R-083: the epoch goes up, the old holder's own deadline is waited out, then everything is closed."""
    async with in_position(dsn, tmp_path) as (house, ea, gateway):
        url = ("--url", address(ea))
        said = await flatten(dsn, tmp_path, "--scope", "global", "--take-over", *url)
        assert said.code == 0, said.text
        assert [await is_flat(house, a) for a in ("a", "b")] == [True, True]
        assert await asyncio.wait_for(gateway.wait(), PATIENCE_S) == 3
        switches = [e.switch for e in await journal(house.db) if isinstance(e, SwitchChanged)]
        assert [(s.scope, s.state) for s in switches] == [("global", "reducing")]


async def test_a_build_that_nobody_judged_breaks_the_glass_under_a_name_for_it(
    dsn: str, tmp_path: Path
) -> None:
    """R-097, R-089: any shell will do at night; the permission is for this purpose, and says who and why."""
    async with in_position(dsn, tmp_path) as (house, ea, gateway):
        words = ("--scope", "account", "--id", "a", "--take-over", "--url", address(ea))
        said = await flatten(dsn, tmp_path, *words, KOPITRA_BUILD="jumphost")

        assert said.code == 0, said.text
        assert (await is_flat(house, "a"), await is_flat(house, "b")) == (True, False)
        assert await asyncio.wait_for(gateway.wait(), PATIENCE_S) == 3
        judged = {row.build: row for row in await list_builds(house.db)}
        assert sorted(judged) == ["dev", "jumphost+break-glass"]
        row = judged["jumphost+break-glass"]
        assert (row.allowed, row.reason, row.who.split(":")[0]) == (True, "drill", "break-glass")
        told = [e.build for e in await journal(house.db) if isinstance(e, Heartbeat)]
        assert told[-1] == "jumphost+break-glass"
        alone = await command(dsn, tmp_path, "builds", "forbid", "dev", "--reason", "old")
        assert (alone.code, "last build" in alone.text) == (1, True)  # no gateway may bear the other name


async def test_what_may_not_take_the_shard_fences_nobody(dsn: str, tmp_path: Path) -> None:
    """R-097: a refusal says its remedy while the gateway still trades, not after it was put out of the way."""
    async with in_position(dsn, tmp_path) as (house, ea, gateway):
        await judge(house.db, Verdict("bad", False, "wrong rounding", "ann"), datetime.now(UTC))
        newer = "insert into schema_version (number, stage, name, sha256) values (999, 'post', 'newer', '')"
        words = ("--scope", "global", "--take-over", "--url", address(ea))

        forbidden = await flatten(dsn, tmp_path, *words, KOPITRA_BUILD="bad")
        keyless = await flatten(dsn, tmp_path, *words, KOPITRA_KEY_FILE=str(tmp_path / "none.key"))
        await house.db.run(newer, {})
        older = await flatten(dsn, tmp_path, *words)
        await house.db.run("delete from schema_version where number = 999", {})

        assert (forbidden.code, "kopitra builds allow bad" in forbidden.text) == (3, True)
        assert (keyless.code, "set KOPITRA_KEY_FILE" in keyless.text) == (3, True)
        assert (older.code, "Deploy the newer build" in older.text) == (3, True)
        row = await read_lease(house.db, "main")
        assert row is not None
        assert (row.epoch, row.released, gateway.returncode) == (1, False, None)
        await ea.send(action="add", side="buy", quantity=1)  # it trades on


async def test_without_gateway_and_database_it_says_what_a_person_must_do(tmp_path: Path) -> None:
    """R-097: what is impossible is said, and what was sent without the database is not forgotten."""
    record = ExitRecord("main", 1, 1, WORKSPACE, datetime.now(UTC), "trade.executions", "FollowUp", "{}")
    (tmp_path / "exits-main.bin").write_bytes(frame(record))
    nowhere = f"postgresql://nobody@/none?host={tmp_path}"
    said = await flatten(nowhere, tmp_path, "--scope", "account", "--id", "a", "--url", "http://127.0.0.1:9")
    assert said.code == 3
    assert "broker's own screen" in said.text
    assert "1 exits that a gateway sent without the database" in said.text
