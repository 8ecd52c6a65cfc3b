"""The plan: what every follower does because of one act of its leader.

Pure: no clock, no I/O. For each follower the leader's cumulative exposure becomes a target (allocation); the
difference to what the follower has, or is about to have, becomes orders: what shrinks exposure always goes, what
grows it must pass the rule's filters and the risk check. Same inputs, same plan, for ever.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from kopitra.domain import mirror
from kopitra.domain.acts import leader_acts
from kopitra.domain.allocation import Allocation, Skipped, allocate
from kopitra.domain.book import Book, ChildOrder, root_of
from kopitra.domain.case import Case, Scene, case_of, declined, risk_inputs, sizing_inputs
from kopitra.domain.copy_rules import CopyRule, MapEntry
from kopitra.domain.fanout import FanoutPlan, FollowerLeg, PlanInputs
from kopitra.domain.ids import list_id
from kopitra.domain.legs import cancel_intents, close_intent, entry_intent, protective_intents
from kopitra.domain.orders import ZERO, CancelIntent
from kopitra.domain.risk import Approved, Refused, approve_exit, check_entry
from kopitra.domain.signals import Side, Signal, sign


def plan(signal: Signal, book: Book, rules: Sequence[CopyRule], inputs: PlanInputs) -> FanoutPlan:
    """Decide for every follower of the signal's leader. `rules` are the current versions, one per follower."""
    ties = list_id(signal.workspace, signal.signal_id)
    acts = leader_acts(signal, book)
    legs: list[FollowerLeg] = []
    for number, act in enumerate(acts):
        scene = Scene(signal, act, book, inputs, ties, f"-{number}" if number else "")
        legs += [_follow(scene, rule) for rule in rules]
    return FanoutPlan(ties, signal.signal_id, inputs.now, inputs.config_version, acts, tuple(legs))


def _follow(scene: Scene, rule: CopyRule) -> FollowerLeg:
    act = scene.act
    entry = rule.routes.get(act.root)
    if entry is None:
        entry = MapEntry(act.root, act.root)
        if act.root in rule.taken:
            why = Skipped(
                "symbol_taken", f"the rule maps another product to {act.root}: map or exclude {act.root}"
            )
            return declined(rule, act.root, why)
    account = scene.inputs.accounts.get(rule.account_id)
    if account is None:
        return declined(
            rule, entry.to_root, Skipped("account_inactive", "the account is switched off or unknown")
        )
    case = case_of(scene, rule, entry, account)
    match act.kind:
        case "position" | "resting_entry":
            return _follow_exposure(case)
        case "resting_exit":
            return mirror.resting_exit(case)
        case "cancel":
            return mirror.cancel(case)
        case "replace":
            return mirror.replace(case)


class _Step(NamedTuple):
    """From what a follower has to what it should have: first shrink by `reduce`, then grow by `grow` on `side`."""

    have: Decimal
    reduce: Decimal
    grow: Decimal
    side: Side
    #: signed exposure once both are done
    target: Decimal


def _follow_exposure(case: Case) -> FollowerLeg:
    scene, rule = case.scene, case.rule
    act = scene.act
    before, after = act.exposure_before, act.exposure_after
    if rule.mirror == "fills":
        if act.kind == "resting_entry":
            return case.skip(Skipped("waits_for_fill", "this rule copies the leader's fills"))
        before, after = act.position_before, act.position_after
    have = case.have
    episode = scene.book.episodes.get((rule.leader, rule.account_id, case.entry.to_root))
    allocation = allocate(rule, case.entry, episode, before, after, sizing_inputs(case))
    if isinstance(allocation, Skipped):
        if have == 0 or before * after >= 0:
            return case.skip(allocation)
        # the leader turned and the new side cannot be sized: the old side is closed all the same
        return _leg(case, _step(have, None), None, _shrink(case, _step(have, None)), allocation)
    step = _step(have, allocation)
    exits = _shrink(case, step)
    if step.grow == 0:
        return _leg(case, step, allocation, exits, _nothing_to_do(step, allocation))
    return _leg(case, step, allocation, exits, _grow(case, step, allocation))


def _step(have: Decimal, allocation: Allocation | None) -> _Step:
    target = allocation.after if allocation is not None else ZERO
    same_side = have * target > 0
    keep = min(abs(have), abs(target)) if same_side else ZERO
    reduce = abs(have) - keep
    side: Side = "buy" if target > 0 else "sell"
    grow = ZERO
    if allocation is not None and abs(target) > keep:
        # Only what this act adds: an entry that was missed earlier is never opened late.
        turned = allocation.before * target < 0
        added = abs(target) if turned else max(ZERO, abs(target) - abs(allocation.before))
        grow = min(abs(target) - keep, added)
    kept = keep if have > 0 else -keep
    return _Step(have, reduce, grow, side, kept + grow * sign(side))


