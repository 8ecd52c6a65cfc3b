"""The simulated broker's objects as JSON values, in the shapes of the live captures.

REST writes nulls and 6 fraction digits, the hubs leave nulls out and write 7 (units of 100 ns).
"""

from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Final

import msgspec

from brokers._kit.matching import AccountState, Execution, OrderState, PositionState, Quote
from brokers.projectx.simulator.contracts import Row

Json = dict[str, object]

#: Decimals leave as JSON numbers with their own digits
encode: Final = msgspec.json.Encoder(decimal_format="number").encode

STATUS: Final = {
    "working": 1, "filled": 2, "canceled": 3, "expired": 4, "rejected": 5, "pending_new": 6, "suspended": 8,
}  # fmt: skip
TYPE: Final = {"limit": 1, "market": 2, "stop_limit": 3, "stop": 4, "trailing_stop": 5}
SIDE: Final = {"buy": 0, "sell": 1}
_NS_PER_S: Final = 1_000_000_000
_SECONDS_CACHED_MAX: Final = 64  #: rendered seconds kept: events of one moment share theirs


def stamp(at_ns: int, digits: int = 6) -> str:
    """A UTC time with 6 (REST) or 7 (hub) fraction digits."""
    second, rest = divmod(at_ns, _NS_PER_S)
    return f"{_head(second)}.{rest // 10 ** (9 - digits):0{digits}}+00:00"


@lru_cache(maxsize=_SECONDS_CACHED_MAX)
def _head(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def order(state: OrderState, contract: Row, linked_id: int | None, *, hub: bool) -> Json:
    """An order for REST or for the user hub. `linked_id`: a target names its stop, not the reverse."""
    digits = 7 if hub else 6
    out: Json = {
        "id": state.order_id,
        "accountId": state.account_id,
        "contractId": contract.id,
        "symbolId": contract.symbol_id,
        "creationTimestamp": stamp(state.created_ns, digits),
        "updateTimestamp": stamp(state.updated_ns, digits),
        "status": STATUS[state.status],
        "type": TYPE[state.ord_type],
        "side": SIDE[state.side],
        "size": state.qty,
        "limitPrice": state.price,
        "stopPrice": state.stop_price,
        "fillVolume": state.cum_qty,
        "filledPrice": state.avg_px,
        "customTag": state.cl_ord_id,
    }
    if state.parent_id is not None:
        out["parentOrderId"] = state.parent_id
    if linked_id is not None:
        out["linkedOrderId"] = linked_id
    out.update(_trailing(state, Decimal(contract.product.tick_size)))
    return {key: value for key, value in out.items() if value is not None} if hub else out


def _trailing(state: OrderState, tick_size: Decimal) -> Json:
    # Answers show a distance where requests took a level: ticks, and the same in price units.
    distance = state.request.offset if state.status == "suspended" else state.trail
    if distance is None:
        return {}
    return {"trailDistance": int(distance / tick_size), "trailPrice": distance}


def position(state: PositionState, contract: Row, average: Decimal | None, *, hub: bool) -> Json:
    """A position; flat has type 0 and size 0 and keeps the last average."""
    net = state.net_qty
    return {
        "id": state.position_id,
        "accountId": state.account_id,
        "contractId": contract.id,
        "contractDisplayName": contract.name,
        "creationTimestamp": stamp(state.opened_ns, 7 if hub else 6),
        "type": 0 if net == 0 else 1 if net > 0 else 2,
        "size": abs(net),
        "averagePrice": average,
    }


def trade(fill: Execution, contract: Row, *, voided: bool, hub: bool) -> Json:
    """A half-turn; one that only opened has no profit and loss."""
    out: Json = {
        "id": fill.exec_id,
        "accountId": fill.account_id,
        "contractId": contract.id,
        "creationTimestamp": stamp(fill.ts_ns, 7 if hub else 6),
        "price": fill.price,
        "profitAndLoss": fill.realized_pnl,
        "fees": fill.fees,
        "commissions": fill.commission,
        "side": SIDE[fill.side],
        "size": fill.qty,
        "voided": voided,
        "orderId": fill.order_id,
    }
    return {key: value for key, value in out.items() if value is not None} if hub else out


def account(state: AccountState) -> Json:
    """An account; the balance is the only money figure."""
    spec = state.spec
    return {
        "id": spec.account_id,
        "name": spec.name,
        "balance": state.balance,
        "canTrade": spec.can_trade,
        "isVisible": spec.visible,
        "simulated": spec.simulated,
    }


def contract(row: Row) -> Json:
    """A row of the contract list."""
    return {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "tickSize": Decimal(row.product.tick_size),
        "tickValue": Decimal(row.product.tick_value),
        "activeContract": row.active,
        "symbolId": row.symbol_id,
    }


def quote(now: Quote, before: Quote | None, row: Row) -> Json:
    """A sparse quote: symbol and times always, prices only where they changed."""
    out: Json = {
        "symbol": row.symbol_id,
        "timestamp": stamp(now.ts_ns, 7),
        "lastUpdated": stamp(now.ts_ns, 7),
    }
    pairs = (
        ("lastPrice", now.last, before and before.last),
        ("bestBid", now.bid, before and before.bid),
        ("bestAsk", now.ask, before and before.ask),
    )
    out.update({name: value for name, value, old in pairs if value != old})
    return out


def envelope(code: int = 0, message: str | None = None, **data: object) -> Json:
    """What every answer of the API looks like."""
    return {**data, "success": code == 0, "errorCode": code, "errorMessage": message}
