"""What a rude broker's lists show of an account: late where it lags, a part where a read went wrong."""

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from brokers._kit.matching.events import Execution
from kopitra.domain.executions import AccountSnapshot, BalanceReport, ExecutionReport, PositionReport
from tests.faults.rude_words import Read, at, report_of

if TYPE_CHECKING:
    from tests.faults.rude_broker import RudeBroker


@dataclass(frozen=True, slots=True)
class Shot:
    """How the lists are wrong: `lag_s` behind; `partial` names the list that could not be read."""

    lag_s: float = 0.0
    partial: str = ""


def shot_of(broker: "RudeBroker", request: Read, shot: Shot) -> AccountSnapshot:
    """The account as its lists show it now; the receiver fills in when it began to ask."""
    number, now_ns = broker.accounts[request.account_id], broker.now_ns
    until_ns = now_ns - int(shot.lag_s * 1e9)
    fills = broker.core.executions(number, until_ns=until_ns)
    return AccountSnapshot(
        account_id=request.account_id,
        positions=None if shot.partial == "positions" else _positions(request.account_id, fills, now_ns),
        orders=None if shot.partial == "orders" else _orders(broker, request, until_ns),
        executions=None if shot.partial == "executions" else _executions(broker, request, fills),
        balance=_balance(broker, request.account_id, now_ns),
        started_ns=0,
    )


def _positions(account_id: str, fills: tuple[Execution, ...], now_ns: int) -> tuple[PositionReport, ...]:
    """Summed from the executions that are visible: a position list lags with the others."""
    net: dict[str, int] = {}
    for fill in fills:
        net[fill.symbol] = net.get(fill.symbol, 0) + (fill.qty if fill.side == "buy" else -fill.qty)
    return tuple(
        PositionReport(account_id, symbol, Decimal(qty), None, at(now_ns))
        for symbol, qty in sorted(net.items())
        if qty
    )


def _orders(broker: "RudeBroker", request: Read, until_ns: int) -> tuple[ExecutionReport, ...]:
    found = broker.core.orders(broker.accounts[request.account_id], until_ns=until_ns)
    recent = (o for o in found if o.is_live or o.updated_ns >= request.since_ns)
    return tuple(report_of(order, request.account_id, "order_status", order.text) for order in recent)


def _executions(
    broker: "RudeBroker", request: Read, fills: tuple[Execution, ...]
) -> tuple[ExecutionReport, ...] | None:
    if not broker.capabilities.lists_executions:
        return None
    return tuple(_execution(broker, request, fill) for fill in fills if fill.ts_ns >= request.since_ns)


def _execution(broker: "RudeBroker", request: Read, fill: Execution) -> ExecutionReport:
    return ExecutionReport(
        account_id=request.account_id,
        order_id=str(fill.order_id),
        exec_type="trade",
        ord_status="filled" if fill.leaves_qty == 0 else "partially_filled",
        symbol=fill.symbol,
        side=fill.side,
        transact_time=at(fill.ts_ns),
        cl_ord_id=None if broker.anonymous_fills else fill.cl_ord_id,
        exec_id=str(fill.exec_id),
        last_qty=Decimal(fill.qty),
        last_px=fill.price,
        cum_qty=Decimal(fill.cum_qty),
        leaves_qty=Decimal(fill.leaves_qty),
        avg_px=fill.avg_px,
    )


def _balance(broker: "RudeBroker", account_id: str, now_ns: int) -> BalanceReport:
    number = broker.accounts[account_id]
    account = broker.core.account(number)
    balance = account.balance if account is not None else Decimal(0)
    return BalanceReport(account_id, balance, broker.core.equity(number), None, at(now_ns))
