"""Tenants."""

from dataclasses import dataclass
from datetime import datetime

from kopitra.store.pool import Database, values_of


@dataclass(frozen=True, slots=True)
class WorkspaceRow:
    """A tenant: users, leaders, followers, rules; nothing crosses it."""

    workspace: str
    title: str
    created_at: datetime


async def create_workspace(db: Database, row: WorkspaceRow) -> None:
    """Raises Conflict if the id is taken."""
    text = """
        insert into workspaces (workspace, title, created_at)
        values (%(workspace)s, %(title)s, %(created_at)s)"""
    await db.run(text, values_of(row))


async def list_workspaces(db: Database) -> list[WorkspaceRow]:
    """All tenants, by id."""
    return await db.rows(
        WorkspaceRow, "select workspace, title, created_at from workspaces order by workspace"
    )
