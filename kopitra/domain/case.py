"""What one decision looks at: the scene all followers of an act share, and each follower's own case in it.

The scene remembers what it worked out once (contract, price, age), because twenty followers ask the same questions
within a few hundred microseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NamedTuple

from kopitra.domain.allocation import SizingInputs, Skipped
from kopitra.domain.book import Book, ChildOrder, Position, root_of
from kopitra.domain.copy_rules import CopyRule, MapEntry
from kopitra.domain.fanout import AccountInputs, FollowerLeg, LeaderAct, PlanInputs
from kopitra.domain.ids import cl_ord_id
from kopitra.domain.instruments import INSTRUMENTS, MONTH_CODES, Contract, days_to_expiry, front_month
from kopitra.domain.orders import ZERO, OrderIntent
from kopitra.domain.risk import RiskInputs
from kopitra.domain.signals import Signal, sign

_NO_CHILDREN: Final[Mapping[str, ChildOrder]] = {}
_NOTHING_HELD: Final[Mapping[str, Position]] = {}


@dataclass(slots=True)
class Scene:
    """One act of one signal, and what all its followers share."""

    signal: Signal
    act: LeaderAct
    book: Book
    inputs: PlanInputs
    list_id: str
    #: tells the products of a signal that spans several apart; "" for all others
    suffix: str = ""
    age_ms: int = field(init=False)
    _contracts: dict[str, str | Skipped] = field(init=False, default_factory=dict[str, str | Skipped])
    _prices: dict[str, Decimal | None] = field(init=False, default_factory=dict[str, Decimal | None])

    def __post_init__(self) -> None:
        self.age_ms = round((self.inputs.now - self.signal.occurred_at).total_seconds() * 1000)

    def contract(self, root: str) -> str | Skipped:
        """The leader's month where the follower's product lists it, else the front month."""
        known = self._contracts.get(root)
        if known is None:
            known = self._contracts[root] = _contract(root, self.signal.contract, self.inputs)
        return known

    def price(self, entry: MapEntry) -> Decimal | None:
        """Reference price of the follower's product: the signal's own within its family, else the last known."""
        root = entry.to_root
        if root not in self._prices:
            self._prices[root] = self._reference(entry)
        return self._prices[root]

    def _reference(self, entry: MapEntry) -> Decimal | None:
        signal, prices = self.signal, self.inputs.prices
        if INSTRUMENTS[entry.from_root].family != INSTRUMENTS[entry.to_root].family:
            return prices.get(entry.to_root)
        named = signal.price if signal.price is not None else signal.stop_price
        if named is not None:
            return named
        known = prices.get(entry.to_root)
        return known if known is not None else prices.get(self.act.root)


def _contract(root: str, named: str | None, inputs: PlanInputs) -> str | Skipped:
    contract = front_month(root, inputs.today)
    if named is not None:
        asked = Contract.parse(named, inputs.today)
        if MONTH_CODES[asked.month - 1] in INSTRUMENTS[root].months:
            contract = Contract(root, asked.year, asked.month)
    if days_to_expiry(contract, inputs.today) < 0:
        return Skipped("expired", f"{contract.symbol} has expired: send a live contract or the root")
    return contract.symbol


class Case(NamedTuple):
    """One follower in a scene."""

    scene: Scene
    rule: CopyRule
    entry: MapEntry
    account: AccountInputs
    #: open children of the account under the leader
    children: Mapping[str, ChildOrder]
    #: contract -> what is held because of the leader
    held: Mapping[str, Position]

    def skip(self, why: Skipped) -> FollowerLeg:
        """Nothing is to be done."""
        return declined(self.rule, self.entry.to_root, why, self.account.equity)

    def name(self, leg: str) -> str:
        """The client order id of one leg."""
        return cl_ord_id(self.scene.list_id, self.rule.account_id, leg + self.scene.suffix)

    @property
    def have(self) -> Decimal:
        """Signed contracts under the leader if every working entry and exit of ours filled."""
        if not self.children and not self.held:
            return ZERO
        return self.scene.book.exposure(self.rule.account_id, self.rule.leader, self.entry.to_root)


def case_of(scene: Scene, rule: CopyRule, entry: MapEntry, account: AccountInputs) -> Case:
    """A follower's case."""
    key = (rule.account_id, rule.leader)
    book = scene.book
    return Case(
        scene, rule, entry, account, book.open.get(key, _NO_CHILDREN), book.holdings.get(key, _NOTHING_HELD)
    )


