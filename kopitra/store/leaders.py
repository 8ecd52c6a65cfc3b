"""Leaders: where signals come from."""

from dataclasses import dataclass, replace

from kopitra.store.held import Scope, changing, one
from kopitra.store.pool import Database, values_of


@dataclass(frozen=True, slots=True)
class LeaderRow:
    """A signal source. `account_id` is set for a drop copy of one of our accounts; `settings` is JSON."""

    workspace: str
    leader_id: str
    title: str
    settings: bytes
    account_id: str | None = None
    active: bool = True
    version: int = 1


async def create_leader(db: Database, row: LeaderRow) -> None:
    """Raises Conflict if the id is taken, or the workspace or account unknown."""
    text = """
        insert into leaders (workspace, leader_id, title, settings, account_id, active, version)
        values (%(workspace)s, %(leader_id)s, %(title)s, convert_from(%(settings)s, 'UTF8')::json,
                %(account_id)s, %(active)s, %(version)s)"""
    await db.run(text, values_of(row))


async def change_leader(db: Database, row: LeaderRow, *, force: bool = False) -> LeaderRow:
    """Write a row that was read before. Raises Conflict if somebody else changed it since, and StillHeld when it goes
    off, or loses its drop copy, while followers hold something because of it (unless `force`).
    """
    text = """
        update leaders set title = %(title)s, settings = convert_from(%(settings)s, 'UTF8')::json,
            account_id = %(account_id)s, active = %(active)s, version = version + 1
        where workspace = %(workspace)s and leader_id = %(leader_id)s and version = %(version)s"""
    old = await get_leader(db, row.workspace, row.leader_id)
    ends = (
        not force
        and old is not None
        and (
            (old.active and not row.active)
            or (old.account_id is not None and old.account_id != row.account_id)
        )
    )
    scope = Scope(row.workspace, leader_id=row.leader_id) if ends else None
    async with changing(db, scope, f"Switching off the leader {row.leader_id} or its drop copy") as session:
        one(await session.run(text, values_of(row)), "leader", row.leader_id)
    return replace(row, version=row.version + 1)


async def list_leaders(db: Database, workspace: str) -> list[LeaderRow]:
    """All leaders of a workspace."""
    text = """
        select workspace, leader_id, title, settings, account_id, active, version
        from leaders where workspace = %s order by leader_id"""
    return await db.rows(LeaderRow, text, (workspace,))


async def get_leader(db: Database, workspace: str, leader_id: str) -> LeaderRow | None:
    """One leader; None also for another workspace's."""
    text = """
        select workspace, leader_id, title, settings, account_id, active, version
        from leaders where workspace = %s and leader_id = %s"""
    return await db.row(LeaderRow, text, (workspace, leader_id))
