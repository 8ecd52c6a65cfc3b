"""The plan: what every follower does because of one act of its leader.

Pure: no clock, no I/O. For each follower the leader's cumulative exposure becomes a target (allocation); the
difference to what the follower has, or is about to have, becomes orders: what shrinks exposure always goes, what
grows it must pass the rule's filters and the risk check. Same inputs, same plan, for ever.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from kopitra.domain import mirror
from kopitra.domain.acts import leader_acts
from kopitra.domain.allocation import Allocation, Skipped, allocate
from kopitra.domain.book import Book
from kopitra.domain.case import Case, Scene, case_of, declined, risk_inputs, same_prices, sizing_inputs
from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.fanout import FanoutPlan, FollowerLeg, PlanInputs
from kopitra.domain.guard import guarded
from kopitra.domain.ids import list_id
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.legs import entry_intent, protective_intents
from kopitra.domain.orders import ZERO, OrderIntent
from kopitra.domain.risk import Approved, Refused, approve_exit, check_entry
from kopitra.domain.signals import Side, Signal
from kopitra.domain.steps import (
    NO_EXITS,
    Exits,
    Step,
    against_target,
    astray,
    led_away,
    shrink,
    step_of,
    wanted,
)
from kopitra.domain.streams import REPEATS, SENTENCES, Verdict, judge, merged

#: nothing more is to be sent: what is held is on its way out, or goes as soon as it fills
CLOSING: Final = "closing"


def plan(signal: Signal, book: Book, rules: Sequence[CopyRule], inputs: PlanInputs) -> FanoutPlan:
    """Decide for every follower of the signal's leader. `rules` are the current versions, one per follower."""
    ties = list_id(signal.workspace, signal.signal_id)
    verdict: Verdict = ""
    if signal.source == "ea":
        stream = book.streams.get(signal.leader)
        verdict = judge(signal, stream, lambda order: book.knows_order(signal.leader, signal.symbol, order))
        if verdict in REPEATS:
            return no_news(signal, rules, inputs, verdict)
        signal = merged(signal, stream)
    acts = leader_acts(signal, book)
    followed: list[FollowerLeg] = []
    for number, act in enumerate(acts):
        scene = Scene(signal, act, book, inputs, ties, f"-{number}" if number else "", verdict)
        followed += [_follow(scene, rule) for rule in rules]
    return FanoutPlan(
        ties, signal.signal_id, inputs.now, inputs.config_version, acts, tuple(followed), verdict
    )


def no_news(signal: Signal, rules: Sequence[CopyRule], inputs: PlanInputs, verdict: Verdict) -> FanoutPlan:
    """Nothing new happened at the leader: it stays where it is, and no follower does anything."""
    why = Skipped(verdict, SENTENCES[verdict])
    legs = tuple(declined(rule, signal.symbol, why) for rule in rules)
    ties = list_id(signal.workspace, signal.signal_id)
    return FanoutPlan(ties, signal.signal_id, inputs.now, inputs.config_version, (), legs, verdict)


def _follow(scene: Scene, rule: CopyRule) -> FollowerLeg:
    act = scene.act
    entry = rule.routes.get(act.root)
    if entry is None:
        entry = scene.same
        if act.root in rule.taken:
            why = f"the rule maps another product to {act.root}: map or exclude {act.root}"
            return declined(rule, act.root, Skipped("symbol_taken", why))
    account = scene.inputs.accounts.get(rule.account_id)
    if account is None:
        why = "the account is switched off or unknown"
        return declined(rule, entry.to_root, Skipped("account_inactive", why))
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


def _follow_exposure(case: Case) -> FollowerLeg:
    scene, rule, entry = case.scene, case.rule, case.entry
    act = scene.act
    before, after = act.exposure_before, act.exposure_after
    resting = act.kind == "resting_entry"
    if resting and before == after:
        return case.skip(
            Skipped("waits_for_fill", "an order against the leader's exposure is copied when it fills")
        )
    # A price of another family means nothing for the follower: it follows the fills.
    if rule.mirror == "fills" or not same_prices(entry.from_root, entry.to_root):
        if resting:
            return case.skip(Skipped("waits_for_fill", "this rule copies the leader's fills"))
        before, after = act.position_before, act.position_after
    have = case.have
    episode = scene.book.episodes.get((rule.leader, rule.account_id, entry.to_root))
    allocation = allocate(rule, entry, episode, before, after, sizing_inputs(case))
    if isinstance(allocation, Skipped):
        if not have or before * after >= 0:
            return case.skip(allocation)
        # the leader turned and the new side cannot be sized: the old side is closed all the same
        step = step_of(have, None, grows=False)
        return _leg(case, step, None, shrink(case, step), allocation)
    entries = led_away(case, allocation.after) if case.children else []
    against, away = against_target(case, entries), astray(entries)
    step = step_of(have - away, allocation, grows=not scene.signal.is_exit)
    exits = shrink(case, step, against) if step.reduce or against else NO_EXITS
    growth = _grow(case, step, exits) if step.grow else _nothing_to_do(step, allocation, away)
    return _leg(case, step, allocation, exits, growth)


def _nothing_to_do(step: Step, allocation: Allocation, away: Decimal) -> Skipped:
    if step.reduce or away:
        why = "what is held is being closed; an entry still in flight is closed once it fills"
        return Skipped(CLOSING, why)
    if allocation.after == 0 and allocation.raw > 0:
        return Skipped("below_step", allocation.reason or "the copy is smaller than one contract")
    if not step.have:
        return Skipped("flat", "nothing is held because of this leader")
    return Skipped("on_target", "the follower has what it should have")


