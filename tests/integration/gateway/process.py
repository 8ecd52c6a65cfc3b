"""The gateway as a process of its own, furnished through the store as an operator would."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import msgspec

from kopitra.domain.limits import RiskLimits
from kopitra.store.accounts import AccountRow, LoginRow, create_account, create_login
from kopitra.store.encoding import encode
from kopitra.store.keys import KeyRequest, issue_key
from kopitra.store.leaders import LeaderRow, create_leader
from kopitra.store.pool import Database
from kopitra.store.rules import RuleRow, create_rule
from kopitra.store.sealing import FileMasterKey, Sealer, add_data_key, load_sealer
from kopitra.store.workspaces import WorkspaceRow, create_workspace
from tests.integration.gateway.world import FIRST, LEADER, SECOND, WORKSPACE, Follower, Street, rule, street

#: seconds for a process to come up on a loaded machine
READY_S = 40
ACCOUNT = "EA-1"
#: requests a minute of the EA: refused for its pace, it would prove nothing of what a test looks at
PLENTY = 1_000_000


async def spawn(dsn: str, folder: Path, **more: str) -> Process:
    """`python -m gateway_container`, with more of its environment."""
    environment = {
        **os.environ, "DATABASE_URL": dsn, "KOPITRA_DATA_DIR": str(folder), "KOPITRA_PORT": "0",
        "KOPITRA_DRAIN_S": "0.5", "KOPITRA_LOG_LEVEL": "DEBUG", "NO_PROXY": "127.0.0.1", **more,
    }  # fmt: skip
    command = (sys.executable, "-m", "gateway_container")
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=environment)


async def base_of(gateway: Process) -> str:
    """Its URL, once it says that it is ready."""
    assert gateway.stdout is not None
    line = await asyncio.wait_for(gateway.stdout.readline(), READY_S)
    said = msgspec.json.decode(line, type=dict[str, object])
    return f"http://{said['host']}:{said['port']}/trade-agent/v1"


async def ended(gateway: Process) -> bytes:
    """Its standard error after SIGTERM and a clean end."""
    gateway.terminate()
    _, log = await asyncio.wait_for(gateway.communicate(), READY_S)
    assert gateway.returncode == 0, log.decode()
    return log


@dataclass(slots=True)
class House:
    """One workspace with a leader, its key, and followers as they come. `canaries` are secrets in clear."""

    db: Database
    on: Street
    sealer: Sealer
    token: str
    canaries: list[str] = field(default_factory=list[str])

    @classmethod
    async def furnish(cls, db: Database, on: Street, folder: Path) -> "House":
        now = datetime.now(UTC)
        await create_workspace(db, WorkspaceRow(WORKSPACE, "w", now))
        master = FileMasterKey(folder / "master.key")
        await add_data_key(db, master, WORKSPACE, now)
        sealer = await load_sealer(db, master)
        await create_leader(db, LeaderRow(WORKSPACE, LEADER, "leader", b"{}"))
        asked = KeyRequest(WORKSPACE, LEADER, ACCOUNT, "key", rate_per_minute=PLENTY)
        issued = await issue_key(db, sealer, asked, now)
        canaries = [issued.token.split("_", 2)[2], issued.signing_secret]
        return cls(db, on, sealer, issued.token, canaries)

    async def follow(self, account_id: str, limits: RiskLimits | None = None) -> RuleRow:
        """A new follower."""
        login = self.on.config.logins[f"login-{account_id}"]
        self.canaries.extend(value for value in login.credentials.values() if len(value) >= 8)
        sealed = self.sealer.seal(WORKSPACE, login.login_id, "credentials", encode(login.credentials))
        await create_login(
            self.db, LoginRow(WORKSPACE, login.login_id, login.broker, "t", login.settings, sealed)
        )
        number = self.on.config.accounts[account_id].broker_account
        await create_account(
            self.db,
            AccountRow(
                WORKSPACE, account_id, login.login_id, number, "t", {}, encode(limits) if limits else b"{}"
            ),
        )
        row = RuleRow(
            WORKSPACE,
            f"rule-{account_id}",
            LEADER,
            account_id,
            encode(rule(account_id)),
            datetime.now(UTC),
            "ann",
        )
        return await create_rule(self.db, row)


@dataclass(slots=True)
class Ea:
    """An EA that posts signals."""

    http: httpx2.AsyncClient
    base: str
    token: str
    sent: int = 0

    async def send(self, **fields: object) -> dict[str, int]:
        """Post one signal; the copies of its answer."""
        return msgspec.convert((await self.post(**fields))["copies"], dict[str, int])

    async def post(self, **fields: object) -> dict[str, object]:
        """Post one signal; its answer."""
        self.sent += 1
        headers = {
            "Authorization": f"Bearer {self.token}",
            "X-TradeAgent-Account": ACCOUNT,
            "Idempotency-Key": f"k{self.sent}",
        }
        occurred = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        body = {"symbol": "ES", "occurredAt": occurred, **fields}
        answer = await self.http.post(f"{self.base}/signals", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        return answer.json()


@asynccontextmanager
async def running(dsn: str, folder: Path, **environment: str) -> AsyncGenerator[tuple[House, Ea, Process]]:
    """A process and the simulators of two followers, ready; the test ends it."""
    async with street({"a": Follower(FIRST), "b": Follower(SECOND)}) as on, Database(dsn) as db:
        house = await House.furnish(db, on, folder)
        gateway = await spawn(dsn, folder, **environment)
        async with httpx2.AsyncClient(trust_env=False, timeout=10) as http:
            yield house, Ea(http, await base_of(gateway), house.token), gateway
