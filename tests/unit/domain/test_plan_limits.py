"""Limits refuse with a reason and what they looked at; rules that cannot be meant."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopitra.domain.copy_rules import CopyRule, InvalidRule, MapEntry, Sizing, check_acyclic
from kopitra.domain.journal import Doubted
from kopitra.domain.limits import RiskLimits
from kopitra.domain.orders import OrderIntent
from kopitra.domain.plan import plan
from kopitra.domain.risk import Approved, Refused, approve_exit, check_entry
from kopitra.domain.rounding import RoundingPolicy
from tests.unit.domain.copy_world import ESZ6, World, account, d, rule, signal

HALF_UP = RoundingPolicy(mode="half_up", max_risk_ratio=None)


def _entry(one: CopyRule, world: World | None = None, /, **act: object) -> OrderIntent | str:
    """The entry that one rule makes of an act (buy 2 at market unless told), or the reason against it."""
    world = world or World([one])
    leg = world.leg("enter", **({"side": "buy", "quantity": d(2)} | act))
    entries = [a.intent for a in leg.orders if a.intent.role == "entry"]
    return entries[0] if entries else leg.reason


@pytest.mark.parametrize(
    "given_account, limits, act, reason",
    [
        ({"switch": "reducing"}, {}, {}, "kill_switch"),
        ({"switch": "halted"}, {}, {}, "kill_switch"),
        ({"session_live": False}, {}, {}, "session_down"),
        ({"in_hours": False}, {}, {}, "outside_hours"),
        ({}, {"symbols": ("NQ",)}, {}, "symbol_not_allowed"),
        ({}, {"max_orders_per_minute": 0}, {}, "order_rate"),
        ({}, {"max_order_qty": d(1)}, {}, "max_order_qty"),
        ({}, {"max_position_qty": d(1)}, {}, "max_position_qty"),
        ({"reported": {ESZ6: d(5)}}, {"max_position_qty": d(6)}, {}, "max_position_qty"),
        ({}, {"max_notional": d(499_999)}, {}, "max_notional"),
        ({"day_pnl": d(-500)}, {"daily_loss": d(500)}, {}, "daily_loss"),
        ({"day_pnl": None}, {"daily_loss": d(500)}, {}, "daily_loss"),
        ({}, {"price_collar_ticks": 39}, {"ord_type": "limit", "price": d(4990)}, "price_collar"),
    ],
)  # fmt: skip
def test_a_limit_refuses_with_its_reason_and_what_it_looked_at(
    given_account: dict[str, object], limits: dict[str, object], act: dict[str, object], reason: str
) -> None:
    held = RiskLimits(**({"max_orders_per_minute": 60} | limits))  # pyright: ignore[reportArgumentType]
    world = World([rule()], {"a1": account(limits=held, **given_account)})
    leg = world.leg("enter", **({"side": "buy", "quantity": d(2)} | act))
    assert (leg.outcome, leg.reason, leg.orders) == ("refused", reason, ())
    assert leg.checks is not None
    assert leg.detail


def test_missing_prices_fail_closed() -> None:
    for limits in (RiskLimits(max_notional=d(10**9)), RiskLimits(price_collar_ticks=1000)):
        world = World([rule()], {"a1": account(limits=limits)}, prices={})
        resting = world.leg("enter", side="buy", quantity=d(1), ord_type="limit", price=d(5000))
        market = World([rule()], {"a1": account(limits=limits)}, prices={}).leg(
            "enter", side="buy", quantity=d(1)
        )
        assert "refused" in (resting.outcome, market.outcome)


def test_open_entries_of_every_leader_count_against_the_position_limit() -> None:
    world = World([rule()], {"a1": account(limits=RiskLimits(max_position_qty=d(3)))})
    world.say("enter", side="buy", quantity=d(2))
    act = signal(
        "enter", "m1", leader="M", side="buy", quantity=d(2), received_at=world.now, occurred_at=world.now
    )
    made = plan(act, world.book, [CopyRule("r2", 1, "w", "M", "a1")], world.inputs())
    assert made.legs[0].reason == "max_position_qty"


def test_a_doubt_stops_entries_in_its_contract_for_every_leader() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(1))
    world.note(Doubted(world.child().intent.cl_ord_id, "a1", "timeout"))
    act = signal(
        "enter", "m1", leader="M", side="buy", quantity=d(1), received_at=world.now, occurred_at=world.now
    )
    made = plan(act, world.book, [CopyRule("r2", 1, "w", "M", "a1")], world.inputs())
    assert made.legs[0].reason == "in_doubt"


def test_age_is_judged_both_ways_and_limits_may_wait_longer() -> None:
    def reason(seconds: float, **act: object) -> str:
        world = World([rule()])
        act = {"occurred_at": world.now - timedelta(seconds=seconds)} | act
        return world.leg("enter", **({"side": "buy", "quantity": d(1)} | act)).reason

    assert [reason(s) for s in (1.9, 2.1, -2.9, -3.1)] == ["", "too_old", "", "too_old"]
    limit = {"ord_type": "limit", "price": d(4990)}
    assert [reason(s, **limit) for s in (28, 30)] == ["", "too_old"]


@given(
    qty=st.integers(1, 9),
    limits=st.builds(
        RiskLimits,
        max_order_qty=st.none() | st.integers(1, 9).map(Decimal),
        max_position_qty=st.none() | st.integers(1, 9).map(Decimal),
        max_notional=st.none() | st.integers(1, 3_000_000).map(Decimal),
        daily_loss=st.none() | st.integers(1, 900).map(Decimal),
    ),
    pnl=st.none() | st.integers(-1000, 1000).map(Decimal),
)
def test_a_decision_re_evaluates_to_the_same_answer(
    qty: int, limits: RiskLimits, pnl: Decimal | None
) -> None:
    world = World([rule()], {"a1": account(limits=limits, day_pnl=pnl)})
    leg = world.leg("enter", side="buy", quantity=d(qty))
    if leg.outcome == "approved":
        made = leg.orders[0]
        assert made.checks is not None
        assert check_entry(made.intent, made.checks, limits) == made
        assert limits.max_order_qty is None or made.intent.qty <= limits.max_order_qty
    else:
        assert leg.checks is not None
        intent = _entry(rule(), quantity=d(qty))
        assert isinstance(intent, OrderIntent)
        again = check_entry(intent, leg.checks, limits)
        assert isinstance(again, Refused)
        assert again.reason == leg.reason


def test_an_exit_without_reduce_only_cannot_be_approved() -> None:
    made = _entry(rule())
    assert isinstance(made, OrderIntent)
    with pytest.raises(ValueError, match="send it through check_entry"):
        approve_exit(made)
    assert isinstance(approve_exit(made._replace(reduce_only=True)), Approved)


@pytest.mark.parametrize(
    "changes, name",
    [
        ({"sizing": Sizing("multiplier", d(0))}, "sizing.value"),
        ({"sizing": Sizing("risk_from_stop", d(101))}, "sizing.value"),
        ({"min_order": d(-1)}, "min_order"),
        ({"max_order": d(0)}, "max_order"),
        ({"max_position": d(0)}, "max_position"),
        ({"delay_ms": 60_001}, "delay_ms"),
        ({"max_age_s": d(61)}, "max_age_s"),
        ({"symbol_map": (MapEntry("ES", "MES", d(0)),)}, "symbol_map"),
        ({"symbol_map": (MapEntry("ES", "XYZ"),)}, "symbol_map"),
        ({"symbol_map": (MapEntry("ES", "MES"), MapEntry("ES", "NQ"))}, "symbol_map"),
        ({"symbol_map": (MapEntry("ES", "MES"), MapEntry("NQ", "MES"))}, "symbol_map"),
    ],
)
def test_a_rule_that_cannot_be_meant_names_its_field(changes: dict[str, object], name: str) -> None:
    with pytest.raises(InvalidRule, match=name) as caught:
        rule(**changes)
    assert caught.value.field == name


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=14))
def test_a_copy_graph_is_refused_exactly_when_an_account_would_follow_itself(
    edges: list[tuple[int, int]],
) -> None:
    named = [(str(a), str(b)) for a, b in edges]
    reach = {(a, b) for a, b in named}
    for _ in range(9):
        reach |= {(a, d_) for a, b in reach for c, d_ in named if b == c}
    if any(a == b for a, b in reach):
        with pytest.raises(InvalidRule, match="circular"):
            check_acyclic(named)
    else:
        check_acyclic(named)
