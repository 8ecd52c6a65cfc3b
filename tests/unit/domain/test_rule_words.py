"""What each rule says is what the check does: the first that refuses is its reason, and all pass what it approves."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from kopitra.domain.limits import RiskLimits
from kopitra.domain.orders import OrderIntent
from kopitra.domain.prop_limits import PropLimits
from kopitra.domain.risk import Refused, RiskInputs, check_entry
from kopitra.domain.rule_words import said_of

few = st.integers(0, 3)
some = few.map(Decimal)
limits = st.builds(
    RiskLimits,
    max_order_qty=st.none() | some,
    max_position_qty=st.none() | some,
    max_notional=st.none() | some,
    daily_loss=st.none() | some,
    max_orders_per_minute=few,
    price_collar_ticks=st.none() | few,
    symbols=st.sampled_from([(), ("ES",), ("NQ",)]),
)
inputs = st.builds(
    RiskInputs,
    switch=st.sampled_from(["active", "active", "reducing"]),
    session_live=st.sampled_from([True, True, False]),
    age_ms=st.sampled_from([0, 1, 5_000, -60_000]),
    max_age_ms=st.just(2_000),
    order_qty=some,
    position_after=some,
    notional=st.none() | some,
    day_pnl=st.none() | some.map(lambda n: -n),
    orders_last_minute=few.map(lambda n: n - 1),
    in_hours=st.sampled_from([True, True, False]),
    root=st.just("ES"),
    price_distance_ticks=st.none() | few,
    duplicate=st.sampled_from([False, False, True]),
    in_doubt=st.sampled_from([False, False, True]),
    entries_blocked=st.sampled_from(["", "", "a person has to look"]),
    limits_version=st.just(1),
    limit_stop=st.sampled_from(["", "", "limit_max_loss"]),
    limit_text=st.just("the floor was touched"),
    trades_today=few,
    position_differs=st.sampled_from([False, False, True]),
)
ENTRY = OrderIntent("kp1", "ls1", "a", "l", "e", "entry", "ESZ6", "buy", Decimal(1))
intents = st.sampled_from([ENTRY, ENTRY._replace(price=Decimal(5000))])
props = st.none() | st.builds(
    PropLimits, initial_balance=st.just(Decimal(50_000)), max_trades_per_day=st.none() | st.integers(1, 3)
)


@given(intents, inputs, limits, props)
def test_r046_what_the_rules_say_is_what_the_check_decides(
    intent: OrderIntent, looked: RiskInputs, held: RiskLimits, prop: PropLimits | None
) -> None:
    said = said_of(intent, looked, held, prop)
    against = [rule.rule for rule in said if rule.verdict == "refuses"]
    decision = check_entry(intent, looked, held, prop)
    assert against[:1] == ([decision.reason] if isinstance(decision, Refused) else [])
    assert all(rule.detail for rule in said)
    assert len({rule.rule for rule in said}) == len(said)
