"""Making a repair plan: exact orders against drift, reductions first, nothing above a target (R-043, R-046).

Pure and deterministic. A plan's id is a hash of its content and of how often its places were repaired before: planned
again in the same world it is the same plan, and after it was applied it never is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Final, NamedTuple

from kopitra.domain.allocation import Skipped
from kopitra.domain.book import Book, root_of
from kopitra.domain.case import Case, risk_inputs
from kopitra.domain.copy_rules import CopyRule, RepairPolicy
from kopitra.domain.drift import Found, asked, probe
from kopitra.domain.fanout import AccountInputs, PlanInputs
from kopitra.domain.ids import cl_ord_id
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.legs import entry_intent
from kopitra.domain.orders import OrderIntent
from kopitra.domain.plan import filtered
from kopitra.domain.repair import REPAIR_ORDERS_MAX, RepairPlan, RepairStep
from kopitra.domain.risk import SENTENCES, Refused, approve_exit, check_entry
from kopitra.domain.rule_words import RuleSaid, passes, refuses, said_of
from kopitra.domain.signals import Side
from kopitra.domain.sync import Drift

#: ticks around the last known price in which a market order is expected to fill
BAND_TICKS: Final = 20
_SHRINKS: Final = frozenset({"excess", "orphan", "opposite"})

#: why a difference is left alone, in words
LEFT: Final[Mapping[str, str]] = {
    "late_open": "what was missed is not opened late: ask for the policy top_up",
    "closed_by_hand": "a person closed it: ask for includeClosedByHand to open it again",
    "just_closed": "a person seems to have closed it: look again once a second read has confirmed that",
    "not_ours": "it is not ours: close it at the broker, or lift the block of the contract to accept it",
    "waits_until_flat": "the follower's policy is to wait until the leader is out",
    "reduce_first": "what is too much is closed first: look again afterwards",
    "no_rule": "no rule in force covers it: take the change back, or close it at the broker",
    "account_inactive": "the account is switched off or unknown",
    "too_many": f"a plan holds at most {REPAIR_ORDERS_MAX} orders: look again afterwards",
}


class Wish(NamedTuple):
    """What is asked for; `policy` overrides every follower's own."""

    policy: RepairPolicy | None = None
    include_closed_by_hand: bool = False


NO_WISH: Final = Wish()


@dataclass(frozen=True, slots=True)
class Repairable:
    """The world of one plan: drift with its waiting contracts, the rules by (account, leader), the inputs by leader,
    how old the inputs' prices are by product."""

    workspace: str
    book: Book
    found: Mapping[str, Found]
    rules: Mapping[tuple[str, str], CopyRule]
    inputs: Mapping[str, PlanInputs]
    now: datetime
    price_ages_ms: Mapping[str, int] = field(default_factory=dict[str, int])


def plan_repair(world: Repairable, wish: Wish, run_id: str) -> RepairPlan:
    """The plan for everything that was found. `run_id` names the comparison."""
    drifts = [drift for found in world.found.values() for drift in (*found.drifts, *found.reopenable)]
    fresh = {drift for found in world.found.values() for drift in found.drifts}
    waiting = [(a, c, why) for a, found in sorted(world.found.items()) for c, why in found.waiting]
    drifts.sort(key=lambda d: (d.kind not in _SHRINKS, d.account_id, d.symbol, d.leader, d.kind))
    plan_id = _name(world, wish, drifts)
    maker = _Maker(world, wish, plan_id)
    steps = tuple(maker.step(drift, drift in fresh) for drift in drifts)
    plan_id = _sealed(plan_id, steps)
    named = tuple(_named(step, plan_id, number) for number, step in enumerate(steps))
    return RepairPlan(
        plan_id,
        run_id,
        world.workspace,
        world.now,
        named,
        tuple(waiting),
        wish.policy,
        wish.include_closed_by_hand,
    )


def _name(world: Repairable, wish: Wish, drifts: Sequence[Drift]) -> str:
    """By the drift, what was asked for, and the repairs that were made there before."""
    repairs = world.book.sync.repairs
    places = sorted({(d.account_id, d.symbol) for d in drifts})
    counts = [(*place, repairs[place].count if place in repairs else 0) for place in places]
    text = repr((world.workspace, [tuple(d) for d in drifts], counts, wish))
    return "rp" + blake2b(text.encode(), digest_size=10).hexdigest()


def _sealed(plan_id: str, steps: Sequence[RepairStep]) -> str:
    """By the orders too: a limit that says something else makes another plan."""
    said = [(s.verdict, s.reason, s.approved.intent.qty if s.approved is not None else None) for s in steps]
    return "rp" + blake2b(repr((plan_id, said)).encode(), digest_size=10).hexdigest()


def _named(step: RepairStep, plan_id: str, number: int) -> RepairStep:
    """The order's own names, which come from the plan's."""
    if step.approved is None:
        return step
    intent = step.approved.intent
    # A close of a leg g that is rejected is not followed by another at once (see react): the next comparison decides.
    leg = f"{'e' if intent.role == 'entry' else 'g'}{number}"
    renamed = intent._replace(cl_ord_id=cl_ord_id(plan_id, intent.account_id, leg), list_id=plan_id, leg=leg)
    return step._replace(approved=step.approved._replace(intent=renamed))


