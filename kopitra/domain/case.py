"""What one decision looks at: the scene all followers of an act share, and each follower's own case in it.

The scene remembers what it worked out once (contract, price, age), because twenty followers ask the same questions
within a few hundred microseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NamedTuple

from kopitra.domain.allocation import SizingInputs, Skipped
from kopitra.domain.attribution import missing
from kopitra.domain.book import Book, ChildOrder, Position, root_of
from kopitra.domain.copy_rules import CopyRule, MapEntry, SizingMode
from kopitra.domain.fanout import AccountInputs, FollowerLeg, LeaderAct, PlanInputs
from kopitra.domain.flattening import stopped_by
from kopitra.domain.ids import cl_ord_id
from kopitra.domain.instruments import INSTRUMENTS, MONTH_CODES, Contract, days_to_expiry, front_month
from kopitra.domain.orders import ZERO, OrderIntent
from kopitra.domain.prop_checks import with_prop
from kopitra.domain.risk import FUTURE_MS_MAX, RiskInputs
from kopitra.domain.signals import Signal, StopLoss, TakeProfit
from kopitra.domain.streams import Verdict

#: milliseconds that a limit entry may be old where its rule allows less
LIMIT_AGE_MS: Final = 30_000
_NO_CHILDREN: Final[Mapping[str, ChildOrder]] = {}
_NEEDS_NOTHING: Final = frozenset[SizingMode]({"fixed", "multiplier"})
_NOTHING_GIVEN: Final = SizingInputs(None, None, None, None)
_POINT_VALUES: Final[Mapping[str, Decimal]] = {root: i.point_value for root, i in INSTRUMENTS.items()}
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
    #: what is wrong with the signal: its entries are declined with it
    verdict: Verdict = ""
    age_ms: int = field(init=False)
    #: the route of rules that map nothing
    same: MapEntry = field(init=False)
    _contracts: dict[str, str | Skipped] = field(init=False, default_factory=dict[str, str | Skipped])
    _prices: dict[str, Decimal | None] = field(init=False, default_factory=dict[str, Decimal | None])
    _days_left: dict[str, int] = field(init=False, default_factory=dict[str, int])

    def __post_init__(self) -> None:
        self.same = MapEntry(self.act.root, self.act.root)
        age_ms = round((self.inputs.now - self.signal.occurred_at).total_seconds() * 1000)
        # What lies in the future beyond the tolerance stays there: it is refused, not made fresh.
        self.age_ms = age_ms if age_ms < -FUTURE_MS_MAX else age_ms + self.inputs.sender_ahead_ms

    def contract(self, root: str) -> str | Skipped:
        """The leader's month where the follower's product lists it, else the front month."""
        known = self._contracts.get(root)
        if known is None:
            known = self._contracts[root] = _contract(root, self.signal.contract, self.inputs)
        return known

    def days_left(self, contract: str) -> int:
        """Days until the last trading day of a contract that `contract` named."""
        days = self._days_left.get(contract)
        if days is None:
            today = self.inputs.today
            days = self._days_left[contract] = days_to_expiry(Contract.parse(contract, today), today)
        return days

    def price(self, entry: MapEntry) -> Decimal | None:
        """Reference price of the follower's product: the signal's own within its family, else the last known."""
        root = entry.to_root
        if root not in self._prices:
            self._prices[root] = self._reference(entry)
        return self._prices[root]

    def _reference(self, entry: MapEntry) -> Decimal | None:
        signal, prices = self.signal, self.inputs.prices
        if not same_prices(entry.from_root, entry.to_root):
            return prices.get(entry.to_root)
        named = signal.price if signal.price is not None else signal.stop_price
        if named is not None:
            return named
        known = prices.get(entry.to_root)
        return known if known is not None else prices.get(self.act.root)


def same_prices(from_root: str, to_root: str) -> bool:
    """True when a price or month of one product means the same for the other: ES and MES, not ES and NQ."""
    return from_root == to_root or INSTRUMENTS[from_root].family == INSTRUMENTS[to_root].family


def _lists(root: str, month: int) -> bool:
    return MONTH_CODES[month - 1] in INSTRUMENTS[root].months


def _contract(root: str, named: str | None, inputs: PlanInputs) -> str | Skipped:
    contract = front_month(root, inputs.today)
    asked = None if named is None else Contract.parse(named, inputs.today)
    # The leader's month means something only within its family: December oil expires in November.
    if asked is not None and same_prices(asked.root, root) and _lists(root, asked.month):
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

    def level(self, price: Decimal | None) -> Decimal | None:
        """The leader's price on the follower's grid (within a family, E7's tick is twice 6E's)."""
        entry = self.entry
        if price is None or entry.from_root == entry.to_root:
            return price
        return INSTRUMENTS[entry.to_root].snap(price, "nearest")

    def name(self, leg: str) -> str:
        """The client order id of one leg."""
        return cl_ord_id(self.scene.list_id, self.rule.account_id, leg + self.scene.suffix)

    @property
    def have(self) -> Decimal:
        """Signed contracts under the leader if every working entry and exit of ours filled."""
        if not self.children and not self.held:
            return ZERO
        return self.scene.book.exposure(self.rule.account_id, self.rule.leader, self.entry.to_root)

    @property
    def may_have(self) -> Decimal:
        """The same with entries in doubt."""
        return self.scene.book.exposure(
            self.rule.account_id, self.rule.leader, self.entry.to_root, doubts=True
        )


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
    """What a sizing mode may need, from the signal and the captured inputs.

    An inverse follower loses at the leader's (first) target: that is its stop.
    """
    if case.rule.sizing.mode in _NEEDS_NOTHING:
        return _NOTHING_GIVEN
    scene = case.scene
    price = scene.price(case.entry)
    signal = scene.signal
    stop: StopLoss | TakeProfit | None = signal.stop_loss
    if case.rule.inverse:
        stop = signal.take_profits[0] if signal.take_profits else None
    distance = None
    if stop is not None:
        distance = stop.offset
        if distance is None and price is not None and stop.price is not None:
            distance = abs(price - stop.price)
    return SizingInputs(case.account.equity, scene.inputs.leader_equity, price, distance)


def risk_inputs(case: Case, entry: OrderIntent, closing: Decimal = ZERO) -> RiskInputs:
    """What the risk check of an entry looks at; `closing` contracts are closed beside it (a reversal)."""
    scene, account, rule = case.scene, case.account, case.rule
    root = case.entry.to_root
    price = scene.price(case.entry)
    pending = scene.book.entries.get((entry.account_id, entry.symbol), _NO_CHILDREN)
    after = _position_after(case, entry, pending, closing)
    inputs = RiskInputs(
        account.switch,
        account.session_live,
        scene.age_ms,
        _max_age_ms(case, entry),
        entry.qty,
        after,
        None if price is None else abs(price * after) * _POINT_VALUES[root],
        account.day_pnl,
        scene.book.orders_last_minute(rule.account_id, scene.inputs.now),
        account.in_hours,
        root,
        None if entry.ord_type == "market" else _distance_ticks(case, entry),
        account.limits.duplicate_window_ms > 0 and _is_duplicate(case, entry),
        bool(scene.book.doubts) and any(name in scene.book.doubts for name in pending),
        blocked(scene.book, entry),
        account.limits_version,
        position_differs=bool(missing(scene.book, entry.account_id, entry.symbol)),
    )
    standing = account.prop
    if standing is None:
        return inputs
    return with_prop(inputs, standing, scene.book, account, entry, _has_stop(case))


def _has_stop(case: Case) -> bool:
    """The entry will carry a stop: for an inverse follower that is the leader's first target."""
    signal, rule = case.scene.signal, case.rule
    stop = bool(signal.take_profits) if rule.inverse else signal.stop_loss is not None
    return stop and rule.copy_stop_loss


