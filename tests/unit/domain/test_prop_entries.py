"""What loss limits ask of one entry: standing, stop, trades of the day, contracts; and the whole list of R-103."""

from datetime import date
from decimal import Decimal

import pytest

from kopitra.domain.copy_rules import CopyRule, MapEntry
from kopitra.domain.journal import EquityMarked
from kopitra.domain.limits import RiskLimits
from kopitra.domain.measuring import Measure
from kopitra.domain.orders import OrderIntent
from kopitra.domain.prop_limits import ContractCap, PropLimits, PropStanding
from kopitra.domain.risk import SENTENCES, Approved, check_entry
from kopitra.domain.signals import StopLoss, TakeProfit
from tests.unit.domain.copy_world import ESZ6, NOW, World, account, d, rule

STOPPED = PropStanding(
    PropLimits(d(50_000), version=3), "limit_daily_loss", "daily loss: 900.00 of 1,000.00 used"
)


def world(standing: PropStanding, *rules: CopyRule, **more: object) -> World:
    """One account with limits."""
    return World(list(rules) or [rule()], {"a1": account(prop=standing, **more)})


def prop(**changes: object) -> PropStanding:
    return PropStanding(PropLimits(d(50_000), version=3, **changes))  # pyright: ignore[reportArgumentType]


def caps(*given: tuple[str, int]) -> PropStanding:
    return prop(caps=tuple(ContractCap(family, d(most)) for family, most in given))


def test_a_stopped_account_refuses_entries_with_the_sentence_of_its_rule() -> None:
    leg = world(STOPPED).leg("enter", side="buy", quantity=d(1))
    assert (leg.outcome, leg.reason) == ("refused", "limit_daily_loss")
    assert leg.detail == "daily loss: 900.00 of 1,000.00 used"
    assert leg.checks is not None
    assert (leg.checks.limit_stop, leg.checks.prop_version) == ("limit_daily_loss", 3)


def test_a_stopped_account_still_exits() -> None:
    here = world(prop())
    here.say("enter", side="buy", quantity=d(2))
    here.settle()
    here.accounts["a1"] = account(prop=STOPPED)
    leg = here.leg("exit")
    assert (leg.outcome, [a.intent.role for a in leg.orders]) == ("approved", ["exit"])


def test_a_mandatory_stop_refuses_an_entry_without_one() -> None:
    needs = prop(mandatory_stop=True)
    stop, target = StopLoss(price=d(4990)), TakeProfit(price=d(5010))
    enter = {"side": "buy", "quantity": d(1)}
    assert world(needs).leg("enter", **enter).reason == "stop_missing"
    assert world(needs).leg("enter", **enter, stop_loss=stop).outcome == "approved"
    assert (
        world(needs, rule(copy_stop_loss=False)).leg("enter", **enter, stop_loss=stop).reason
        == "stop_missing"
    )
    inverse = world(needs, rule(inverse=True))
    assert inverse.leg("enter", **enter, stop_loss=stop).reason == "stop_missing"
    inverse = world(needs, rule(inverse=True))
    assert inverse.leg("enter", **enter, take_profits=(target,)).outcome == "approved"


def test_trades_of_the_day_are_counted_when_they_are_decided_and_again_from_zero() -> None:
    here = world(prop(max_trades_per_day=2))
    here.note(EquityMarked("a1", measure(20), d(0), d(0), NOW))
    legs = [here.leg("enter", side="buy", quantity=d(1)) for _ in range(3)]
    assert [leg.reason for leg in legs] == ["", "", "limit_trades"]
    assert legs[2].detail.startswith("2 of 2 trades of the day")
    assert here.refolded().trades_today == {"a1": 2}
    here.note(EquityMarked("a1", measure(21), d(0), d(0), NOW))
    assert here.leg("enter", side="buy", quantity=d(1)).outcome == "approved"


def measure(day: int) -> Measure:
    start = d(50_000)
    return Measure(0, start, date(2026, 11, day), start, start, start, start, start)


