"""From what a follower has to what it should have: first shrink, which always goes, then grow, which must pass."""

from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import NamedTuple

from kopitra.domain.allocation import Allocation
from kopitra.domain.book import ChildOrder, root_of
from kopitra.domain.case import Case
from kopitra.domain.legs import cancel_intents, close_intent
from kopitra.domain.orders import DOUBTFUL, ZERO, CancelIntent
from kopitra.domain.risk import Approved, approve_exit
from kopitra.domain.signals import Side, sign


class Step(NamedTuple):
    """Close `reduce` of `have`, then open `grow` on `side`. Signed: have, kept and target."""

    have: Decimal
    reduce: Decimal
    grow: Decimal
    side: Side
    #: exposure once `reduce` is closed
    kept: Decimal

    @property
    def target(self) -> Decimal:
        """Exposure once both are done."""
        return self.kept + self.grow * sign(self.side)


def wanted(case: Case, step: Step, allocation: Allocation | None) -> Decimal:
    """What the follower should have from now on: what is kept, and of entries in doubt what the leader still asks for.
    Should they fill, that much of them stays."""
    if allocation is None or not case.scene.book.doubts:
        return step.kept
    may_have, target = case.may_have, allocation.after
    if may_have * target <= 0:
        return step.kept
    keep = max(abs(step.kept), min(abs(may_have), abs(target)))
    return keep if target > 0 else -keep


class Exits(NamedTuple):
    """Closes and the cancels that go before them."""

    orders: tuple[Approved, ...] = ()
    cancels: tuple[CancelIntent, ...] = ()


NO_EXITS = Exits()


def step_of(have: Decimal, allocation: Allocation | None, *, grows: bool) -> Step:
    """The step to the allocation's target (none: to flat).

    It grows by what this act adds at most: an entry that was missed earlier is never opened late (R-043). An act
    that can only shrink exposure never grows it, whatever the leader says of its position.
    """
    target = allocation.after if allocation is not None else ZERO
    side: Side = "buy" if target > 0 else "sell"
    if not have:
        if allocation is not None and grows and not allocation.before:  # from flat, behind a flat leader
            return Step(have, ZERO, abs(target), side, ZERO)
        kept = reduce = ZERO
    else:
        keep = min(abs(have), abs(target)) if have * target > 0 else ZERO
        kept, reduce = (keep if have > 0 else -keep), abs(have) - keep
    missing = abs(target) - abs(kept)
    if allocation is None or not grows or missing <= 0:
        return Step(have, reduce, ZERO, side, kept)
    turned = allocation.before * target < 0
    added = abs(target) if turned else max(ZERO, abs(target) - abs(allocation.before))
    return Step(have, reduce, min(missing, added), side, kept)


def shrink(case: Case, step: Step, gone: Collection[ChildOrder] = ()) -> Exits:
    """Close `step.reduce`, after canceling what could fill meanwhile (R-038): then it closes what is really too much.

    A full exit cancels all orders of the product; a partial one the mirrors of the leader's order that filled.
    `gone` are canceled in any case.
    """
    if step.reduce == 0 and not gone:
        return NO_EXITS
    root = case.entry.to_root
    here = _here(case)
    full = step.reduce != 0 and step.reduce == abs(step.have)
    in_the_way = [
        o for o in here if o in gone or (_could_fill(o) if full else step.reduce and _same(case, o))
    ]
    orders: list[Approved] = []
    stopping = [o for o in here if _is_stopping(o, step.have) and o not in in_the_way]
    left = max(ZERO, step.reduce - sum((o.leaves_qty for o in stopping), ZERO)) if stopping else step.reduce
    for contract, position in case.held.items():
        if left == 0 or root_of(contract) != root or position.qty * step.have <= 0:
            continue
        qty = min(left, abs(position.qty) - _closing(here, stopping, contract, position.qty))
        if qty <= 0:
            continue
        left -= qty
        before = [o for o in in_the_way if o.intent.symbol == contract and not o.unsent]
        side: Side = "sell" if position.qty > 0 else "buy"
        leg = f"x{len(orders) or ''}"
        after = [o.intent.cl_ord_id for o in before]
        orders.append(approve_exit(close_intent(case, contract, side, qty, after, leg)))
    for order in reversed(here):  # what is not held yet need not come: the newest resting entries go first
        fits = order.intent.role == "entry" and 0 < order.coming() <= left and _could_fill(order)
        if fits and order not in in_the_way:
            in_the_way.append(order)
            left -= order.coming()
    return Exits(tuple(orders), cancel_intents(case, in_the_way))


