"""What is known of one order, gathered from its entities, and how it reads as a report."""

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal, TypeVar

from brokers.tradovate.entities import Command, Fill, Order, OrderTypeWord, OrderVersion, OrdStatusWord
from brokers.tradovate.symbols import ContractBook
from kopitra.domain.executions import TERMINAL_STATUS, ExecType, ExecutionReport, OrdStatus
from kopitra.domain.signals import OrdType, Side, TimeInForce

T = TypeVar("T")
Missing = Literal["order", "command", "version", "fills", "contract"]

ZERO: Final = Decimal(0)
SIDES: Final[dict[str, Side]] = {"Buy": "buy", "Sell": "sell"}
TIMES: Final[dict[str, TimeInForce]] = {"Day": "day", "GTC": "gtc", "GTD": "gtd", "IOC": "ioc", "FOK": "fok"}
#: types that the house has no name for are shown without one: their stop and limit prices tell enough
ORD_TYPES: Final[dict[OrderTypeWord, OrdType | None]] = {
    "Market": "market",
    "Limit": "limit",
    "Stop": "stop",
    "StopLimit": "stop_limit",
    "TrailingStop": "trailing_stop",
    "TrailingStopLimit": None,
    "MIT": None,
    "QTS": None,
    "LimitIfTouched": None,
}
#: how a status word is told; Filled and Completed are told by their fills
STATUS: Final[dict[OrdStatusWord, tuple[ExecType, OrdStatus]]] = {
    "PendingNew": ("pending_new", "pending_new"),
    "Suspended": ("suspended", "suspended"),
    "Working": ("new", "new"),
    "PendingReplace": ("pending_replace", "pending_replace"),
    "PendingCancel": ("pending_cancel", "pending_cancel"),
    "Canceled": ("canceled", "canceled"),
    "Expired": ("expired", "expired"),
    "Rejected": ("rejected", "rejected"),
}
#: a status tells something new only when it stands higher than what was told
RANK: Final[dict[OrdStatus, int]] = {"pending_new": 1, "suspended": 2, "new": 3}
RANK_MAX: Final = 9
DONE: Final = frozenset[OrdStatusWord]({"Filled", "Completed"})
ENDED: Final = DONE | frozenset[OrdStatusWord]({"Canceled", "Expired", "Rejected"})
#: a Modify command in these states has not changed the order (yet)
_NOT_CHANGED: Final = frozenset(
    {"Pending", "PendingExecution", "RiskPassed", "OnHold", "RiskRejected", "ExecutionRejected"}
)
#: modifications of one order that may be in flight at once; the oldest is forgotten
LATER_MAX: Final = 16


@dataclass(slots=True)
class Track:
    """One order. `account_id` is ours and None until enough is known to tell anything of it."""

    order_id: int
    order: Order | None = None
    version: OrderVersion | None = None
    #: modifications that are not confirmed yet, by their command's id
    later: dict[int, OrderVersion] = field(default_factory=dict[int, OrderVersion])
    confirmed: int = 0
    #: the New command was seen, or we placed the order ourselves
    identified: bool = False
    cl_ord_id: str | None = None
    parent_id: int | None = None
    account_id: str | None = None
    symbol: str = ""
    side: Side = "buy"
    rank: int = 0
    told: OrdStatus | None = None
    #: the order entity whose status was told
    shown: Order | None = None
    final: bool = False
    #: something of it was told that was no history
    live: bool = False
    #: reason word and text of the rejection
    rejection: tuple[str, str] | None = None
    fills: dict[int, Fill] = field(default_factory=dict[int, Fill])
    cum_qty: Decimal = ZERO
    turnover: Decimal = ZERO
    #: deadline in monotonic ns of what is missing, 0 = nothing is; `asked` once it was asked for
    due_ns: int = 0
    asked: bool = False
    #: answers that listed its commands without the one that names its client
    proofs: int = 0
    #: how often it was asked for, or put off for want of room
    tries: int = 0

    @property
    def is_short_of_fills(self) -> bool:
        """The broker says done and some of its fills have not come."""
        order, version = self.order, self.version
        return (
            order is not None
            and order.ord_status in DONE
            and version is not None
            and self.cum_qty < version.order_qty
        )

    @property
    def is_news(self) -> bool:
        """The stream has told of it: what comes now is news, however much of its account is history."""
        return self.live or self.due_ns > 0

    def rest(self) -> None:
        """Nothing is missing any more."""
        self.due_ns, self.asked, self.tries = 0, False, 0

    def keep_later(self, version: OrderVersion) -> None:
        """Remember a modification until its confirmation."""
        self.later[version.id] = version
        if len(self.later) > LATER_MAX:
            del self.later[min(self.later)]

    def resting_status(self) -> OrdStatus:
        """The status of an order that stands at the broker."""
        if self.order is not None and self.order.ord_status == "Suspended":
            return "suspended"
        return "partially_filled" if self.cum_qty else "new"


