"""Leaders: where signals come from."""

from dataclasses import dataclass, replace

from kopitra.domain.errors import Conflict
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


async def change_leader(db: Database, row: LeaderRow) -> LeaderRow:
    """Write a row that was read before. Raises Conflict if somebody else changed it since."""
    text = """
        update leaders set title = %(title)s, settings = convert_from(%(settings)s, 'UTF8')::json,
            account_id = %(account_id)s, active = %(active)s, version = version + 1
        where workspace = %(workspace)s and leader_id = %(leader_id)s and version = %(version)s"""
    if await db.run(text, values_of(row)) != 1:
        raise Conflict(
            f"The leader {row.leader_id} was changed by somebody else, or is not there: read it again."
        )
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
