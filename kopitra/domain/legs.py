"""Making the intents of one follower: entries with their protective orders, exits, cancels and replaces.

Nothing here decides whether; `plan.py` does. Ids are deterministic: (list id, account, leg).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from kopitra.domain.book import ChildOrder, root_of
from kopitra.domain.case import Case
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.orders import CancelIntent, OrderIntent, ReplaceIntent, Role
from kopitra.domain.rounding import split_shares
from kopitra.domain.signals import OrdType, Side, StopLoss, opposite

#: cancels of one leg; more open children than this per account and product would be a fault of ours
CANCELS_MAX = 32


def entry_intent(
    case: Case, contract: str, side: Side, qty: Decimal, after: tuple[str, ...] = ()
) -> OrderIntent:
    """The entry: the leader's order type and prices, turned around for an inverse follower.

    `after`: closes of the old side that must be over first.
    """
    signal, rule = case.scene.signal, case.rule
    ord_type: OrdType = "market" if signal.is_fill else signal.ord_type
    price, stop_price = signal.price, signal.stop_price
    if ord_type == "market":
        price = stop_price = None
    elif rule.inverse:
        ord_type, price, stop_price = inverted(ord_type, price, stop_price)
    trailing = ord_type == "trailing_stop"
    return OrderIntent(
        case.name("e"), case.scene.list_id, rule.account_id, rule.leader, "e", "entry", contract, side, qty,
        ord_type, case.level(price), case.level(stop_price), signal.trail_offset if trailing else None,
        signal.time_in_force, signal.expire_at, False, rule.rule_id, rule.version, signal.leader_order_id, after,
        delay_ms=rule.delay_ms,
    )  # fmt: skip


def protective_intents(case: Case, entry: OrderIntent) -> list[OrderIntent]:
    """Stop and targets that belong to an entry: attached where the broker can, else held until it fills."""
    signal = case.scene.signal
    if signal.stop_loss is None and not signal.take_profits:
        return []
    stop, targets = _protection(case)
    orders: list[OrderIntent] = []
    if stop is not None:
        orders.append(_child(case, entry, "s", "stop", entry.qty, stop))
    if targets:
        step = INSTRUMENTS[root_of(entry.symbol)].qty_step
        shares = [share for _, share in targets]
        runner = max(Decimal(0), 1 - sum(shares, Decimal(0)))
        parts = split_shares(entry.qty, (*shares, runner) if runner else tuple(shares), step)
        for number, ((level, _), qty) in enumerate(zip(targets, parts, strict=False), start=1):
            if qty > 0:
                orders.append(_child(case, entry, f"t{number}", "target", qty, level))
    if entry.after or not _attachable(case, entry, orders):
        orders = [order._replace(after=(entry.cl_ord_id,)) for order in orders]
    return orders


def _attachable(case: Case, entry: OrderIntent, orders: Sequence[OrderIntent]) -> bool:
    """One stop, at most one target for all of it, at known prices, on a broker that links them to the entry."""
    return (
        case.account.brackets
        and len(orders) <= 2
        and sum(o.role == "target" for o in orders) <= 1
        and all(o.offset is None and o.qty == entry.qty for o in orders)
    )


def _protection(case: Case) -> tuple[StopLoss | None, tuple[tuple[StopLoss, Decimal], ...]]:
    """(stop, [(target level, share)]): for an inverse follower the leader's stop is its target and vice versa."""
    signal, rule = case.scene.signal, case.rule
    stop = signal.stop_loss
    targets = tuple((StopLoss(t.price, t.offset), t.share) for t in signal.take_profits)
    if rule.inverse:
        new_stop = targets[0][0] if targets else None
        targets = ((stop, Decimal(1)),) if stop is not None else ()
        stop = new_stop
    return (stop if rule.copy_stop_loss else None, targets if rule.copy_take_profit else ())


def _child(
    case: Case, entry: OrderIntent, leg: str, role: Role, qty: Decimal, level: StopLoss
) -> OrderIntent:
    stop = role == "stop"
    return OrderIntent(
        cl_ord_id=case.name(leg),
        list_id=entry.list_id,
        account_id=entry.account_id,
        leader=entry.leader,
        leg=leg,
        role=role,
        symbol=entry.symbol,
        side=opposite(entry.side),
        qty=qty,
        ord_type="stop" if stop else "limit",
        price=None if stop else case.level(level.price),
        stop_price=case.level(level.price) if stop else None,
        time_in_force="gtc",
        reduce_only=True,
        rule_id=entry.rule_id,
        rule_version=entry.rule_version,
        leader_order_id=entry.leader_order_id,
        parent=entry.cl_ord_id,
        oco=entry.cl_ord_id,
        offset=level.offset if level.price is None else None,
    )


def close_intent(
    case: Case, contract: str, side: Side, qty: Decimal, after: Sequence[str], leg: str = "x"
) -> OrderIntent:
    """A market exit of at most `qty`; held until the cancels in `after` are over."""
    rule = case.rule
    return OrderIntent(
        cl_ord_id=case.name(leg),
        list_id=case.scene.list_id,
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


def resting_exit_intent(
    case: Case, contract: str, side: Side, qty: Decimal, after: Sequence[str], ord_type: OrdType
) -> OrderIntent:
    """A mirrored stop or target of a position that the follower holds (or is about to hold)."""
    signal, rule = case.scene.signal, case.rule
    price, stop_price = signal.price, signal.stop_price
    if rule.inverse:
        _, price, stop_price = inverted(signal.ord_type, price, stop_price)
    return OrderIntent(
        cl_ord_id=case.name("p"),
        list_id=case.scene.list_id,
        account_id=rule.account_id,
        leader=rule.leader,
        leg="p",
        role="target" if ord_type == "limit" else "stop",
        symbol=contract,
        side=side,
        qty=qty,
        ord_type=ord_type,
        price=case.level(price),
        stop_price=case.level(stop_price),
        trail_offset=signal.trail_offset if ord_type == "trailing_stop" else None,
        time_in_force=signal.time_in_force,
        reduce_only=True,
        rule_id=rule.rule_id,
        rule_version=rule.version,
        leader_order_id=signal.leader_order_id,
        after=tuple(after),
    )


def cancel_intents(case: Case, children: Iterable[ChildOrder]) -> tuple[CancelIntent, ...]:
    """One cancel for each child."""
    found = list(children)[:CANCELS_MAX]
    return tuple(
        CancelIntent(case.name(f"c{n}"), case.scene.list_id, case.rule.account_id, child.intent.cl_ord_id)
        for n, child in enumerate(found, start=1)
    )


def replace_intent(case: Case, child: ChildOrder, number: int, numbers: "Numbers") -> ReplaceIntent:
    """New numbers for a mirrored child."""
    return ReplaceIntent(
        case.name(f"r{number}"),
        case.scene.list_id,
        case.rule.account_id,
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
