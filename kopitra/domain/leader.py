"""The leader's drop copy: a leader account's own execution reports become signals.

One tracker per leader account; it remembers what the account holds and which of its resting orders followers have
been told of. Fills are copied by their execution id, resting orders by their order id, so that a report that comes
twice makes one signal. Orders that this house placed at the account are never copied: no copy loops.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final

from kopitra.domain.book import root_of
from kopitra.domain.executions import TERMINAL_STATUS, ExecutionReport
from kopitra.domain.ids import derived_signal_id, is_own
from kopitra.domain.orders import ZERO
from kopitra.domain.signals import Action, OrdType, Side, Signal, sign

#: resting orders of one leader account that are remembered
RESTING_MAX: Final = 2_000
#: execution ids remembered to recognise repeats
EXECUTIONS_MAX: Final = 20_000


@dataclass(slots=True)
class _Resting:
    """A resting order of the leader as followers were last told of it."""

    side: Side
    ord_type: OrdType
    qty: Decimal
    price: Decimal | None
    stop_price: Decimal | None
    told: bool


@dataclass(slots=True)
class LeaderTracker:
    """Turns the reports of one leader account into signals of one leader."""

    workspace: str
    leader: str
    account_id: str
    positions: dict[str, Decimal] = field(default_factory=dict[str, Decimal])
    _resting: dict[str, _Resting] = field(default_factory=dict[str, _Resting])
    _executions: dict[str, None] = field(default_factory=dict[str, None])

    def baseline(self, positions: Iterable[tuple[str, Decimal]]) -> None:
        """What the account held when we began to look: known, not copied."""
        self.positions = dict(positions)

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
            case _:
                return ()

    def _fill(self, report: ExecutionReport, received_at: datetime) -> tuple[Signal, ...]:
        exec_id, qty = report.exec_id, report.last_qty
        if exec_id is None or qty is None or exec_id in self._executions:
            return ()
        self._executions[exec_id] = None
        if len(self._executions) > EXECUTIONS_MAX:
            del self._executions[next(iter(self._executions))]
        held = self.positions.get(report.symbol, ZERO)
        after = held + qty * sign(report.side)
        self.positions[report.symbol] = after
        return (
            self._signal(
                report,
                received_at,
                derived_signal_id(self.account_id, "fill", exec_id),
                _act_of_fill(held, after),
                quantity=qty,
                price=report.last_px,
                leader_position=self._root_position(report.symbol),
                is_fill=True,
            ),
        )

    def _root_position(self, contract: str) -> Decimal:
        root = root_of(contract)
        return sum((q for c, q in self.positions.items() if root_of(c) == root), ZERO)

    def _working(self, report: ExecutionReport, received_at: datetime) -> tuple[Signal, ...]:
        ord_type = report.ord_type
        if ord_type is None or ord_type == "market" or report.order_qty is None:
            return ()
        known = self._resting.get(report.order_id)
        now = _Resting(report.side, ord_type, report.order_qty, report.price, report.stop_price, True)
        self._remember(report.order_id, now)
        if known is None:
            reduces = self._reduces(report)
            return (
                self._signal(
                    report,
                    received_at,
                    derived_signal_id(self.account_id, "order", report.order_id),
                    "exit" if reduces else "enter",
                    quantity=report.order_qty,
                    ord_type=ord_type,
                    price=report.price,
                    stop_price=report.stop_price,
                ),
            )
        if (known.qty, known.price, known.stop_price) == (now.qty, now.price, now.stop_price):
            return ()
        moved = ("replace", report.order_id, str(now.qty), str(now.price), str(now.stop_price))
        return (
            self._signal(
                report,
                received_at,
                derived_signal_id(self.account_id, *moved, report.transact_time.isoformat()),
                "replace",
                quantity=now.qty if now.qty != known.qty else None,
                ord_type=ord_type,
                price=now.price,
                stop_price=now.stop_price,
            ),
        )

    def _remember(self, order_id: str, resting: _Resting) -> None:
        self._resting[order_id] = resting
        if len(self._resting) > RESTING_MAX:
            del self._resting[next(iter(self._resting))]

    def _reduces(self, report: ExecutionReport) -> bool:
        """A child of another order protects it; so does an order against the position, up to its size."""
        if report.parent_order_id is not None:
            return True
        held = self.positions.get(report.symbol, ZERO)
        return held * sign(report.side) < 0 and (report.order_qty or ZERO) <= abs(held)

    def _gone(self, report: ExecutionReport, received_at: datetime) -> tuple[Signal, ...]:
        known = self._resting.pop(report.order_id, None)
        if known is None or report.ord_status not in TERMINAL_STATUS:
            return ()
        return (
            self._signal(
                report, received_at, derived_signal_id(self.account_id, "cancel", report.order_id), "cancel"
            ),
        )

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
