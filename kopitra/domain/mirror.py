"""Mirroring the leader's resting orders: stops and targets of its position, their moves and their cancels."""

from decimal import Decimal

from kopitra.domain.allocation import Allocation, Skipped, allocate
from kopitra.domain.book import ChildOrder, root_of
from kopitra.domain.case import Case, risk_inputs, same_prices, sizing_inputs
from kopitra.domain.fanout import FollowerLeg
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.legs import Numbers, inverted, replace_intent, resting_exit_intent
from kopitra.domain.orders import ZERO, CancelIntent, ReplaceIntent
from kopitra.domain.risk import Approved, approve_exit, check_entry
from kopitra.domain.rounding import round_quantity
from kopitra.domain.signals import OrdType, Side, sign
from kopitra.domain.steps import Step, shrink, step_of, wanted


def resting_exit(case: Case) -> FollowerLeg:
    """The leader rests a stop or target for its position: the follower rests the same for what it holds."""
    rule, signal = case.rule, case.scene.signal
    if rule.mirror == "fills":
        return case.skip(Skipped("waits_for_fill", "this rule copies the leader's fills"))
    if not same_prices(case.entry.from_root, case.entry.to_root):
        return case.skip(
            Skipped("prices_differ", "levels of another product mean nothing here: the exit is copied")
        )
    ord_type: OrdType = signal.ord_type
    if rule.inverse:
        ord_type = inverted(ord_type, None, None)[0]
    if rule.pace == "paused":
        return case.skip(Skipped("paused", "this follower's orders are left alone"))
    if ord_type == "limit" and not rule.copy_take_profit:
        return case.skip(Skipped("target_not_copied", "the rule does not copy targets"))
    if ord_type != "limit" and not rule.copy_stop_loss:
        return case.skip(Skipped("stop_not_copied", "the rule does not copy stops"))
    have = case.have or case.may_have
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
    """The leader canceled a resting order: cancel its mirrors, and close what they filled that the leader's did not."""
    # What protects the part that has filled stays; it follows its entry.
    children = [child for child in _mirrors(case) if child.intent.parent is None]
    allocation = _resized(case)
    have = case.have
    for child in children:
        if child.intent.role == "entry":
            have -= child.coming() * sign(child.intent.side)
    kept = Step(have, ZERO, ZERO, "buy", have)
    step = kept if allocation is None else step_of(have, allocation, grows=False)
    exits = shrink(case, step, children)
    target = None if allocation is None else wanted(case, step, allocation)
    if not exits.orders and not exits.cancels and not _is_news(case, target):
        return case.skip(Skipped("no_mirrored_order", "this follower has no working copy of that order"))
    return _approved(case, orders=exits.orders, cancels=exits.cancels, allocation=allocation, target=target)


def replace(case: Case) -> FollowerLeg:
    """The leader moved a resting order (or the stop or target of a position): move the mirrors."""
    if case.rule.pace == "paused":
        return case.skip(Skipped("paused", "this follower's orders are left alone"))
    allocation = _resized(case)
    made: list[ReplaceIntent] = []
    gone: list[ChildOrder] = []
    have = case.have
    for child in _mirrors(case):
        leaves = _new_leaves(case, child, allocation)
        if leaves is not None and child.intent.role == "entry" and child.coming() == child.wanted_qty:
            have += (leaves - child.wanted_qty) * sign(child.intent.side)
        if leaves == 0:
            gone.append(child)
            continue
        numbers = _numbers(case, child, None if leaves is None else child.cum_qty + leaves)
        if numbers is not None:
            made.append(replace_intent(case, child, len(made) + 1, numbers))
    # Less is wanted than what moved orders leave: another order of ours brought the leader's part before.
    step = (
        Step(have, ZERO, ZERO, "buy", have) if allocation is None else step_of(have, allocation, grows=False)
    )
    exits = shrink(case, step, gone)
    target = None if allocation is None else wanted(case, step, allocation)
    if not made and not exits.orders and not exits.cancels and not _is_news(case, target):
        return case.skip(Skipped("no_mirrored_order", "this follower has no working copy to move"))
    return _approved(
        case,
        orders=exits.orders,
        cancels=exits.cancels,
        replaces=tuple(made),
        allocation=allocation,
        target=target,
    )


def _is_news(case: Case, target: Decimal | None) -> bool:
    """The follower is to have something else than was wanted of it: what is on its way is judged by that as it fills,
    though nothing can be sent for it now."""
    rule = case.rule
    episode = case.scene.book.episodes.get((rule.leader, rule.account_id, case.entry.to_root))
    return target is not None and episode is not None and episode.target != target