def _nothing_to_do(step: _Step, allocation: Allocation) -> Skipped:
    if step.reduce:
        return Skipped(
            "closing", "what is held is being closed; an entry still in flight is closed once it fills"
        )
    if allocation.after == 0 and allocation.raw > 0:
        return Skipped("below_step", allocation.reason or "the copy is smaller than one contract")
    if step.have == 0:
        return Skipped("flat", "nothing is held because of this leader")
    return Skipped("on_target", "the follower has what it should have")


class _Exits(NamedTuple):
    orders: tuple[Approved, ...] = ()
    cancels: tuple[CancelIntent, ...] = ()


def _shrink(case: Case, step: _Step) -> _Exits:
    """Close `step.reduce`; a full exit first cancels what could fill meanwhile and closes what is then held."""
    if step.reduce == 0:
        return _Exits()
    root = case.entry.to_root
    open_here = [o for o in case.children.values() if root_of(o.intent.symbol) == root]
    in_the_way = [o for o in open_here if _must_go(o)] if step.reduce == abs(step.have) else []
    orders: list[Approved] = []
    left = step.reduce
    for contract, position in case.held.items():
        if root_of(contract) != root or left == 0:
            continue
        closing = sum(
            (o.leaves_qty for o in open_here if o.intent.role == "exit" and o.intent.symbol == contract), ZERO
        )
        qty = min(left, abs(position.qty) - closing)
        if qty <= 0 or position.qty * step.have < 0:
            continue
        left -= qty
        after = [
            o.intent.cl_ord_id for o in in_the_way if o.intent.symbol == contract and o.state != "planned"
        ]
        side: Side = "sell" if position.qty > 0 else "buy"
        leg = "x" if not orders else f"x{len(orders)}"
        orders.append(approve_exit(close_intent(case, contract, side, qty, after, leg)))
    return _Exits(tuple(orders), cancel_intents(case, in_the_way))


def _must_go(order: ChildOrder) -> bool:
    """Anything of ours that could still fill, but for market orders, which no cancel catches."""
    return not order.cancel_requested and (
        order.intent.role in ("stop", "target") or order.intent.ord_type != "market"
    )


def _grow(case: Case, step: _Step, allocation: Allocation) -> Skipped | Refused | tuple[Approved, ...]:
    """The entry with its protective orders, if the rule's filters and the risk check let it pass."""
    rule = case.rule
    reason = _filtered(case, step)
    if reason is not None:
        return reason
    contract = case.scene.contract(case.entry.to_root)
    if isinstance(contract, Skipped):
        return contract
    qty = step.grow if rule.max_order is None else min(step.grow, rule.max_order)
    if qty < rule.min_order:
        return Skipped("below_min_order", f"{qty} is less than the rule's min_order {rule.min_order}")
    entry = entry_intent(case, contract, step.side, qty)
    decision = check_entry(entry, risk_inputs(case, entry), case.account.limits)
    if isinstance(decision, Refused):
        return decision
    return (decision, *(approve_exit(order) for order in protective_intents(case, entry)))


def _filtered(case: Case, step: _Step) -> Skipped | None:
    rule, signal, root = case.rule, case.scene.signal, case.scene.act.root
    if rule.pace != "active":
        return Skipped(rule.pace, "this follower takes no entries now")
    if root in rule.exclude or (rule.include and root not in rule.include):
        return Skipped("symbol_filtered", f"the rule does not copy {root}")
    if rule.strategies and signal.strategy not in rule.strategies:
        return Skipped("strategy_filtered", "the rule does not copy this strategy")
    long = step.side == "buy"
    if (rule.side_filter == "long" and not long) or (rule.side_filter == "short" and long):
        return Skipped("side_filtered", f"the rule copies {rule.side_filter} entries only")
    return None


def _leg(
    case: Case,
    step: _Step,
    allocation: Allocation | None,
    exits: _Exits,
    growth: Skipped | Refused | tuple[Approved, ...],
) -> FollowerLeg:
    refused = growth if isinstance(growth, Refused) else None
    grown = growth if isinstance(growth, tuple) else ()
    reason, detail = ("", "") if isinstance(growth, tuple) else (growth.reason, growth.detail)
    orders = (*exits.orders, *grown)
    target = step.target if grown else step.target - step.grow * sign(step.side)
    sends = bool(orders or exits.cancels)
    return FollowerLeg(
        account_id=case.rule.account_id,
        rule_id=case.rule.rule_id,
        rule_version=case.rule.version,
        outcome="approved" if sends else ("refused" if refused else "skipped"),
        reason=reason,
        detail=detail,
        root=case.entry.to_root,
        target=target if sends else None,
        allocation=allocation,
        orders=orders,
        cancels=exits.cancels,
        checks=refused.checks if refused else None,
        equity=case.account.equity,
        notional=grown[0].checks.notional if grown and grown[0].checks else None,
    )
