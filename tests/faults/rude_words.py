"""What goes over the simulated wire, and how the broker's facts read as the port's reports."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from brokers._kit.matching import OrderState
from brokers._kit.matching.events import (
    CoreEvent,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderReplaced,
    OrderWorking,
    PositionChanged,
)
from brokers._kit.matching.orders import NewOrder, OrdStatus, Replacement
from kopitra.domain.executions import ExecType, ExecutionReport, PositionReport
from kopitra.domain.executions import OrdStatus as Status

#: account number at the broker -> our id; None for accounts that are not ours
Names = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Place:
    """A placement with the orders attached to it. `epoch`: of the writer, for the checkers only (I-11)."""

    cl_ord_id: str
    account_id: str
    order: NewOrder
    children: tuple[NewOrder, ...]
    is_exit: bool
    epoch: int
    holder: str

    @property
    def names(self) -> tuple[str, ...]:
        """Every order id of ours that it carries."""
        return (self.cl_ord_id, *(child.cl_ord_id or "" for child in self.children))


@dataclass(frozen=True, slots=True)
class Change:
    """A cancel (`numbers` None) or a replace of one order."""

    cl_ord_id: str
    account_id: str
    order_id: int
    request_id: str
    numbers: Replacement | None
    epoch: int
    holder: str


@dataclass(frozen=True, slots=True)
class Read:
    """The account as a whole is asked for."""

    account_id: str
    since_ns: int
    number: int


Request = Place | Change | Read


@dataclass(frozen=True, slots=True)
class Answer:
    """What the broker says to one request: `done`, or why not."""

    request: Request
    outcome: str
    orders: tuple[OrderState, ...] = ()
    text: str = ""


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STATUS: Final[dict[OrdStatus, Status]] = {
    "pending_new": "pending_new",
    "suspended": "suspended",
    "working": "new",
    "filled": "filled",
    "canceled": "canceled",
    "expired": "expired",
    "rejected": "rejected",
}


def at(ns: int) -> datetime:
    """The broker's nanoseconds as a date."""
    return datetime.fromtimestamp(ns / 1_000_000_000, UTC)


def ns_of(moment: datetime) -> int:
    """The opposite."""
    return int((moment - _EPOCH).total_seconds() * 1_000_000_000)


def status_of(order: OrderState) -> Status:
    """FIX's word for where an order stands."""
    if order.status == "working" and order.cum_qty:
        return "partially_filled"
    return _STATUS[order.status]


def report_of(order: OrderState, account_id: str, exec_type: ExecType, text: str = "") -> ExecutionReport:
    """One order as a report that moves no position."""
    return ExecutionReport(
        account_id=account_id,
        order_id=str(order.order_id),
        exec_type=exec_type,
        ord_status=status_of(order),
        symbol=order.symbol,
        side=order.side,
        transact_time=at(order.updated_ns),
        cl_ord_id=order.cl_ord_id,
        ord_type=order.ord_type,
        time_in_force=order.time_in_force,
        order_qty=Decimal(order.qty),
        price=order.price,
        stop_price=order.stop_price,
        cum_qty=Decimal(order.cum_qty),
        leaves_qty=Decimal(order.leaves_qty),
        avg_px=order.avg_px,
        text=text,
        parent_order_id=str(order.parent_id) if order.parent_id is not None else None,
    )


def _filled(event: OrderFilled, account_id: str) -> ExecutionReport:
    fill = event.execution
    return report_of(event.order, account_id, "trade")._replace(
        ord_status="filled" if fill.leaves_qty == 0 else "partially_filled",
        exec_id=str(fill.exec_id),
        last_qty=Decimal(fill.qty),
        last_px=fill.price,
        cum_qty=Decimal(fill.cum_qty),
        leaves_qty=Decimal(fill.leaves_qty),
        avg_px=fill.avg_px,
        transact_time=at(fill.ts_ns),
    )


_TYPES: Final[dict[type[object], ExecType]] = {
    OrderWorking: "new",
    OrderReplaced: "replaced",
    OrderCanceled: "canceled",
    OrderExpired: "expired",
}


def our_word(reason: str) -> str:
    """Our word for the broker's reason, as the table of an adapter would have it."""
    return "market-closed" if reason == "halted" else reason.replace("_", "-")


def told(event: CoreEvent, names: Names) -> ExecutionReport | PositionReport | None:
    """An event of the core as a session's stream tells it; None for what no stream tells."""
    match event:
        case OrderFilled():
            return _filled(event, names(event.order.account_id))
        case OrderAccepted(order):
            kind: ExecType = "suspended" if order.status == "suspended" else "pending_new"
            return report_of(order, names(order.account_id), kind)
        case OrderRejected(order, reason, text):
            report = report_of(order, names(order.account_id), "rejected", text)
            return report._replace(ord_rej_reason=our_word(reason))
        case OrderWorking(order) | OrderExpired(order):
            return report_of(order, names(order.account_id), _TYPES[type(event)])
        case OrderReplaced(order) | OrderCanceled(order):
            return report_of(order, names(order.account_id), _TYPES[type(event)])
        case PositionChanged(held):
            account_id = names(held.account_id)
            return PositionReport(
                account_id, held.symbol, Decimal(held.net_qty), held.avg_px, at(held.updated_ns)
            )
        case _:
            return None
