"""The broker's objects as they stand on the wire, and its closed word lists.

Tolerant where firms and versions differ (ids as text, null or missing fields, payloads bare or wrapped in
`{"action", "data"}`), strict where money depends on it: sizes are whole, prices keep their decimal text,
unknown numbers in the word lists raise. Source: ProjectX Gateway API docs, "Realtime Data Overview" and
"Orders"; live payloads of August 2026.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, Literal, TypeVar

import msgspec

from kopitra.domain.errors import ProtocolViolation
from kopitra.domain.signals import OrdType, Side

#: 0 None is a number that the docs list and no order should have: it raises like any unknown one
StatusName = Literal[
    "open", "filled", "canceled", "expired", "rejected", "pending", "pending_cancel", "suspended"
]
ORDER_STATUS: Final[dict[int, StatusName]] = {
    1: "open",
    2: "filled",
    3: "canceled",
    4: "expired",
    5: "rejected",
    6: "pending",
    7: "pending_cancel",
    8: "suspended",
}
TERMINAL: Final[frozenset[StatusName]] = frozenset({"filled", "canceled", "expired", "rejected"})
#: for Order/v2/query: open, pending, pending cancellation, suspended
WORKING_CODES: Final = (1, 6, 7, 8)

SIDES: Final[dict[int, Side]] = {0: "buy", 1: "sell"}
#: JoinBid and JoinAsk (6, 7) rest as limits at the touch; type 0 is "unknown" at the broker too
ORDER_TYPES: Final[dict[int, OrdType | None]] = {
    0: None,
    1: "limit",
    2: "market",
    3: "stop_limit",
    4: "stop",
    5: "trailing_stop",
    6: "limit",
    7: "limit",
}
POSITION_SIGN: Final[dict[int, int]] = {0: 0, 1: 1, 2: -1}

Ident = int | str


class WireOrder(msgspec.Struct, rename="camel", gc=False):
    """An order, from REST (nulls written) or the user hub (nulls left out)."""

    account_id: Ident
    contract_id: str
    status: int
    type: int
    side: int
    size: int
    id: Ident | None = None
    #: where the id has been seen once instead of in `id`
    order_id: Ident | None = None
    creation_timestamp: datetime | None = None
    update_timestamp: datetime | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    fill_volume: int | None = None
    filled_price: Decimal | None = None
    custom_tag: str | None = None
    parent_order_id: Ident | None = None


class WireTrade(msgspec.Struct, rename="camel", gc=False):
    """A half-turn: one execution."""

    id: Ident
    account_id: Ident
    contract_id: str
    creation_timestamp: datetime
    price: Decimal
    side: int
    size: int
    order_id: Ident
    voided: bool = False


class WirePosition(msgspec.Struct, rename="camel", gc=False):
    """Net position of one contract; hub events say flat with type 0 and size 0."""

    account_id: Ident
    contract_id: str
    type: int
    size: int
    average_price: Decimal | None = None
    creation_timestamp: datetime | None = None


class WireAccount(msgspec.Struct, rename="camel", gc=False):
    """An account; `balance` is the only money figure of the API. What is not told to be closed can trade."""

    id: Ident
    name: str = ""
    balance: Decimal | None = None
    can_trade: bool | None = True


class _NamedAccount(msgspec.Struct, gc=False):
    """What a session needs to know of an account."""

    id: Ident
    name: str | None = None


class WireContract(msgspec.Struct, rename="camel", gc=False):
    """A row of the contract list."""

    id: str
    name: str
    tick_size: Decimal
    tick_value: Decimal
    active_contract: bool = False


class WireQuote(msgspec.Struct, rename="camel", gc=False):
    """A sparse quote: only what changed."""

    last_price: Decimal | None = None
    best_bid: Decimal | None = None
    best_ask: Decimal | None = None


_NULL: Final = msgspec.Raw(b"null")


class Envelope(msgspec.Struct, rename="camel", gc=False):
    """What every REST answer carries beside its data; missing fields leave the outcome open."""

    success: bool | None = None
    error_code: int | None = None
    error_message: str | None = None


class PlaceReply(Envelope):
    """A refusal may carry an order id too (of the rejected record): the id decides nothing."""

    order_id: Ident | None = None


class LoginReply(Envelope):
    """`token` from loginKey, `newToken` from validate (null: keep the old one)."""

    token: str | None = None
    new_token: str | None = None


class AccountsReply(Envelope):
    accounts: list[msgspec.Raw] | None = None


class ContractsReply(Envelope):
    contracts: list[WireContract] | None = None


class OrdersReply(Envelope):
    """Rows of lists stay raw: one that does not read hides no other (`rows_of`)."""

    orders: list[msgspec.Raw] | None = None
    #: of all pages, where it was asked for
    total_count: int | None = None


class OrderReply(Envelope):
    order: msgspec.Raw = _NULL


class PositionsReply(Envelope):
    positions: list[msgspec.Raw] | None = None


class TradesReply(Envelope):
    trades: list[msgspec.Raw] | None = None


T = TypeVar("T")


class _Wrapped(msgspec.Struct, gc=False):
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_wrapped = msgspec.json.Decoder(_Wrapped)
_order = msgspec.json.Decoder(WireOrder)
_trade = msgspec.json.Decoder(WireTrade)
_position = msgspec.json.Decoder(WirePosition)
_account = msgspec.json.Decoder(WireAccount)
_quote = msgspec.json.Decoder(WireQuote)
_place_reply = msgspec.json.Decoder(PlaceReply)


def read_order(raw: bytes | msgspec.Raw) -> WireOrder:
    """An order event, wrapped or bare."""
    return _event(_order, raw)


def read_trade(raw: bytes | msgspec.Raw) -> WireTrade:
    """A trade event, wrapped or bare."""
    return _event(_trade, raw)


def read_position(raw: bytes | msgspec.Raw) -> WirePosition:
    """A position event, wrapped or bare."""
    return _event(_position, raw)


def read_account(raw: bytes | msgspec.Raw) -> WireAccount:
    """An account event, wrapped or bare."""
    return _event(_account, raw)


def read_quote(raw: bytes | msgspec.Raw) -> WireQuote:
    """The second argument of GatewayQuote."""
    return _event(_quote, raw)


def _event(decoder: msgspec.json.Decoder[T], raw: bytes | msgspec.Raw) -> T:
    try:
        inner = _wrapped.decode(raw).data
        return decoder.decode(raw if inner is msgspec.UNSET else inner)
    except msgspec.MsgspecError as error:
        raise ProtocolViolation(f"an event does not parse: {error}", payload=shown(raw)) from error


def read_reply(kind: type[T], body: bytes) -> T:
    """A REST answer; raises ProtocolViolation with the bounded payload."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise _unreadable(error, body) from error


