"""The leader's drop copy: a leader account's own execution reports become signals.

One tracker per leader account; it remembers what the account holds and which of its resting orders followers have
been told of. Fills are copied by their execution id, resting orders by their order id, so that a report that comes
twice makes one signal. Orders that this house placed at the account are never copied: no copy loops.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, TypeVar

from kopitra.domain.book import LeaderOrder, root_of
from kopitra.domain.executions import TERMINAL_STATUS, ExecutionReport
from kopitra.domain.ids import derived_signal_id, is_own
from kopitra.domain.orders import ZERO
from kopitra.domain.signals import Action, OrdType, Signal, sign

#: resting orders of one leader account that are remembered
RESTING_MAX: Final = 2_000
#: execution ids, and orders with fills or an end, remembered to recognise repeats
EXECUTIONS_MAX: Final = 20_000
#: ends without a fill, as a list of orders shows them
_GONE: Final = frozenset({"canceled", "expired", "rejected"})
#: older than any report
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class _Resting:
    """A resting order of the leader as followers were last told of it; `qty` is what was open then."""

    qty: Decimal
    price: Decimal | None
    stop_price: Decimal | None
    at: datetime

    @property
    def numbers(self) -> tuple[Decimal | None, ...]:
        """What a replace can change."""
        return self.qty, self.price, self.stop_price


@dataclass(slots=True)
class LeaderTracker:
    """Turns the reports of one leader account into signals of one leader."""

    workspace: str
    leader: str
    account_id: str
    positions: dict[str, Decimal] = field(default_factory=dict[str, Decimal])
    #: what tells its ids from those of another leader at the same account
    scope: tuple[str, ...] = ()
    _resting: OrderedDict[str, _Resting] = field(default_factory=OrderedDict[str, _Resting])
    _executions: OrderedDict[str, None] = field(default_factory=OrderedDict[str, None])
    #: order id -> what has filled of it: news of an order can come after its fills
    _filled: OrderedDict[str, Decimal] = field(default_factory=OrderedDict[str, Decimal])
    #: orders that are over: late news of them open nothing
    _ended: OrderedDict[str, None] = field(default_factory=OrderedDict[str, None])

    def baseline(
        self, positions: Iterable[tuple[str, Decimal]], executions: Iterable[ExecutionReport] = ()
    ) -> None:
        """What the account holds by a read, and the executions behind it: known, not copied."""
        self.positions = {symbol: qty for symbol, qty in positions if qty}
        for report in executions:
            if report.exec_id is not None:
                _remember(self._executions, report.exec_id, None, EXECUTIONS_MAX)

    def resume(self, order_id: str, order: LeaderOrder, filled: Decimal) -> None:
        """A resting order that followers were told of before this tracker was there; `filled`: of it, by a read."""
        known = _Resting(order.leaves, order.price, order.stop_price, _LONG_AGO)
        _remember(self._resting, order_id, known, RESTING_MAX)
        if filled:
            _remember(self._filled, order_id, filled, EXECUTIONS_MAX)

    def rests(self, order_id: str) -> bool:
        """Followers were told of this order and not yet of its end."""
        return order_id in self._resting

    def at_rest(self, signal: Signal) -> Signal | None:
        """The signal of a resting order that had to wait, with the prices of now; None: the order is over."""
        now = self._resting.get(signal.leader_order_id or "")
        return None if now is None else replace(signal, price=now.price, stop_price=now.stop_price)

    @property
    def counted(self) -> dict[str, Decimal]:
        """What the account holds by its reports, flat contracts left out."""
        return {symbol: qty for symbol, qty in self.positions.items() if qty}

    def signals(self, report: ExecutionReport, received_at: datetime) -> tuple[Signal, ...]:
        """The signals of one report; none for own orders, repeats and reports that change nothing for followers."""
        if is_own(report.cl_ord_id):
            return ()
        match report.exec_type:
            case "trade":
                return self._fill(report, received_at)
            case "new" | "order_status" if report.ord_status == "new":
                return self._working(report, received_at)
            case "replaced":
                return self._working(report, received_at)
            case "canceled" | "expired" | "rejected":
                return self._gone(report, received_at)
            case "order_status" if report.ord_status in _GONE:
                return self._gone(report, received_at)
            case _:
                return ()

    def _fill(self, report: ExecutionReport, received_at: datetime) -> tuple[Signal, ...]:
        exec_id, qty = report.exec_id, report.last_qty
        if exec_id is None or qty is None or exec_id in self._executions:
            return ()
        _remember(self._executions, exec_id, None, EXECUTIONS_MAX)
        self._count(report, qty)
        held = self.positions.get(report.symbol, ZERO)
        after = held + qty * sign(report.side)
        self.positions[report.symbol] = after
        return (
            self._signal(
                report,
                received_at,
                self._id("fill", exec_id),
                _act_of_fill(held, after),
                quantity=qty,
                price=report.last_px,
                leader_position=self._root_position(report.symbol),
                is_fill=True,
            ),
        )

    def shrinking(
        self, report: ExecutionReport, known: Decimal, resting: Decimal, received_at: datetime
    ) -> Signal | None:
        """The signal of a fill while no read has said what the account holds; by what followers were told, of its
        root: `known` contracts, and `resting` entries that they mirror. None where it shrinks neither, and it never
        turns anybody.

        More than is known can be closed only of what rested and filled unheard: how much that was nobody knows, so the
        leader is out, as at an exit that is no fill.

        The id is that of the same fill in `signals`, and nothing is counted here: a read and its list of executions
        come later, and make no second signal of it.
        """
        exec_id, qty = report.exec_id, report.last_qty
        if exec_id is None or qty is None or known * sign(report.side) > 0:
            return None
        closed, name = min(qty, abs(known)), self._id("fill", exec_id)
        if closed < qty and resting * sign(report.side) < 0:
            return self._signal(report, received_at, name, "exit", price=report.last_px)
        if not closed:
            return None
        left = known + closed * sign(report.side)
        return self._signal(
            report,
            received_at,
            name,
            "reduce" if left else "exit",
            quantity=closed,
            price=report.last_px,
            leader_position=left,
            is_fill=True,
        )

    def _root_position(self, contract: str) -> Decimal:
        root = root_of(contract)
        return sum((q for c, q in self.positions.items() if root_of(c) == root), ZERO)

    def _count(self, report: ExecutionReport, qty: Decimal) -> None:
        """Fills shrink what is open of their order."""
        filled = self._filled.get(report.order_id, ZERO) + qty
        _remember(self._filled, report.order_id, filled, EXECUTIONS_MAX)
        resting = self._resting.get(report.order_id)
        if resting is None:
            return
        resting.qty -= qty
        if resting.qty <= 0:
            self._over(report.order_id)

    def _over(self, order_id: str) -> None:
        self._resting.pop(order_id, None)
        _remember(self._ended, order_id, None, EXECUTIONS_MAX)

    def _working(self, report: ExecutionReport, received_at: datetime) -> tuple[Signal, ...]:
        ord_type = report.ord_type
        # A trailing order's distance is in no report: its fill is copied.
        if ord_type in (None, "market", "trailing_stop") or report.order_qty is None:
            return ()
        qty = report.order_qty - self._filled.get(report.order_id, ZERO)
        if report.order_id in self._ended or qty <= 0:
            return ()
        known = self._resting.get(report.order_id)
        now = _Resting(qty, report.price, report.stop_price, report.transact_time)
        if known is not None and (now.numbers == known.numbers or now.at < known.at):
            return ()  # nothing moved, or old news
        _remember(self._resting, report.order_id, now, RESTING_MAX)
        if known is None:
            return (self._rested(report, received_at, qty),)
        moved = ("replace", report.order_id, str(qty), str(now.price), str(now.stop_price))
        return (
            self._signal(
                report,
                received_at,
                self._id(*moved, report.transact_time.isoformat()),
                "replace",
                quantity=qty if qty != known.qty else None,
                ord_type=ord_type,
                price=now.price,
                stop_price=now.stop_price,
            ),
        )

    def _rested(self, report: ExecutionReport, received_at: datetime, qty: Decimal) -> Signal:
        return self._signal(
            report,
            received_at,
            self._id("order", report.order_id),
            "exit" if self._reduces(report) else "enter",
            quantity=qty,
            ord_type=report.ord_type or "market",
            price=report.price,
            stop_price=report.stop_price,
        )

    def _reduces(self, report: ExecutionReport) -> bool:
        """A child of another order protects it; so does an order against the position, up to its size."""
        if report.parent_order_id is not None:
            return True
        held = self.positions.get(report.symbol, ZERO)
        return held * sign(report.side) < 0 and (report.order_qty or ZERO) <= abs(held)

    def _gone(self, report: ExecutionReport, received_at: datetime) -> tuple[Signal, ...]:
        if report.ord_status not in TERMINAL_STATUS:
            return ()
        known = self._resting.get(report.order_id)
        self._over(report.order_id)
        if known is None:
            return ()
        return (self._signal(report, received_at, self._id("cancel", report.order_id), "cancel"),)

    def _id(self, *parts: str) -> str:
        return derived_signal_id(self.account_id, *self.scope, *parts)

    def _signal(
        self,
        report: ExecutionReport,
        received_at: datetime,
        signal_id: str,
        action: Action,
        *,
        quantity: Decimal | None = None,
        ord_type: OrdType = "market",
        price: Decimal | None = None,
        stop_price: Decimal | None = None,
        leader_position: Decimal | None = None,
        is_fill: bool = False,
    ) -> Signal:
        return Signal(
            workspace=self.workspace,
            leader=self.leader,
            signal_id=signal_id,
            source="drop_copy",
            action=action,
            symbol=root_of(report.symbol),
            contract=report.symbol,
            occurred_at=report.transact_time,
            received_at=received_at,
            side=report.side,
            quantity=quantity,
            ord_type=ord_type,
            price=price,
            stop_price=stop_price,
            time_in_force=report.time_in_force or "day",
            leader_order_id=report.order_id,
            leader_position=leader_position,
            is_fill=is_fill,
        )


def _act_of_fill(held: Decimal, after: Decimal) -> Action:
    if held == 0:
        return "enter"
    if after == 0:
        return "exit"
    if held * after < 0:
        return "reverse"
    return "add" if abs(after) > abs(held) else "reduce"


_V = TypeVar("_V")


def _remember(memory: OrderedDict[str, _V], key: str, value: _V, most: int) -> None:
    """Bounded: the oldest leaves first."""
    memory[key] = value
    if len(memory) > most:
        memory.popitem(last=False)