class _Maker:
    """One verdict after the other; remembers what is being closed, because nothing is opened there meanwhile."""

    def __init__(self, world: Repairable, wish: Wish, ties: str) -> None:
        self._world = world
        self._wish = wish
        self._ties = ties
        #: (account, leader, root) with a reduction in this plan
        self._reduced: set[tuple[str, str, str]] = set()
        self._orders = 0

    def step(self, drift: Drift, fresh: bool) -> RepairStep:
        """The verdict on one difference; `fresh`: the book does not know of it yet."""
        rule = self._world.rules.get((drift.account_id, drift.leader))
        if drift.kind == "external":
            return _left(drift, "not_ours")
        if drift.kind == "closed_by_hand" and fresh:
            return _left(drift, "just_closed")
        if rule is None:
            return _left(drift, "no_rule")
        if self._orders >= REPAIR_ORDERS_MAX:
            return _left(drift, "too_many")
        why = self._unwanted(drift, self._wish.policy or rule.repair)
        if why:
            return _left(drift, why)
        made = self._reduce(drift, rule) if drift.kind in _SHRINKS else self._open(drift, rule)
        self._orders += made.approved is not None
        return made

    def _unwanted(self, drift: Drift, policy: RepairPolicy) -> str:
        """Why the policy leaves it alone; "" when it does not."""
        if drift.kind == "closed_by_hand":
            return "" if self._wish.include_closed_by_hand else "closed_by_hand"
        if drift.kind == "missed_open":
            return "" if policy == "top_up" else "late_open"
        waits = policy == "ignore_until_flat" and drift.kind != "orphan"
        return "waits_until_flat" if waits else ""

    def _reduce(self, drift: Drift, rule: CopyRule) -> RepairStep:
        self._reduced.add((drift.account_id, drift.leader, drift.root))
        account = self._world.inputs[drift.leader].accounts.get(drift.account_id)
        if account is None:
            return _left(drift, "account_inactive")._replace(verdict="refused")
        said = _said_of_close(account)
        against = next((rule for rule in said if rule.verdict == "refuses"), None)
        if against is not None:
            return RepairStep(drift, "refused", against.rule, against.detail, said=said)
        policy = self._wish.policy or rule.repair
        qty = abs(drift.held) if policy == "flatten" else abs(drift.qty)
        intent = OrderIntent(
            "", self._ties, drift.account_id, drift.leader, "g", "exit", drift.symbol,
            "sell" if drift.held > 0 else "buy", qty, reduce_only=True, rule_id=rule.rule_id, rule_version=rule.version,
        )  # fmt: skip
        return self._priced(RepairStep(drift, "approved", approved=approve_exit(intent), said=said))

    def _open(self, drift: Drift, rule: CopyRule) -> RepairStep:
        if (drift.account_id, drift.leader, drift.root) in self._reduced:
            return _left(drift, "reduce_first")
        side: Side = "buy" if drift.qty > 0 else "sell"
        inputs = self._world.inputs[drift.leader]
        case = probe(self._world.book, rule, drift.source, inputs, self._ties, "", side, abs(drift.qty))
        if case is None:
            return _left(drift, "account_inactive")._replace(verdict="refused")
        why = filtered(case, side)
        qty = abs(drift.qty) if rule.max_order is None else min(abs(drift.qty), rule.max_order)
        if why is None and qty < rule.min_order:
            why = Skipped("below_min_order", f"{qty} is less than the rule's min_order {rule.min_order}")
        step = _checked(drift, case, entry_intent(case, drift.symbol, side, qty))
        if why is not None:
            said = (refuses(why.reason, why.detail), *step.said)
            return RepairStep(drift, "refused", why.reason, why.detail, said=said)
        return self._priced(step)

    def _priced(self, step: RepairStep) -> RepairStep:
        """The prices at which it is expected to fill."""
        root = root_of(step.drift.symbol)
        known = self._world.inputs[step.drift.leader].prices.get(root)
        if known is None:
            return step
        room = BAND_TICKS * INSTRUMENTS[root].tick_size
        age_ms = self._world.price_ages_ms.get(root)
        return step._replace(price_low=known - room, price_high=known + room, price_age_ms=age_ms)


def _said_of_close(account: AccountInputs) -> tuple[RuleSaid, ...]:
    """No limit holds back what only reduces."""
    halted, live = account.switch == "halted", account.session_live
    return (
        (refuses if halted else passes)(
            "kill_switch", SENTENCES["kill_switch"] if halted else "it lets closes through"
        ),
        passes("session_down", "the session is live")
        if live
        else refuses("session_down", SENTENCES["session_down"]),
    )


def _checked(drift: Drift, case: Case, entry: OrderIntent) -> RepairStep:
    """An order that opens passes the same check as every entry; its stretch gets the scale it would have had."""
    # Market, whatever: a repair has no price of its own, and no follower's delay.
    entry = entry._replace(time_in_force="day", delay_ms=0)
    prop = case.account.prop
    limits = None if prop is None else prop.limits
    inputs = risk_inputs(case, entry)
    decision = check_entry(entry, inputs, case.account.limits, limits)
    said = said_of(entry, inputs, case.account.limits, limits)
    if isinstance(decision, Refused):
        return RepairStep(
            drift, "refused", decision.reason, decision.detail, checks=decision.checks, said=said
        )
    episode = case.scene.book.episodes.get((drift.leader, drift.account_id, drift.root))
    scale = asked(case) if episode is None else None
    return RepairStep(drift, "approved", approved=decision, said=said, allocation=scale)


def _left(drift: Drift, reason: str) -> RepairStep:
    return RepairStep(drift, "left", reason, LEFT[reason])
