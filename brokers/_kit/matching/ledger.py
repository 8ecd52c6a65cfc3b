"""Ground truth: what really reached the simulated broker and what really traded. Append-only.

A checker compares the product's journal with these rows, never with the product's own belief.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple

from brokers._kit.matching.events import Execution, RequestKind
from brokers._kit.matching.orders import NewOrder, OrdType, Origin, RejectReason, Side

LEDGER_ROWS_MAX = 2_000_000  #: rows; one more raises LedgerFull, so nothing is ever forgotten silently

Outcome = Literal["accepted", "rejected"]
RowKind = Literal["placement", "cancel", "replace", "close", "execution", "bust"]


class LedgerFull(RuntimeError):
    """The ledger holds LEDGER_ROWS_MAX rows: read it, then reset the simulator."""


class PlacementRow(NamedTuple):
    """One order that was asked for. ``origin`` bracket, close and liquidation are made by another request."""

    seq: int
    request: NewOrder
    order_id: int
    received_ns: int
    outcome: Outcome
    reason: RejectReason | None
    origin: Origin

    @property
    def account_id(self) -> int:
        return self.request.account_id

    @property
    def cl_ord_id(self) -> str | None:
        return self.request.cl_ord_id


@dataclass(frozen=True, slots=True)
class RequestRow:
    """One cancel, replace or close request; ``qty`` and prices are those asked for."""

    seq: int
    kind: RequestKind
    account_id: int | None
    symbol: str | None
    order_id: int | None
    qty: int | None
    price: Decimal | None
    stop_price: Decimal | None
    received_ns: int
    outcome: Outcome
    reason: RejectReason | None
    origin: Origin


class ExecutionRow(NamedTuple):
    """One fill, or with ``busted`` the taking back of an earlier one."""

    seq: int
    execution: Execution


@dataclass(frozen=True, slots=True)
class NetPosition:
    """Signed sum of the valid executions of one account and symbol."""

    account_id: int
    symbol: str
    net_qty: int


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """Any row, flat and ready for JSON: prices are decimal strings, absent values None, times nanoseconds."""

    seq: int
    kind: RowKind
    ts_ns: int
    account_id: int | None
    symbol: str | None
    order_id: int | None
    outcome: Outcome
    reason: RejectReason | None = None
    origin: Origin | None = None
    cl_ord_id: str | None = None
    parent_id: int | None = None
    side: Side | None = None
    ord_type: OrdType | None = None
    qty: int | None = None
    price: str | None = None
    stop_price: str | None = None
    exec_id: int | None = None
    text: str = ""


class Ledger:
    """Three append-only lists that share one sequence number."""

    def __init__(self, rows_max: int = LEDGER_ROWS_MAX) -> None:
        self._rows_max = rows_max
        self._seq = 0
        self._placements: list[PlacementRow] = []
        self._requests: list[RequestRow] = []
        self._executions: list[ExecutionRow] = []

    def __len__(self) -> int:
        return self._seq

    def _next_seq(self) -> int:
        if self._seq >= self._rows_max:
            raise LedgerFull(f"ledger holds {self._seq} rows: read it, then reset the simulator")
        self._seq += 1
        return self._seq

    def placed(
        self, request: NewOrder, order_id: int, now_ns: int, reason: RejectReason | None, origin: Origin
    ) -> None:
        """Note an order that was asked for; ``reason`` None means accepted."""
        outcome: Outcome = "rejected" if reason else "accepted"
        row = PlacementRow(self._next_seq(), request, order_id, now_ns, outcome, reason, origin)
        self._placements.append(row)

    def requested(
        self,
        kind: RequestKind,
        now_ns: int,
        reason: RejectReason | None,
        origin: Origin,
        *,
        account_id: int | None = None,
        symbol: str | None = None,
        order_id: int | None = None,
        qty: int | None = None,
        price: Decimal | None = None,
        stop_price: Decimal | None = None,
    ) -> None:
        """Note a cancel, replace or close request; ``reason`` None means accepted."""
        outcome: Outcome = "rejected" if reason else "accepted"
        seq = self._next_seq()
        self._requests.append(
            RequestRow(
                seq,
                kind,
                account_id,
                symbol,
                order_id,
                qty,
                price,
                stop_price,
                now_ns,
                outcome,
                reason,
                origin,
            )
        )

    def executed(self, execution: Execution) -> None:
        """Note a fill or a bust."""
        self._executions.append(ExecutionRow(self._next_seq(), execution))

    def placements(
        self, account_id: int | None = None, origin: Origin | None = None
    ) -> tuple[PlacementRow, ...]:
        """Orders asked for, oldest first. ``origin="api"`` leaves the API clients' placement requests."""
        return tuple(
            row
            for row in self._placements
            if (account_id is None or row.account_id == account_id)
            and (origin is None or row.origin == origin)
        )

    def placements_by_tag(self, account_id: int | None = None) -> Mapping[str, tuple[PlacementRow, ...]]:
        """Rows by client order id: a tuple longer than one is a doubled placement."""
        found: dict[str, tuple[PlacementRow, ...]] = {}
        for row in self.placements(account_id):
            if row.cl_ord_id is not None:
                found[row.cl_ord_id] = (*found.get(row.cl_ord_id, ()), row)
        return found

    def requests(self, kind: RequestKind | None = None) -> tuple[RequestRow, ...]:
        """Cancel, replace and close requests, oldest first."""
        return tuple(row for row in self._requests if kind is None or row.kind == kind)

    def executions(self, account_id: int | None = None) -> tuple[Execution, ...]:
        """Fills that still stand, oldest first (busted ones are left out)."""
        rows = [row.execution for row in self._executions]
        busted = {row.exec_id for row in rows if row.busted}
        return tuple(
            row
            for row in rows
            if row.exec_id not in busted and (account_id is None or row.account_id == account_id)
        )

    def positions(self, account_id: int | None = None) -> tuple[NetPosition, ...]:
        """Net quantity by account and symbol, summed from the executions alone; flat ones are left out."""
        net: dict[tuple[int, str], int] = {}
        for fill in self.executions(account_id):
            key = (fill.account_id, fill.symbol)
            net[key] = net.get(key, 0) + (fill.qty if fill.side == "buy" else -fill.qty)
        return tuple(
            NetPosition(account, symbol, qty) for (account, symbol), qty in sorted(net.items()) if qty
        )

    def to_rows(self, after_seq: int = 0) -> tuple[LedgerRow, ...]:
        """Every row after ``after_seq`` in the order it happened, flat and ready for JSON."""
        rows = [_placement(row) for row in self._placements if row.seq > after_seq]
        rows += [_request(row) for row in self._requests if row.seq > after_seq]
        rows += [_execution(row) for row in self._executions if row.seq > after_seq]
        return tuple(sorted(rows, key=lambda row: row.seq))