def blocked(book: Book, entry: OrderIntent) -> str:
    """Why entries of the account, or of this contract there, are stopped; "" when they are not."""
    found = book.blocked.get(entry.account_id, "")
    if book.flattens:
        found = stopped_by(book.blocked, book.flattens, entry.account_id)
    if found or not book.sync.blocked:
        return found
    return book.sync.blocked.get((entry.account_id, entry.symbol), "")


def _max_age_ms(case: Case, entry: OrderIntent) -> int:
    """A market entry stays one in its collar: it wants the present price, not the leader's."""
    signal, rule = case.scene.signal, case.rule
    if rule.collar_ticks is not None and (signal.is_fill or signal.ord_type == "market"):
        return rule.max_age_ms
    return max_age_ms(rule, entry)


def max_age_ms(rule: CopyRule, entry: OrderIntent) -> int:
    """Milliseconds an entry may be old: a limit order never gets a worse price than the leader's (R-068)."""
    return max(rule.max_age_ms, LIMIT_AGE_MS) if entry.ord_type == "limit" else rule.max_age_ms


def _position_after(
    case: Case, entry: OrderIntent, pending: Mapping[str, ChildOrder], closing: Decimal
) -> Decimal:
    """The largest position this entry can lead to, whoever's entries are open and whatever fills first.

    Entries of every leader on the account count, but only those on its side: the others may not fill. Our
    executions and the broker's report can each lag the other, so the larger result counts.
    """
    adding = entry.qty
    for order in pending.values():
        if order.intent.side == entry.side:
            adding += order.leaves_qty
    signed = adding if entry.side == "buy" else -adding
    counted = case.scene.book.positions.get((entry.account_id, entry.symbol))
    reported = case.account.reported.get(entry.symbol)
    if counted is None and reported is None:
        return adding
    held = counted.qty if counted is not None else ZERO
    found = max(abs(held + signed), abs(signed if reported is None else reported + signed))
    if not closing:
        return found
    # What is closed beside it is on the same side: with it the position ends further over there.
    closed = closing if entry.side == "buy" else -closing
    return max(found, abs(held + closed + signed))


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
