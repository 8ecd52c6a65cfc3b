"""The database's wall clock: what ours is compared with."""

from dataclasses import dataclass
from datetime import datetime

from kopitra.domain.errors import Unavailable
from kopitra.store.pool import Database


@dataclass(frozen=True, slots=True)
class _TimeRow:
    at: datetime


async def server_time(db: Database) -> datetime:
    """Now, by the database. Raises Unavailable."""
    row = await db.row(_TimeRow, "select clock_timestamp() as at")
    if row is None:
        raise Unavailable("The database does not tell its time.")
    return row.at
