"""Mirroring the leader's resting orders: stops and targets of its position, their moves and their cancels."""

from decimal import Decimal

from kopitra.domain.allocation import Skipped, allocate
from kopitra.domain.book import ChildOrder, root_of
from kopitra.domain.case import Case, sizing_inputs
from kopitra.domain.fanout import FollowerLeg
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.legs import Numbers, cancel_intents, inverted, replace_intent, resting_exit_intent
from kopitra.domain.orders import CancelIntent, ReplaceIntent
from kopitra.domain.risk import Approved, approve_exit
from kopitra.domain.rounding import round_quantity
from kopitra.domain.signals import OrdType, Side


def resting_exit(case: Case) -> FollowerLeg:
    """The leader rests a stop or target for its position: the follower rests the same for what it holds."""
    rule, signal = case.rule, case.scene.signal
    if rule.mirror == "fills":
        return case.skip(Skipped("waits_for_fill", "this rule copies the leader's fills"))
    ord_type: OrdType = signal.ord_type
    if rule.inverse:
        ord_type = inverted(ord_type, None, None)[0]
    if rule.pace == "paused":
        return case.skip(Skipped("paused", "this follower's orders are left alone"))
    if ord_type == "limit" and not rule.copy_take_profit:
        return case.skip(Skipped("target_not_copied", "the rule does not copy targets"))
    if ord_type != "limit" and not rule.copy_stop_loss:
        return case.skip(Skipped("stop_not_copied", "the rule does not copy stops"))
    have = case.have
    if have == 0:
        return case.skip(Skipped("flat", "nothing is held because of this leader"))
    contract, waits = _where(case, have)
    if contract is None:
        return case.skip(Skipped("flat", "nothing is held because of this leader"))
    side: Side = "sell" if have > 0 else "buy"
    qty = min(abs(have), _share(case, have))
    if qty == 0:
        return case.skip(Skipped("below_step", "the copy is smaller than one contract"))
    order = resting_exit_intent(case, contract, side, qty, waits, ord_type)
    return _approved(case, orders=(approve_exit(order),))


def _where(case: Case, have: Decimal) -> tuple[str | None, tuple[str, ...]]:
    """The contract that is held, or the entries in flight that must fill first."""
    root = case.entry.to_root
    for contract, position in case.held.items():
        if root_of(contract) == root and position.qty * have > 0:
            return contract, ()
    for order in case.children.values():
        intent = order.intent
        if intent.role == "entry" and root_of(intent.symbol) == root:
            return intent.symbol, (intent.cl_ord_id,)
    return None, ()


def _share(case: Case, have: Decimal) -> Decimal:
    """The leader's order may close a part: the same part of the follower's exposure, rounded by the rule."""
    quantity, exposure = case.scene.signal.quantity, abs(case.scene.act.exposure_before)
    if quantity is None or exposure == 0 or quantity >= exposure:
        return abs(have)
    step = INSTRUMENTS[case.entry.to_root].qty_step
    return round_quantity(abs(have) * quantity / exposure, step, case.rule.rounding).qty


def cancel(case: Case) -> FollowerLeg:
    """The leader canceled a resting order: cancel its mirrors; the target follows the smaller exposure."""
    children = _mirrors(case)
    if not children:
        return case.skip(Skipped("no_mirrored_order", "this follower has no working copy of that order"))
    before, after = case.scene.act.exposure_before, case.scene.act.exposure_after
    rule = case.rule
    episode = case.scene.book.episodes.get((rule.leader, rule.account_id, case.entry.to_root))
    target = None
    if before != after:
        allocation = allocate(rule, case.entry, episode, before, after, sizing_inputs(case))
        target = None if isinstance(allocation, Skipped) else allocation.after
    return _approved(case, cancels=cancel_intents(case, children), target=target)


def replace(case: Case) -> FollowerLeg:
    """The leader moved a resting order (or the stop or target of a position): move the mirrors."""
    if case.rule.pace == "paused":
        return case.skip(Skipped("paused", "this follower's orders are left alone"))
    made: list[ReplaceIntent] = []
    for child in _mirrors(case):
        numbers = _numbers(case, child)
        if numbers is not None:
            made.append(replace_intent(case, child, len(made) + 1, numbers))
    if not made:
        return case.skip(Skipped("no_mirrored_order", "this follower has no working copy to move"))
    return _approved(case, replaces=tuple(made))


def _mirrors(case: Case) -> list[ChildOrder]:
    signal = case.scene.signal
    loid = signal.orig_leader_order_id or signal.leader_order_id or ""
    found = case.scene.book.mirrored(signal.leader, loid, case.rule.account_id)
    return [child for child in found if not child.cancel_requested]


def _numbers(case: Case, child: ChildOrder) -> Numbers | None:
    """New numbers for this child, None when the move is not about it."""
    signal, role = case.scene.signal, child.intent.role
    if signal.price is None and signal.stop_price is None and signal.trail_offset is None:
        return _protective_numbers(case, child)
    if role != "entry" and child.intent.parent is not None:
        return None
    price, stop_price = signal.price, signal.stop_price
    if case.rule.inverse:
        _, price, stop_price = inverted(signal.ord_type, price, stop_price)
    return Numbers(_new_qty(case, child), price, stop_price, signal.trail_offset)


def _protective_numbers(case: Case, child: ChildOrder) -> Numbers | None:
    """An EA moves the stop or target of a position by sending the entry's id with new stopLoss or takeProfits."""
    signal, role = case.scene.signal, child.intent.role
    stop = signal.stop_loss.price if signal.stop_loss else None
    target = signal.take_profits[0].price if signal.take_profits else None
    if case.rule.inverse:
        stop, target = target, stop
    if role == "stop" and stop is not None:
        return Numbers(stop_price=stop)
    if role == "target" and target is not None:
        return Numbers(price=target)
    if role == "entry" and signal.quantity is not None:
        return Numbers(qty=_new_qty(case, child))
    return None


def _new_qty(case: Case, child: ChildOrder) -> Decimal | None:
    """Follower quantity for the leader's new quantity, in proportion to what the order had; None keeps it."""
    working = case.scene.book.leader(case.scene.signal.leader, case.scene.act.root).working
    loid = case.scene.signal.orig_leader_order_id or case.scene.signal.leader_order_id or ""
    known = working.get(loid)
    quantity = case.scene.signal.quantity
    if quantity is None or known is None or known.leaves == 0 or quantity == known.leaves:
        return None
    step = INSTRUMENTS[root_of(child.intent.symbol)].qty_step
    qty = round_quantity(child.leaves_qty * quantity / known.leaves, step, case.rule.rounding).qty
    return qty + child.cum_qty if qty > 0 else None


def _approved(
    case: Case,
    *,
    orders: tuple[Approved, ...] = (),
    cancels: tuple[CancelIntent, ...] = (),
    replaces: tuple[ReplaceIntent, ...] = (),
    target: Decimal | None = None,
) -> FollowerLeg:
    rule = case.rule
    return FollowerLeg(
        account_id=rule.account_id,
        rule_id=rule.rule_id,
        rule_version=rule.version,
        outcome="approved",
        reason="",
        detail="",
        root=case.entry.to_root,
        target=target,
        allocation=None,
        orders=orders,
        cancels=cancels,
        replaces=replaces,
        equity=case.account.equity,
    )
