"""The gateway's answers as the command line reads them: only the fields that are shown or checked."""

from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

#: states of an order in which nothing is under way
SETTLED: Final = frozenset({"working", "filled", "canceled", "expired", "rejected", "skipped", "not_placed"})
#: states after which nothing comes
ENDED: Final = SETTLED - {"working"}


class OrderSeen(msgspec.Struct, rename="camel"):
    """One order of a leg; `hops` are microseconds since the signal was received."""

    cl_ord_id: str
    role: str
    state: str
    symbol: str
    side: str
    qty: Decimal
    cum_qty: Decimal
    avg_px: Decimal | None = None
    stop_price: Decimal | None = None
    price: Decimal | None = None
    reason: str = ""
    hops: dict[str, int] = {}

    @property
    def is_market(self) -> bool:
        """It moves the position at once: an entry or a close of this demo."""
        return self.role in ("entry", "exit")


class LegSeen(msgspec.Struct, rename="camel"):
    """One follower's leg."""

    account_id: str
    outcome: str
    reason: str = ""
    detail: str = ""
    qty: Decimal | None = None
    notional: Decimal | None = None
    orders: tuple[OrderSeen, ...] = ()

    @property
    def settled(self) -> bool:
        """Nothing of it is under way."""
        return all(order.state in SETTLED for order in self.orders)


class SignalSeen(msgspec.Struct, rename="camel"):
    """A signal with all legs."""

    signal_id: str
    sequence: int
    source: str
    action: str
    symbol: str
    occurred_at: datetime
    received_at: datetime
    legs: tuple[LegSeen, ...]
    side: str | None = None
    quantity: Decimal | None = None

    @property
    def settled(self) -> bool:
        """Nothing of it is under way."""
        return all(leg.settled for leg in self.legs)


read_signal: Final = msgspec.json.Decoder(SignalSeen, strict=False).decode
