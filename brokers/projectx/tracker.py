"""Broker messages to execution reports: each order's last known state, each execution exactly once.

A trade on this wire names only its order, so the client id comes from the order's own events or from the
answer to its placement. A trade that comes before both waits here as an orphan (`take_orphans`), bounded in
number.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Final

from brokers._kit.correlate import ExecDedupe
from brokers.projectx.symbols import ContractBook
from brokers.projectx.wire import (
    ORDER_STATUS,
    ORDER_TYPES,
    SIDES,
    TERMINAL,
    StatusName,
    WireOrder,
    WireTrade,
    number,
    order_number,
    utc,
    word,
)
from kopitra.domain.executions import ExecType, ExecutionReport, OrdStatus

ORDERS_KNOWN_MAX: Final = 20_000  #: orders of one login, oldest finished ones are forgotten first
FORGET_LOOK_MAX: Final = 32  #: oldest orders among which a finished one is looked for, else the oldest goes
EXECS_PER_ACCOUNT_MAX: Final = 10_000  #: execution ids kept for deduplication, oldest go first
ORPHANS_MAX: Final = 1_000  #: trades of one login waiting for their order; more are reported unattributed

_TRAILING: Final = 5  #: order type

_REPORTS: Final[dict[StatusName, tuple[ExecType, OrdStatus]]] = {
    "pending": ("pending_new", "pending_new"),
    "open": ("new", "new"),
    # A status never fills: the executions do.
    "filled": ("order_status", "filled"),
    "canceled": ("canceled", "canceled"),
    "expired": ("expired", "expired"),
    "rejected": ("rejected", "rejected"),
    "pending_cancel": ("pending_cancel", "pending_cancel"),
    "suspended": ("suspended", "suspended"),
}


@dataclass(slots=True)
class _Known:
    """What was last said of an order; `traded` counts executions seen, not what statuses claim."""

    account_id: str
    cl_ord_id: str | None = None
    status: StatusName | None = None
    size: int = 0
    filled: int = 0
    limit: Decimal | None = None
    stop: Decimal | None = None
    updated: datetime | None = None
    traded: int = 0
    #: a replace of ours is on its way
    asked: bool = False


@dataclass(frozen=True, slots=True)
class _Orphan:
    trade: WireTrade
    account_id: str
    received_ns: int


class OrderTracker:
    """The orders and executions of one login."""

    __slots__ = ("_contracts", "_execs", "_orders", "_orphans", "_waiting")

    def __init__(self, contracts: ContractBook) -> None:
        self._contracts = contracts
        self._orders: OrderedDict[int, _Known] = OrderedDict()  # finds its first key in constant time
        self._execs = ExecDedupe(EXECS_PER_ACCOUNT_MAX)
        self._orphans: dict[int, list[_Orphan]] = {}
        self._waiting = 0

    # -- orders ----------------------------------------------------------------------------------------

    def placed(self, order_id: int, account_id: str, cl_ord_id: str, size: int) -> Iterable[ExecutionReport]:
        """Our placement was accepted under this id; gives the fills that were waiting for the name."""
        known = self._known(order_id, account_id)
        known.cl_ord_id = cl_ord_id
        known.size = known.size or size
        return self.take_orphans(order_id) if order_id in self._orphans else ()

    def asked(self, order_id: int) -> None:
        """We asked for new numbers: the next event of this order confirms them."""
        known = self._orders.get(order_id)
        if known is not None:
            known.asked = True

    def order(
        self, wire: WireOrder, account_id: str, now: datetime, received_ns: int
    ) -> Iterator[ExecutionReport]:
        """What is new in an order event, then the fills that were waiting for it. Old news yields nothing."""
        report = self._order_news(wire, account_id, now, received_ns)
        if report is not None:
            yield report
        yield from self.take_orphans(order_number(wire))

    def _order_news(
        self, wire: WireOrder, account_id: str, now: datetime, received_ns: int
    ) -> ExecutionReport | None:
        order_id = order_number(wire)
        status = word(ORDER_STATUS, wire.status, "order status")
        filled = wire.fill_volume or 0
        known = self._known(order_id, account_id)
        if known.status in TERMINAL and status not in TERMINAL:
            return None
        updated = None if wire.update_timestamp is None else utc(wire.update_timestamp, now)
        stale = known.updated is not None and updated is not None and updated < known.updated
        if stale and status not in TERMINAL:
            return None
        moved = (wire.limit_price, wire.stop_price, wire.size) != (known.limit, known.stop, known.size)
        if status == known.status and filled == known.filled and not moved and not known.asked:
            return None
        # A trailing stop that follows the market was not replaced by anybody.
        resized = (wire.limit_price, wire.size) != (known.limit, known.size)
        replaced = known.asked or (moved and (resized or wire.type != _TRAILING))
        exec_type, ord_status = _news(status, known.status, filled, replaced)
        known.asked = False
        known.status, known.size, known.filled = status, wire.size, filled
        known.limit, known.stop = wire.limit_price, wire.stop_price
        known.updated = updated or known.updated
        known.cl_ord_id = wire.custom_tag or known.cl_ord_id
        return self.describe(wire, account_id, now, exec_type, ord_status, received_ns)

    def describe(
        self,
        wire: WireOrder,
        account_id: str,
        now: datetime,
        exec_type: ExecType = "order_status",
        ord_status: OrdStatus | None = None,
        received_ns: int = 0,
    ) -> ExecutionReport:
        """An order as a report, by default as evidence for a snapshot. Raises ProtocolViolation."""
        status = word(ORDER_STATUS, wire.status, "order status")
        filled = wire.fill_volume or 0
        if ord_status is None:
            ord_status = _REPORTS[status][1]
            if status == "open" and filled > 0:
                ord_status = "partially_filled"
        return ExecutionReport(
            account_id=account_id,
            order_id=str(order_number(wire)),
            exec_type=exec_type,
            ord_status=ord_status,
            symbol=self._contracts.symbol_of(wire.contract_id),
            side=word(SIDES, wire.side, "order side"),
            transact_time=utc(wire.update_timestamp or wire.creation_timestamp, now),
            cl_ord_id=wire.custom_tag,
            ord_type=word(ORDER_TYPES, wire.type, "order type"),
            order_qty=Decimal(wire.size),
            price=wire.limit_price,
            stop_price=wire.stop_price,
            cum_qty=Decimal(filled),
            leaves_qty=Decimal(0 if status in TERMINAL else wire.size - filled),
            avg_px=wire.filled_price if filled else None,
            parent_order_id=None if wire.parent_order_id is None else str(wire.parent_order_id),
            received_ns=received_ns,
        )

    def working(self, account_id: str) -> tuple[int, ...]:
        """Ids of the account's orders that were not seen to end."""
        return tuple(
            order_id
            for order_id, known in self._orders.items()
            if known.account_id == account_id and known.status not in TERMINAL
        )

    def last_status(self, order_id: int) -> OrdStatus:
        """For reports on requests: what the order was when last heard of."""
        known = self._orders.get(order_id)
        return "new" if known is None or known.status is None else _REPORTS[known.status][1]

    def _known(self, order_id: int, account_id: str) -> _Known:
        known = self._orders.get(order_id)
        if known is None:
            if len(self._orders) >= ORDERS_KNOWN_MAX:
                self._forget()
            known = self._orders[order_id] = _Known(account_id)
        return known

    def _forget(self) -> None:
        oldest = list(islice(self._orders.items(), FORGET_LOOK_MAX))
        done = (order_id for order_id, known in oldest if known.status in TERMINAL)
        del self._orders[next(done, oldest[0][0])]

    # -- executions ------------------------------------------------------------------------------------

    def trade(self, wire: WireTrade, account_id: str, received_ns: int) -> ExecutionReport | int | None:
        """The report of an execution; None when it is known; the order's id when that order is not.

        A voided trade takes an execution back (`trade_cancel` with the same exec_id).
        """
        order_id = number(wire.order_id)
        word(SIDES, wire.side, "trade side")
        if not self._execs.first_time(account_id, (number(wire.id), wire.voided)):
            return None
        known = self._orders.get(order_id)
        if known is None and self._waiting < ORPHANS_MAX:
            self._orphans.setdefault(order_id, []).append(_Orphan(wire, account_id, received_ns))
            self._waiting += 1
            return order_id
        return self._executed(wire, account_id, received_ns)

    def seen(self, wire: WireTrade, account_id: str) -> None:
        """History: counted for its order, reported by nobody."""
        first = self._execs.first_time(account_id, (number(wire.id), wire.voided))
        known = self._orders.get(number(wire.order_id))
        if first and known is not None:
            known.traded += -wire.size if wire.voided else wire.size

    def waits_for(self, order_id: int) -> bool:
        """True while executions wait for this order."""
        return order_id in self._orphans

    def take_orphans(self, order_id: int) -> Iterator[ExecutionReport]:
        """Executions that waited for this order, now reported (unattributed if it is still unknown)."""
        for orphan in self._orphans.pop(order_id, ()):
            self._waiting -= 1
            yield self._executed(orphan.trade, orphan.account_id, orphan.received_ns)

    def execution(self, wire: WireTrade, account_id: str) -> ExecutionReport:
        """An execution as evidence for a snapshot; changes nothing."""
        known = self._orders.get(number(wire.order_id))
        return self._report(wire, account_id, known, None, 0)

    def _executed(self, wire: WireTrade, account_id: str, received_ns: int) -> ExecutionReport:
        known = self._orders.get(number(wire.order_id))
        if known is None:
            return self._report(wire, account_id, None, None, received_ns)
        known.traded += -wire.size if wire.voided else wire.size
        return self._report(wire, account_id, known, known.traded, received_ns)

    def _report(
        self, wire: WireTrade, account_id: str, known: _Known | None, traded: int | None, received_ns: int
    ) -> ExecutionReport:
        size = known.size if known is not None else 0
        whole = traded is not None and 0 < size <= traded
        return ExecutionReport(
            account_id=account_id,
            order_id=str(number(wire.order_id)),
            exec_type="trade_cancel" if wire.voided else "trade",
            ord_status="filled" if whole else "partially_filled",
            symbol=self._contracts.symbol_of(wire.contract_id),
            side=word(SIDES, wire.side, "trade side"),
            transact_time=utc(wire.creation_timestamp, wire.creation_timestamp),
            cl_ord_id=known.cl_ord_id if known is not None else None,
            exec_id=str(number(wire.id)),
            order_qty=Decimal(size) if size else None,
            last_qty=Decimal(wire.size),
            last_px=wire.price,
            cum_qty=None if traded is None else Decimal(traded),
            leaves_qty=None if traded is None or not size else Decimal(max(0, size - traded)),
            received_ns=received_ns,
        )


def _news(
    status: StatusName, before: StatusName | None, filled: int, replaced: bool
) -> tuple[ExecType, OrdStatus]:
    exec_type, ord_status = _REPORTS[status]
    if status != "open":
        return exec_type, ord_status
    if filled:
        ord_status = "partially_filled"
    if before == "open":
        # Same status with other numbers: a replace took effect; else only the filled quantity moved.
        return ("replaced" if replaced else "order_status"), ord_status
    return ("order_status" if filled else exec_type), ord_status