class Rows(list[T]):
    """Rows of a list that read; `unread` are bounded pieces of those that do not: then the list is not whole."""

    def __init__(self, rows: Iterable[T] = (), unread: Iterable[str] = ()) -> None:
        super().__init__(rows)
        self.unread: list[str] = list(unread)


def listed(
    raws: list[msgspec.Raw] | None, shape: type[T], check: Callable[[T], object] | None = None
) -> Rows[T] | None:
    """`rows_of` a list that may be missing: None where the broker told none."""
    return None if raws is None else rows_of(raws, shape, check)


def rows_of(raws: list[msgspec.Raw], shape: type[T], check: Callable[[T], object] | None = None) -> Rows[T]:
    """The rows of a reply's list. `check` raises for words nobody knows."""
    decode, found = msgspec.json.Decoder(shape).decode, Rows[T]()
    for raw in raws:
        try:
            row = decode(raw)
            if check is not None:
                check(row)
        except (msgspec.MsgspecError, ProtocolViolation) as error:
            found.unread.append(f"a row of a list does not read: {error}: {shown(raw)}")
        else:
            found.append(row)
    return found


def accounts_of(raws: list[msgspec.Raw] | None) -> Rows[WireAccount] | None:
    """`listed` accounts. A row that does not read as a whole stands for its account as far as number and name go, and
    among `unread` too: a word about an account must not cost it its session."""
    if raws is None:
        return None
    found = Rows[WireAccount]()
    for raw in raws:
        whole = rows_of([raw], WireAccount, check_account)
        found.unread += whole.unread
        named = rows_of([raw], _NamedAccount, check_account) if not whole else ()
        found += [*whole, *(WireAccount(row.id, row.name or "") for row in named)]
    return found


def check_order(row: WireOrder) -> None:
    """Raises ProtocolViolation for an order whose number or words nobody knows."""
    order_number(row)
    word(ORDER_STATUS, row.status, "order status")
    word(SIDES, row.side, "order side")
    word(ORDER_TYPES, row.type, "order type")


def check_trade(row: WireTrade) -> None:
    """Likewise for an execution."""
    number(row.id)
    number(row.order_id)
    word(SIDES, row.side, "trade side")


def check_account(row: WireAccount | _NamedAccount) -> None:
    """Likewise for an account."""
    number(row.id)


def check_position(row: WirePosition) -> None:
    """Likewise for a position."""
    word(POSITION_SIGN, row.type, "position type")


def read_place_reply(body: bytes) -> PlaceReply:
    """`read_reply` of a placement's answer, with a decoder that is ready."""
    try:
        return _place_reply.decode(body)
    except msgspec.MsgspecError as error:
        raise _unreadable(error, body) from error


def _unreadable(error: msgspec.MsgspecError, body: bytes) -> ProtocolViolation:
    return ProtocolViolation(f"an answer does not parse: {error}", payload=shown(body))


def shown(raw: bytes | msgspec.Raw) -> str:
    """A bounded piece of a payload for an alert."""
    return bytes(raw)[:1024].decode("utf-8", "replace")


def number(ident: Ident | None) -> int:
    """An id, which some events carry as text. Raises ProtocolViolation when it is none."""
    if isinstance(ident, int):
        return ident
    if ident is None or not (ident.isascii() and ident.isdigit()):
        raise ProtocolViolation(f"{ident!r} is no id")
    return int(ident)


def order_number(row: WireOrder) -> int:
    """An order's id. Raises ProtocolViolation."""
    return number(row.id if row.id is not None else row.order_id)


def utc(at: datetime | None, otherwise: datetime) -> datetime:
    """Times without a zone are UTC."""
    if at is None:
        return otherwise
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


W = TypeVar("W")


def word(words: dict[int, W], code: int, what: str) -> W:
    """A member of a closed word list; there is no fallback member."""
    try:
        return words[code]
    except KeyError:
        raise ProtocolViolation(f"{what} {code} is unknown to this adapter; update its word list") from None