def _grow(case: Case, step: Step, exits: Exits) -> Skipped | Refused | tuple[Approved, ...]:
    """The entry with its protective orders, if the rule's filters and the risk check let it pass."""
    rule = case.rule
    if case.scene.verdict:
        return Skipped(case.scene.verdict, SENTENCES[case.scene.verdict])
    reason = None if rule.takes_all else filtered(case, step.side)
    reason = reason or _levels_differ(case)
    if reason is not None:
        return reason
    contract = _open_contract(case)
    if isinstance(contract, Skipped):
        return contract
    qty = step.grow if rule.max_order is None else min(step.grow, rule.max_order)
    if qty < rule.min_order:
        return Skipped("below_min_order", f"{qty} is less than the rule's min_order {rule.min_order}")
    closes = [order.intent for order in exits.orders]
    # A reversal opens the new side once the old one is closed: what waits for cancels would else be netted away.
    held_up = tuple(intent.cl_ord_id for intent in closes if intent.after)
    entry = entry_intent(case, contract, step.side, qty, held_up)
    if rule.guard_ticks is not None or rule.collar_ticks is not None:
        judged = _guarded(case, entry)
        if isinstance(judged, Skipped):
            return judged
        entry = judged
    closing = sum((i.qty for i in closes if i.symbol == contract), ZERO) if closes else ZERO
    prop = case.account.prop
    decision = check_entry(
        entry, risk_inputs(case, entry, closing), case.account.limits, None if prop is None else prop.limits
    )
    if isinstance(decision, Refused):
        return decision
    protective = protective_intents(case, entry)
    return (decision, *[approve_exit(order) for order in protective]) if protective else (decision,)


def _open_contract(case: Case) -> str | Skipped:
    """The contract to open in, unless the clocks or its expiry are against it. Exits never ask this."""
    scene = case.scene
    if scene.inputs.clock_off:
        why = "our clock and the sender's differ too much to know the signal's age: see the alert"
        return Skipped("clock_off", why)
    contract = scene.contract(case.entry.to_root)
    if isinstance(contract, Skipped):
        return contract
    least = case.account.limits.expiry_days_min
    if least and scene.days_left(contract) < least:
        why = f"{contract} expires in less than {least} days: send the next month, or lower expiry_days_min"
        return Skipped("near_expiry", why)
    return contract


def _guarded(case: Case, entry: OrderIntent) -> OrderIntent | Skipped:
    scene, root = case.scene, case.entry.to_root
    # A price of another family says nothing here.
    leader_price = scene.signal.price if same_prices(case.entry.from_root, root) else None
    best = scene.inputs.best.get(entry.symbol)
    return guarded(case.rule, entry, leader_price, best, INSTRUMENTS[root], scene.inputs.now)


def filtered(case: Case, side: Side) -> Skipped | None:
    """Why the rule takes no entry on this side now; None when it takes it."""
    rule, signal, root = case.rule, case.scene.signal, case.scene.act.root
    if rule.pace != "active":
        return Skipped(rule.pace, "this follower takes no entries now")
    if root in rule.exclude or (rule.include and root not in rule.include):
        return Skipped("symbol_filtered", f"the rule does not copy {root}")
    if rule.strategies and signal.strategy not in rule.strategies:
        return Skipped("strategy_filtered", "the rule does not copy this strategy")
    if rule.side_filter != "both" and (rule.side_filter == "long") != (side == "buy"):
        return Skipped("side_filtered", f"the rule copies {rule.side_filter} entries only")
    return None


def _levels_differ(case: Case) -> Skipped | None:
    """Levels of one family mean nothing for another: better no entry than one without its stop."""
    rule, signal, root = case.rule, case.scene.signal, case.scene.act.root
    levels = (signal.stop_loss and rule.copy_stop_loss) or (signal.take_profits and rule.copy_take_profit)
    if levels and not same_prices(root, case.entry.to_root):
        why = f"levels of {root} mean nothing for {case.entry.to_root}: do not copy stops and targets in this rule"
        return Skipped("prices_differ", why)
    return None


def _leg(
    case: Case,
    step: Step,
    allocation: Allocation | None,
    exits: Exits,
    growth: Skipped | Refused | tuple[Approved, ...],
) -> FollowerLeg:
    rule = case.rule
    if isinstance(growth, tuple):
        first = growth[0]
        notional = first.checks.notional if first.checks is not None else None
        return FollowerLeg(
            rule.account_id, rule.rule_id, rule.version, "approved", "", "", case.entry.to_root,
            _grown(step, first.intent.qty), allocation, exits.orders + growth, exits.cancels, (), None,
            case.account.equity, notional,
        )  # fmt: skip
    checks = growth.checks if isinstance(growth, Refused) else None
    sends = bool(exits.orders or exits.cancels)
    # An exit that leaves needs no excuse; a declined entry does, whatever else the leg sends.
    quiet = sends and growth.reason == CLOSING
    return FollowerLeg(
        account_id=rule.account_id,
        rule_id=rule.rule_id,
        rule_version=rule.version,
        outcome="approved" if sends else ("refused" if checks is not None else "skipped"),
        reason="" if quiet else growth.reason,
        detail="" if quiet else growth.detail,
        root=case.entry.to_root,
        # what is wanted from now on, even when nothing can be sent for it yet: late fills are judged by it
        target=wanted(case, step, allocation) if sends or case.children or case.held else None,
        allocation=allocation,
        orders=exits.orders,
        cancels=exits.cancels,
        checks=checks,
        equity=case.account.equity,
    )


def _grown(step: Step, qty: Decimal) -> Decimal:
    return step.kept + qty if step.side == "buy" else step.kept - qty
