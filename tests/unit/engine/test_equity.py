"""The watcher of loss limits with a broker that a test plays: versions, new starts, staleness, and locks that hold."""

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import cast

from gateway_container.engine.config import AccountConfig, GatewayConfig
from gateway_container.engine.equity import FLATTENS_MAX, STALE_ALERT_NS, Equity
from gateway_container.engine.flatten import Flattener, FlattenRun
from gateway_container.engine.log import Log
from gateway_container.engine.marks import Marks
from gateway_container.engine.state import State
from kopitra.domain.executions import AccountSnapshot, ExecutionReport, PositionReport
from kopitra.domain.fold import fold
from kopitra.domain.journal import Entry, EquityMarked, FollowUp, LimitRung, Reported
from kopitra.domain.measuring import NewStart
from kopitra.domain.orders import OrderIntent
from kopitra.domain.prop_limits import DailyLoss, MaxLoss, PropLimits
from tests.unit.engine.test_marks import NOW, Watch, has, holds, quote

DAILY = PropLimits(Decimal(50_000), daily_loss=DailyLoss(amount=Decimal(1000)), mark_step=Decimal(1))
MAXIMUM = replace(DAILY, daily_loss=None, max_loss=MaxLoss("static", Decimal(2000)))


@dataclass
class Clock(Watch):
    """Wall clock and monotonic clock go together."""

    at: datetime = NOW

    def now(self) -> datetime:
        return self.at


@dataclass
class House:
    """One account with limits; what is journalled, flattened and told is kept."""

    versions: tuple[PropLimits, ...] = (DAILY,)
    clock: Clock = field(default_factory=Clock)
    journal: list[Entry] = field(default_factory=list[Entry])
    runs: list[FlattenRun] = field(default_factory=list[FlattenRun])
    alerts: list[str] = field(default_factory=list[str])
    watched: set[str] = field(default_factory=set[str])
    #: the flattener is at work
    busy: bool = False

    def __post_init__(self) -> None:
        self.state = State(self.clock)
        self.begin()

    def begin(self) -> None:
        """A process starts on the state that is there."""
        self.state.facts_of("a").live = True
        self.equity = Equity(
            self.state,
            cast(Log, self),
            cast(Flattener, self),
            self.watched.add,
            lambda code, _text, _account: self.alerts.append(code),
        )
        self.configure()

    def configure(self, **changes: object) -> None:
        account = AccountConfig("a", "w", "a", "b", "l", "A", prop=self.versions)
        account = replace(account, **changes)
        self.state.config = GatewayConfig(1, {"a": account}, {}, {}, {})
        self.equity.configure()

    def secure(self, _workspace: str, entry: Entry) -> None:
        """The log: what is measured must outlive this process, also while the journal is away (R-101, I-19)."""
        self.journal.append(entry)
        fold(self.state.book, entry)

    def start(self, workspace: str, account_ids: list[str], who: str, name: str) -> FlattenRun:
        """The flattener: under way until a test says that it is done."""
        assert account_ids == ["a"]
        assert who == "limits"
        run = FlattenRun(name, workspace, who)
        self.runs.append(run)
        self.busy = True
        return run

    def is_at_work(self, account_id: str) -> bool:
        """The flattener closes it, or will try again by itself."""
        assert account_id == "a"
        return self.busy

    def flattened(self) -> None:
        """The flatten at hand has confirmed."""
        self.busy = False

    def passes(self, seconds: float = 0.3) -> None:
        self.clock.ns += int(seconds * 1e9)
        self.clock.at += timedelta(seconds=seconds)

    def shows(self, balance: int = 50_000, *positions: PositionReport) -> None:
        """A whole look at the account, and time to believe it."""
        self.equity.heard(AccountSnapshot("a", positions, (), None, has(balance), self.clock.ns))
        self.passes()
        self.looks()

    def looks(self) -> None:
        """What the timer does."""
        for watched in tuple(self.equity._watched.values()):
            self.equity._look(watched)

    @property
    def stop(self) -> str:
        standing = self.state.standings.get("a")
        return standing.stop if standing is not None else "not watched"

    def told(self, code: str) -> int:
        return self.alerts.count(code)


def test_entries_wait_for_the_first_reading_also_after_a_restart() -> None:
    house = House()
    assert house.stop == "limit_equity_unknown"
    house.shows()
    assert house.stop == ""
    house.begin()
    assert house.stop == "limit_equity_unknown"


def rests(house: House) -> None:
    """An entry of ours rests at the broker."""
    intent = OrderIntent(
        "c1", "l", "a", "lead", "e", "entry", "ESZ6", "buy", Decimal(1), ord_type="limit", price=Decimal(6000)
    )
    house.secure("w", FollowUp("test", "a", released=(intent,)))
    now, one = house.clock.now(), Decimal(1)
    report = ExecutionReport(
        "a",
        "o1",
        "new",
        "new",
        "ESZ6",
        "buy",
        now,
        "c1",
        None,
        "limit",
        None,
        one,
        Decimal(6000),
        leaves_qty=one,
    )
    house.secure("w", Reported(report))


def test_entries_that_rest_are_withdrawn_while_equity_is_too_old() -> None:
    """R-102: stale reduces, and what rests could fill; where no session is live no cancel could leave."""
    house = House()
    followed: list[FollowUp] = []
    house.equity.follow = followed.append
    house.shows(50_000, holds(1))
    house.equity.heard(quote(5000))
    assert house.stop == ""
    rests(house)
    house.looks()
    assert not any(follow.cancels for follow in followed)

    house.state.facts_of("a").live = False
    house.passes(DAILY.stale_after_ms / 1000 + 1)
    house.looks()
    assert house.stop == "limit_equity_stale"
    assert not any(follow.cancels for follow in followed)

    house.state.facts_of("a").live = True
    house.looks()
    assert [cancel.orig_cl_ord_id for cancel in followed[-1].cancels] == ["c1"]


