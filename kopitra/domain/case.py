"""One follower's case in a decision: everything the plan of that follower looks at, and the inputs derived from it."""

from dataclasses import dataclass
from decimal import Decimal

from kopitra.domain.allocation import SizingInputs, Skipped
from kopitra.domain.book import Book, root_of
from kopitra.domain.copy_rules import CopyRule, MapEntry
from kopitra.domain.fanout import AccountInputs, FollowerLeg, LeaderAct, PlanInputs
from kopitra.domain.instruments import INSTRUMENTS
from kopitra.domain.legs import Maker
from kopitra.domain.orders import ZERO, OrderIntent
from kopitra.domain.risk import RiskInputs
from kopitra.domain.signals import Signal, sign


@dataclass(frozen=True, slots=True)
class Case:
    """One follower, one act."""

    signal: Signal
    act: LeaderAct
    rule: CopyRule
    entry: MapEntry
    maker: Maker
    book: Book
    inputs: PlanInputs
    account: AccountInputs

    def skip(self, why: Skipped) -> FollowerLeg:
        """Nothing is to be done."""
        return declined(self.rule, self.entry.to_root, why, self.account.equity)

    @property
    def price(self) -> Decimal | None:
        """Reference price of the follower's product: the signal's own, else the last known."""
        signal = self.signal
        if self.entry.to_root == self.act.root or _same_family(self.entry):
            named = signal.price or signal.stop_price
            if named is not None:
                return named
        known = self.inputs.prices.get(self.entry.to_root)
        if known is None and _same_family(self.entry):
            known = self.inputs.prices.get(self.act.root)
        return known


def _same_family(entry: MapEntry) -> bool:
    return INSTRUMENTS[entry.from_root].family == INSTRUMENTS[entry.to_root].family


def declined(rule: CopyRule, root: str, why: Skipped, equity: Decimal | None = None) -> FollowerLeg:
    """A leg that sends nothing."""
    return FollowerLeg(
        account_id=rule.account_id,
        rule_id=rule.rule_id,
        rule_version=rule.version,
        outcome="skipped",
        reason=why.reason,
        detail=why.detail,
        root=root,
        target=None,
        allocation=None,
        equity=equity,
    )


def sizing_inputs(case: Case) -> SizingInputs:
    """What a sizing mode may need, from the signal and the captured inputs."""
    return SizingInputs(
        follower_equity=case.account.equity,
        leader_equity=case.inputs.leader_equity,
        price=case.price,
        stop_distance=_stop_distance(case),
    )


def _stop_distance(case: Case) -> Decimal | None:
    stop = case.signal.stop_loss
    if stop is None:
        return None
    if stop.offset is not None:
        return stop.offset
    price = case.price
    return abs(price - stop.price) if price is not None and stop.price is not None else None


def risk_inputs(case: Case, entry: OrderIntent) -> RiskInputs:
    """What the risk check of an entry looks at."""
    book, inputs, account, rule = case.book, case.inputs, case.account, case.rule
    price = case.price
    after = _position_after(book, account, entry)
    instrument = INSTRUMENTS[case.entry.to_root]
    signal = case.signal
    return RiskInputs(
        switch=account.switch,
        session_live=account.session_live,
        age_ms=round((inputs.now - signal.occurred_at).total_seconds() * 1000),
        max_age_ms=int(rule.max_age_s * 1000),
        order_qty=entry.qty,
        position_after=after,
        notional=instrument.notional(price, after) if price is not None else None,
        day_pnl=account.day_pnl,
        orders_last_minute=book.orders_last_minute(rule.account_id, inputs.now),
        in_hours=account.in_hours,
        root=case.entry.to_root,
        price_distance_ticks=_distance_ticks(case, entry),
        duplicate=_is_duplicate(case, entry),
        in_doubt=_has_doubt(book, entry),
        entries_blocked=book.blocked.get(rule.account_id, ""),
        limits_version=account.limits_version,
    )


def _position_after(book: Book, account: AccountInputs, entry: OrderIntent) -> Decimal:
    """The larger of what our executions and what the broker's report would give: each can lag the other."""
    adding = entry.qty * sign(entry.side)
    for order in book.open_children(entry.account_id, entry.leader):
        if order.intent.role == "entry" and order.intent.symbol == entry.symbol:
            adding += order.leaves_qty * sign(order.intent.side)
    counted = book.positions.get((entry.account_id, entry.symbol))
    by_us = abs((counted.qty if counted is not None else ZERO) + adding)
    return max(by_us, abs(account.reported.get(entry.symbol, ZERO) + adding))


def _has_doubt(book: Book, entry: OrderIntent) -> bool:
    return any(
        order.state == "in_doubt"
        for order in book.children(entry.account_id, entry.leader, "entry", entry.symbol)
    )


def _distance_ticks(case: Case, entry: OrderIntent) -> int | None:
    price = entry.price or entry.stop_price
    known = case.inputs.prices.get(root_of(entry.symbol))
    if price is None or known is None:
        return None
    return int(abs(price - known) / INSTRUMENTS[root_of(entry.symbol)].tick_size)


def _is_duplicate(case: Case, entry: OrderIntent) -> bool:
    window_ms = case.account.limits.duplicate_window_ms
    last = case.book.last_entries.get((entry.account_id, entry.symbol, entry.side))
    if not window_ms or last is None or (last.qty, last.price) != (entry.qty, entry.price):
        return False
    return (case.signal.received_at - last.at).total_seconds() * 1000 < window_ms
