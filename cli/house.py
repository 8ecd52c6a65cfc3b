"""Opening the house for a command: settings, the database (embedded where none is named), who asks."""

import asyncio
import getpass
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from cli.local.postgres import EmbeddedPostgres
from cli.rim import Stop, progress
from kopitra.clock import SystemClock
from kopitra.ports import Clock
from kopitra.settings import Settings
from kopitra.store.leaders import list_leaders
from kopitra.store.migrate import check_schema, migrate
from kopitra.store.pool import Database
from kopitra.store.sealing import FileMasterKey, Sealer, add_data_key, load_sealer
from kopitra.store.workspaces import WorkspaceRow, create_workspace, list_workspaces


@dataclass(frozen=True, slots=True)
class House:
    """What commands work on. `who` is the user of the operating system: changes carry it."""

    db: Database
    settings: Settings
    clock: Clock
    who: str

    @property
    def master_key(self) -> FileMasterKey:
        """The key file; made at first use."""
        return FileMasterKey(self.settings.key_path)

    async def sealer(self) -> Sealer:
        """Opens and seals secrets. Raises SealBroken when the key file is another one."""
        return await load_sealer(self.db, self.master_key)

    async def make_workspace(self, workspace: str, title: str) -> None:
        """A tenant with its data key. Raises Conflict if it exists."""
        now = self.clock.now()
        await create_workspace(self.db, WorkspaceRow(workspace, title, now))
        await add_data_key(self.db, self.master_key, workspace, now)

    async def need_workspace(self, workspace: str) -> None:
        """Raises Stop for a tenant that is not there."""
        known = [row.workspace for row in await list_workspaces(self.db)]
        if workspace not in known:
            there = ", ".join(known) or "none"
            raise Stop(
                f"There is no workspace {workspace!r} (known: {there}): "
                f"run `kopitra workspace create {workspace}`."
            )

    async def need_leader(self, workspace: str, leader: str) -> None:
        """Raises Stop for a tenant or a leader that is not there."""
        await self.need_workspace(workspace)
        known = [row.leader_id for row in await list_leaders(self.db, workspace)]
        if leader not in known:
            there = ", ".join(known) or "none"
            raise Stop(
                f"There is no leader {leader!r} in workspace {workspace} (known: {there}): "
                f"run `kopitra leader create {leader}`."
            )


def who_asks() -> str:
    """The user of the operating system, for the record."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"


@contextmanager
def database(settings: Settings) -> Generator[str]:
    """The DSN: DATABASE_URL's, or that of the embedded server, which runs as long as somebody uses it."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    server = EmbeddedPostgres(settings.data_dir)
    with progress(f"starting the embedded PostgreSQL in {settings.data_dir}"):
        dsn = server.start()
    try:
        yield dsn
    finally:
        server.stop()


@asynccontextmanager
async def open_house(settings: Settings | None = None) -> AsyncGenerator[House]:
    """The house with its schema: an embedded database is migrated by itself, a named one is only checked."""
    settings = settings or Settings()
    with database(settings) as dsn:
        if settings.database_url is None:
            await migrate(dsn)
        else:
            await check_schema(dsn)
        who = await asyncio.to_thread(who_asks)
        async with Database(dsn, f"kopitra {who}"[:63], who) as db:
            yield House(db, settings, SystemClock(), who)