def test_ten_micros_count_as_one_contract_of_full_size() -> None:
    to_micros = rule(symbol_map=(MapEntry("ES", "MES", d(10)),))
    for most, reason in ((2, ""), (1, "limit_contracts")):
        leg = world(caps(("ES", most)), to_micros).leg("enter", side="buy", quantity=d(2))
        assert leg.reason == reason
    assert leg.detail == "2 full-size contracts in the family ES with this order and all open ones, 1 allowed"


def test_a_cap_counts_what_is_held_what_is_sent_and_what_the_broker_says() -> None:
    """R-102: orders that were sent and are not filled count at once; foreign holdings count too."""
    here = world(caps(("*", 3)), reported={"NQZ6": d(-1)})
    assert here.leg("enter", side="buy", quantity=d(2)).outcome == "approved"
    assert here.leg("enter", side="buy", quantity=d(1)).reason == "limit_contracts"
    assert here.open()[0].state == "claimed"


def test_another_family_has_its_own_cap() -> None:
    here = world(caps(("ES", 1)), reported={ESZ6: d(1)})
    assert here.leg("enter", side="buy", quantity=d(1)).reason == "limit_contracts"
    assert here.leg("enter", side="buy", quantity=d(1), symbol="NQ").outcome == "approved"


def test_every_check_of_one_order_is_in_one_function_and_re_evaluates() -> None:
    """R-103 and I-20: size, position, notional, collar, allow-list, message rate, duplicate window; limits besides."""
    checked: dict[str, tuple[RiskLimits, dict[str, object]]] = {
        "max_order_qty": (RiskLimits(max_order_qty=d(1)), {}),
        "max_position_qty": (RiskLimits(max_position_qty=d(1)), {}),
        "max_notional": (RiskLimits(max_notional=d(1)), {}),
        "price_collar": (RiskLimits(price_collar_ticks=1), {"ord_type": "limit", "price": d(4000)}),
        "symbol_not_allowed": (RiskLimits(symbols=("NQ",)), {}),
        "order_rate": (RiskLimits(max_orders_per_minute=1), {}),
        "duplicate": (RiskLimits(duplicate_window_ms=60_000), {}),
    }
    for reason, (held, act) in checked.items():
        here = World([rule()], {"a1": account(limits=held)})
        enter = {"side": "buy", "quantity": d(2)} | act
        legs = [here.leg("enter", **enter), here.leg("enter", **enter)]
        refused = next(leg for leg in legs if leg.reason == reason)
        assert refused.checks is not None
        again = check_entry(intent_of(d(2), act), refused.checks, held)
        assert not isinstance(again, Approved)
        assert (again.reason, again.detail) == (reason, refused.detail), reason


def intent_of(qty: Decimal, act: dict[str, object]) -> OrderIntent:
    """The entry that an account without limits makes of the act."""
    leg = World([rule()]).leg("enter", **({"side": "buy", "quantity": qty} | act))
    return leg.orders[0].intent


@pytest.mark.parametrize(
    "standing, act",
    [
        (STOPPED, {}),
        (prop(mandatory_stop=True), {}),
        (prop(max_trades_per_day=0), {}),
        (caps(("ES", 1)), {}),
        (caps(("*", 1)), {}),
        (prop(), {}),
    ],
)
def test_a_decision_under_limits_re_evaluates_to_the_same_answer(
    standing: PropStanding, act: dict[str, object]
) -> None:
    """I-20."""
    leg = world(standing).leg("enter", **({"side": "buy", "quantity": d(2)} | act))
    checks = leg.checks or leg.orders[0].checks
    assert checks is not None
    again = check_entry(
        intent_of(d(2), act), checks, RiskLimits(max_orders_per_minute=10**6), standing.limits
    )
    if leg.outcome == "approved":
        assert isinstance(again, Approved)
    else:
        assert not isinstance(again, Approved)
        assert (again.reason, again.detail) == (leg.reason, leg.detail)


def test_every_reason_of_the_limits_has_its_sentence() -> None:
    reasons = {
        "limit_daily_loss", "limit_max_loss", "limit_give_back", "limit_consistency", "limit_equity_unknown",
        "limit_equity_stale", "limit_trades", "limit_contracts", "stop_missing",
    }  # fmt: skip
    assert reasons <= SENTENCES.keys()
