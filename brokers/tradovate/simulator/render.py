"""Core states as the vendor's entities in JSON (vendor docs "Entity schemas")."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

from brokers._kit.matching import AccountState, Execution, OrderState, PositionState, Side
from brokers._kit.matching.orders import OrdStatus, OrdType
from brokers.tradovate.simulator.tables import Row

STAMPS_MAX = 1_024  #: rendered seconds that are remembered
_STATUS: dict[OrdStatus, str] = {
    "pending_new": "PendingNew",
    "suspended": "Suspended",
    "working": "Working",
    "filled": "Filled",
    "canceled": "Canceled",
    "expired": "Expired",
    "rejected": "Rejected",
}
TYPES: dict[OrdType, str] = {
    "market": "Market",
    "limit": "Limit",
    "stop": "Stop",
    "stop_limit": "StopLimit",
    "trailing_stop": "TrailingStop",
}
ACTIONS: dict[Side, str] = {"buy": "Buy", "sell": "Sell"}


def stamp(now_ns: int) -> str:
    """ISO 8601 UTC with milliseconds and Z."""
    return f"{_second(now_ns // 1_000_000_000)}.{now_ns // 1_000_000 % 1000:03}Z"


@lru_cache(maxsize=STAMPS_MAX)
def _second(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"


@lru_cache(maxsize=STAMPS_MAX)
def trade_date(at: str) -> str:
    """The trade date as an object; the evening roll is not modelled."""
    return f'{{"year":{at[:4]},"month":{int(at[5:7])},"day":{int(at[8:10])}}}'


def quoted(text: str) -> str:
    """A JSON string."""
    return json.dumps(text)


def _optional(**fields: Decimal | int | None) -> str:
    text = ""
    for key, value in fields.items():
        if value is not None:
            text += f',"{key}":{value:f}' if isinstance(value, Decimal) else f',"{key}":{value}'
    return text


def order(state: OrderState, contract_id: int, seen_ns: int) -> Row:
    """Status and ownership only: no quantity, price or client id. The timestamp is the creation's."""
    at = stamp(state.created_ns)
    more = _optional(ocoId=state.oco_group, parentId=state.parent_id)
    text = (
        f'{{"id":{state.order_id},"accountId":{state.account_id},"contractId":{contract_id},'
        f'"timestamp":"{at}","action":"{ACTIONS[state.side]}","ordStatus":"{_STATUS[state.status]}"{more},'
        f'"executionProviderId":6,"admin":false}}'
    )
    return Row("order", state.order_id, state.account_id, state.account_id, text, seen_ns=seen_ns)


def version(
    state: OrderState, version_id: int, time_in_force: str, expire_time: str | None, seen_ns: int
) -> Row:
    """Quantity, type and prices; the id is its command's."""
    prices = _optional(price=state.price, stopPrice=state.stop_price, pegDifference=state.trail)
    expiry = f',"expireTime":{quoted(expire_time)}' if expire_time else ""
    text = (
        f'{{"id":{version_id},"orderId":{state.order_id},"orderQty":{state.qty},'
        f'"orderType":"{TYPES[state.ord_type]}","timeInForce":"{time_in_force}"{prices}{expiry}}}'
    )
    return Row("orderVersion", version_id, state.order_id, state.account_id, text, seen_ns=seen_ns)


def command(
    command_id: int, state: OrderState, kind: str, status: str, at: str, cl_ord_id: str | None, seen_ns: int
) -> Row:
    """What was asked for; the client id lives here."""
    tag = f',"clOrdId":{quoted(cl_ord_id)}' if cl_ord_id else ""
    automated = "true" if state.request.automated else "false"
    text = (
        f'{{"id":{command_id},"orderId":{state.order_id},"timestamp":"{at}"{tag},"commandType":"{kind}",'
        f'"commandStatus":"{status}","isAutomated":{automated}}}'
    )
    return Row("command", command_id, state.order_id, state.account_id, text, seen_ns=seen_ns)


