"""Logins and the accounts they carry."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from kopitra.store.held import Scope, changing, one
from kopitra.store.pool import Database, values_of


@dataclass(frozen=True, slots=True)
class LoginRow:
    """One login at one broker. `sealed` are its credentials (sealing.py), None until they were given."""

    workspace: str
    login_id: str
    broker: str
    title: str
    settings: Mapping[str, str]
    sealed: bytes | None = None
    active: bool = True
    version: int = 1


@dataclass(frozen=True, slots=True)
class AccountRow:
    """One broker account. `limits` is JSON that the domain reads (risk limits). `shadow`: its orders end on paper."""

    workspace: str
    account_id: str
    login_id: str
    broker_account: str
    title: str
    settings: Mapping[str, str]
    limits: bytes
    active: bool = True
    version: int = 1
    shadow: bool = False


async def create_login(db: Database, row: LoginRow) -> None:
    """Raises Conflict if the id is taken or the workspace unknown."""
    text = """
        insert into logins (workspace, login_id, broker, title, settings, sealed, active, version)
        values (%(workspace)s, %(login_id)s, %(broker)s, %(title)s, %(settings)s, %(sealed)s, %(active)s,
                %(version)s)"""
    await db.run(text, values_of(row))


async def change_login(db: Database, row: LoginRow, *, force: bool = False) -> LoginRow:
    """Write a row that was read before. Raises Conflict if somebody else changed it since, and StillHeld when it goes
    off while its accounts hold something (unless `force`).
    """
    text = """
        update logins set title = %(title)s, settings = %(settings)s, sealed = %(sealed)s, active =
        %(active)s,
            version = version + 1
        where workspace = %(workspace)s and login_id = %(login_id)s and version = %(version)s"""
    old = await get_login(db, row.workspace, row.login_id)
    ends = not force and old is not None and old.active and not row.active
    scope = Scope(row.workspace, login_id=row.login_id) if ends else None
    async with changing(db, scope, f"Switching the login {row.login_id} off") as session:
        one(await session.run(text, values_of(row)), "login", row.login_id)
    return replace(row, version=row.version + 1)


async def list_logins(db: Database, workspace: str) -> list[LoginRow]:
    """All logins of a workspace."""
    text = """
        select workspace, login_id, broker, title, settings, sealed, active, version
        from logins where workspace = %s order by login_id"""
    return await db.rows(LoginRow, text, (workspace,))


async def get_login(db: Database, workspace: str, login_id: str) -> LoginRow | None:
    """One login; None also for another workspace's."""
    text = """
        select workspace, login_id, broker, title, settings, sealed, active, version
        from logins where workspace = %s and login_id = %s"""
    return await db.row(LoginRow, text, (workspace, login_id))


async def create_account(db: Database, row: AccountRow) -> None:
    """Raises Conflict if the id or the broker's account is taken, or the login unknown."""
    text = """
        insert into accounts
            (workspace, account_id, login_id, broker_account, title, settings, limits, active, version, shadow)
        values (%(workspace)s, %(account_id)s, %(login_id)s, %(broker_account)s, %(title)s, %(settings)s,
                convert_from(%(limits)s, 'UTF8')::json, %(active)s, %(version)s, %(shadow)s)"""
    await db.run(text, values_of(row))


async def change_account(db: Database, row: AccountRow, *, force: bool = False) -> AccountRow:
    """Write a row that was read before. Raises Conflict if somebody else changed it since, and StillHeld when it goes
    off, to another account at the broker, or from paper to money or back, while it holds something (unless `force`).
    """
    text = """
        update accounts set broker_account = %(broker_account)s, title = %(title)s, settings = %(settings)s,
            limits = convert_from(%(limits)s, 'UTF8')::json, active = %(active)s, shadow = %(shadow)s,
            version = version + 1
        where workspace = %(workspace)s and account_id = %(account_id)s and version = %(version)s"""
    old = await get_account(db, row.workspace, row.account_id)
    ends = not force and old is not None and ((old.active and not row.active) or _place(old) != _place(row))
    scope = Scope(row.workspace, account_id=row.account_id) if ends else None
    async with changing(db, scope, f"Switching off or moving the account {row.account_id}") as session:
        one(await session.run(text, values_of(row)), "account", row.account_id)
    return replace(row, version=row.version + 1)


def _place(row: AccountRow) -> tuple[str, bool]:
    """Where its orders go."""
    return row.broker_account, row.shadow


async def list_accounts(db: Database, workspace: str) -> list[AccountRow]:
    """All accounts of a workspace."""
    text = """
        select workspace, account_id, login_id, broker_account, title, settings, limits, active, version, shadow
        from accounts where workspace = %s order by account_id"""
    return await db.rows(AccountRow, text, (workspace,))


async def get_account(db: Database, workspace: str, account_id: str) -> AccountRow | None:
    """One account; None also for another workspace's."""
    text = """
        select workspace, account_id, login_id, broker_account, title, settings, limits, active, version, shadow
        from accounts where workspace = %s and account_id = %s"""
    return await db.row(AccountRow, text, (workspace, account_id))
