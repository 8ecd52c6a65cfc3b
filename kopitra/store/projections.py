"""Orders, executions and positions as queries read them: written behind the journal, rebuilt from it.

Each row carries `applied_seq`, the journal row that it shows. An older one never overwrites a newer one,
so a batch may be written twice and a rebuild may run beside the live writer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, LiteralString, NamedTuple

from kopitra.store.encoding import encode
from kopitra.store.pool import Database

#: rows of one page
PAGE_ROWS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class OrderRow:
    """One order of ours, as it stands."""

    workspace: str
    cl_ord_id: str
    shard: str
    account_id: str
    leader_id: str
    list_id: str
    signal_id: str
    rule_id: str
    rule_version: int
    order_id: str
    symbol: str
    side: str
    ord_type: str
    time_in_force: str
    qty: Decimal
    price: Decimal | None
    stop_price: Decimal | None
    ord_status: str
    cum_qty: Decimal
    avg_px: Decimal | None
    reason: str
    created_at: datetime
    updated_at: datetime
    applied_seq: int


@dataclass(frozen=True, slots=True)
class ExecutionRow:
    """One execution. `cl_ord_id` is "" for an order that was not ours."""

    workspace: str
    account_id: str
    exec_id: str
    shard: str
    cl_ord_id: str
    order_id: str
    exec_type: str
    symbol: str
    side: str
    last_qty: Decimal
    last_px: Decimal
    transact_time: datetime
    applied_seq: int


@dataclass(frozen=True, slots=True)
class PositionRow:
    """The book's position of one account in one contract; `net_qty` is signed."""

    workspace: str
    account_id: str
    symbol: str
    shard: str
    net_qty: Decimal
    avg_px: Decimal | None
    realized_pnl: Decimal
    updated_at: datetime
    applied_seq: int


@dataclass(frozen=True, slots=True)
class HoldingRow:
    """What an account holds in one contract because of one leader; `net_qty` is signed."""

    workspace: str
    account_id: str
    leader_id: str
    symbol: str
    shard: str
    net_qty: Decimal
    updated_at: datetime
    applied_seq: int


@dataclass(frozen=True, slots=True)
class Projected:
    """What a batch of journal rows changed."""

    orders: Sequence[OrderRow] = ()
    executions: Sequence[ExecutionRow] = ()
    positions: Sequence[PositionRow] = ()
    holdings: Sequence[HoldingRow] = ()


_ORDERS_SQL: Final = """
    insert into orders select * from json_populate_recordset(null::orders, %s::json)
    on conflict (workspace, cl_ord_id) do update
    set order_id = excluded.order_id, qty = excluded.qty, price = excluded.price,
        stop_price = excluded.stop_price, ord_status = excluded.ord_status, cum_qty = excluded.cum_qty,
        avg_px = excluded.avg_px, reason = excluded.reason, updated_at = excluded.updated_at,
        applied_seq = excluded.applied_seq
    where orders.applied_seq < excluded.applied_seq"""
# A corrected execution (same id) replaces the earlier one; a repetition does not.
_EXECUTIONS_SQL: Final = """
    insert into executions select * from json_populate_recordset(null::executions, %s::json)
    on conflict (workspace, account_id, exec_id) do update
    set exec_type = excluded.exec_type, last_qty = excluded.last_qty, last_px = excluded.last_px,
        transact_time = excluded.transact_time, applied_seq = excluded.applied_seq
    where executions.applied_seq < excluded.applied_seq"""
_POSITIONS_SQL: Final = """
    insert into positions select * from json_populate_recordset(null::positions, %s::json)
    on conflict (workspace, account_id, symbol) do update
    set net_qty = excluded.net_qty, avg_px = excluded.avg_px, realized_pnl = excluded.realized_pnl,
        updated_at = excluded.updated_at, applied_seq = excluded.applied_seq
    where positions.applied_seq < excluded.applied_seq"""


_HOLDINGS_SQL: Final = """
    insert into holdings select * from json_populate_recordset(null::holdings, %s::json)
    on conflict (workspace, account_id, leader_id, symbol) do update
    set net_qty = excluded.net_qty, updated_at = excluded.updated_at, applied_seq = excluded.applied_seq
    where holdings.applied_seq < excluded.applied_seq"""
_HEAD_SQL: Final = """
    insert into projection_heads (shard, seq, whole) values (%s, %s, true)
    on conflict (shard) do update set seq = greatest(projection_heads.seq, excluded.seq)"""


_REMAKE_SQL: Final = """
    insert into projection_heads (shard, seq, whole) values (%s, 0, false)
    on conflict (shard) do update set whole = false"""
#: rows of one delete, so that it stays far below the statement timeout
_FORGET_ROWS_MAX: Final = 5_000
_FORGET_SQL: Final[tuple[LiteralString, ...]] = (
    "delete from orders where ctid = any (array(select ctid from orders where shard = %s limit %s))",
    "delete from executions where ctid = any (array(select ctid from executions where shard = %s limit %s))",
    "delete from positions where ctid = any (array(select ctid from positions where shard = %s limit %s))",
    "delete from holdings where ctid = any (array(select ctid from holdings where shard = %s limit %s))",
)


async def forget_projected(db: Database, shard: str) -> None:
    """Throw the rows of a shard away, batch by batch. Until `remade`, what is missing is not known to be absent."""
    await db.run(_REMAKE_SQL, (shard,))
    for text in _FORGET_SQL:
        while await db.run(text, (shard, _FORGET_ROWS_MAX)):
            pass


