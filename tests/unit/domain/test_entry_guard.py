"""R-067, R-068, R-069 and R-070: what an entry may cost, how old it may be, and in which contract it may open."""

from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal

import pytest

from kopitra.domain.copy_rules import CopyRule, InvalidRule
from kopitra.domain.fanout import PlanInputs
from kopitra.domain.guard import FRESH_MS, BestPrice
from kopitra.domain.instruments import Contract
from kopitra.domain.limits import RiskLimits
from kopitra.domain.orders import OrderIntent
from tests.unit.domain.copy_world import ESZ6, NOW, World, account, d, rule

AT = NOW + timedelta(seconds=1)  # when the first signal of a world is decided


@dataclass
class Scene(World):
    """A world with quotes and clocks."""

    extra: dict[str, object] = field(default_factory=dict[str, object])
    today: date | None = None

    def inputs(self) -> PlanInputs:
        made = replace(super().inputs(), **self.extra)
        return made if self.today is None else replace(made, today=self.today)


def entry(one: CopyRule, scene: Scene | None = None, /, **act: object) -> OrderIntent | str:
    """The entry that one rule makes of an act (buy 2 at market unless told), or the reason against it."""
    scene = scene or Scene([one])
    leg = scene.leg("enter", **({"side": "buy", "quantity": d(2)} | act))
    entries = [a.intent for a in leg.orders if a.intent.role == "entry"]
    return entries[0] if entries else leg.reason


def quoted(one: CopyRule, bid: str, ask: str, age_ms: int = 0) -> Scene:
    best = {ESZ6: BestPrice(d(bid), d(ask), AT - timedelta(milliseconds=age_ms))}
    return Scene([one], extra={"best": best})


GUARD = rule(guard_ticks=4)
COLLAR = rule(collar_ticks=4)


@pytest.mark.parametrize(
    "side, leader, verdict",
    [
        ("buy", "5000", None),
        ("buy", "4999.75", "price_moved"),
        ("sell", "5001.75", None),
        ("sell", "5002", "price_moved"),
    ],
)  # fmt: skip
def test_r069_a_guarded_entry_is_skipped_when_the_price_ran_away(
    side: str, leader: str, verdict: str | None
) -> None:
    made = entry(GUARD, quoted(GUARD, "5000.75", "5001"), side=side, price=d(leader), is_fill=True)
    assert (made if isinstance(made, str) else None) == verdict


def test_r069_a_better_price_is_never_too_far() -> None:
    made = entry(GUARD, quoted(GUARD, "4000", "4000.25"), price=d(5000), is_fill=True)
    assert isinstance(made, OrderIntent)


def test_r069_a_guard_without_a_fresh_price_or_a_leader_price_refuses() -> None:
    fresh, old = quoted(GUARD, "5000", "5000.25", FRESH_MS), quoted(GUARD, "5000", "5000.25", FRESH_MS + 1)
    assert isinstance(entry(GUARD, fresh, price=d(5000), is_fill=True), OrderIntent)
    assert entry(GUARD, old, price=d(5000), is_fill=True) == "no_fresh_price"
    assert entry(GUARD, None, price=d(5000), is_fill=True) == "no_fresh_price"
    assert entry(GUARD, quoted(GUARD, "5000", "5000.25")) == "no_leader_price"


def test_r069_without_a_guard_prices_stop_nothing() -> None:
    assert isinstance(
        entry(rule(), quoted(rule(), "9000", "9000.25"), price=d(5000), is_fill=True), OrderIntent
    )


def test_r069_a_limit_entry_needs_no_guard() -> None:
    made = entry(GUARD, None, ord_type="limit", price=d(4990))
    assert isinstance(made, OrderIntent)


@pytest.mark.parametrize("side, price", [("buy", "5002"), ("sell", "4999.75")])
def test_r069_a_collar_makes_a_marketable_limit_of_a_market_entry(side: str, price: str) -> None:
    made = entry(COLLAR, quoted(COLLAR, "5000.75", "5001"), side=side)
    assert isinstance(made, OrderIntent)
    assert (made.ord_type, made.price) == ("limit", Decimal(price))


def test_r069_a_collar_uses_the_leader_price_when_no_quote_is_fresh_and_refuses_without_both() -> None:
    made = entry(COLLAR, None, price=d(5000), is_fill=True)
    assert isinstance(made, OrderIntent)
    assert made.price == d(5001)
    assert entry(COLLAR) == "no_fresh_price"


