"""A Signal: one act of a leader that followers may copy."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, assert_never

from kopitra.domain.errors import SignalRefused

Action = Literal["enter", "add", "reduce", "exit", "reverse", "cancel", "replace", "flatten"]
Side = Literal["buy", "sell"]
OrdType = Literal["market", "limit", "stop", "stop_limit", "trailing_stop"]
TimeInForce = Literal["day", "gtc", "ioc", "fok", "gtd"]
Source = Literal["ea", "webhook", "drop_copy", "operator", "snapshot"]

#: acts that can only shrink exposure: never refused for age, limits or budget
EXITS: frozenset[Action] = frozenset({"reduce", "exit", "cancel", "flatten"})


@dataclass(frozen=True, slots=True)
class StopLoss:
    """Protective stop: an absolute price, or a distance from the entry price in points (> 0)."""

    price: Decimal | None = None
    offset: Decimal | None = None


@dataclass(frozen=True, slots=True)
class TakeProfit:
    """Profit target: price or distance in points (> 0), and the share of the entry it closes (0 < share <= 1)."""

    price: Decimal | None = None
    offset: Decimal | None = None
    share: Decimal = Decimal(1)


@dataclass(frozen=True, slots=True)
class Signal:
    """One act. `symbol` is the root (ES), `contract` the leader's own contract when it named one (ESZ6).

    `quantity` is in the leader's contracts, always > 0. `leader_position` is signed and counted after this act;
    where it is given it wins over counting, because the leader knows its own position.
    """

    workspace: str
    leader: str
    signal_id: str
    source: Source
    action: Action
    symbol: str
    occurred_at: datetime
    received_at: datetime
    contract: str | None = None
    side: Side | None = None
    quantity: Decimal | None = None
    ord_type: OrdType = "market"
    price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_offset: Decimal | None = None
    time_in_force: TimeInForce = "day"
    expire_at: datetime | None = None
    stop_loss: StopLoss | None = None
    take_profits: tuple[TakeProfit, ...] = ()
    leader_order_id: str | None = None
    orig_leader_order_id: str | None = None
    leader_position: Decimal | None = None
    strategy: str | None = None
    comment: str | None = None
    #: the sender's own number of this act, one more than that of the act before (R-030); None: it numbers nothing
    sequence: int | None = None
    #: the leader's fill: followers that mirror fills act on it, followers that mirror orders have acted already
    is_fill: bool = False

    @property
    def is_exit(self) -> bool:
        """True when the act can only shrink exposure."""
        return self.action in EXITS


def opposite(side: Side) -> Side:
    """The other side."""
    return "sell" if side == "buy" else "buy"


def sign(side: Side) -> int:
    """+1 for buy, -1 for sell."""
    return 1 if side == "buy" else -1


def _needs(value: object, name: str, action: Action) -> None:
    if value is None:
        raise SignalRefused(
            f"{action} needs {name}; send it.", code=f"missing-{name.lower()}", pointer=f"/{name}"
        )


def check_signal(signal: Signal) -> None:
    """Raise SignalRefused when the fields can never make sense together (independent of any state)."""
    _check_action(signal, signal.action)
    if signal.quantity is not None and signal.quantity <= 0:
        raise SignalRefused("quantity must be above zero.", code="invalid-quantity", pointer="/quantity")
    if signal.action != "cancel":
        _check_prices(signal)


def _check_action(signal: Signal, action: Action) -> None:
    match action:
        case "enter" | "add":
            _needs(signal.side, "side", action)
            _needs(signal.quantity, "quantity", action)
        case "reverse":
            _needs(signal.side, "side", action)
            if signal.ord_type != "market":
                raise SignalRefused(
                    "reverse acts at once: leave ordType out, or send exit and a resting enter.",
                    code="invalid-ordtype",
                    pointer="/ordType",
                )
        case "reduce":
            if signal.leader_position is None or signal.ord_type != "market":
                _needs(signal.quantity, "quantity", action)
        case "cancel":
            _needs(signal.leader_order_id, "leaderOrderId", action)
        case "replace":
            _needs(signal.orig_leader_order_id or signal.leader_order_id, "origLeaderOrderId", action)
        case "exit" | "flatten":
            pass
        case _:
            assert_never(action)


def _check_prices(signal: Signal) -> None:
    if signal.action == "replace":
        moved = (signal.price, signal.stop_price, signal.trail_offset, signal.quantity, signal.stop_loss)
        if all(v is None for v in moved) and not signal.take_profits:
            raise SignalRefused(
                "replace needs a new price, stopPrice, trailOffset, quantity, stopLoss or takeProfits.",
                code="missing-price",
                pointer="/price",
            )
        return
    ord_type = signal.ord_type
    if ord_type in ("limit", "stop_limit"):
        _needs(signal.price, "price", signal.action)
    if ord_type in ("stop", "stop_limit"):
        _needs(signal.stop_price, "stopPrice", signal.action)
    if ord_type == "trailing_stop":
        _needs(signal.trail_offset, "trailOffset", signal.action)
    if signal.time_in_force == "gtd" and signal.expire_at is None:
        raise SignalRefused("timeInForce gtd needs expireAt.", code="missing-expireat", pointer="/expireAt")
