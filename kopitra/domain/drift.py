"""Drift: what an account really holds, against what the book attributes and what its leaders ask for (R-041).

Pure. A contract in which anything of ours is on its way or in doubt is not judged at all; what is not ours is told
apart from what is, and what somebody else closed from what was never opened.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from kopitra.domain.allocation import Allocation, allocate
from kopitra.domain.attribution import attributed, lost_of
from kopitra.domain.book import Book, ChildOrder, root_of
from kopitra.domain.case import Case, Scene, case_of, same_prices, sizing_inputs
from kopitra.domain.copy_rules import CopyRule, MapEntry
from kopitra.domain.fanout import LeaderAct, PlanInputs
from kopitra.domain.orders import ZERO
from kopitra.domain.signals import Side, Signal, sign
from kopitra.domain.sync import Drift, DriftKind


class Ask(NamedTuple):
    """What a follower should have because of one product of its leader, in `root`, its own product."""

    rule: CopyRule
    source: str
    root: str
    #: None: the rule cannot size it (no equity, no price)
    allocation: Allocation | None
    #: where a new position would be opened; None: no contract is live
    contract: str | None


class Found(NamedTuple):
    """Drift of one account, the contracts that cannot be judged now with the reason, and what of the present
    stretches a person closed earlier: no drift, but it can be opened again."""

    drifts: tuple[Drift, ...]
    waiting: tuple[tuple[str, str], ...]
    reopenable: tuple[Drift, ...] = ()


def route(rule: CopyRule, source: str) -> MapEntry | None:
    """The follower's product for a leader's; None when the rule copies none."""
    entry = rule.routes.get(source)
    if entry is None and source not in rule.taken:
        entry = MapEntry(source, source)
    return entry


def probe(
    book: Book,
    rule: CopyRule,
    source: str,
    inputs: PlanInputs,
    ties: str,
    suffix: str,
    side: Side,
    qty: Decimal,
) -> Case | None:
    """The follower's case as if its leader had just said what it holds; None when nothing of it is copied here."""
    entry, account = route(rule, source), inputs.accounts.get(rule.account_id)
    if entry is None or account is None:
        return None
    leader = book.leader(rule.leader, source)
    signal = Signal(
        rule.workspace, rule.leader, ties, "operator", "add", source, inputs.now, inputs.now,
        side=side, quantity=qty or None,
    )  # fmt: skip
    act = LeaderAct("position", source, leader.qty, leader.qty, leader.exposure, leader.exposure)
    return case_of(Scene(signal, act, book, inputs, ties, suffix), rule, entry, account)


def asks_of(book: Book, rules: Sequence[CopyRule], inputs: Mapping[str, PlanInputs]) -> tuple[Ask, ...]:
    """What the rules of one account ask for now; `inputs` by leader."""
    return tuple(
        ask
        for rule in sorted(rules, key=lambda r: r.rule_id)
        for leader, source in sorted(book.leaders)
        if leader == rule.leader and (ask := _ask(book, rule, source, inputs[leader])) is not None
    )


def _ask(book: Book, rule: CopyRule, source: str, inputs: PlanInputs) -> Ask | None:
    case = probe(book, rule, source, inputs, "", "", "buy", ZERO)
    if case is None:
        return None
    contract = case.scene.contract(case.entry.to_root)
    return Ask(rule, source, case.entry.to_root, asked(case), contract if isinstance(contract, str) else None)


def asked(case: Case) -> Allocation | None:
    """What the leader asks of the follower by all it holds (and rests), never by the last slice (R-036); None: the
    rule cannot size it."""
    rule, entry, book = case.rule, case.entry, case.scene.book
    by_fills = rule.mirror == "fills" or not same_prices(entry.from_root, entry.to_root)
    act = case.scene.act
    exposure = act.position_after if by_fills else act.exposure_after
    episode = book.episodes.get((rule.leader, rule.account_id, entry.to_root))
    allocation = allocate(rule, entry, episode, exposure, exposure, sizing_inputs(case))
    return allocation if isinstance(allocation, Allocation) else None


def waits_for(book: Book, account_id: str, contract: str) -> str:
    """Why a contract cannot be judged now: an order of ours that is on its way, in doubt or changing; "" when it can.

    Resting orders that the broker has confirmed are at rest: they hold nothing up. Nor do parked ones: a person has
    them, perhaps for ever, and what the account holds is drift meanwhile.
    """
    for order in _open(book, account_id, contract):
        if _moves(order):
            return f"{order.intent.cl_ord_id} is {order.state.replace('_', ' ')}"
    held_up = any(key.account_id == account_id and key.symbol == contract for key in book.pending_exits)
    return "an exit is tried again until the market takes it" if held_up else ""


