"""The vendor's lists, read row by row: one row of unknown words hides no other and ends no session (R-001).

A row that cannot be read is kept as `Unread`: the list it stood in is not whole, so that nobody takes what is missing
for absent (R-044).
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeVar

import msgspec

from brokers._kit.correlate import ROWS_TOLD_MAX, Once
from brokers.tradovate.entities import (
    Account,
    CashBalance,
    Command,
    CommandReport,
    Contract,
    Fill,
    Order,
    OrderVersion,
    Position,
)
from kopitra.domain.errors import ProtocolViolation
from kopitra.ports import EventSink, ProtocolAlert

T = TypeVar("T")
Kind = Literal[
    "account", "contract", "order", "version", "command", "command_report", "fill", "position", "cash"
]
#: what an order does, or what is held, cannot be said without rows of these kinds
TRADED: Final = frozenset[Kind]({"order", "version", "command", "fill", "position"})
_PAYLOAD_MAX: Final = 500


class _Owned(msgspec.Struct, rename="camel"):
    account_id: int | None = None
    order_id: int | None = None
    id: int | None = None


_owned: Final = msgspec.json.Decoder(_Owned).decode


class Unread(NamedTuple):
    """A row that does not read; the broker's ids where they read. `why` names the place, `payload` is bounded."""

    kind: Kind
    account_id: int | None
    order_id: int | None
    why: str
    payload: str


class Seen(msgspec.Struct, frozen=True):
    """What one snapshot or one read of all lists told of a login."""

    accounts: list[Account] = []
    contracts: list[Contract] = []
    orders: list[Order] = []
    order_versions: list[OrderVersion] = []
    commands: list[Command] = []
    command_reports: list[CommandReport] = []
    fills: list[Fill] = []
    positions: list[Position] = []
    cash_balances: list[CashBalance] = []
    unread: list[Unread] = []

    def owner(self, row: Unread) -> int | None:
        """The broker's account of a row that does not read; None: nobody knows."""
        if row.account_id is not None or row.order_id is None:
            return row.account_id
        listed = [(order.id, order.account_id) for order in self.orders]
        listed += [(other.order_id, other.account_id) for other in self.unread if other.kind == "order"]
        return next((account for order_id, account in listed if order_id == row.order_id), None)

    def spoiled(self, broker_id: int) -> frozenset[Kind]:
        """Kinds of which a row of this account, or of nobody knows whom, does not read."""
        return frozenset(row.kind for row in self.unread if self._concerns(row, broker_id))

    def _concerns(self, row: Unread, broker_id: int) -> bool:
        owner = self.owner(row)
        # What belongs to an order that nobody lists concerns nobody; the order itself may be anybody's.
        nobodys = row.kind != "order" and row.order_id is not None
        return owner == broker_id or (owner is None and not nobodys)


def read_rows(body: bytes | msgspec.Raw, shape: type[T], kind: Kind, unread: list[Unread]) -> list[T]:
    """The rows of one JSON array; those that do not read go to `unread`. Raises ProtocolViolation for no array."""
    try:
        raws = msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolViolation(f"a list of {kind} rows does not parse: {error}") from error
    decode = msgspec.json.Decoder(shape).decode
    rows: list[T] = []
    for raw in raws:
        try:
            row = decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            unread.append(_unread(raw, kind, str(error)))
            continue
        if isinstance(row, Order) and row.ord_status == "Unknown":
            why = f"order {row.id} has the status Unknown: look at it in the broker's own client"
            unread.append(_unread(raw, kind, why))
            continue
        rows.append(row)
    return rows


def _unread(raw: msgspec.Raw, kind: Kind, why: str) -> Unread:
    try:
        owned = _owned(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        owned = _Owned()
    order_id = owned.id if kind == "order" else owned.order_id
    return Unread(kind, owned.account_id, order_id, why, bytes(raw)[:_PAYLOAD_MAX].decode(errors="replace"))


class Told:
    """Tells of each row that does not read once: lists show it again in each read."""

    __slots__ = ("_login_id", "_ours", "_sink", "_told")

    def __init__(self, login_id: str, ours: Mapping[int, str], sink: EventSink) -> None:
        """`ours`: the broker's account ids and ours."""
        self._login_id = login_id
        self._ours = ours
        self._sink = sink
        self._told = Once(ROWS_TOLD_MAX)

    def look(self, seen: Seen) -> None:
        """Tell what is new; rows of accounts that are not ours are nobody's business."""
        for row in seen.unread:
            concerned = self._concerned(row.kind, seen.owner(row))
            if not concerned or not self._told.first_time(row.payload):
                continue
            text = f"a row of the {row.kind} list does not read: {row.why}"
            for account_id in concerned:
                blocks = account_id is not None and row.kind in TRADED
                self._sink(ProtocolAlert(self._login_id, account_id, text, row.payload, unmodelled=blocks))

    def _concerned(self, kind: Kind, owner: int | None) -> tuple[str | None, ...]:
        """Our accounts to tell; None: the login as a whole. An order of nobody knows whom may be of each of ours."""
        if owner is not None:
            return (self._ours[owner],) if owner in self._ours else ()
        return (tuple(self._ours.values()) if kind == "order" else ()) or (None,)
