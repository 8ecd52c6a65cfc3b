"""Everything the gateway keeps in memory, read as of one moment, and word of its changes."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from kopitra.domain.errors import Unavailable
from kopitra.ports import Clock
from kopitra.store.accounts import AccountRow, LoginRow
from kopitra.store.catalogue import BrokerRow
from kopitra.store.hooks import HookRow
from kopitra.store.keys import KeyRow
from kopitra.store.leaders import LeaderRow
from kopitra.store.limits import LimitsRow, NewStartRow
from kopitra.store.pool import Database, listening, translated
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
    #: every version, also those that count later
    limits: tuple[LimitsRow, ...] = ()
    #: the newest request of each account
    new_starts: tuple[NewStartRow, ...] = ()


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
            limits=tuple(await session.rows(LimitsRow, "select * from account_limits" + _WHERE, one)),
            new_starts=tuple(await session.rows(NewStartRow, _STARTS_SQL, one)),
        )


_WHERE: Final = " where %(workspace)s::text is null or workspace = %(workspace)s"
_SWITCH_WHERE: Final = _WHERE + " or workspace = ''"
_STARTS_SQL: Final = """
    select distinct on (account_id) * from measuring_starts
    where %(workspace)s::text is null or workspace = %(workspace)s order by account_id, start_id desc"""
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

    def __init__(
        self,
        dsn: str,
        clock: Clock,
        poll_s: float = POLL_S,
        on_current: Callable[[int], None] = lambda _read_ns: None,
    ) -> None:
        self._dsn = dsn
        self._clock = clock
        self._poll_s = poll_s
        #: called with `read_ns` at every look that finds what was taken to be the newest (R-093)
        self._on_current = on_current
        self._connection: AsyncConnection[TupleRow] | None = None
        self._last: Seen | None = None
        #: monotonic time of the last successful look; who acts on switches treats an old one as "reducing"
        self.read_ns = 0

    async def following(self) -> Seen:
        """The present state at the first call; then waits for the next change. Survives outages."""
        while True:
            seen = await self._look()
            if seen is None:
                continue
            if seen != self._last:
                self._last = seen
                return seen
            self._on_current(self.read_ns)

    def again(self) -> None:
        """What `following` told of was not taken: tell of it once more."""
        self._last = None

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _look(self) -> Seen | None:
        """Wait for a notification or for the poll, then read. None while the database is away."""
        try:
            with translated():
                if self._connection is None:
                    self._connection = await self._listen()
                else:
                    await self._wait(self._connection)
                row = await (await self._connection.execute(_LOOK_SQL)).fetchone()
        except Unavailable:
            await self.close()
            await asyncio.sleep(_RETRY_S)
            return None
        self.read_ns = self._clock.monotonic_ns()
        return None if row is None else Seen(row[0], row[1])

    async def _wait(self, connection: AsyncConnection[TupleRow]) -> None:
        async for _notice in connection.notifies(timeout=self._poll_s, stop_after=1):
            return

    async def _listen(self) -> AsyncConnection[TupleRow]:
        return await listening(
            self._dsn, "kopitra config watch", ("listen kopitra_config", "listen kopitra_switch")
        )
