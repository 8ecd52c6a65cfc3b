"""The body of POST /executions: what a broker or an EA says of one order."""

from datetime import datetime
from hashlib import sha256
from typing import Annotated, Self

from pydantic import StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from kopitra.domain.executions import ExecType, ExecutionReport, OrdStatus
from kopitra.domain.instruments import UnknownSymbol, parse_symbol
from kopitra.domain.signals import OrdType, Side, TimeInForce
from kopitra.wire.faults import refuse
from kopitra.wire.scalars import ForeignId, Number, Positive, Shape, SymbolText, Time

ReportText = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]


class ExecutionBody(Shape):
    """One execution report, FIX 4.4 names; the account comes from the credential."""

    order_id: ForeignId
    exec_type: ExecType
    ord_status: OrdStatus
    symbol: SymbolText
    side: Side
    transact_time: Time
    cl_ord_id: ForeignId | None = None
    exec_id: ForeignId | None = None
    ord_type: OrdType | None = None
    time_in_force: TimeInForce | None = None
    order_qty: Positive | None = None
    price: Number | None = None
    stop_price: Number | None = None
    last_qty: Positive | None = None
    last_px: Number | None = None
    cum_qty: Number | None = None
    leaves_qty: Number | None = None
    avg_px: Number | None = None
    text: ReportText = ""

    @model_validator(mode="after")
    def _fill(self) -> Self:
        if self.exec_type == "trade" and None in (self.exec_id, self.last_qty, self.last_px):
            raise PydanticCustomError(
                "incomplete-fill", "A trade needs execId, lastQty and lastPx; send all three"
            )
        return self


def to_domain(
    body: ExecutionBody, account_id: str, received_at: datetime, received_ns: int
) -> ExecutionReport:
    """The report. Raises BodyRefused for a symbol that names no contract."""
    try:
        ref = parse_symbol(body.symbol, received_at.date())
    except UnknownSymbol as error:
        raise refuse("unknown-symbol", f"{error}.", "/symbol") from None
    return ExecutionReport(
        account_id=account_id,
        order_id=body.order_id,
        exec_type=body.exec_type,
        ord_status=body.ord_status,
        symbol=ref.resolve(received_at.date()).symbol,
        side=body.side,
        transact_time=body.transact_time,
        cl_ord_id=body.cl_ord_id,
        exec_id=body.exec_id,
        ord_type=body.ord_type,
        time_in_force=body.time_in_force,
        order_qty=body.order_qty,
        price=body.price,
        stop_price=body.stop_price,
        last_qty=body.last_qty,
        last_px=body.last_px,
        cum_qty=body.cum_qty,
        leaves_qty=body.leaves_qty,
        avg_px=body.avg_px,
        text=body.text,
        received_ns=received_ns,
    )


def fingerprint(account: str, body: ExecutionBody) -> bytes:
    """SHA-256 of what the report says."""
    return sha256(f"{account}\x1f{body.model_dump_json()}".encode()).digest()
