"""The gateway without a store, for G2 and G7 only: the same doors, plan, fan-out and sessions; commits end at once.

`python -m bench.bare` reads its fleet from the first line of standard input.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import msgspec
import uvicorn
import uvloop

from bench.fleet import KEY_ID, KEY_RATE, KEY_SECRET, LEADER, LIMITS, WORKSPACE, Login, rule_of
from brokers import registry
from gateway_container.api.doors import Doors, KeyGrant
from gateway_container.app import build_app
from gateway_container.compose import KEEP_ALIVE_S, listen, tame_collector
from gateway_container.config_source import Grants
from gateway_container.engine.broadcast import Broadcast
from gateway_container.engine.config import AccountConfig, GatewayConfig, LeaderConfig, LoginConfig
from gateway_container.engine.machine import Identity, Machine, Supplies
from gateway_container.replica import sessions_up
from kopitra.clock import SystemClock
from kopitra.store.drafts import Committed, Draft, Head, JournalRow
from kopitra.store.journal import JournalWriter
from kopitra.store.keys import hash_secret
from kopitra.store.lease import Lease
from kopitra.store.pool import Database
from kopitra.store.postgres_shelf import PostgresShelf
from kopitra.telemetry import Metrics, configure_logging


class Bare(msgspec.Struct):
    """The fleet as the parent tells it."""

    logins: tuple[Login, ...]


class NoLease:
    """Always ours."""

    epoch = 1
    valid_until_ns = exits_until_ns = 1 << 62
    valid = True


class NoStore:
    """A writer that keeps nothing: every append is durable at the end of the turn."""

    def __init__(self) -> None:
        self.available, self.waiting_rows, self._seq = True, 0, 0

    @property
    def head(self) -> Head:
        """Nothing is kept, so that nothing need be snapshotted."""
        return Head()

    def flush(self) -> None:
        """Nothing waits."""

    def append(self, drafts: Sequence[Draft]) -> asyncio.Future[Committed]:
        future: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        rows: list[JournalRow] = []
        answers: list[bytes | None] = []
        for draft in drafts:
            self._seq += 1
            rows.append(
                JournalRow(
                    "main",
                    self._seq,
                    1,
                    draft.at,
                    draft.kind,
                    draft.entry,
                    draft.workspace,
                    draft.payload,
                    b"",
                )
            )
            answers.append(None if draft.idempotency is None else draft.idempotency.body(self._seq))
        future.set_result(Committed(tuple(rows), tuple(answers)))
        return future


def config_of(bare: Bare) -> GatewayConfig:
    """The same configuration that the stored gateway reads from its database."""
    logins = {
        x.login_id: LoginConfig(x.login_id, WORKSPACE, x.broker, x.settings, x.credentials)
        for x in bare.logins
    }
    accounts = {
        f"f-{name}": AccountConfig(f"f-{name}", WORKSPACE, name, x.broker, x.login_id, name, limits=LIMITS)
        for x in bare.logins
        for name in x.accounts
    }
    rules = tuple(rule_of(name) for x in bare.logins for name in x.accounts)
    return GatewayConfig(
        1, accounts, {LEADER: LeaderConfig(LEADER, WORKSPACE, "leader")}, logins, {LEADER: rules}
    )


async def run(bare: Bare) -> None:
    clock, shelf = SystemClock(), PostgresShelf(Database("", "bare"))
    supplies = Supplies(shelf, clock, registry(), Metrics())
    machine = Machine(
        Identity("main", "bare", "bench"),
        supplies,
        cast("Lease", NoLease()),
        cast("JournalWriter", NoStore()),
    )
    await machine.open(config_of(bare))
    now = datetime.now(UTC)
    grant = KeyGrant(
        KEY_ID,
        WORKSPACE,
        LEADER,
        LEADER,
        hash_secret(KEY_SECRET),
        now + timedelta(days=1),
        rate_per_minute=KEY_RATE,
    )
    doors = Doors(
        clock=clock,
        credentials=Grants({KEY_ID: grant}, {}, {}),
        intake=machine.intake,
        executions=machine.callbacks,
        views=machine.views,
        control=machine.control,
        broadcast=Broadcast(shelf, "main"),
        metrics=lambda: b"",
    )
    sockets = [listen("127.0.0.1", 0)]
    config = uvicorn.Config(
        build_app(doors),
        loop="none",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    await sessions_up(machine)
    tame_collector()
    print(json.dumps({"port": sockets[0].getsockname()[1]}), flush=True)
    await uvicorn.Server(config).serve(sockets)


if __name__ == "__main__":
    configure_logging("WARNING")
    uvloop.run(run(msgspec.json.decode(sys.stdin.readline(), type=Bare)))