async def remade(db: Database, shard: str, seq: int) -> None:
    """The rows show the journal up to `seq` again."""
    text = "update projection_heads set whole = true, seq = greatest(seq, %s) where shard = %s"
    await db.run(text, (seq, shard))


@dataclass(frozen=True, slots=True)
class HeldContract:
    """An account holds a contract; `leader_id` where it is told by leader."""

    account_id: str
    symbol: str
    leader_id: str = ""


@dataclass(frozen=True, slots=True)
class ListSignal:
    """Which signal a list of orders came from."""

    list_id: str
    signal_id: str


class Shown(NamedTuple):
    """What the projections of a shard show: the journal up to `seq` (0 before the first row)."""

    seq: int
    #: positions that are not flat, by account and by account and leader
    positions: Sequence[HeldContract]
    holdings: Sequence[HeldContract]
    #: newest first
    signals: Sequence[ListSignal]


_HELD_SQL: Final = """
    select account_id, symbol from positions where shard = %s and net_qty <> 0"""
_HELD_BY_LEADER_SQL: Final = """
    select account_id, symbol, leader_id from holdings where shard = %s and net_qty <> 0"""
_LISTS_SQL: Final = """
    select list_id, max(signal_id) as signal_id from orders where shard = %s and signal_id <> ''
    group by list_id order by max(applied_seq) desc limit %s"""


async def shown(db: Database, shard: str, signals: int) -> Shown:
    """How far the projections have come, and what they hold; the newest `signals` lists."""
    return Shown(
        await shown_seq(db, shard),
        await db.rows(HeldContract, _HELD_SQL, (shard,)),
        await db.rows(HeldContract, _HELD_BY_LEADER_SQL, (shard,)),
        await db.rows(ListSignal, _LISTS_SQL, (shard, signals)),
    )


async def shown_seq(db: Database, shard: str) -> int:
    """The last journal row that the projections show; 0 before the first."""
    found = await db.row(_Head, "select seq from projection_heads where shard = %s", (shard,))
    return found.seq if found is not None else 0


@dataclass(frozen=True, slots=True)
class _Head:
    seq: int


async def write_projected(db: Database, batch: Projected, head: tuple[str, int] | None = None) -> None:
    """Write a batch in one transaction; the last row of a key wins. `head`: (shard, last journal row that is shown)."""
    orders = {(row.workspace, row.cl_ord_id): row for row in batch.orders}
    executions = {(row.workspace, row.account_id, row.exec_id): row for row in batch.executions}
    positions = {(row.workspace, row.account_id, row.symbol): row for row in batch.positions}
    holdings = {(row.workspace, row.account_id, row.leader_id, row.symbol): row for row in batch.holdings}
    async with db.transaction() as session:
        if orders:
            await session.run(_ORDERS_SQL, (_json(list(orders.values())),))
        if executions:
            await session.run(_EXECUTIONS_SQL, (_json(list(executions.values())),))
        if positions:
            await session.run(_POSITIONS_SQL, (_json(list(positions.values())),))
        if holdings:
            await session.run(_HOLDINGS_SQL, (_json(list(holdings.values())),))
        if head is not None:
            await session.run(_HEAD_SQL, head)


def _json(
    rows: Sequence[OrderRow] | Sequence[ExecutionRow] | Sequence[PositionRow] | Sequence[HoldingRow],
) -> str:
    return encode(rows).decode()


async def orders_of_account(
    db: Database, workspace: str, account_id: str, ord_status: str | None = None, limit: int = PAGE_ROWS_MAX
) -> list[OrderRow]:
    """The newest orders of an account, of one status or of all."""
    values = (workspace, account_id, min(limit, PAGE_ROWS_MAX))
    if ord_status is None:
        return await db.rows(OrderRow, ORDERS_OF_ACCOUNT_SQL, values)
    return await db.rows(OrderRow, ORDERS_BY_STATUS_SQL, (workspace, account_id, ord_status, values[2]))


async def orders_of_signal(db: Database, workspace: str, signal_id: str) -> list[OrderRow]:
    """Every order that a signal became."""
    return await db.rows(OrderRow, ORDERS_OF_SIGNAL_SQL, (workspace, signal_id))


async def executions_of_account(
    db: Database, workspace: str, account_id: str, limit: int = PAGE_ROWS_MAX
) -> list[ExecutionRow]:
    """The newest executions of an account."""
    return await db.rows(
        ExecutionRow, EXECUTIONS_OF_ACCOUNT_SQL, (workspace, account_id, min(limit, PAGE_ROWS_MAX))
    )


async def positions_of_workspace(db: Database, workspace: str) -> list[PositionRow]:
    """All positions of a workspace."""
    return await db.rows(PositionRow, POSITIONS_SQL, (workspace,))


ORDERS_OF_ACCOUNT_SQL: Final[LiteralString] = """
    select * from orders where workspace = %s and account_id = %s order by created_at desc limit %s"""
ORDERS_BY_STATUS_SQL: Final[LiteralString] = """
    select * from orders where workspace = %s and account_id = %s and ord_status = %s
    order by created_at desc limit %s"""
ORDERS_OF_SIGNAL_SQL: Final[LiteralString] = """
    select * from orders where workspace = %s and signal_id = %s order by cl_ord_id"""
EXECUTIONS_OF_ACCOUNT_SQL: Final[LiteralString] = """
    select * from executions where workspace = %s and account_id = %s order by transact_time desc limit %s"""
POSITIONS_SQL: Final[LiteralString] = """
    select * from positions where workspace = %s order by account_id, symbol"""