def _text(price: Decimal | None) -> str | None:
    return None if price is None else format(price, "f")


def _placement(row: PlacementRow) -> LedgerRow:
    asked = row.request
    return LedgerRow(
        row.seq,
        "placement",
        row.received_ns,
        asked.account_id,
        asked.symbol,
        row.order_id,
        row.outcome,
        row.reason,
        row.origin,
        asked.cl_ord_id,
        asked.parent_id,
        asked.side,
        asked.ord_type,
        asked.qty,
        _text(asked.price),
        _text(asked.stop_price),
        text=asked.text,
    )


def _request(row: RequestRow) -> LedgerRow:
    return LedgerRow(
        row.seq,
        row.kind,
        row.received_ns,
        row.account_id,
        row.symbol,
        row.order_id,
        row.outcome,
        row.reason,
        row.origin,
        qty=row.qty,
        price=_text(row.price),
        stop_price=_text(row.stop_price),
    )


def _execution(row: ExecutionRow) -> LedgerRow:
    fill = row.execution
    return LedgerRow(
        row.seq,
        "bust" if fill.busted else "execution",
        fill.ts_ns,
        fill.account_id,
        fill.symbol,
        fill.order_id,
        "accepted",
        cl_ord_id=fill.cl_ord_id,
        side=fill.side,
        qty=fill.qty,
        price=_text(fill.price),
        exec_id=fill.exec_id,
    )
