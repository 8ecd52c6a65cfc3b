"""Toy Town's wire, both ways: one JSON object per line (see recordings/)."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import cast

from kopitra.domain.executions import ExecType, ExecutionReport, OrdStatus
from kopitra.domain.orders import OrderIntent
from kopitra.domain.signals import Side
from kopitra.ports import AccountLink

from .symbols import from_broker, to_broker

_STATES: dict[str, tuple[ExecType, OrdStatus]] = {"open": ("new", "new"), "done": ("trade", "filled")}
_SIDES: dict[str, Side] = {"buy": "buy", "sell": "sell"}


def login_line(password: str) -> bytes:
    return _line({"login": password})


def order_line(intent: OrderIntent, broker_account: str) -> bytes:
    return _line(
        {
            "account": broker_account,
            "id": intent.cl_ord_id,
            "name": to_broker(intent.symbol),
            "side": intent.side,
            "qty": str(intent.qty),
        }
    )


def login_accepted(line: bytes) -> bool:
    return _object(line).get("welcome") == "yes"


def report(line: bytes, accounts: tuple[AccountLink, ...], received_ns: int) -> ExecutionReport:
    """A report; KeyError for a state, side or account that is not modelled."""
    told = _object(line)
    exec_type, ord_status = _STATES[told["state"]]
    filled = ord_status == "filled"
    qty = Decimal(told["qty"])
    return ExecutionReport(
        account_id={link.broker_account: link.account_id for link in accounts}[told["account"]],
        order_id=told["order"],
        exec_type=exec_type,
        ord_status=ord_status,
        symbol=from_broker(told["name"]),
        side=_SIDES[told["side"]],
        transact_time=datetime.fromtimestamp(int(told["at"]), UTC),
        cl_ord_id=told["id"],
        exec_id=told["fill"] if filled else None,
        order_qty=qty,
        last_qty=qty if filled else None,
        last_px=Decimal(told["price"]) if filled else None,
        cum_qty=qty if filled else Decimal(0),
        leaves_qty=Decimal(0) if filled else qty,
        received_ns=received_ns,
    )


def _line(body: dict[str, str]) -> bytes:
    return json.dumps(body).encode() + b"\n"


def _object(line: bytes) -> dict[str, str]:
    return cast("dict[str, str]", json.loads(line))
