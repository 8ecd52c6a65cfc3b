"""The vendor's entities as typed structs (vendor docs "Entity schemas": ids int64, prices numbers).

Prices are read as Decimal straight from the number's text, never through a float. Words that decide over
money are closed lists: an unknown one fails to decode, and the message becomes an alert.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

OrdStatusWord = Literal[
    "PendingNew", "Working", "PendingReplace", "PendingCancel", "Suspended", "Filled", "Completed",
    "Canceled", "Expired", "Rejected", "Unknown",
]  # fmt: skip
CommandStatusWord = Literal[
    "Pending", "PendingExecution", "RiskPassed", "AtExecution", "Replaced", "OnHold", "RiskRejected",
    "ExecutionRejected", "ExecutionStopped", "ExecutionSuspended",
]  # fmt: skip
ExecTypeWord = Literal[
    "New", "Trade", "PendingNew", "PendingReplace", "Replaced", "PendingCancel", "Canceled", "Completed",
    "DoneForDay", "Expired", "OrderStatus", "Rejected", "Stopped", "Suspended", "TradeCancel", "TradeCorrect",
]  # fmt: skip
OrderTypeWord = Literal[
    "Limit", "MIT", "Market", "QTS", "Stop", "StopLimit", "TrailingStop",
    "TrailingStopLimit", "LimitIfTouched",
]  # fmt: skip
TimeInForceWord = Literal["Day", "GTC", "GTD", "IOC", "FOK"]
ActionWord = Literal["Buy", "Sell"]
#: one without a zone would be compared with nothing: its row does not read, and people are told
Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]


class Entity(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """What all have in common."""

    id: int


class Order(Entity, frozen=True):
    account_id: int
    timestamp: Timestamp
    action: ActionWord
    ord_status: OrdStatusWord
    contract_id: int | None = None
    oco_id: int | None = None
    parent_id: int | None = None


class OrderVersion(Entity, frozen=True):
    """Its id equals the id of the New or Modify command that made it."""

    order_id: int
    order_qty: int
    order_type: OrderTypeWord
    price: Decimal | None = None
    stop_price: Decimal | None = None
    peg_difference: Decimal | None = None
    time_in_force: TimeInForceWord | None = None
    expire_time: str | None = None


class Command(Entity, frozen=True):
    order_id: int
    command_type: Literal["New", "Modify", "Cancel"]
    command_status: CommandStatusWord
    cl_ord_id: str | None = None


class CommandReport(Entity, frozen=True):
    command_id: int
    command_status: CommandStatusWord
    reject_reason: str | None = None
    text: str | None = None


class ExecReport(Entity, frozen=True):
    command_id: int
    order_id: int
    exec_type: ExecTypeWord
    reject_reason: str | None = None
    text: str | None = None


class Fill(Entity, frozen=True):
    order_id: int
    contract_id: int
    timestamp: Timestamp
    action: ActionWord
    qty: int
    price: Decimal
    #: false: the trade was busted
    active: bool = True


class Position(Entity, frozen=True):
    account_id: int
    contract_id: int
    timestamp: Timestamp
    net_pos: int
    net_price: Decimal | None = None


class CashBalance(Entity, frozen=True):
    account_id: int
    timestamp: Timestamp
    amount: Decimal
    realized_pn_l: Decimal | None = msgspec.field(name="realizedPnL", default=None)


class Contract(Entity, frozen=True):
    name: str


class Account(Entity, frozen=True):
    name: str
    active: bool = True
    closed: bool = False
    restricted: bool = False
    readonly: bool = False

    @property
    def tradable(self) -> bool:
        """Both generations of the schema at once: `active`, or `restricted` and `closed`."""
        return self.active and not (self.closed or self.restricted or self.readonly)


class CashSnapshot(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """Answer of cashBalance/getcashbalancesnapshot."""

    total_cash_value: Decimal | None = None
    net_liq: Decimal | None = None
    realized_pn_l: Decimal | None = msgspec.field(name="realizedPnL", default=None)
    error_text: str | None = None
