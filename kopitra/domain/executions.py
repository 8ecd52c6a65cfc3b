"""What the broker said: execution reports move state; positions, balances and snapshots are evidence only."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, NamedTuple

from kopitra.domain.signals import OrdType, Side, TimeInForce

ExecType = Literal[
    "pending_new", "new", "trade", "trade_cancel", "pending_cancel", "canceled", "pending_replace", "replaced",
    "rejected", "expired", "suspended", "order_status", "cancel_rejected", "replace_rejected",
]  # fmt: skip
OrdStatus = Literal[
    "pending_new", "new", "partially_filled", "filled", "pending_cancel", "canceled", "pending_replace",
    "rejected", "expired", "suspended",
]  # fmt: skip

TERMINAL_STATUS: frozenset[OrdStatus] = frozenset({"filled", "canceled", "rejected", "expired"})


class ExecutionReport(NamedTuple):
    """One thing a broker said of one order (FIX 4.4 names).

    Only `exec_type == "trade"` with an `exec_id` moves a position; `cum_qty` on other reports is evidence.
    `account_id` is ours, `symbol` the contract (ESZ6). Quantities in contracts, prices in points.
    `cl_ord_id` is None where the broker's message does not carry it: the order is found by `order_id`.
    """

    account_id: str
    order_id: str
    exec_type: ExecType
    ord_status: OrdStatus
    symbol: str
    side: Side
    transact_time: datetime
    cl_ord_id: str | None = None
    exec_id: str | None = None
    ord_type: OrdType | None = None
    time_in_force: TimeInForce | None = None
    order_qty: Decimal | None = None
    price: Decimal | None = None
    stop_price: Decimal | None = None
    last_qty: Decimal | None = None
    last_px: Decimal | None = None
    cum_qty: Decimal | None = None
    leaves_qty: Decimal | None = None
    avg_px: Decimal | None = None
    text: str = ""
    #: our own kebab-case reason where a table of the adapter knows the broker's code, else ""
    ord_rej_reason: str = ""
    #: the broker's order id of the entry this protective order belongs to
    parent_order_id: str | None = None
    #: gateway's monotonic clock when the bytes were read; 0 for reports made from a snapshot
    received_ns: int = 0


@dataclass(frozen=True, slots=True)
class PositionReport:
    """Net position at the broker, signed contracts. Evidence for reconciliation, never a fill."""

    account_id: str
    symbol: str
    net_qty: Decimal
    avg_px: Decimal | None
    at: datetime


@dataclass(frozen=True, slots=True)
class BalanceReport:
    """Money of an account. `equity` includes open profit where the broker says so, else None; `realized_day`
    likewise."""

    account_id: str
    balance: Decimal
    equity: Decimal | None
    realized_day: Decimal | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Quote:
    """Best bid, offer and last price where a broker offers market data."""

    symbol: str
    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None
    at: datetime


@dataclass(frozen=True, slots=True)
class AccountSnapshot:
    """All a broker tells of one account at one time; None means "no evidence", never "none" (KC-530)."""

    account_id: str
    positions: tuple[PositionReport, ...] | None
    #: working and recent orders as `order_status` reports
    orders: tuple[ExecutionReport, ...] | None
    #: executions since the time asked for, as `trade` reports
    executions: tuple[ExecutionReport, ...] | None
    balance: BalanceReport | None
    #: monotonic time when the collection began: an older snapshot never lowers a newer fill (R-004)
    started_ns: int
