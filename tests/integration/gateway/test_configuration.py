"""A real gateway process takes what changes in the database, hides secrets, and stops well."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import httpx2
import msgspec

from kopitra.store.accounts import AccountRow, LoginRow, create_account, create_login
from kopitra.store.encoding import encode
from kopitra.store.journal_reader import replay
from kopitra.store.keys import KeyRequest, issue_key
from kopitra.store.leaders import LeaderRow, create_leader
from kopitra.store.lease import read_lease
from kopitra.store.pool import Database
from kopitra.store.rules import RuleRow, change_rule, create_rule
from kopitra.store.sealing import FileMasterKey, add_data_key, load_sealer
from kopitra.store.workspaces import WorkspaceRow, create_workspace
from tests.integration.gateway.world import FIRST, LEADER, SECOND, WORKSPACE, Follower, rule, street

#: seconds for a process to come up on a loaded machine
READY_S = 40


async def process(dsn: str, folder: Path) -> asyncio.subprocess.Process:
    environment = {
        **os.environ, "DATABASE_URL": dsn, "KOPITRA_DATA_DIR": str(folder), "KOPITRA_PORT": "0",
        "KOPITRA_DRAIN_S": "0.5", "KOPITRA_LOG_LEVEL": "DEBUG",
    }  # fmt: skip
    command = (sys.executable, "-m", "gateway_container")
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=environment)


async def test_a_process_takes_changes_hides_secrets_refuses_a_second_one_and_hands_over(
    dsn: str, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    async with street({"a": Follower(FIRST), "b": Follower(SECOND)}) as on, Database(dsn) as db:
        await create_workspace(db, WorkspaceRow(WORKSPACE, "w", now))
        master = FileMasterKey(tmp_path / "master.key")
        await add_data_key(db, master, WORKSPACE, now)
        sealer = await load_sealer(db, master)
        await create_leader(db, LeaderRow(WORKSPACE, LEADER, "leader", b"{}"))
        canaries: list[str] = []

        async def follow(account_id: str) -> RuleRow:
            login = on.config.logins[f"login-{account_id}"]
            canaries.extend(value for value in login.credentials.values() if len(value) >= 8)
            sealed = sealer.seal(WORKSPACE, login.login_id, "credentials", encode(login.credentials))
            await create_login(
                db, LoginRow(WORKSPACE, login.login_id, login.broker, "t", login.settings, sealed)
            )
            number = on.config.accounts[account_id].broker_account
            await create_account(
                db, AccountRow(WORKSPACE, account_id, login.login_id, number, "t", {}, b"{}")
            )
            body = encode(rule(account_id))
            return await create_rule(
                db, RuleRow(WORKSPACE, f"rule-{account_id}", LEADER, account_id, body, now, "ann")
            )

        first_rule = await follow("a")
        issued = await issue_key(db, sealer, KeyRequest(WORKSPACE, LEADER, "EA-1", "key"), now)
        canaries += [issued.token.rpartition("_")[2], issued.signing_secret]
        gateway = await process(dsn, tmp_path)
        assert gateway.stdout is not None
        line = await asyncio.wait_for(gateway.stdout.readline(), READY_S)
        said = msgspec.json.decode(line, type=dict[str, object])
        base = f"http://{said['host']}:{said['port']}/trade-agent/v1"
        sent = 0

        async with httpx2.AsyncClient(trust_env=False, timeout=10) as http:

            async def send(**fields: object) -> dict[str, int]:
                nonlocal sent
                sent += 1
                headers = {
                    "Authorization": f"Bearer {issued.token}", "X-TradeAgent-Account": "EA-1",
                    "Idempotency-Key": f"k{sent}",
                }  # fmt: skip
                body = {
                    "symbol": "ES",
                    "occurredAt": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                    **fields,
                }
                answer = await http.post(f"{base}/signals", json=body, headers=headers)
                assert answer.status_code == 202, answer.text
                return answer.json()["copies"]

            health = await http.get(f"{base}/health")
            assert health.status_code == 200
            first = await send(action="enter", side="buy", quantity=1, signalId="first")
            view = await http.get(
                f"{base}/signals/first",
                headers={"Authorization": f"Bearer {issued.token}", "X-TradeAgent-Account": "EA-1"},
            )
            assert first["approved"] == 1, view.text
            while await on.sims[FIRST].net("a") != 1:
                await asyncio.sleep(0.02)

            await follow("b")  # a new follower
            paused = rule("a", pace="paused")
            await change_rule(db, replace(first_rule, body=encode(paused)))
            while await on.sims[SECOND].net("b") < 1:
                await send(action="add", side="buy", quantity=1)
            assert await on.sims[FIRST].net("a") <= 1 + sent
            copies = await send(action="add", side="buy", quantity=1)
            assert (copies["approved"], copies["skipped"]) == (1, 1)

            second = await process(dsn, tmp_path)
            _, errors = await asyncio.wait_for(second.communicate(), READY_S)
            assert second.returncode == 2
            assert b"is held by" in errors

        gateway.terminate()
        _, log = await asyncio.wait_for(gateway.communicate(), READY_S)
        assert gateway.returncode == 0
        lease = await read_lease(db, "main")
        assert lease is not None
        assert lease.released
        journal = b"".join([row.payload async for row in replay(db, "main")])
        for canary in canaries:
            assert canary.encode() not in log
            assert canary.encode() not in journal
        assert canaries
        assert Decimal(await on.sims[SECOND].net("b")) >= 1
