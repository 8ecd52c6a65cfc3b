"""May a deployment begin? What the database says of a shard: orders in the air, news ahead, who is there (R-088)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kopitra.store.config_changes import ChangeRow, tell_change
from kopitra.store.encoding import encode
from kopitra.store.pool import Database

#: seconds after which an order without an answer shuts the gate
UNANSWERED_S: Final = 30.0
#: minutes before a news window in which nothing should begin any more
AHEAD_MIN: Final = 15
#: rows by which the projections may be behind before they are no evidence
BEHIND_ROWS_MAX: Final = 100

_UNANSWERED_SQL: Final = """
    select account_id, ord_status, count(*)::int as orders
    from orders
    where shard = %s and ord_status in ('claimed', 'in_doubt')
      and updated_at < clock_timestamp() - make_interval(secs => %s)
    group by account_id, ord_status order by account_id, ord_status"""
_BEHIND_SQL: Final = """
    select coalesce((select max(seq) from journal where shard = %(shard)s), 0)
           - coalesce((select seq from projection_heads where shard = %(shard)s and whole), 0) as rows"""
_WINDOWS_SQL: Final = (
    "select window_id, title, starts_at, ends_at from news_windows order by starts_at, window_id"
)
_NEAR_SQL: Final = """
    select window_id, title, starts_at, ends_at from news_windows
    where ends_at > clock_timestamp() and starts_at < clock_timestamp() + make_interval(mins => %s)
    order by starts_at, window_id"""


@dataclass(frozen=True, slots=True)
class NewsWindow:
    """A time in which no deployment should begin."""

    window_id: int
    title: str
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class _Unanswered:
    account_id: str
    ord_status: str
    orders: int


@dataclass(frozen=True, slots=True)
class _Behind:
    rows: int


@dataclass(frozen=True, slots=True)
class _Id:
    window_id: int


async def reasons_against(db: Database, shard: str) -> list[str]:
    """Why a deployment should wait, in words; empty: the gate is open."""
    async with db.session() as session:
        behind = await session.row(_Behind, _BEHIND_SQL, {"shard": shard})
        unanswered = await session.rows(_Unanswered, _UNANSWERED_SQL, (shard, UNANSWERED_S))
        near = await session.rows(NewsWindow, _NEAR_SQL, (AHEAD_MIN,))
    found = [
        f"{row.orders} order(s) of {row.account_id} {row.ord_status} for more than {UNANSWERED_S:.0f} s"
        for row in unanswered
    ]
    if behind is not None and behind.rows > BEHIND_ROWS_MAX:
        found.append(
            f"the rows for queries are {behind.rows} journal rows behind: what is in the air is not known"
        )
    found += [f"news: {w.title}, {w.starts_at:%Y-%m-%d %H:%M} to {w.ends_at:%H:%M} UTC" for w in near]
    return found


async def record_override(db: Database, who: str, reason: str, against: Sequence[str], now: datetime) -> None:
    """A person begins all the same; the journal will say who, why and against what."""
    row = ChangeRow(
        0, "", who, "deploy-gate", "override", encode(list(against)).decode(), encode(reason).decode(), now
    )
    async with db.transaction() as session:
        await tell_change(session, row)


async def news_windows(db: Database) -> list[NewsWindow]:
    """All windows, the earliest first."""
    return await db.rows(NewsWindow, _WINDOWS_SQL)


async def add_window(db: Database, title: str, starts_at: datetime, ends_at: datetime) -> int:
    """A new window; its id."""
    text = "insert into news_windows (title, starts_at, ends_at) values (%s, %s, %s) returning window_id"
    row = await db.row(_Id, text, (title, starts_at, ends_at))
    return 0 if row is None else row.window_id


async def remove_window(db: Database, window_id: int) -> bool:
    """Take a window away; False when there is none of this id."""
    return await db.run("delete from news_windows where window_id = %s", (window_id,)) == 1
