"""The machine "limits and highest values" (T-10): random equity paths, restarts, days and new starts against a model
that keeps every number it ever saw and looks through all of them each time.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kopitra.domain.loss_ladder import quiet_between
from kopitra.domain.measuring import NewStart
from kopitra.domain.prop_limits import DailyLoss, GiveBack, MaxLoss, PropLimits
from tests.machines import MACHINE
from tests.unit.domain.limits_world import Account, d, limits


def _limits(daily: DailyLoss | None, maximum: MaxLoss | None, back: GiveBack | None) -> PropLimits:
    return limits(daily_loss=daily, max_loss=maximum, give_back=back)


#: steps of money, small enough that rules are hit often
MONEY = st.integers(-1500, 1500)
RULES = st.builds(
    _limits,
    st.none()
    | st.builds(
        DailyLoss, amount=st.integers(200, 2000).map(Decimal), counts=st.sampled_from(["equity", "realized"])
    ),
    st.none()
    | st.builds(MaxLoss, st.just("static"), st.integers(500, 3000).map(Decimal))
    | st.builds(
        MaxLoss,
        st.sampled_from(["trailing_intraday", "trailing_eod"]),
        st.integers(500, 3000).map(Decimal),
        st.none() | st.integers(0, 500).map(Decimal),
    ),
    st.none() | st.builds(GiveBack, st.integers(20, 90).map(Decimal), st.integers(100, 900).map(Decimal)),
)  # fmt: skip


@dataclass
class Naive:
    """Everything that was ever seen since the start."""

    start: Decimal
    day_ends: list[Decimal] = field(default_factory=list[Decimal])
    day_balances: list[Decimal] = field(default_factory=list[Decimal])
    equities: list[Decimal] = field(default_factory=list[Decimal])
    day_equities: list[Decimal] = field(default_factory=list[Decimal])
    locked_today: bool = False
    locked_for_good: bool = False
    warned_today: bool = False

    def see(self, balance: Decimal, equity: Decimal) -> None:
        self.day_balances.append(balance)
        self.equities.append(equity)
        self.day_equities.append(equity)

    def used(self, by: PropLimits) -> dict[str, Decimal]:
        """Percent used, by rule."""
        balance, equity = self.day_balances[-1], self.equities[-1]
        found: dict[str, Decimal] = {}
        if by.daily_loss is not None:
            assert by.daily_loss.amount is not None
            now = equity if by.daily_loss.counts == "equity" else balance
            found["daily"] = (self.day_balances[0] - now) / by.daily_loss.amount * 100
        if by.max_loss is not None:
            found["maximum"] = (
                (self._floor(by.max_loss) + by.max_loss.amount - equity) / by.max_loss.amount * 100
            )
        if by.give_back is not None:
            top = max(*self.day_equities, self.day_balances[0])
            profit = top - self.day_balances[0]
            if profit >= by.give_back.above:
                found["back"] = (top - equity) / (profit * by.give_back.percent / 100) * 100
        return {name: max(Decimal(0), percent) for name, percent in found.items()}

    def _floor(self, rule_: MaxLoss) -> Decimal:
        highest = {
            "static": self.start,
            "trailing_intraday": max(self.start, *self.equities),
            "trailing_eod": max(self.start, *self.day_ends, self.start),
        }[rule_.kind]
        floor = highest - rule_.amount
        return floor if rule_.lock_at is None else min(floor, self.start + rule_.lock_at)


class Limits(RuleBasedStateMachine):
    """`account` is the domain, `model` the naive one."""

    @initialize(by=RULES, balance=st.integers(48_500, 52_000))
    def begin(self, by: PropLimits, balance: int) -> None:
        self.account = Account(by)
        self.balance, self.open = balance, 0
        self.model = Naive(by.initial_balance)
        self.starts = 0
        self.look()

    def look(self, asked: NewStart | None = None) -> None:
        balance, equity = d(self.balance), d(self.balance + self.open)
        self.account.look(self.balance, self.balance + self.open, asked)
        self.model.see(balance, equity)
        used = self.model.used(self.account.limits)
        self.model.locked_for_good |= used.get("maximum", d(0)) >= d("94.95")
        self.model.locked_today |= any(percent >= d("94.95") for percent in used.values())
        self.model.warned_today |= any(percent >= d("69.95") for percent in used.values())

    @rule(profit=MONEY)
    def price_moves(self, profit: int) -> None:
        self.open = profit
        self.look()

    @rule()
    def position_is_closed(self) -> None:
        self.balance, self.open = self.balance + self.open, 0
        self.look()

    @rule(lost=MONEY)
    def closed_trade(self, lost: int) -> None:
        self.balance += lost
        self.look()

    @rule()
    def kill_and_restart(self) -> None:
        before = (self.account.measure, self.account.rung)
        self.account.crash()
        assert (self.account.measure, self.account.rung) == before, (
            "a restart lowers and resets nothing (R-101)"
        )

    @rule(days=st.integers(1, 3))
    def the_day_turns(self, days: int) -> None:
        self.account.day += timedelta(days=days)
        old = self.model
        self.model.day_ends.append(d(self.balance))
        self.model = Naive(old.start, old.day_ends, [], old.equities, [], False, old.locked_for_good, False)
        self.look()

    @precondition(lambda self: self.starts < 4)
    @rule()
    def a_person_begins_anew(self) -> None:
        self.starts += 1
        self.model = Naive(d(self.balance))
        self.look(NewStart(self.starts, None, None, "ann", "reset by the firm"))

    @rule()
    def an_older_entry_is_folded_again(self) -> None:
        """After an unclear commit a fact may be journalled twice, also out of order."""
        before = (self.account.measure, self.account.rung)
        for entry in self.account.journal[-6:-1]:
            self.account.note(entry)
        assert self.account.measure == before[0]
        assert self.account.rung == before[1] or before[1] != "locked"
        self.look()

    @invariant()
    def highest_values_are_never_below_what_was_seen(self) -> None:
        """I-19, first half."""
        measure = self.account.measure
        assert measure.peak >= max(self.model.equities)
        assert measure.day_peak >= max(self.model.day_equities)
        assert measure.eod_peak >= max([self.model.start, *self.model.day_ends])

    @invariant()
    def after_a_breach_no_entry(self) -> None:
        """I-19, second half; and nothing is stopped for no reason."""
        if self.model.locked_today or self.model.locked_for_good:
            assert self.account.rung == "locked"
        elif any(percent >= d("84.95") for percent in self.model.used(self.account.limits).values()):
            assert self.account.entries_stop
        if not (self.model.warned_today or self.model.locked_for_good):
            assert not self.account.entries_stop


TestLimits = Limits.TestCase
TestLimits.settings = MACHINE


@given(by=RULES, path=st.lists(MONEY, min_size=1, max_size=6), then=MONEY)
def test_between_its_quiet_bounds_equity_changes_nothing(by: PropLimits, path: list[int], then: int) -> None:
    """The prices that are not judged would have been judged the same."""
    account = Account(by)
    account.look(50_000)
    for profit in path:
        account.look(50_000, 50_000 + profit)
    low, high = quiet_between(by, account.found)
    before = account.measure
    if low < 50_000 + then < high and 50_000 + then <= min(before.day_peak, before.peak):
        steps = len(account.journal)
        account.look(50_000, 50_000 + then)
        assert (account.measure, len(account.journal)) == (before, steps)