def _mirrors(case: Case) -> list[ChildOrder]:
    signal = case.scene.signal
    loid = signal.orig_leader_order_id or signal.leader_order_id or ""
    if signal.action == "cancel":
        loid = signal.leader_order_id or ""
    found = case.scene.book.mirrored(signal.leader, loid, case.rule.account_id)
    # A market order copied one of the leader's fills: what the leader does to the rest is not about it.
    return [c for c in found if not c.cancel_requested and c.intent.ord_type != "market"]


def _resized(case: Case) -> Allocation | None:
    """The follower's exposures before and after a resting entry became smaller or larger; None when it did not."""
    act, rule, entry = case.scene.act, case.rule, case.entry
    before, after = act.exposure_before, act.exposure_after
    if before == after or rule.mirror == "fills" or not same_prices(entry.from_root, entry.to_root):
        return None
    episode = case.scene.book.episodes.get((rule.leader, rule.account_id, entry.to_root))
    found = allocate(rule, entry, episode, before, after, sizing_inputs(case))
    return None if isinstance(found, Skipped) else found


def _new_leaves(case: Case, child: ChildOrder, allocation: Allocation | None) -> Decimal | None:
    """What should be open of this child from now on; None keeps it."""
    signal = case.scene.signal
    quantity, intent = signal.quantity, child.intent
    if quantity is None:
        return None
    if intent.role == "entry":
        if allocation is None or allocation.before == allocation.after:
            return None
        grown = abs(allocation.after) - abs(allocation.before)
        if grown > 0 and not _may_grow(case, child, grown):
            return None
        return max(ZERO, child.wanted_qty + grown)
    if intent.parent is not None:
        return None
    working = case.scene.book.leader(signal.leader, case.scene.act.root).working
    known = working.get(signal.orig_leader_order_id or signal.leader_order_id or "")
    if known is None or quantity == known.leaves:
        return None
    # By what is held, not by the child: its size has followed the holding already.
    have = case.have or case.may_have
    return min(abs(have), _share(case, have)) or None


def _may_grow(case: Case, child: ChildOrder, grown: Decimal) -> bool:
    """A larger entry passes what a new entry passes; else the move goes without its quantity."""
    rule = case.rule
    if rule.pace != "active" or (rule.max_order is not None and child.planned_qty + grown > rule.max_order):
        return False
    added = child.intent._replace(qty=grown)
    prop = case.account.prop
    limits = None if prop is None else prop.limits
    return isinstance(check_entry(added, risk_inputs(case, added), case.account.limits, limits), Approved)


def _numbers(case: Case, child: ChildOrder, qty: Decimal | None) -> Numbers | None:
    """New numbers for this child, None when the move is not about it."""
    signal, intent = case.scene.signal, child.intent
    price, stop_price, trail = signal.price, signal.stop_price, signal.trail_offset
    if intent.parent is not None:
        return _protective_numbers(case, child)
    if price is None and stop_price is None and trail is None:
        return Numbers(qty) if qty is not None else None
    if case.rule.inverse:
        # by our own order's type: a sender that moves an order need not repeat the order's type
        was: OrdType = "limit" if intent.ord_type == "stop" else "stop"
        _, price, stop_price = inverted(was, price, stop_price)
    return Numbers(qty, case.level(price), case.level(stop_price), trail)


def _protective_numbers(case: Case, child: ChildOrder) -> Numbers | None:
    """An EA moves the stop or target of a position by sending the entry's id with new stopLoss or takeProfits."""
    signal, role = case.scene.signal, child.intent.role
    stop = signal.stop_loss.price if signal.stop_loss else None
    targets = [target.price for target in signal.take_profits]
    if case.rule.inverse:
        stop, targets = (targets[0] if targets else None), ([] if stop is None else [stop])
    if role == "stop" and stop is not None:
        return Numbers(stop_price=case.level(stop))
    number = int(child.intent.leg[1:].split("-")[0]) - 1 if role == "target" else 0
    target = targets[number] if role == "target" and number < len(targets) else None
    return Numbers(price=case.level(target)) if target is not None else None


def _approved(
    case: Case,
    *,
    orders: tuple[Approved, ...] = (),
    cancels: tuple[CancelIntent, ...] = (),
    replaces: tuple[ReplaceIntent, ...] = (),
    allocation: Allocation | None = None,
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
        allocation=allocation,
        orders=orders,
        cancels=cancels,
        replaces=replaces,
        equity=case.account.equity,
    )
