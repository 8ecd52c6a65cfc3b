"""The body of POST /signals, and the Signal it means."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Final, NamedTuple, Self, TypeVar

from pydantic import AliasChoices, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from kopitra.domain.errors import SignalRefused
from kopitra.domain.instruments import SymbolRef, UnknownSymbol, parse_symbol
from kopitra.domain.signals import (
    Action,
    OrdType,
    Side,
    Signal,
    Source,
    StopLoss,
    TakeProfit,
    TimeInForce,
)
from kopitra.wire.faults import from_validation
from kopitra.wire.scalars import (
    ForeignId,
    IdText,
    Note,
    Number,
    Positive,
    SequenceNumber,
    Shape,
    Share,
    SymbolText,
    Time,
)
from kopitra.wire.strict_json import decode_object

_T = TypeVar("_T")

#: targets of one signal
TAKE_PROFITS_MAX = 10


class StopLossBody(Shape):
    """Protective stop: a price, or its distance from the entry in points."""

    price: Number | None = None
    offset: Positive | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        return _price_or_offset(self, self.price, self.offset)


class TakeProfitBody(Shape):
    """Target: a price or a distance in points, and the share of the entry it closes."""

    price: Number | None = None
    offset: Positive | None = None
    share: Share = Decimal(1)

    @model_validator(mode="after")
    def _one(self) -> Self:
        return _price_or_offset(self, self.price, self.offset)


class SignalBody(Shape):
    """One act of a leader. Older EAs send `masterOrderId` and `volume` for `leaderOrderId` and `quantity`."""

    signal_id: IdText | None = Field(None, description="Yours; made from the Idempotency-Key when left out.")
    action: Action
    symbol: SymbolText | None = Field(
        None,
        description="Root (ES), contract (ESZ6), ES1!, or your own. A flatten without it ends everything.",
    )
    side: Side | None = None
    quantity: Annotated[Positive | None, Field(validation_alias=AliasChoices("quantity", "volume"))] = None
    ord_type: OrdType = "market"
    price: Number | None = None
    stop_price: Number | None = None
    trail_offset: Positive | None = None
    time_in_force: TimeInForce = "day"
    expire_at: Time | None = None
    stop_loss: StopLossBody | None = None
    take_profits: Annotated[tuple[TakeProfitBody, ...], Field(max_length=TAKE_PROFITS_MAX, strict=False)] = ()
    leader_order_id: Annotated[
        ForeignId | None, Field(validation_alias=AliasChoices("leaderOrderId", "masterOrderId"))
    ] = None
    orig_leader_order_id: ForeignId | None = None
    leader_position: Number | None = Field(None, description="Signed contracts after this act.")
    leader_sequence: SequenceNumber | None = Field(
        None,
        description="Your own number of this act, one more than the last: gaps and repeats are found by it.",
    )
    strategy: Note | None = None
    comment: Note | None = None
    occurred_at: Time | None = Field(None, description="When the leader acted; arrival time when left out.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.symbol is None and self.action != "flatten":
            raise PydanticCustomError("missing-symbol", "Every action but flatten needs a symbol; send it")
        if self.take_profits and sum(target.share for target in self.take_profits) > 1:
            raise PydanticCustomError(
                "shares-above-one", "takeProfits close more than the entry; let their shares sum to at most 1"
            )
        return self


#: `SignalBody.model_validate` without its look at options that we do not use
_validate: Final = SignalBody.__pydantic_validator__.validate_python


def _price_or_offset(shape: _T, price: Decimal | None, offset: Decimal | None) -> _T:
    if (price is None) == (offset is None):
        raise PydanticCustomError("price-or-offset", "Send either price or offset")
    return shape


class Sender(NamedTuple):
    """Who a signal is from: taken from the credential, never from the body (S-14).

    `symbols` maps the sender's own names to ours.
    """

    workspace: str
    leader: str
    source: Source
    symbols: Mapping[str, str]


def read_signal(raw: bytes) -> SignalBody:
    """The body, checked for everything that needs no state. Raises BodyRefused."""
    try:
        return _validate(decode_object(raw))
    except ValidationError as error:
        raise from_validation(error) from None


def to_domain(body: SignalBody, sender: Sender, received_at: datetime, signal_id: str) -> Signal:
    """The Signal; `signal_id` is used where the body names none. Raises SignalRefused."""
    ref = None if body.symbol is None else _symbol(body.symbol, sender, received_at)
    quantity, stop = body.quantity, body.stop_loss
    if ref is not None and quantity is not None and quantity % ref.instrument.qty_step:
        raise SignalRefused(
            f"{ref.root} trades in steps of {ref.instrument.qty_step}; send a multiple of it.",
            code="quantity-off-step",
            pointer="/quantity",
        )
    contract = None if ref is None else ref.contract
    return Signal(
        workspace=sender.workspace,
        leader=sender.leader,
        signal_id=body.signal_id or signal_id,
        source=sender.source,
        action=body.action,
        symbol="" if ref is None else ref.root,
        occurred_at=body.occurred_at or received_at,
        received_at=received_at,
        contract=None if contract is None else contract.symbol,
        side=body.side,
        quantity=quantity,
        ord_type=body.ord_type,
        price=body.price,
        stop_price=body.stop_price,
        trail_offset=body.trail_offset,
        time_in_force=body.time_in_force,
        expire_at=body.expire_at,
        stop_loss=None if stop is None else StopLoss(stop.price, stop.offset),
        take_profits=tuple(TakeProfit(t.price, t.offset, t.share) for t in body.take_profits),
        leader_order_id=body.leader_order_id,
        orig_leader_order_id=body.orig_leader_order_id,
        leader_position=body.leader_position,
        strategy=body.strategy,
        comment=body.comment,
        sequence=body.leader_sequence,
    )


def _symbol(text: str, sender: Sender, received_at: datetime) -> SymbolRef:
    try:
        return parse_symbol(sender.symbols.get(text, text), received_at.date())
    except UnknownSymbol as error:
        raise SignalRefused(f"{error}.", code="unknown-symbol", pointer="/symbol") from None


def fingerprint(account: str, body: SignalBody) -> bytes:
    """SHA-256 of what the signal means (R-025); number spellings and the order of fields do not count.

    `occurredAt` is left out, because a sender that tries again may stamp anew. Control characters cannot
    occur in the fields, so the separator is unambiguous.
    """
    stop = body.stop_loss
    targets = ",".join(f"{t.price}/{t.offset}/{t.share}" for t in body.take_profits)
    # !s says the same as an empty format and costs a third less.
    return sha256(
        f"{account!s}\x1f{body.signal_id!s}\x1f{body.action!s}\x1f{body.symbol!s}\x1f{body.side!s}\x1f{body.quantity!s}"
        f"\x1f{body.ord_type!s}\x1f{body.price!s}\x1f{body.stop_price!s}\x1f{body.trail_offset!s}"
        f"\x1f{body.time_in_force!s}\x1f{body.expire_at!s}"
        f"\x1f{None if stop is None else (stop.price, stop.offset)!s}\x1f{targets}"
        f"\x1f{body.leader_order_id!s}\x1f{body.orig_leader_order_id!s}\x1f{body.leader_position!s}"
        f"\x1f{body.leader_sequence!s}\x1f{body.strategy!s}\x1f{body.comment!s}".encode()
    ).digest()