def test_r068_a_market_entry_in_a_collar_is_as_old_as_a_market_entry() -> None:
    old = {"occurred_at": NOW - timedelta(seconds=5)}
    assert entry(COLLAR, None, price=d(5000), is_fill=True, **old) == "too_old"
    assert isinstance(entry(rule(), None, ord_type="limit", price=d(5000), **old), OrderIntent)


@pytest.mark.parametrize(
    "act, age_s, passes",
    [
        ({}, 3, True), ({}, 3.001, False),
        ({"ord_type": "limit", "price": d(5000)}, 30, True), ({"ord_type": "limit", "price": d(5000)}, 30.001, False),
        ({}, -2, True), ({}, -2.001, False),
    ],
)  # fmt: skip
def test_r068_the_age_table(act: dict[str, object], age_s: float, passes: bool) -> None:
    made = entry(rule(), None, occurred_at=AT - timedelta(seconds=age_s), **act)
    assert made == "too_old" if not passes else isinstance(made, OrderIntent)


def test_r068_exits_have_no_age() -> None:
    scene = Scene([rule()])
    scene.leg("enter", side="buy", quantity=d(2))
    scene.fill(next(iter(scene.book.orders.values())), d(2))
    leg = scene.leg("exit", occurred_at=NOW - timedelta(days=1))
    assert [a.intent.role for a in leg.orders] == ["exit"]


def test_r068_no_rule_may_allow_more_than_sixty_seconds() -> None:
    with pytest.raises(InvalidRule, match="max_age_s"):
        rule(max_age_s=d("60.001"))


def test_r068_a_sender_known_to_be_ahead_makes_its_signals_older() -> None:
    """2.5 s by its clock and 1.5 s ahead: 4 s old in truth."""
    occurred = {"occurred_at": AT - timedelta(seconds=2.5)}
    assert isinstance(entry(rule(), None, **occurred), OrderIntent)
    assert entry(rule(), Scene([rule()], extra={"sender_ahead_ms": 1_500}), **occurred) == "too_old"


def test_r070_a_date_beyond_the_tolerance_is_refused_whatever_is_known_of_the_sender() -> None:
    scene = Scene([rule()], extra={"sender_ahead_ms": 2_000})
    assert entry(rule(), scene, occurred_at=AT + timedelta(seconds=2.001)) == "too_old"


def test_r070_entries_stop_and_exits_go_on_while_clocks_are_off() -> None:
    scene = Scene([rule()])
    scene.leg("enter", side="buy", quantity=d(2))
    scene.fill(next(iter(scene.book.orders.values())), d(2))
    scene.extra["clock_off"] = True
    assert scene.leg("add", side="buy", quantity=d(1)).reason == "clock_off"
    assert [a.intent.role for a in scene.leg("exit").orders] == ["exit"]


def test_r067_nothing_opens_inside_the_last_days_of_a_contract_and_exits_address_what_is_held() -> None:
    expiry = Contract.parse(ESZ6, NOW.date()).expiry
    scene = Scene([rule()], today=expiry - timedelta(days=2))
    scene.leg("enter", side="buy", quantity=d(2), contract=ESZ6)
    scene.fill(next(iter(scene.book.orders.values())), d(2))
    scene.today = expiry - timedelta(days=1)
    assert scene.leg("add", side="buy", quantity=d(1), contract=ESZ6).reason == "near_expiry"
    # The front month is another by now: the exit still closes the contract that is held.
    closes = [a.intent for a in scene.leg("exit").orders]
    assert [(i.role, i.symbol, i.qty) for i in closes] == [("exit", ESZ6, 2)]


def test_r067_the_days_are_the_accounts_setting_and_the_front_month_always_opens() -> None:
    expiry = Contract.parse(ESZ6, NOW.date()).expiry
    eager = account(limits=RiskLimits(expiry_days_min=0, max_orders_per_minute=1_000))
    careful = account(limits=RiskLimits(expiry_days_min=30, max_orders_per_minute=1_000))
    last_day = Scene([rule()], accounts={"a1": eager}, today=expiry)
    assert isinstance(entry(rule(), last_day, contract=ESZ6), OrderIntent)
    month_before = Scene([rule()], accounts={"a1": careful}, today=expiry - timedelta(days=29))
    assert entry(rule(), month_before, contract=ESZ6) == "near_expiry"
    rolled = Scene([rule()], today=expiry - timedelta(days=1))
    made = entry(rule(), rolled)
    assert isinstance(made, OrderIntent)
    assert made.symbol == "ESH7"


@pytest.mark.parametrize("name", ["guard_ticks", "collar_ticks"])
def test_r069_a_negative_guard_cannot_be_meant(name: str) -> None:
    with pytest.raises(InvalidRule, match=name):
        rule(**{name: -1})