def fills_now(book: Book, account_id: str, contract: str) -> bool:
    """An order of ours may be filling while nobody has heard of it yet, so that a read shows a position ahead of its
    executions. What has not left, what rests and doubts, which may stay for ever, do not count."""
    return any(
        not order.unsent and (order.state == "claimed" or order.is_at_market)
        for order in _open(book, account_id, contract)
    )


def _open(book: Book, account_id: str, contract: str) -> Iterator[ChildOrder]:
    for (account, _), children in book.open.items():
        if account == account_id:
            yield from (order for order in children.values() if order.intent.symbol == contract)


def _moves(order: ChildOrder) -> bool:
    intent = order.intent
    if order.state == "parked":
        return False
    if order.state == "planned":
        return intent.role in ("entry", "exit")
    if order.state in ("claimed", "in_doubt") or intent.role == "exit" or intent.ord_type == "market":
        return True
    return order.cancel is not None or order.replace is not None or order.replace_sent


def find(
    book: Book, account_id: str, positions: Mapping[str, Decimal], asks: Sequence[Ask], *, leads: bool
) -> Found:
    """All drift of one account. `positions`: the broker's whole list, contract -> net, flat ones left out or zero.

    `leads`: a leader trades in this account by its own hand, so that foreign contracts are expected.
    """
    look = _Look(book, account_id, positions, asks)
    drifts = [*look.closed_by_hand(), *(d for leader, root in look.pairs() for d in look.of(leader, root))]
    if not leads:
        drifts += look.external()
    ordered = tuple(sorted(drifts, key=lambda d: d.key))
    return Found(ordered, tuple(sorted(look.waiting.items())), tuple(look.reopenable()))


