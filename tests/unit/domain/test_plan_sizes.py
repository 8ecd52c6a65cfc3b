"""How large a copy is, and which entries a rule lets pass."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopitra.domain.copy_rules import CopyRule, Sizing
from kopitra.domain.orders import OrderIntent
from kopitra.domain.rounding import RoundingPolicy
from kopitra.domain.signals import StopLoss, TakeProfit
from tests.unit.domain.copy_world import World, account, d, rule

HALF_UP = RoundingPolicy(mode="half_up", max_risk_ratio=None)


def _entry(one: CopyRule, world: World | None = None, /, **act: object) -> OrderIntent | str:
    """The entry that one rule makes of an act (buy 2 at market unless told), or the reason against it."""
    world = world or World([one])
    leg = world.leg("enter", **({"side": "buy", "quantity": d(2)} | act))
    entries = [a.intent for a in leg.orders if a.intent.role == "entry"]
    return entries[0] if entries else leg.reason


def _qty(one: CopyRule, world: World | None = None, /, **act: object) -> Decimal | str:
    made = _entry(one, world, **act)
    return made if isinstance(made, str) else made.qty


@pytest.mark.parametrize(
    "mode, value, expected",
    [
        ("fixed", "3", "3"),
        ("multiplier", "1.5", "3"),
        ("equity_proportional", "2", "2"),  # 2 x 2 x 50,000 / 100,000
        ("percent_of_equity", "1000", "2"),  # 500,000 of 250,000 each
        ("risk_from_stop", "4", "2"),  # 2,000 of 10 points x 50 x 2 each
    ],
)
def test_each_sizing_mode(mode: str, value: str, expected: str) -> None:
    one = rule(sizing=Sizing(mode, d(value)))  # pyright: ignore[reportArgumentType]
    stop = StopLoss(offset=d(20)) if mode == "risk_from_stop" else None
    assert _qty(one, stop_loss=stop) == d(expected)


def test_risk_is_measured_from_the_stop_price_where_no_distance_is_given() -> None:
    one = rule(sizing=Sizing("risk_from_stop", d(4)))
    assert _qty(one, price=d(5000), ord_type="limit", stop_loss=StopLoss(price=d(4980))) == 2


def test_an_inverse_follower_risks_the_distance_to_the_leaders_target() -> None:
    one = rule(sizing=Sizing("risk_from_stop", d(4)), inverse=True)
    levels: dict[str, object] = {
        "stop_loss": StopLoss(offset=d(5)),
        "take_profits": (TakeProfit(offset=d(20)),),
    }
    assert _qty(one, **levels) == 2
    assert _qty(one, stop_loss=StopLoss(offset=d(5))) == "no_stop_loss"


@pytest.mark.parametrize("mode", ["equity_proportional", "percent_of_equity", "risk_from_stop"])
@pytest.mark.parametrize("equity", [None, d(0), d(-100)])
def test_an_unknown_or_used_up_equity_skips_its_follower_only(mode: str, equity: Decimal | None) -> None:
    rules = [rule("a1", sizing=Sizing(mode, d(1))), rule("a2")]  # pyright: ignore[reportArgumentType]
    world = World(rules, {"a1": account(equity=equity)})
    first, second = world.say("enter", side="buy", quantity=d(1), stop_loss=StopLoss(offset=d(5))).legs
    assert (first.outcome, first.reason) == ("skipped", "equity_unknown")
    assert second.outcome == "approved"


@pytest.mark.parametrize("price", [None, d(0), d(-37)])
def test_a_price_that_values_nothing_sizes_nothing(price: Decimal | None) -> None:
    world = World([rule(sizing=Sizing("percent_of_equity", d(1000)))])
    world.prices = {} if price is None else {"ES": price}
    assert world.leg("enter", side="buy", quantity=d(1)).reason == "price_unknown"


def test_a_missing_leader_equity_skips() -> None:
    world = World([rule(sizing=Sizing("equity_proportional", d(1)))], leader_equity=None)
    assert world.leg("enter", side="buy", quantity=d(1)).reason == "equity_unknown"


def test_a_fixed_size_is_kept_against_the_largest_exposure() -> None:
    world = World([rule(sizing=Sizing("fixed", d(4)))])
    seen: list[Decimal] = []
    for action, qty in (("enter", 2), ("add", 2), ("reduce", 1), ("reduce", 2), ("add", 2)):
        world.say(action, side="buy", quantity=d(qty))
        world.settle()
        seen.append(world.held())
    assert seen == [4, 4, 3, 1, 3]


def test_a_stretch_keeps_its_scale_when_equities_move() -> None:
    world = World([rule(sizing=Sizing("equity_proportional", d(2)))])
    world.say("enter", side="buy", quantity=d(4))
    world.settle()
    world.accounts["a1"] = account(equity=d(500_000))
    world.say("reduce", quantity=d(2))
    world.settle()
    assert world.held() == 2


def test_a_stretch_goes_on_after_a_target_that_rounds_to_nothing() -> None:
    world = World([rule(sizing=Sizing("fixed", d(2)))])
    world.say("enter", side="buy", quantity=d(10))
    world.say("reduce", quantity=d(9))
    world.settle()
    assert world.held() == 0
    assert world.leg("add", side="buy", quantity=d(1)).reason == "below_step"


@given(
    scale=st.decimals(min_value="0.1", max_value=5, places=2),
    moves=st.lists(st.integers(-5, 5).filter(bool), min_size=1, max_size=12),
    mode=st.sampled_from(["down", "half_up", "half_even", "up"]),
)
def test_targets_follow_the_cumulative_position_without_drift(
    scale: Decimal, moves: list[int], mode: str
) -> None:
    rounding = RoundingPolicy(mode=mode, max_risk_ratio=None)  # pyright: ignore[reportArgumentType]
    world = World([rule(sizing=Sizing("multiplier", scale), rounding=rounding)])
    position = 0
    for move in moves:
        side = "buy" if move > 0 else "sell"
        world.say("enter", side=side, quantity=d(abs(move)))
        world.settle()
        position += move
    assert abs(world.held() - position * scale) <= 1
    assert position != 0 or world.held() == 0


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"pace": "close_only"}, "close_only"),
        ({"pace": "paused"}, "paused"),
        ({"exclude": ("ES",)}, "symbol_filtered"),
        ({"include": ("NQ",)}, "symbol_filtered"),
        ({"strategies": ("trend",)}, "strategy_filtered"),
        ({"side_filter": "short"}, "side_filtered"),
        ({"side_filter": "long", "inverse": True}, "side_filtered"),
        ({"min_order": d(3)}, "below_min_order"),
        ({"sizing": Sizing("multiplier", d("0.1"))}, "below_step"),
    ],
)
def test_a_filter_skips_the_entry_with_its_reason(changes: dict[str, object], reason: str) -> None:
    leg = World([rule(**changes)]).leg("enter", side="buy", quantity=d(2))
    assert (leg.outcome, leg.reason, leg.orders) == ("skipped", reason, ())
    assert leg.detail


@pytest.mark.parametrize(
    "changes",
    [
        {"include": ("ES",)},
        {"strategies": ("trend",)},
        {"side_filter": "long"},
        {"min_order": d(2)},
        {"exclude": ("NQ",)},
    ],
)
def test_a_filter_lets_pass_what_it_names(changes: dict[str, object]) -> None:
    assert _qty(rule(**changes), strategy="trend") == 2


@pytest.mark.parametrize("pace", ["close_only", "paused"])
@pytest.mark.parametrize("also", [{}, {"exclude": ("ES",)}, {"side_filter": "short"}, {"min_order": d(9)}])
def test_exits_pass_every_filter(pace: str, also: dict[str, object]) -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2))
    world.settle()
    world.rules = [rule(pace=pace, **also)]
    world.say("exit")
    world.settle()
    assert world.held() == 0


def test_close_only_moves_stops_and_paused_leaves_them() -> None:
    for pace, expected in (("close_only", "approved"), ("paused", "skipped")):
        world = World([rule()])
        world.say("enter", side="buy", quantity=d(1), leader_order_id="o", stop_loss=StopLoss(price=d(4990)))
        world.settle()
        world.rules = [rule(pace=pace)]
        leg = world.leg("replace", leader_order_id="o", stop_loss=StopLoss(price=d(4995)))
        assert leg.outcome == expected


def test_max_order_cuts_and_max_position_caps() -> None:
    assert _qty(rule(max_order=d(1))) == 1
    world = World([rule(max_position=d(3))])
    world.say("enter", side="buy", quantity=d(2))
    world.settle()
    assert _qty(world.rules[0], world) == 1
    world.settle()
    assert world.held() == 3


def test_delay_is_written_into_the_intent() -> None:
    made = _entry(rule(delay_ms=1500))
    assert isinstance(made, OrderIntent)
    assert made.delay_ms == 1500
