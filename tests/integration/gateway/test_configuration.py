"""A real gateway process takes what changes in the database, hides secrets, and stops well."""

import asyncio
from dataclasses import replace
from pathlib import Path

from gateway_container.engine.recovery import decode_row
from kopitra.domain.journal import ConfigChanged
from kopitra.store.config_changes import waiting_changes
from kopitra.store.encoding import encode
from kopitra.store.journal_reader import replay
from kopitra.store.lease_table import read_lease
from kopitra.store.rules import change_rule
from tests.integration.gateway.process import base_of, ended, running, spawn
from tests.integration.gateway.world import FIRST, SECOND, rule


async def test_a_process_takes_new_followers_and_changed_rules_while_it_runs(
    dsn: str, tmp_path: Path
) -> None:
    async with running(dsn, tmp_path) as (house, ea, gateway):
        sims = house.on.sims
        first = await house.follow("a")
        while await sims[FIRST].net("a") < 1:
            await ea.send(action="add", side="buy", quantity=1)
        await house.follow("b")
        await change_rule(house.db, replace(first, body=encode(rule("a", pace="paused"))))
        while await sims[SECOND].net("b") < 1:
            await ea.send(action="add", side="buy", quantity=1)
        copies = await ea.send(action="add", side="buy", quantity=1)
        assert (copies["approved"], copies["skipped"]) == (1, 1)
        while await waiting_changes(house.db, 1):
            await asyncio.sleep(0.05)
        await ended(gateway)
        rows = [decode_row(row) async for row in replay(house.db, "main")]
        changes = [(e.what, e.what_id) for e in rows if isinstance(e, ConfigChanged)]
        assert ("account", "b") in changes
        assert changes.count(("rule", "rule-a")) == 2


async def test_a_process_hides_secrets_keeps_a_second_one_standing_by_and_hands_over(
    dsn: str, tmp_path: Path
) -> None:
    """R-082: the second one is ready, and leads when the first one is gone."""
    async with running(dsn, tmp_path) as (house, ea, gateway):
        await house.follow("a")
        while await house.on.sims[FIRST].net("a") < 1:
            await ea.send(action="add", side="buy", quantity=1)
        while await waiting_changes(house.db, 1):
            await asyncio.sleep(0.05)
        second = await spawn(dsn, tmp_path)
        health = f"{await base_of(second)}/health"
        assert (await ea.http.get(health)).json()["role"] == "standby"
        log = await ended(gateway)
        while (await ea.http.get(health)).json()["role"] == "standby":
            await asyncio.sleep(0.05)
        log += await ended(second)
        lease = await read_lease(house.db, "main")
        assert lease is not None
        assert (lease.epoch, lease.released) == (2, True)
        journal = b"".join([row.payload async for row in replay(house.db, "main")])
        assert house.canaries
        assert b'"what":"login"' in journal
        for canary in house.canaries:
            assert canary.encode() not in log
            assert canary.encode() not in journal
