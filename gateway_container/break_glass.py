"""Break-glass: flatten when no gateway does it (R-097). Its own process, its own name in lease and journal.

It is the engine without a door: it takes the shard under a new epoch, opens only the sessions of the accounts in the
scope, follows no leader, stops entries of the scope, closes until each broker showed flat twice, and hands over.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from brokers import registry
from gateway_container.api.doors import FlattenOrder
from gateway_container.config_source import gateway_config
from gateway_container.engine.broadcast import Broadcast
from gateway_container.engine.config import GatewayConfig
from gateway_container.engine.machine import Identity, Machine, Supplies, Warm
from gateway_container.engine.recovery import read_book
from gateway_container.exit_writer import LocalExitFile
from kopitra.clock import SystemClock
from kopitra.domain.book import Book
from kopitra.domain.switches import SwitchScope
from kopitra.settings import Settings
from kopitra.store.builds import Verdict, break_glass
from kopitra.store.config import load_config
from kopitra.store.exposure import Exposure, exposure_of
from kopitra.store.lease import LeaseSettings, ShardHeld
from kopitra.store.lease_table import fence_lease
from kopitra.store.migrate import check_schema
from kopitra.store.pool import Database
from kopitra.store.postgres_shelf import PostgresShelf
from kopitra.store.sealing import FileMasterKey, load_sealer
from kopitra.telemetry import Metrics
from kopitra.wire.views import FlattenAccountView

#: seconds beyond a lease's life after which somebody who still holds it is alive
TAKE_WAIT_S: Final = 3.0
#: seconds between two tries to take the shard, and between two looks at the progress
LOOK_EVERY_S: Final = 0.2
#: seconds for placements in flight when all is over
DRAIN_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be flattened. `workspace` "": all of them (scopes global and broker)."""

    scope: SwitchScope
    scope_id: str
    workspace: str
    reason: str
    who: str
    #: fence a holder that is alive
    take_over: bool = False


#: one account's progress, each time it changes
OnProgress = Callable[[FlattenAccountView], None]


