"""`kopitra switch` on real processes: the switch over all workspaces is lifted by who can reach the database."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from kopitra.domain.journal import SwitchChanged
from kopitra.domain.switches import KillSwitch
from kopitra.store.pool import Database
from kopitra.store.switches import SwitchRow, set_switch
from tests.integration.cli.test_flatten_by_command import command, journal
from tests.integration.gateway.process import running

#: an invariant that broke sets it
SET = SwitchRow("global", "", "", "reducing", 1, "I-01 broke", "watch", datetime(2026, 1, 5, tzinfo=UTC))


async def changes(db: Database) -> list[KillSwitch]:
    return [
        e.switch for e in await journal(db) if isinstance(e, SwitchChanged) and e.switch.scope == "global"
    ]


async def until_last_is(db: Database, state: str) -> list[KillSwitch]:
    async with asyncio.timeout(40):
        while not (found := await changes(db)) or found[-1].state != state:
            await asyncio.sleep(0.05)
    return found


async def test_r098_a_global_switch_is_lifted_by_command_and_ends_when_the_accounts_were_compared(
    dsn: str, tmp_path: Path
) -> None:
    words = ("switch", "lift-global", "--reason", "the old build is back", "--yes")
    async with running(dsn, tmp_path) as (house, _, gateway):
        try:
            assert (await command(dsn, tmp_path, *words)).text == "the global switch is not set"
            await set_switch(house.db, SET)
            await until_last_is(house.db, "reducing")
            said = await command(dsn, tmp_path, *words)
            assert said.code == 0, said.text
            found = await until_last_is(house.db, "active")
            assert [(s.state, s.lifting) for s in found[1:]] == [("reducing", True), ("active", False)]
            assert found[1].reason == "the old build is back"
            assert (await command(dsn, tmp_path, *words)).text == "the global switch is not set"
        finally:
            if gateway.returncode is None:
                gateway.kill()
            await gateway.communicate()