def test_entries_that_rest_wait_for_the_first_reading_after_a_start_as_long_as_equity_may_be_old() -> None:
    """R-102."""
    house = House()
    followed: list[FollowUp] = []
    house.equity.follow = followed.append
    rests(house)
    house.looks()
    assert house.stop == "limit_equity_unknown"
    assert not any(follow.cancels for follow in followed)
    house.passes(DAILY.stale_after_ms / 1000)
    house.looks()
    assert [cancel.orig_cl_ord_id for cancel in followed[-1].cancels] == ["c1"]


def test_an_account_that_cannot_be_judged_is_handed_over_and_the_loop_goes_on() -> None:
    """R-020, R-100."""
    house = House()
    failures: list[tuple[str, str]] = []
    house.equity.failed = lambda account_id, _what, error: failures.append((account_id, str(error)))
    house.equity._marks = cast(Marks, None)
    house.looks()
    assert [account_id for account_id, _ in failures] == ["a"]


def test_a_lock_flattens_and_flattens_again_what_fills_late_a_bounded_number_of_times() -> None:
    house = House()
    house.shows(50_000, holds(1))
    house.equity.heard(quote(4980))
    assert house.stop == "limit_daily_loss"
    assert len(house.runs) == 1
    house.looks()
    assert len(house.runs) == 1, "one at a time"
    for number in range(2, FLATTENS_MAX + 3):
        house.flattened()
        house.looks()
        assert len(house.runs) == min(number, FLATTENS_MAX)
    assert house.told("limit-flatten-failed") == 1
    assert house.told("limit-locked") == 1


def test_a_flatten_of_somebody_else_is_not_doubled() -> None:
    house = House()
    house.shows(50_000, holds(1))
    house.busy = True
    house.equity.heard(quote(4980))
    assert house.runs == []


def test_a_lock_goes_on_after_a_restart_and_its_day_frees_it() -> None:
    house = House()
    house.shows()
    house.shows(49_000)
    assert house.stop == "limit_daily_loss"
    house.begin()
    house.shows(49_000)
    assert (house.stop, house.runs) == ("limit_daily_loss", [])
    house.passes(86_400)
    house.shows(49_000)
    assert house.stop == ""


def test_a_stored_request_for_a_new_start_is_taken_up_once() -> None:
    """R-104."""
    house = House((MAXIMUM,))
    house.shows(48_000)
    assert house.stop == "limit_max_loss"
    asked = NewStart(7, None, None, "cli:ann", "the firm reset the account")
    house.configure(new_start=asked)
    house.shows(50_000)
    assert house.stop == ""
    begun = [e for e in house.journal if isinstance(e, EquityMarked) and e.who]
    assert [(e.who, e.reason, e.measure.start) for e in begun] == [("cli:ann", asked.reason, 48_000)]
    house.begin()
    house.configure(new_start=asked)
    house.shows(50_000)
    assert house.state.book.measures["a"].number == 1
    assert house.equity.restart("a", replace_start(asked, "ben")) == ""
    assert house.state.book.measures["a"].number == 2
    assert house.state.book.measures["a"].start_id == 7


def replace_start(asked: NewStart, who: str) -> NewStart:
    return asked._replace(start_id=0, who=who)


def test_a_new_start_waits_for_a_reading_and_an_account_without_limits_has_none() -> None:
    house = House((MAXIMUM,))
    asked = NewStart(0, None, None, "ann", "x")
    assert "its equity is not known" in house.equity.restart("a", asked)
    house.shows(49_500)
    assert (house.state.book.measures["a"].number, house.state.book.measures["a"].start) == (1, 49_500)
    assert "no loss limits" in house.equity.restart("nobody", asked)


def test_stale_equity_stops_entries_is_told_now_and_then_and_ends_with_a_price() -> None:
    """R-102."""
    house = House()
    house.shows(50_000, holds(1))
    assert house.watched == {"ESZ6"}
    house.equity.heard(quote(5000))
    house.passes(5.1)
    house.looks()
    assert house.stop == "limit_equity_stale"
    assert "5 s old" in house.state.standings["a"].text
    house.looks()
    assert house.told("limit-equity-stale") == 1
    house.passes(STALE_ALERT_NS / 1e9)
    house.looks()
    assert house.told("limit-equity-stale") == 2
    house.equity.heard(quote(5001))
    assert house.stop == ""


def test_a_stale_price_locks_nothing() -> None:
    house = House()
    house.shows(50_000, holds(1))
    house.equity.heard(quote(5000))
    house.passes(6)
    house.equity.heard(has(48_000))
    house.looks()
    assert house.state.book.standings.get("a") is None


def test_a_version_counts_from_its_day_and_a_first_one_may_be_for_a_later_day() -> None:
    later = replace(DAILY, version=2, effective_from=date(2026, 11, 21), max_trades_per_day=0)
    house = House((later,))
    assert house.stop == "not watched"
    house.passes(86_400)
    house.equity._take_up_versions()
    assert house.stop == "limit_equity_unknown"
    house.shows()
    assert house.state.standings["a"].limits.version == 2


def test_prices_that_change_nothing_write_nothing() -> None:
    house = House()
    house.shows(50_000, holds(1))
    house.equity.heard(quote(5000))
    written = len(house.journal)
    for bid in (4995, 4990, 4999, 5000):
        house.equity.heard(quote(bid))
    assert len(house.journal) == written
    house.equity.heard(quote(4983))
    assert [type(e) for e in house.journal[written:]] == [LimitRung]
