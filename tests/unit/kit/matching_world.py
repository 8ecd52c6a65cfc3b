"""One small simulated market that the matching tests share: an account, two contracts, short words."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

from brokers._kit.matching import (
    AccountSpec,
    CoreEvent,
    CoreRules,
    Instrument,
    MatchingCore,
    NewOrder,
    OrderAccepted,
    OrderFilled,
    OrderRejected,
    OrderState,
    OrdType,
    Side,
    SimSettings,
    TimeInForce,
)

ACCOUNT = 1
OTHER_ACCOUNT = 2
#: tick 0.25 worth 0.50: 2 money per point
MNQ = "MNQZ6"
#: tick 0.25 worth 12.50: 50 money per point
ES = "ESZ6"
OPENING_BALANCE = Decimal(50_000)

E = TypeVar("E", bound=CoreEvent)


def d(text: str | int) -> Decimal:
    return Decimal(text)


def maybe(text: str | int | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def order(
    side: Side = "buy",
    ord_type: OrdType = "market",
    qty: int = 1,
    price: str | int | None = None,
    stop: str | int | None = None,
    trail: str | int | None = None,
    *,
    symbol: str = MNQ,
    account_id: int = ACCOUNT,
    offset: str | int | None = None,
    tif: TimeInForce = "gtc",
    tag: str | None = None,
    suspended: bool = False,
    parent_id: int | None = None,
) -> NewOrder:
    return NewOrder(
        account_id,
        symbol,
        side,
        ord_type,
        qty,
        maybe(price),
        maybe(stop),
        maybe(trail),
        maybe(offset),
        tif,
        tag,
        parent_id=parent_id,
        suspended=suspended,
    )


def only(kind: type[E], events: Sequence[CoreEvent]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def names(events: Sequence[CoreEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


def fills(events: Sequence[CoreEvent]) -> list[tuple[int, Decimal]]:
    """(quantity, price) of every execution."""
    return [(event.execution.qty, event.execution.price) for event in only(OrderFilled, events)]


def id_of(events: Sequence[CoreEvent], index: int = 0) -> int:
    """The order id that a placement answered with."""
    answered = [event for event in events if isinstance(event, OrderAccepted | OrderRejected)]
    return answered[index].order.order_id


def new_core(settings: SimSettings | None = None, rules: CoreRules | None = None) -> MatchingCore:
    return MatchingCore(
        [
            AccountSpec(ACCOUNT, "SIM-1", "trader", OPENING_BALANCE),
            AccountSpec(OTHER_ACCOUNT, "SIM-2", "trader", OPENING_BALANCE),
        ],
        [Instrument(MNQ, d("0.25"), d("0.50")), Instrument(ES, d("0.25"), d("12.50"), d("1.40"), d("0.60"))],
        rules=rules,
        settings=settings,
        seed=7,
    )


@dataclass
class World:
    """A core with a running clock: every act happens one millisecond after the one before."""

    core: MatchingCore = field(default_factory=new_core)
    now_ns: int = 0

    def tick(self) -> int:
        self.now_ns += 1_000_000
        return self.now_ns

    def quote(self, bid: str | int, ask: str | int, last: str | int | None = None) -> list[CoreEvent]:
        return self.core.set_price(MNQ, d(bid), d(ask), maybe(last), self.tick())

    def place(self, asked: NewOrder, *children: NewOrder) -> list[CoreEvent]:
        return self.core.place(asked, self.tick(), children)

    def state(self, order_id: int) -> OrderState:
        found = self.core.order(order_id)
        assert found is not None
        return found

    def net(self, account_id: int = ACCOUNT) -> int:
        return sum(held.net_qty for held in self.core.positions(account_id))

    def balance(self) -> Decimal:
        account = self.core.account(ACCOUNT)
        assert account is not None
        return account.balance


def world(settings: SimSettings | None = None, rules: CoreRules | None = None) -> World:
    """A market at 100.00 / 100.25, last trade 100.00."""
    made = World(new_core(settings, rules))
    made.quote(100, "100.25", 100)
    return made