class Glass:
    """A scope, ready to be looked at and flattened. Made by `opened`."""

    def __init__(self, settings: Settings, db: Database, config: GatewayConfig, order: Order) -> None:
        self._settings = settings
        self._db = db
        self._config = config
        self._order = order
        self._clock = SystemClock()
        self.accounts = _accounts_in(config, order)

    async def preview(self) -> list[Exposure]:
        """What the scope holds by our own rows. Raises Unavailable."""
        return await exposure_of(self._db, self.accounts)

    async def flatten(self, on_progress: OnProgress) -> bool:
        """Take the shard and close everything; True when every account was confirmed flat.

        Raises ShardHeld while a living process holds the shard (and `take_over` is not asked for); BuildNotAllowed,
        Corrupt, before anybody is fenced; Unavailable.
        """
        lost: list[str] = []
        build, book = await self._ready()
        machine = await self._take(build, book, lost.append)
        try:
            return await self._run(machine, lost, on_progress)
        finally:
            await machine.stop(DRAIN_S)

    async def _ready(self) -> tuple[str, Book]:
        """What could refuse this process the shard, asked before a holder that trades is put out of its way: may the
        build hold it, and does it understand the whole journal? The schema and the key were asked by `opened`."""
        settings, order = self._settings, self._order
        asked = Verdict(settings.build, allowed=True, reason=order.reason, who=order.who)
        build = await break_glass(self._db, asked, self._clock.now())
        return build, await read_book(PostgresShelf(self._db), settings.shard)

    async def _take(self, build: str, book: Book, on_lost: Callable[[str], None]) -> Machine:
        settings, shelf = self._settings, PostgresShelf(self._db)
        timers = LeaseSettings.of(settings.lease_ttl_s, settings.exit_grace_s)
        if self._order.take_over:
            await fence_lease(self._db, settings.shard, f"fenced by {self._order.who}: {self._order.reason}")
        holder = f"{self._order.who}@{os.uname().nodename}-{os.getpid()}"
        supplies = Supplies(
            shelf,
            self._clock,
            registry(),
            Metrics(),
            lease_settings=timers,
            exits=LocalExitFile(settings.data_dir, settings.shard),
        )
        loop = asyncio.get_running_loop()
        end = loop.time() + timers.ttl_s + TAKE_WAIT_S
        while True:
            try:
                return await Machine.start(
                    Identity(settings.shard, holder, build),
                    supplies,
                    only_needed(self._config, self.accounts),
                    Broadcast(shelf, settings.shard),
                    on_lost,
                    Warm(book),
                )
            except ShardHeld:  # and so the book is still ours
                if loop.time() >= end:
                    raise
            await asyncio.sleep(LOOK_EVERY_S)

    async def _run(self, machine: Machine, lost: list[str], on_progress: OnProgress) -> bool:
        order, control = self._order, machine.control
        if order.scope == "global":
            await control.stop_at_least("", "global", "", "reducing", order.reason, order.who)
        runs = [(asked.workspace, (await control.flatten(asked)).flatten_id) for asked in self._flattens()]
        shown: dict[str, FlattenAccountView] = {}
        while not lost:
            views = [control.flatten_progress(workspace, flatten_id) for workspace, flatten_id in runs]
            for account in (a for view in views if view is not None for a in view.accounts):
                if shown.get(account.account_id) != account:
                    shown[account.account_id] = account
                    on_progress(account)
            if all(view is None or view.done for view in views):
                break
            await asyncio.sleep(LOOK_EVERY_S)
        return bool(shown) and all(a.state == "flat_confirmed" for a in shown.values())

    def _flattens(self) -> list[FlattenOrder]:
        """One for each workspace that has accounts in the scope."""
        order, accounts = self._order, self._config.accounts
        made: list[FlattenOrder] = []
        for workspace in sorted({accounts[a].workspace for a in self.accounts}):
            scope, scope_id = (
                ("workspace", workspace) if order.scope == "global" else (order.scope, order.scope_id)
            )
            halt = order.scope != "global"
            made.append(FlattenOrder(workspace, scope, scope_id, order.reason, order.who, halt, None))
        return made


@asynccontextmanager
async def opened(settings: Settings, dsn: str, order: Order) -> AsyncGenerator[Glass]:
    """Read the configuration and open its secrets. Raises Unavailable, SchemaMismatch, SealBroken."""
    await check_schema(dsn)
    async with Database(dsn, "kopitra break-glass", order.who) as db:
        sealer = await load_sealer(db, FileMasterKey(settings.key_path, must_exist=True))
        yield Glass(settings, db, gateway_config(await load_config(db), sealer), order)


def only_needed(config: GatewayConfig, accounts: tuple[str, ...]) -> GatewayConfig:
    """The same house with the logins of these accounts only, and without a drop copy: nothing is copied here."""
    logins = {config.accounts[a].login_id for a in accounts}
    return replace(
        config,
        logins={name: login for name, login in config.logins.items() if name in logins},
        leaders={name: replace(leader, account_id=None) for name, leader in config.leaders.items()},
    )


def _accounts_in(config: GatewayConfig, order: Order) -> tuple[str, ...]:
    """Active accounts of the scope, sorted."""
    followers = {rule.account_id for rule in config.rules_for(order.scope_id)}
    found: list[str] = []
    for account in config.accounts.values():
        if not account.active or (order.workspace and account.workspace != order.workspace):
            continue
        covers = {
            "global": True,
            "workspace": account.workspace == order.scope_id,
            "leader": account.account_id in followers,
            "broker": account.broker == order.scope_id,
            "account": account.account_id == order.scope_id,
        }
        if covers[order.scope]:
            found.append(account.account_id)
    return tuple(sorted(found))
