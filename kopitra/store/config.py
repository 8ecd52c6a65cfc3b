"""Everything the gateway keeps in memory, read as of one moment, and word of its changes."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

from kopitra.domain.errors import Unavailable
from kopitra.ports import Clock
from kopitra.store.accounts import AccountRow, LoginRow
from kopitra.store.catalogue import BrokerRow
from kopitra.store.hooks import HookRow
from kopitra.store.keys import KeyRow
from kopitra.store.leaders import LeaderRow
from kopitra.store.pool import Database, SessionSettings, connect, translated
from kopitra.store.rules import RuleRow
from kopitra.store.switches import SwitchRow
from kopitra.store.workspaces import WorkspaceRow

#: seconds between looks, should a notification get lost
POLL_S: Final = 0.25
_RETRY_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class ConfigSnapshot:
    """The configuration at `version`: current rules only, and keys that were not revoked."""

    version: int
    workspaces: tuple[WorkspaceRow, ...]
    brokers: tuple[BrokerRow, ...]
    logins: tuple[LoginRow, ...]
    accounts: tuple[AccountRow, ...]
    leaders: tuple[LeaderRow, ...]
    rules: tuple[RuleRow, ...]
    keys: tuple[KeyRow, ...]
    hooks: tuple[HookRow, ...]
    switches: tuple[SwitchRow, ...]


@dataclass(frozen=True, slots=True)
class _Version:
    version: int


async def load_config(db: Database, workspace: str | None = None) -> ConfigSnapshot:
    """Read all of it, or one workspace's part, in one consistent look."""
    one = {"workspace": workspace}
    async with db.transaction() as session:
        await session.run("set transaction isolation level repeatable read, read only")
        version = await session.row(_Version, "select version from config_version")
        return ConfigSnapshot(
            version=version.version if version is not None else 0,
            workspaces=tuple(await session.rows(WorkspaceRow, "select * from workspaces" + _WHERE, one)),
            brokers=tuple(await session.rows(BrokerRow, "select * from catalogue")),
            logins=tuple(await session.rows(LoginRow, "select * from logins" + _WHERE, one)),
            accounts=tuple(await session.rows(AccountRow, "select * from accounts" + _WHERE, one)),
            leaders=tuple(await session.rows(LeaderRow, "select * from leaders" + _WHERE, one)),
            rules=tuple(await session.rows(RuleRow, "select * from copy_rules_current" + _WHERE, one)),
            keys=tuple(await session.rows(KeyRow, _KEYS_SQL, one)),
            hooks=tuple(await session.rows(HookRow, _HOOKS_SQL, one)),
            switches=tuple(await session.rows(SwitchRow, "select * from kill_switches" + _SWITCH_WHERE, one)),
        )


_WHERE: Final = " where %(workspace)s::text is null or workspace = %(workspace)s"
_SWITCH_WHERE: Final = _WHERE + " or workspace = ''"
_KEYS_SQL: Final = """
    select workspace, key_id, leader_id, account, label, secret_sha256, sealed_signing, require_signature,
           allow_list::text[], rate_per_minute, created_at, expires_at, revoked_at, replaces
    from ea_keys where revoked_at is null and (%(workspace)s::text is null or workspace = %(workspace)s)"""
_HOOKS_SQL: Final = """
    select workspace, hook_id, leader_id, secret_sha256, preset, template, settings, sealed_signing,
           allow_list::text[], rate_per_minute, active, version
    from hooks where %(workspace)s::text is null or workspace = %(workspace)s"""
# The sum of epochs grows with every change of any switch, because each of them only grows.
_LOOK_SQL: Final = """
    select version, (select coalesce(sum(epoch), 0)::bigint from kill_switches) as switches
    from config_version"""


@dataclass(frozen=True, slots=True)
class Seen:
    """Two numbers; a changed one means: load that again."""

    version: int
    switches: int


class ConfigWatch:
    """Hears of changes by NOTIFY on a connection of its own, and looks every `poll_s` seconds besides."""

    def __init__(self, dsn: str, clock: Clock, poll_s: float = POLL_S) -> None:
        self._dsn = dsn
        self._clock = clock
        self._poll_s = poll_s
        #: monotonic time of the last successful look; who acts on switches treats an old one as "reducing"
        self.read_ns = 0

    async def changes(self) -> AsyncGenerator[Seen]:
        """The present state first, then each change. Survives outages; ends only when it is closed."""
        last: Seen | None = None
        while True:
            try:
                async for seen in self._looks():
                    self.read_ns = self._clock.monotonic_ns()
                    if seen != last:
                        last = seen
                        yield seen
            except Unavailable:
                await asyncio.sleep(_RETRY_S)

    async def _looks(self) -> AsyncGenerator[Seen]:
        connection = await connect(self._dsn, SessionSettings("kopitra config watch"))
        with translated():
            async with connection:
                await connection.execute("listen kopitra_config")
                await connection.execute("listen kopitra_switch")
                while True:
                    row = await (await connection.execute(_LOOK_SQL)).fetchone()
                    if row is not None:
                        yield Seen(row[0], row[1])
                    async for _notice in connection.notifies(timeout=self._poll_s, stop_after=1):
                        pass