def _is_stopping(order: ChildOrder, have: Decimal) -> bool:
    """A stop that is closing at the market what the follower has: what it will take need not be closed beside it."""
    return order.is_triggered and have * sign(order.intent.side) < 0


def _closing(
    here: Sequence[ChildOrder], stopping: Sequence[ChildOrder], contract: str, held: Decimal
) -> Decimal:
    """What is being closed of a holding already. An exit on its own side, left in doubt before the holding turned,
    closes nothing of it (R-012)."""
    closes = (*(o for o in here if o.intent.role == "exit"), *stopping)
    mine = (o for o in closes if o.intent.symbol == contract)
    return sum((o.leaves_qty for o in mine if held * sign(o.intent.side) < 0), ZERO)


def led_away(case: Case, target: Decimal) -> list[ChildOrder]:
    """Open entries in the follower's product that lead away from the target; nearly always none."""
    root, toward = case.entry.to_root, None
    if target:
        toward = "buy" if target > 0 else "sell"
    return [
        o
        for o in case.children.values()
        if (i := o.intent).role == "entry" and i.side != toward and root_of(i.symbol) == root
    ]


def against_target(case: Case, away: Sequence[ChildOrder]) -> list[ChildOrder]:
    """Resting entries that lead away from the target (`away`), and what waits for one that no cancel is sure to catch:
    they go. Should that one fill, it is closed at once."""
    if not away:
        return []
    names = {entry.intent.cl_ord_id for entry in away}  # asked only, never walked
    return [order for order in _here(case) if _goes(case, order, names) and _could_fill(order)]


def astray(away: Sequence[ChildOrder]) -> Decimal:
    """Signed contracts that entries would add away from the target. The follower will not have them: what rests is
    canceled, and a market order on its way is closed as it fills."""
    return sum((o.coming() * sign(o.intent.side) for o in away if o.cancel is None), ZERO)


def _here(case: Case) -> list[ChildOrder]:
    """Open children in the follower's product."""
    return [o for o in case.children.values() if root_of(o.intent.symbol) == case.entry.to_root]


def _goes(case: Case, order: ChildOrder, away: Collection[str]) -> bool:
    """`away`: entries that lead away from the target."""
    intent = order.intent
    if intent.role == "entry":
        return intent.cl_ord_id in away
    waited = (case.children[name] for name in (intent.parent or "", *intent.after) if name in away)
    return any(
        entry.state in DOUBTFUL or (entry.intent.ord_type == "market" and not entry.unsent)
        for entry in waited
    )


def _could_fill(order: ChildOrder) -> bool:
    """Anything of ours that could still fill, but for market orders on their way, which no cancel catches.

    One that has not left (its commit or its follower's delay lasts) must not open for a leader who was out meanwhile.
    """
    intent = order.intent
    if order.cancel_requested or intent.role == "exit":
        return False
    return order.unsent or intent.ord_type != "market"


def _same(case: Case, order: ChildOrder) -> bool:
    """Our mirror of the stop or target whose fill at the leader this is: it would close the same part again."""
    signal, intent = case.scene.signal, order.intent
    if not signal.is_fill or order.cancel_requested or intent.role not in ("stop", "target"):
        return False
    return intent.leader_order_id is not None and intent.leader_order_id == signal.leader_order_id
