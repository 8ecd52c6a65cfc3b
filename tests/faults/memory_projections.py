"""The tables that queries read, in memory: an older row never overwrites a newer one."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from kopitra.store.projections import (
    ExecutionRow,
    HeldContract,
    HoldingRow,
    ListSignal,
    OrderRow,
    PositionRow,
    Projected,
    Shown,
)


class _Applied(Protocol):
    @property
    def applied_seq(self) -> int: ...


K = TypeVar("K")
R = TypeVar("R", bound=_Applied)


class ShownTables:
    """Rows by their keys, and how far each shard has come."""

    def __init__(self) -> None:
        self.orders: dict[tuple[str, str], OrderRow] = {}
        self.executions: dict[tuple[str, str, str], ExecutionRow] = {}
        self.positions: dict[tuple[str, str, str], PositionRow] = {}
        self.holdings: dict[tuple[str, str, str, str], HoldingRow] = {}
        self.heads: dict[str, int] = {}

    def write(self, batch: Projected, shard: str, seq: int) -> None:
        """One transaction; the last row of a key wins."""
        _put(self.orders, batch.orders, lambda row: (row.workspace, row.cl_ord_id))
        _put(self.executions, batch.executions, lambda row: (row.workspace, row.account_id, row.exec_id))
        _put(self.positions, batch.positions, lambda row: (row.workspace, row.account_id, row.symbol))
        _put(
            self.holdings,
            batch.holdings,
            lambda row: (row.workspace, row.account_id, row.leader_id, row.symbol),
        )
        self.heads[shard] = max(seq, self.heads.get(shard, 0))

    def read(self, shard: str, signals: int) -> Shown:
        """What a projector must know when it starts."""
        newest: dict[str, tuple[int, str]] = {}
        for order in self.orders.values():
            if order.shard == shard and order.signal_id:
                seq, signal_id = newest.get(order.list_id, (0, ""))
                newest[order.list_id] = (max(seq, order.applied_seq), max(signal_id, order.signal_id))
        lists = sorted(newest.items(), key=lambda item: item[1][0], reverse=True)[:signals]
        return Shown(
            self.heads.get(shard, 0),
            [
                HeldContract(row.account_id, row.symbol)
                for row in self.positions.values()
                if row.shard == shard and row.net_qty
            ],
            [
                HeldContract(row.account_id, row.symbol, row.leader_id)
                for row in self.holdings.values()
                if row.shard == shard and row.net_qty
            ],
            [ListSignal(list_id, signal_id) for list_id, (_, signal_id) in lists],
        )


def _put(table: dict[K, R], rows: Iterable[R], key: Callable[[R], K]) -> None:
    last = {key(row): row for row in rows}
    for name, row in last.items():
        known = table.get(name)
        if known is None or known.applied_seq < row.applied_seq:
            table[name] = row
