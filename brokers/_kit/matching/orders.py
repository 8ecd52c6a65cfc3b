"""The words of an order at a simulated broker: the request, its state as others see it, the live record."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, NamedTuple

from brokers._kit.matching.prices import ZERO

Side = Literal["buy", "sell"]
OrdType = Literal["market", "limit", "stop", "stop_limit", "trailing_stop"]
TimeInForce = Literal["day", "gtc", "ioc", "fok"]
Origin = Literal["api", "manual", "bracket", "close", "liquidation"]
OrdStatus = Literal["pending_new", "suspended", "working", "filled", "canceled", "expired", "rejected"]
RejectReason = Literal[
    "account_rejected",  # no API orders here: live funded, or follower of the firm's own copier
    "bad_price",
    "bad_qty",
    "brackets_refused",
    "duplicate_tag",
    "halted",
    "injected",  # asked for by reject_next or reject_ratio
    "invalid_close_size",
    "liquidation_only",
    "max_position",
    "no_quote",
    "off_tick",
    "other",  # decided by the wire face, see the text
    "parent_rejected",
    "position_not_found",
    "too_late",
    "trading_locked",
    "unknown_account",
    "unknown_order",
    "unknown_symbol",
    "wrong_side_stop",
]

SIDES: tuple[Side, ...] = ("buy", "sell")
ORD_TYPES: tuple[OrdType, ...] = ("market", "limit", "stop", "stop_limit", "trailing_stop")
TIMES_IN_FORCE: tuple[TimeInForce, ...] = ("day", "gtc", "ioc", "fok")
LIVE_STATUSES: frozenset[OrdStatus] = frozenset({"pending_new", "suspended", "working"})


class NewOrder(NamedTuple):
    """One placement request.

    ``price`` is the limit, ``stop_price`` the trigger, ``trail`` a positive distance in price units.
    ``offset`` is for bracket children only: signed distance from the parent's average fill price, which
    then sets ``price`` (limit), ``stop_price`` (stop) or ``trail`` (trailing stop, absolute value).
    """

    account_id: int
    symbol: str
    side: Side
    ord_type: OrdType
    qty: int
    price: Decimal | None = None
    stop_price: Decimal | None = None
    trail: Decimal | None = None
    offset: Decimal | None = None
    time_in_force: TimeInForce = "day"
    cl_ord_id: str | None = None
    parent_id: int | None = None
    oco_group: int | None = None
    suspended: bool = False
    automated: bool = True
    text: str = ""


@dataclass(frozen=True, slots=True)
class Replacement:
    """New values for a live order; None keeps the old value."""

    qty: int | None = None
    price: Decimal | None = None
    stop_price: Decimal | None = None
    trail: Decimal | None = None


class OrderState(NamedTuple):
    """Everything a wire face needs to render an order, at one moment.

    ``released_qty`` is the part that may trade (a bracket child: what its parent has filled), else ``qty``.
    ``avg_px`` is None before the first fill. ``version`` starts at 1 and grows with each replacement.
    """

    order_id: int
    request: NewOrder
    origin: Origin
    status: OrdStatus
    qty: int
    released_qty: int
    cum_qty: int
    avg_px: Decimal | None
    price: Decimal | None
    stop_price: Decimal | None
    trail: Decimal | None
    triggered: bool
    parent_id: int | None
    oco_group: int | None
    version: int
    created_ns: int
    updated_ns: int
    text: str

    @property
    def account_id(self) -> int:
        return self.request.account_id

    @property
    def symbol(self) -> str:
        return self.request.symbol

    @property
    def side(self) -> Side:
        return self.request.side

    @property
    def ord_type(self) -> OrdType:
        return self.request.ord_type

    @property
    def time_in_force(self) -> TimeInForce:
        return self.request.time_in_force

    @property
    def cl_ord_id(self) -> str | None:
        return self.request.cl_ord_id

    @property
    def leaves_qty(self) -> int:
        """Quantity still to come: 0 once the order has ended."""
        return self.qty - self.cum_qty if self.status in LIVE_STATUSES else 0

    @property
    def is_live(self) -> bool:
        return self.status in LIVE_STATUSES


@dataclass(slots=True, eq=False)
class LiveOrder:
    """The core's own, changing record of one order; only snapshots leave the core."""

    order_id: int
    request: NewOrder
    origin: Origin
    created_ns: int
    buys: bool
    qty: int
    released_qty: int
    price: Decimal | None
    stop_price: Decimal | None
    trail: Decimal | None
    parent_id: int | None
    oco_group: int | None
    status: OrdStatus = "pending_new"
    cum_qty: int = 0
    traded_value: Decimal = ZERO
    triggered: bool = False
    #: has been in the book unmatched, so it trades at its own limit price
    rested: bool = False
    #: executions that are due later (fill_delay_ms)
    fills_due: int = 0
    version: int = 1
    updated_ns: int = 0
    text: str = ""
    children: list["LiveOrder"] = field(default_factory=list["LiveOrder"])

    @property
    def is_live(self) -> bool:
        return self.status in LIVE_STATUSES

    @property
    def open_qty(self) -> int:
        """Quantity that may trade now."""
        return self.released_qty - self.cum_qty

    def snapshot(self) -> OrderState:
        cum_qty = self.cum_qty
        return OrderState(
            self.order_id,
            self.request,
            self.origin,
            self.status,
            self.qty,
            self.released_qty,
            cum_qty,
            self.traded_value / cum_qty if cum_qty else None,
            self.price,
            self.stop_price,
            self.trail,
            self.triggered,
            self.parent_id,
            self.oco_group,
            self.version,
            self.created_ns,
            self.updated_ns,
            self.text,
        )


def open_order(
    request: NewOrder, order_id: int, origin: Origin, now_ns: int, parent_id: int | None
) -> LiveOrder:
    """The live record of a request that just arrived; a suspended one has nothing released yet."""
    return LiveOrder(
        order_id=order_id,
        request=request,
        origin=origin,
        created_ns=now_ns,
        buys=request.side == "buy",
        qty=request.qty,
        released_qty=0 if request.suspended else request.qty,
        price=request.price,
        stop_price=request.stop_price,
        trail=request.trail,
        parent_id=parent_id,
        oco_group=request.oco_group,
        updated_ns=now_ns,
        text=request.text,
    )
