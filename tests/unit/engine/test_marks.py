"""Money that fits together: when an account may be read, at which price, and how old that is (R-102, I-19)."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from gateway_container.engine.config import AccountConfig, GatewayConfig
from gateway_container.engine.marks import Look, Marks
from gateway_container.engine.state import State
from kopitra.domain.executions import AccountSnapshot, BalanceReport, ExecutionReport, PositionReport, Quote
from kopitra.domain.fold import fold
from kopitra.domain.journal import Reported
from kopitra.domain.signals import Side

NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
ES = "ESZ6"


@dataclass
class Watch:
    """A clock that a test turns."""

    ns: int = 10**12

    def now(self) -> datetime:
        return NOW

    def monotonic_ns(self) -> int:
        return self.ns


@dataclass
class Desk:
    """One watched account and its broker's messages."""

    clock: Watch = field(default_factory=Watch)
    fills: int = 0

    def __post_init__(self) -> None:
        self.state = State(self.clock)
        account = AccountConfig("a", "w", "a", "b", "l", "A")
        self.state.config = GatewayConfig(1, {"a": account}, {}, {}, {})
        self.marks = Marks(self.state)
        self.marks.watch(["a"])

    def passes(self, ms: int = 300) -> None:
        self.clock.ns += ms * 1_000_000

    def hear(self, *events: object) -> tuple[str, ...]:
        told: tuple[str, ...] = ()
        for event in events:
            if isinstance(event, ExecutionReport):
                fold(self.state.book, Reported(event))
            told = self.marks.heard(event)
        return told

    def shows(self, balance: int = 50_000, *positions: PositionReport) -> None:
        """A whole look at the account."""
        told = BalanceReport("a", Decimal(balance), None, None, NOW)
        self.hear(AccountSnapshot("a", positions, (), None, told, self.clock.ns))
        self.passes()

    def fill(self, side: Side, price: int, qty: int = 1) -> ExecutionReport:
        self.fills += 1
        return ExecutionReport(
            "a", f"o{self.fills}", "trade", "filled", ES, side, NOW, exec_id=f"x{self.fills}",
            last_qty=Decimal(qty), last_px=Decimal(price),
        )  # fmt: skip

    def look(self, open_profit: bool = True) -> Look:
        return self.marks.look("a", open_profit)


def holds(qty: int, price: int | None = 5000) -> PositionReport:
    return PositionReport("a", ES, Decimal(qty), None if price is None else Decimal(price), NOW)


def quote(bid: int, ask: int | None = None) -> Quote:
    return Quote(ES, Decimal(bid), Decimal(bid if ask is None else ask), None, NOW)


def has(balance: int, equity: int | None = None) -> BalanceReport:
    return BalanceReport("a", Decimal(balance), None if equity is None else Decimal(equity), None, NOW)


def test_nothing_is_known_before_the_broker_has_told_balance_and_positions() -> None:
    desk = Desk()
    assert desk.look().reading is None
    desk.hear(has(50_000))
    assert desk.look().text == "the broker has not told its positions"
    desk.shows()
    assert desk.look() == Look(desk.look().reading, 0)
    assert desk.look().reading == (50_000, 50_000, 50_000)


def test_longs_are_worth_the_bid_shorts_the_offer_and_highest_values_take_the_better_side() -> None:
    desk = Desk()
    desk.shows(50_000, holds(2))
    assert desk.look().text == f"no price of {ES} is known"
    assert desk.hear(quote(5010, 5011)) == ("a",)
    assert desk.look().reading == (50_000, 51_000, 51_100)
    desk.hear(holds(-2))
    desk.passes()
    assert desk.look().reading == (50_000, 48_900, 49_000)


def test_the_age_is_that_of_the_oldest_price_and_none_where_nothing_is_held() -> None:
    desk = Desk()
    desk.shows(50_000, holds(1))
    desk.hear(quote(5000))
    desk.passes(5_001)
    assert desk.look().age_ms == 5_001
    assert desk.look(open_profit=False).age_ms == 0
    desk.hear(holds(0))
    desk.passes()
    assert desk.look().age_ms == 0


def test_a_won_trade_is_never_counted_twice_whatever_comes_first() -> None:
    """Balance before position, position before balance, fill first or last: no reading shows more than there is."""
    messages = (Desk().fill("sell", 5020), has(51_000), holds(0))
    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    for order in orders:
        desk = Desk()
        desk.hear(desk.fill("buy", 5000))
        desk.shows(50_000, holds(1))
        desk.hear(quote(5020))
        assert desk.look().reading == (50_000, 51_000, 51_000)
        for number in order:
            desk.hear(messages[number] if number else desk.fill("sell", 5020))
            found = desk.look().reading
            assert found is None or found.equity <= 51_000, order
            desk.passes(20)
        desk.passes()
        assert desk.look().reading == (51_000, 51_000, 51_000), order


def test_a_closing_fill_waits_for_its_balance_however_long_that_takes() -> None:
    desk = Desk()
    desk.hear(desk.fill("buy", 5000))
    desk.shows(50_000, holds(1))
    desk.hear(quote(4990))
    desk.passes(2_000)
    desk.hear(desk.fill("sell", 4990), holds(0))
    desk.passes(6_000)
    assert desk.look().reading is None
    assert desk.look().age_ms >= 5_000, "the loss is not seen yet: entries stop by the age of what is known"
    desk.hear(has(49_500))
    desk.passes()
    assert desk.look().reading == (49_500, 49_500, 49_500)


def test_a_fill_waits_for_the_broker_s_position() -> None:
    desk = Desk()
    desk.shows()
    desk.hear(desk.fill("buy", 5000), quote(5000))
    desk.passes()
    assert "position in ESZ6" in desk.look().text
    desk.hear(holds(1))
    desk.passes()
    assert desk.look().reading is not None


def test_a_look_that_began_before_the_newest_fill_does_not_undo_its_position() -> None:
    """R-004."""
    desk = Desk()
    desk.shows()
    began = desk.clock.ns
    desk.passes()
    desk.hear(desk.fill("buy", 5000), holds(1), quote(5000))
    desk.hear(AccountSnapshot("a", (), (), None, has(50_000), began))
    desk.passes()
    assert desk.marks.contracts("a") == (ES,)


def test_a_failed_or_partial_look_changes_nothing() -> None:
    """R-044."""
    desk = Desk()
    desk.shows(50_000, holds(1))
    desk.hear(AccountSnapshot("a", None, None, None, None, desk.clock.ns))
    assert desk.marks.contracts("a") == (ES,)


def test_the_broker_s_own_equity_serves_where_it_is_newer_and_no_older_than_the_last_move() -> None:
    desk = Desk()
    desk.shows(50_000, holds(1))
    desk.hear(has(50_000, 50_400))
    assert desk.look().reading == (50_000, 50_400, 50_400)
    desk.passes(50)
    desk.hear(quote(5010))
    assert desk.look().reading == (50_000, 50_500, 50_500)
    desk.passes(50)
    desk.hear(has(50_000, 50_300))
    assert desk.look().reading == (50_000, 50_300, 50_300)
    desk.hear(holds(2))
    desk.passes()
    assert desk.look().reading == (50_000, 51_000, 51_000)


def test_an_account_that_is_watched_later_begins_from_what_is_known() -> None:
    desk = Desk()
    desk.marks.watch([])
    facts = desk.state.facts_of("a")
    facts.live, facts.balance, facts.positions = True, has(50_100, 99_999), {}
    desk.marks.watch(["a"])
    desk.passes()
    assert desk.look().reading == (50_100, 50_100, 50_100)