def command_report(
    report_id: int, command_id: int, account_id: int, status: str, at: str, refusal: tuple[str, str] | None
) -> Row:
    """A step of a command."""
    more = f',"rejectReason":{quoted(refusal[0])},"text":{quoted(refusal[1])}' if refusal else ""
    text = (
        f'{{"id":{report_id},"commandId":{command_id},"timestamp":"{at}","commandStatus":"{status}"{more}}}'
    )
    return Row("commandReport", report_id, command_id, account_id, text)


def execution_report(
    report_id: int, command_id: int, state: OrderState, contract_id: int, exec_type: str, at: str,
    fill: Execution | None, refusal: tuple[str, str] | None,
) -> Row:  # fmt: skip
    """What the exchange said."""
    numbers = _optional(cumQty=state.cum_qty, avgPx=state.avg_px)
    if fill is not None:
        numbers += _optional(lastQty=fill.qty, lastPx=fill.price)
    if refusal is not None:
        numbers += f',"rejectReason":{quoted(refusal[0])},"text":{quoted(refusal[1])}'
    text = (
        f'{{"id":{report_id},"commandId":{command_id},"name":"{state.symbol}","accountId":{state.account_id},'
        f'"contractId":{contract_id},"timestamp":"{at}","tradeDate":{trade_date(at[:10])},"orderId":{state.order_id},'
        f'"execType":"{exec_type}","ordStatus":"{_STATUS[state.status]}","action":"{ACTIONS[state.side]}"{numbers}}}'
    )
    return Row("executionReport", report_id, command_id, state.account_id, text)


def fill(execution: Execution, contract_id: int, at: str, seen_ns: int) -> Row:
    """A trade: no account, no client id."""
    active = "false" if execution.busted else "true"
    text = (
        f'{{"id":{execution.exec_id},"orderId":{execution.order_id},"contractId":{contract_id},'
        f'"timestamp":"{at}","tradeDate":{trade_date(at[:10])},"action":"{ACTIONS[execution.side]}",'
        f'"qty":{execution.qty},"price":{execution.price:f},"active":{active},'
        f'"finallyPaired":0}}'
    )
    return Row("fill", execution.exec_id, execution.order_id, execution.account_id, text, seen_ns=seen_ns)


def position(state: PositionState, contract_id: int, at: str, base_id: int) -> Row:
    """Net position; stays listed when flat."""
    average = _optional(netPrice=state.avg_px)
    text = (
        f'{{"id":{base_id + state.position_id},"accountId":{state.account_id},"contractId":{contract_id},'
        f'"timestamp":"{at}","tradeDate":{trade_date(at[:10])},"netPos":{state.net_qty}{average},'
        f'"bought":{state.bought_qty},"boughtValue":{state.bought_value:f},"sold":{state.sold_qty},'
        f'"soldValue":{state.sold_value:f},"prevPos":0}}'
    )
    return Row("position", base_id + state.position_id, state.account_id, state.account_id, text)


def cash_balance(state: AccountState, realized: Decimal, at: str, base_id: int) -> Row:
    """Cash and the day's realised profit."""
    text = (
        f'{{"id":{base_id + state.account_id},"accountId":{state.account_id},"timestamp":"{at}",'
        f'"tradeDate":{trade_date(at[:10])},"currencyId":1,"amount":{state.balance:f},"realizedPnL":{realized:f},'
        f'"weekRealizedPnL":{realized:f},"amountSOD":{state.spec.balance:f}}}'
    )
    return Row("cashBalance", base_id + state.account_id, state.account_id, state.account_id, text)


def account(state: AccountState, user_id: int, at: str) -> Row:
    """An account as account/list shows it."""
    spec = state.spec
    text = (
        f'{{"id":{spec.account_id},"name":{quoted(spec.name)},"userId":{user_id},"accountType":"Customer",'
        f'"active":{"true" if spec.can_trade else "false"},"clearingHouseId":2,"riskCategoryId":15,'
        f'"autoLiqProfileId":134,"marginAccountType":"Speculator","legalStatus":"Individual","timestamp":"{at}"}}'
    )
    return Row("account", spec.account_id, user_id, spec.account_id, text, name=spec.name)