def declined(rule: CopyRule, root: str, why: Skipped, equity: Decimal | None = None) -> FollowerLeg:
    """A leg that sends nothing."""
    return FollowerLeg(
        rule.account_id, rule.rule_id, rule.version, "skipped", why.reason, why.detail, root, None, None,
        equity=equity,
    )  # fmt: skip


def sizing_inputs(case: Case) -> SizingInputs:
    """What a sizing mode may need, from the signal and the captured inputs."""
    scene = case.scene
    price = scene.price(case.entry)
    stop = scene.signal.stop_loss
    distance = None
    if stop is not None:
        distance = stop.offset
        if distance is None and price is not None and stop.price is not None:
            distance = abs(price - stop.price)
    return SizingInputs(case.account.equity, scene.inputs.leader_equity, price, distance)


def risk_inputs(case: Case, entry: OrderIntent) -> RiskInputs:
    """What the risk check of an entry looks at."""
    scene, account, rule = case.scene, case.account, case.rule
    root = case.entry.to_root
    price = scene.price(case.entry)
    after = _position_after(case, entry)
    return RiskInputs(
        account.switch,
        account.session_live,
        scene.age_ms,
        int(rule.max_age_s * 1000),
        entry.qty,
        after,
        None if price is None else INSTRUMENTS[root].notional(price, after),
        account.day_pnl,
        scene.book.orders_last_minute(rule.account_id, scene.inputs.now),
        account.in_hours,
        root,
        None if entry.ord_type == "market" else _distance_ticks(case, entry),
        account.limits.duplicate_window_ms > 0 and _is_duplicate(case, entry),
        bool(case.children) and _has_doubt(case, entry),
        scene.book.blocked.get(rule.account_id, ""),
        account.limits_version,
    )


def _position_after(case: Case, entry: OrderIntent) -> Decimal:
    """The larger of what our executions and what the broker's report would give: each can lag the other."""
    adding = entry.qty if entry.side == "buy" else -entry.qty
    for order in case.children.values():
        if order.intent.role == "entry" and order.intent.symbol == entry.symbol:
            adding += order.leaves_qty * sign(order.intent.side)
    counted = case.scene.book.positions.get((entry.account_id, entry.symbol))
    reported = case.account.reported.get(entry.symbol)
    by_us = abs(adding if counted is None else counted.qty + adding)
    return by_us if reported is None else max(by_us, abs(reported + adding))


def _has_doubt(case: Case, entry: OrderIntent) -> bool:
    return any(
        o.state == "in_doubt" and o.intent.role == "entry" and o.intent.symbol == entry.symbol
        for o in case.children.values()
    )


def _distance_ticks(case: Case, entry: OrderIntent) -> int | None:
    root = root_of(entry.symbol)
    price = entry.price or entry.stop_price
    known = case.scene.inputs.prices.get(root)
    if price is None or known is None:
        return None
    return int(abs(price - known) / INSTRUMENTS[root].tick_size)


def _is_duplicate(case: Case, entry: OrderIntent) -> bool:
    last = case.scene.book.last_entries.get((entry.account_id, entry.symbol, entry.side))
    if last is None or (last.qty, last.price) != (entry.qty, entry.price):
        return False
    since_ms = (case.scene.signal.received_at - last.at).total_seconds() * 1000
    return since_ms < case.account.limits.duplicate_window_ms
