"""The runaway brake counts a minute, halts once, and lets ordinary trading pass."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from gateway_container.engine.brake import CHILDREN_PER_ENTRY, ROUND_TRIPS_MIN, WINDOW_S, Brake, Counter
from gateway_container.engine.config import EMPTY, AccountConfig
from gateway_container.engine.state import State
from kopitra.domain.limits import RiskLimits
from kopitra.domain.orders import OrderIntent

ENTRIES = 20
INTENT = OrderIntent("c1", "l1", "a", "lead", "e", "entry", "ESZ6", "buy", Decimal(1))


class Still:
    """A clock that stands."""

    def now(self) -> datetime:
        return datetime(2026, 11, 20, tzinfo=UTC)

    def monotonic_ns(self) -> int:
        return 0


def brake() -> tuple[Brake, list[tuple[str, str]]]:
    state = State(Still())
    account = AccountConfig("a", "w", "a", "x", "l", "n", limits=RiskLimits(max_orders_per_minute=ENTRIES))
    state.config = replace(EMPTY, accounts={"a": account})
    made, halts = Brake(state), list[tuple[str, str]]()
    made.attach(lambda account_id, reason: halts.append((account_id, reason)))
    return made, halts


def test_more_orders_than_plausible_halt_the_account() -> None:
    """R-099: the limit itself passes, one more does not."""
    made, halts = brake()
    for _ in range(ENTRIES):
        made.wrote("a", CHILDREN_PER_ENTRY)
    assert halts == []
    made.wrote("a", 1)
    assert halts == [("a", "121 orders within a minute, 120 are plausible")]


def test_an_account_that_turns_round_and_round_is_halted() -> None:
    """R-099."""
    made, halts = brake()
    for _ in range(ROUND_TRIPS_MIN):
        made.went_flat("a")
    assert halts == []
    made.went_flat("a")
    assert [account for account, _ in halts] == ["a"]


def test_an_order_that_comes_to_its_write_again_halts_the_account() -> None:
    """R-099, I-05: orders out never exceed plan in."""
    made, halts = brake()
    made.repeated(INTENT)
    assert halts == [("a", "c1 was about to be written twice")]


@given(st.lists(st.integers(0, 5), max_size=200))
def test_the_window_holds_exactly_the_last_minute(seconds: list[int]) -> None:
    """R-099: against a naive count."""
    counter = Counter()
    for events in seconds:
        for _ in range(events):
            counter.add("a")
        counter.second()
    assert counter.total.get("a", 0) == sum(seconds[-WINDOW_S:])
    assert ("a" in counter.total) is (counter.total.get("a", 0) > 0)
