"""What the core answers: frozen facts, each with the full state, so a wire face never has to ask back.

The wide states are named tuples, not frozen dataclasses: those cost 6 microseconds each to build, these 1.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple

from brokers._kit.matching.orders import OrderState, RejectReason, Side

ReplaceCause = Literal["request", "oco", "parent", "trail", "trigger"]
CancelCause = Literal["request", "oco", "parent", "ioc", "fok", "liquidation", "close"]
RequestKind = Literal["cancel", "replace", "close"]


class Execution(NamedTuple):
    """One fill. ``cum_qty``, ``leaves_qty`` and ``avg_px`` are the order's after it.

    ``realized_pnl`` is before fees, and None when the fill only opened or added (a half-turn).
    """

    exec_id: int
    order_id: int
    account_id: int
    symbol: str
    side: Side
    qty: int
    price: Decimal
    cum_qty: int
    leaves_qty: int
    avg_px: Decimal
    realized_pnl: Decimal | None
    fees: Decimal
    commission: Decimal
    ts_ns: int
    cl_ord_id: str | None
    busted: bool = False


class PositionState(NamedTuple):
    """Net position of one account and symbol; ``net_qty`` signed, 0 = flat, ``avg_px`` None when flat."""

    position_id: int
    account_id: int
    symbol: str
    net_qty: int
    avg_px: Decimal | None
    realized_pnl: Decimal
    bought_qty: int
    bought_value: Decimal
    sold_qty: int
    sold_value: Decimal
    opened_ns: int
    updated_ns: int


@dataclass(frozen=True, slots=True)
class AccountSpec:
    """One account of one login. ``balance`` is the opening cash; ``max_position_qty`` 0 means no limit."""

    account_id: int
    name: str
    login: str
    balance: Decimal
    can_trade: bool = True
    visible: bool = True
    simulated: bool = True
    live_funded: bool = False
    copy_follower: bool = False
    position_brackets: bool = False
    liquidation_only: bool = False
    max_position_qty: int = 0


class AccountState(NamedTuple):
    """An account's cash now: ``balance`` = opening balance + realised P&L - fees - commissions."""

    spec: AccountSpec
    balance: Decimal
    realized_pnl: Decimal
    fees: Decimal
    updated_ns: int

    @property
    def account_id(self) -> int:
        return self.spec.account_id


@dataclass(frozen=True, slots=True)
class OrderAccepted:
    """The broker took the request: status ``pending_new``, or ``suspended`` for a bracket child."""

    order: OrderState


@dataclass(frozen=True, slots=True)
class OrderWorking:
    """The order is in the book (also emitted for a market order, just before its fill)."""

    order: OrderState


@dataclass(frozen=True, slots=True)
class OrderReplaced:
    """Quantity or prices changed, for the stated cause; ``trail`` and ``trigger`` are broker-made."""

    order: OrderState
    cause: ReplaceCause


@dataclass(frozen=True, slots=True)
class OrderFilled:
    """One execution; the order's status tells partial (``working``) from complete (``filled``)."""

    order: OrderState
    execution: Execution


@dataclass(frozen=True, slots=True)
class OrderCanceled:
    """The rest of the order is gone; ``cum_qty`` may be above 0."""

    order: OrderState
    cause: CancelCause


@dataclass(frozen=True, slots=True)
class OrderExpired:
    """A day order at the end of its session."""

    order: OrderState


@dataclass(frozen=True, slots=True)
class OrderRejected:
    """Refused. ``late``: it had been accepted first, so only the event stream tells."""

    order: OrderState
    reason: RejectReason
    text: str
    late: bool = False


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """A cancel, replace or close that changed nothing; ``order`` is None when no such order exists."""

    kind: RequestKind
    account_id: int | None
    order: OrderState | None
    reason: RejectReason
    text: str


@dataclass(frozen=True, slots=True)
class ExecutionBusted:
    """The broker took a fill back (``execution.busted`` is True); position and cash follow as events."""

    order: OrderState
    execution: Execution


@dataclass(frozen=True, slots=True)
class PositionChanged:
    position: PositionState


@dataclass(frozen=True, slots=True)
class BalanceChanged:
    account: AccountState


@dataclass(frozen=True, slots=True)
class AccountChanged:
    """A flag of the account changed (locked, liquidation only...)."""

    account: AccountState


OrderEvent = (
    OrderAccepted | OrderWorking | OrderReplaced | OrderFilled | OrderCanceled | OrderExpired | OrderRejected
)
CoreEvent = OrderEvent | RequestRefused | ExecutionBusted | PositionChanged | BalanceChanged | AccountChanged