class _Look:
    """One comparison; made of what is asked several times."""

    def __init__(
        self, book: Book, account_id: str, positions: Mapping[str, Decimal], asks: Sequence[Ask]
    ) -> None:
        self._book = book
        self._account = account_id
        self._positions = positions
        self._asks = {(a.rule.leader, a.root): a for a in asks}
        behind = {c for (a, who), held in book.holdings.items() if a == account_id and who for c in held}
        asked = {a.contract for a in asks if a.contract is not None}
        contracts = sorted({c for c, qty in positions.items() if qty} | behind | asked)
        self.waiting = {c: why for c in contracts if (why := waits_for(book, account_id, c))}
        #: contract -> leader -> signed contracts: what was attributed, what of it is gone, what is there
        self._held: dict[str, dict[str, Decimal]] = {}
        self._lost: dict[str, dict[str, Decimal]] = {}
        self._here: dict[str, dict[str, Decimal]] = {}
        for contract in contracts:
            held = attributed(book, account_id, contract)
            held.pop("", None)  # a flatten's closes: what they closed is not there any more
            targets = {name: self._target(name, root_of(contract)) for name in held}
            lost = lost_of(held, positions.get(contract, ZERO), targets)
            self._held[contract], self._lost[contract] = held, lost
            self._here[contract] = {name: qty - lost.get(name, ZERO) for name, qty in held.items()}

    def _target(self, leader: str, root: str) -> Decimal:
        episode = self._book.episodes.get((leader, self._account, root))
        return episode.target if episode is not None else ZERO

    def pairs(self) -> list[tuple[str, str]]:
        """(leader, root) that hold or ask for something, without those that cannot be judged now."""
        held = {(name, root_of(c)) for c, here in self._here.items() for name in here}
        unsure = {root_of(c) for c in self.waiting}
        return sorted(pair for pair in held | set(self._asks) if pair[1] not in unsure)

    def closed_by_hand(self) -> list[Drift]:
        """What was attributed and is not there."""
        return [
            self._drift("closed_by_hand", leader, contract, qty)
            for contract, lost in self._lost.items()
            if contract not in self.waiting
            for leader, qty in sorted(lost.items())
        ]

    def external(self) -> list[Drift]:
        """What is there and not ours, but for what a person has accepted."""
        found: list[Drift] = []
        for contract, here in self._here.items():
            foreign = self._positions.get(contract, ZERO) - sum(here.values(), ZERO)
            accepted = self._book.sync.accepted.get((self._account, contract), ZERO)
            fits = foreign * accepted > 0 and abs(foreign) <= abs(accepted)
            if foreign and not fits and contract not in self.waiting:
                found.append(self._drift("external", "", contract, -foreign))
        return found

    def of(self, leader: str, root: str) -> list[Drift]:
        """Too much, on the wrong side, or missing, behind one leader in one product."""
        target = self._target(leader, root)
        here = self._of(leader, root)
        found: list[Drift] = []
        left = abs(target)
        for contract, qty in sorted(here.items()):
            keep = min(abs(qty), left) if qty * target > 0 else ZERO
            left -= keep
            over = abs(qty) - keep
            if over:
                kind = self._kind(leader, root, qty, target)
                found.append(self._drift(kind, leader, contract, -over if qty > 0 else over))
        missed = self._missed(leader, root, here)
        return [*found, missed] if missed is not None else found

    def _kind(self, leader: str, root: str, qty: Decimal, target: Decimal) -> DriftKind:
        if qty * target < 0:
            return "opposite"
        ask = self._asks.get((leader, root))
        source = self._book.leader(leader, root if ask is None else ask.source)
        return "excess" if target or source.exposure else "orphan"

    def _missed(self, leader: str, root: str, here: Mapping[str, Decimal]) -> Drift | None:
        """Less than the leader asks for, resting entries and what was closed by hand left out."""
        missing, contract = self._missing(leader, root, here)
        gone = sum((lost.get(leader, ZERO) for c, lost in self._lost.items() if root_of(c) == root), ZERO)
        left = abs(missing) - abs(self._by_hand(leader, root)) - abs(gone)
        if left <= 0 or contract is None:
            return None
        return self._drift("missed_open", leader, contract, left if missing > 0 else -left)

    def reopenable(self) -> list[Drift]:
        """What a person closed in a stretch that goes on, as far as the leader still asks for it."""
        found: list[Drift] = []
        for leader, root in self.pairs():
            by_hand = self._by_hand(leader, root)
            missing, contract = (
                self._missing(leader, root, self._of(leader, root)) if by_hand else (ZERO, None)
            )
            if by_hand * missing > 0 and contract is not None:
                qty = by_hand if abs(by_hand) < abs(missing) else missing
                found.append(self._drift("closed_by_hand", leader, contract, qty))
        return found

    def _by_hand(self, leader: str, root: str) -> Decimal:
        return self._book.sync.by_hand.get((leader, self._account, root), ZERO)

    def _of(self, leader: str, root: str) -> dict[str, Decimal]:
        """contract -> signed contracts of a leader that are there."""
        return {
            c: qty
            for c, names in self._here.items()
            if root_of(c) == root and (qty := names.get(leader, ZERO))
        }

    def _missing(self, leader: str, root: str, here: Mapping[str, Decimal]) -> tuple[Decimal, str | None]:
        """Signed contracts between what the leader asks for and what is there or rests, and where they would open."""
        ask = self._asks.get((leader, root))
        if ask is None or ask.allocation is None or not ask.allocation.after:
            return ZERO, None
        after = ask.allocation.after
        have = sum((qty for qty in here.values() if qty * after > 0), ZERO)
        coming = sum(
            (o.wanted_qty for o in self._entries(leader, root) if sign(o.intent.side) * after > 0), ZERO
        )
        missing = max(ZERO, abs(after) - abs(have) - coming)
        contract = next((c for c, qty in sorted(here.items()) if qty * after > 0), ask.contract)
        return (missing if after > 0 else -missing), contract

    def _entries(self, leader: str, root: str) -> list[ChildOrder]:
        found = self._book.open_children(self._account, leader)
        return [
            o for o in found if o.intent.role == "entry" and root_of(o.intent.symbol) == root and not o.cancel
        ]

    def _drift(self, kind: DriftKind, leader: str, contract: str, qty: Decimal) -> Drift:
        root = root_of(contract)
        ask = self._asks.get((leader, root))
        if kind == "missed_open" and ask is not None and ask.allocation is not None:
            target = ask.allocation.after
        else:
            target = self._target(leader, root)
        return Drift(
            self._account,
            contract,
            leader,
            kind,
            qty,
            target,
            self._here.get(contract, {}).get(leader, ZERO),
            self._positions.get(contract, ZERO),
            root if leader else "",
            ask.source if ask is not None else "",
        )
