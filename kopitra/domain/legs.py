"""Making the intents of one follower: entries with their protective orders, exits, cancels and replaces.

Nothing here decides whether; `plan.py` does. Ids are deterministic: (list id, account, leg).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from kopitra.domain.book import ChildOrder, root_of
from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.ids import cl_ord_id
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.orders import CancelIntent, OrderIntent, ReplaceIntent, Role
from kopitra.domain.rounding import split_shares
from kopitra.domain.signals import OrdType, Side, Signal, StopLoss, opposite

#: cancels of one leg; more open children than this per account and product would be a fault of ours
CANCELS_MAX = 32


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes the intents of one follower for one signal."""

    signal: Signal
    list_id: str
    rule: CopyRule
    brackets: bool
    #: tells the products of a signal that spans several apart; "" for all others
    suffix: str = ""

    def _id(self, leg: str) -> str:
        return cl_ord_id(self.list_id, self.rule.account_id, leg + self.suffix)

    def entry(self, contract: str, side: Side, qty: Decimal) -> OrderIntent:
        """The entry: the leader's order type and prices, turned around for an inverse follower."""
        signal, rule = self.signal, self.rule
        ord_type: OrdType = "market" if signal.is_fill else signal.ord_type
        price, stop_price = signal.price, signal.stop_price
        if ord_type == "market":
            price = stop_price = None
        elif rule.inverse:
            ord_type, price, stop_price = inverted(ord_type, price, stop_price)
        return OrderIntent(
            cl_ord_id=self._id("e"),
            list_id=self.list_id,
            account_id=rule.account_id,
            leader=rule.leader,
            leg="e",
            role="entry",
            symbol=contract,
            side=side,
            qty=qty,
            ord_type=ord_type,
            price=price,
            stop_price=stop_price,
            trail_offset=signal.trail_offset if ord_type == "trailing_stop" else None,
            time_in_force=signal.time_in_force,
            expire_at=signal.expire_at,
            rule_id=rule.rule_id,
            rule_version=rule.version,
            leader_order_id=signal.leader_order_id,
            delay_ms=rule.delay_ms,
        )

    def protective(self, entry: OrderIntent) -> tuple[OrderIntent, ...]:
        """Stop and targets that belong to an entry: attached where the broker can, else held until it fills."""
        stop, targets = self._protection()
        orders: list[OrderIntent] = []
        if stop is not None:
            orders.append(self._child(entry, "s", "stop", entry.qty, stop))
        if targets:
            step = INSTRUMENTS[root_of(entry.symbol)].qty_step
            shares = split_shares(entry.qty, tuple(share for _, share in targets), step)
            for number, ((level, _), qty) in enumerate(zip(targets, shares, strict=True), start=1):
                if qty > 0:
                    orders.append(self._child(entry, f"t{number}", "target", qty, level))
        if not self._attachable(orders):
            orders = [order._replace(after=(entry.cl_ord_id,)) for order in orders]
        return tuple(orders)

    def _attachable(self, orders: Sequence[OrderIntent]) -> bool:
        """One stop, at most one target, both at known prices, on a broker that links them to the entry."""
        return (
            self.brackets
            and len(orders) <= 2
            and sum(o.role == "target" for o in orders) <= 1
            and all(o.offset is None for o in orders)
        )

    def _protection(self) -> tuple[StopLoss | None, tuple[tuple[StopLoss, Decimal], ...]]:
        """(stop, [(target level, share)]): for an inverse follower the leader's stop is its target and vice versa."""
        signal, rule = self.signal, self.rule
        stop = signal.stop_loss
        targets = tuple((StopLoss(t.price, t.offset), t.share) for t in signal.take_profits)
        if rule.inverse:
            new_stop = targets[0][0] if targets else None
            targets = ((stop, Decimal(1)),) if stop is not None else ()
            stop = new_stop
        return (stop if rule.copy_stop_loss else None, targets if rule.copy_take_profit else ())

    def _child(self, entry: OrderIntent, leg: str, role: Role, qty: Decimal, level: StopLoss) -> OrderIntent:
        stop = role == "stop"
        return OrderIntent(
            cl_ord_id=self._id(leg),
            list_id=self.list_id,
            account_id=entry.account_id,
            leader=entry.leader,
            leg=leg,
            role=role,
            symbol=entry.symbol,
            side=opposite(entry.side),
            qty=qty,
            ord_type="stop" if stop else "limit",
            price=None if stop else level.price,
            stop_price=level.price if stop else None,
            time_in_force="gtc",
            reduce_only=True,
            rule_id=entry.rule_id,
            rule_version=entry.rule_version,
            leader_order_id=entry.leader_order_id,
            parent=entry.cl_ord_id,
            oco=entry.cl_ord_id,
            offset=level.offset if level.price is None else None,
        )

    def close(
        self, contract: str, side: Side, qty: Decimal, after: Sequence[str], leg: str = "x"
    ) -> OrderIntent:
        """A market exit of at most `qty`; held until the cancels in `after` are over."""
        rule = self.rule
        return OrderIntent(
            cl_ord_id=self._id(leg),
            list_id=self.list_id,
            account_id=rule.account_id,
            leader=rule.leader,
            leg=leg,
            role="exit",
            symbol=contract,
            side=side,
            qty=qty,
            reduce_only=True,
            rule_id=rule.rule_id,
            rule_version=rule.version,
            after=tuple(after),
        )

    def resting_exit(
        self, contract: str, side: Side, qty: Decimal, after: Sequence[str], ord_type: OrdType
    ) -> OrderIntent:
        """A mirrored stop or target of a position that the follower holds (or is about to hold)."""
        signal, rule = self.signal, self.rule
        price, stop_price = signal.price, signal.stop_price
        if rule.inverse:
            _, price, stop_price = inverted(signal.ord_type, price, stop_price)
        return OrderIntent(
            cl_ord_id=self._id("p"),
            list_id=self.list_id,
            account_id=rule.account_id,
            leader=rule.leader,
            leg="p",
            role="target" if ord_type == "limit" else "stop",
            symbol=contract,
            side=side,
            qty=qty,
            ord_type=ord_type,
            price=price,
            stop_price=stop_price,
            trail_offset=signal.trail_offset if ord_type == "trailing_stop" else None,
            time_in_force=signal.time_in_force,
            reduce_only=True,
            rule_id=rule.rule_id,
            rule_version=rule.version,
            leader_order_id=signal.leader_order_id,
            after=tuple(after),
        )

    def cancels(self, children: Iterable[ChildOrder]) -> tuple[CancelIntent, ...]:
        """One cancel for each child."""
        found = list(children)[:CANCELS_MAX]
        return tuple(
            CancelIntent(self._id(f"c{n}"), self.list_id, self.rule.account_id, child.intent.cl_ord_id)
            for n, child in enumerate(found, start=1)
        )

    def replace(self, child: ChildOrder, number: int, numbers: "Numbers") -> ReplaceIntent:
        """New numbers for a mirrored child."""
        return ReplaceIntent(
            self._id(f"r{number}"),
            self.list_id,
            self.rule.account_id,
            child.intent.cl_ord_id,
            qty=numbers.qty,
            price=numbers.price,
            stop_price=numbers.stop_price,
            trail_offset=numbers.trail_offset,
        )


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a replace changes; None keeps."""

    qty: Decimal | None = None
    price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_offset: Decimal | None = None


def inverted(
    ord_type: OrdType, price: Decimal | None, stop_price: Decimal | None
) -> tuple[OrdType, Decimal | None, Decimal | None]:
    """The same level seen from the other side: a buy limit below the market becomes a sell stop, and back.

    A stop-limit has no exact counterpart; its trigger becomes a limit. Market and trailing orders stay.
    """
    match ord_type:
        case "limit":
            return "stop", None, price
        case "stop" | "stop_limit":
            return "limit", stop_price, None
        case "market" | "trailing_stop":
            return ord_type, price, stop_price