@dataclass(slots=True)
class CommandNote:
    """Which order a command belongs to, and whether its end was told."""

    order_id: int
    kind: Literal["New", "Modify", "Cancel"]
    settled: bool = False


def remember(book: OrderedDict[int, T], key: int, value: T, size_max: int) -> None:
    """Put into a bounded book: what came first goes first. A plain dict finds its first key ever slower."""
    book[key] = value
    if len(book) > size_max:
        book.popitem(last=False)


def report_of(
    track: Track,
    exec_type: ExecType,
    ord_status: OrdStatus,
    at: datetime,
    received_ns: int,
    *,
    fill: Fill | None = None,
    text: str = "",
    ord_rej_reason: str = "",
) -> ExecutionReport:
    """The report as of now; the track is resolved (`account_id` is set)."""
    version, cum = track.version, track.cum_qty
    qty = leaves = price = stop_price = ord_type = time_in_force = None
    if version is not None:
        qty = leaves = Decimal(version.order_qty)
        price, stop_price = version.price, version.stop_price
        ord_type = ORD_TYPES[version.order_type]
        time_in_force = TIMES.get(version.time_in_force or "")
    if ord_status in TERMINAL_STATUS:
        leaves = ZERO
    elif cum and qty is not None:
        leaves = max(qty - cum, ZERO)
    # Names for the later fields only: every name costs, and each order's report is made here.
    return ExecutionReport(
        track.account_id or "",
        str(track.order_id),
        exec_type,
        ord_status,
        track.symbol,
        track.side,
        at,
        track.cl_ord_id,
        str(fill.id) if fill is not None else None,
        ord_type,
        time_in_force,
        qty,
        price,
        stop_price,
        last_qty=Decimal(fill.qty) if fill is not None else None,
        last_px=fill.price if fill is not None else None,
        cum_qty=cum,
        leaves_qty=leaves,
        avg_px=track.turnover / cum if cum else None,
        text=text,
        ord_rej_reason=ord_rej_reason,
        parent_order_id=str(track.parent_id) if track.parent_id else None,
        received_ns=received_ns,
    )


def missing_of(track: Track, contracts: ContractBook) -> list[tuple[Missing, int]]:
    """What has to be looked up before the track can be told, with the id to look it up by."""
    found: list[tuple[Missing, int]] = []
    order = track.order
    if order is None and track.account_id is None:
        found.append(("order", track.order_id))
    if not track.identified:
        found.append(("command", track.order_id))
    if track.version is None:
        found.append(("version", track.order_id))
    if order is not None and order.contract_id is not None and contracts.name(order.contract_id) is None:
        found.append(("contract", order.contract_id))
    if track.is_short_of_fills:
        found.append(("fills", track.order_id))
    return found


def newest_version(versions: list[OrderVersion], commands: dict[int, Command]) -> OrderVersion | None:
    """The numbers an order has now: the highest version whose command is neither pending nor refused."""
    ordered = sorted(versions, key=lambda version: version.id)
    for version in reversed(ordered):
        command = commands.get(version.id)
        if command is None or command.command_type == "New" or command.command_status not in _NOT_CHANGED:
            return version
    return ordered[0] if ordered else None
