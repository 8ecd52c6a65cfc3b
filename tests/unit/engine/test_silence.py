"""R-057: working orders of which nothing is heard are asked for, and not too often."""

from decimal import Decimal

from gateway_container.engine.silence import ASK_AFTER_S, Silence
from kopitra.domain.orders import ChildOrder, OrderIntent, State

NS = 1_000_000_000


def child(name: str, account_id: str = "a", state: State = "working") -> ChildOrder:
    intent = OrderIntent(name, "l", account_id, "lead", "e", "entry", "ESZ6", "buy", Decimal(1))
    return ChildOrder(intent, state, Decimal(1))


def test_r057_an_order_is_asked_for_after_five_seconds_without_news() -> None:
    silence, orders = Silence(), [child("x"), child("y", "b")]
    assert silence.due(orders, 0) == []
    assert silence.due(orders, 5 * NS - 1) == []
    assert silence.due(orders, 5 * NS) == ["a", "b"]


def test_r057_news_begin_the_silence_anew() -> None:
    silence, order = Silence(), child("x", state="acked")
    silence.due([order], 0)
    order.state = "working"
    assert silence.due([order], 4 * NS) == []
    order.cum_qty = Decimal(1)
    assert silence.due([order], 8 * NS) == []
    assert silence.due([order], 13 * NS) == ["a"]


def test_r057_what_was_asked_for_waits_longer_each_time_and_stays_due_until_it_is_asked() -> None:
    silence, orders = Silence(), [child("x")]
    silence.due(orders, 0)
    now_ns = 0
    for pause_s in (*ASK_AFTER_S, ASK_AFTER_S[-1]):
        now_ns += int(pause_s * NS)
        assert silence.due(orders, now_ns - NS) == []
        assert silence.due(orders, now_ns) == ["a"]
        assert silence.due(orders, now_ns) == ["a"], "no budget: it stays due"
        silence.asked(orders, "a", now_ns)


def test_r057_one_read_asks_for_all_orders_of_its_account_and_of_no_other() -> None:
    silence, orders = Silence(), [child("x"), child("y"), child("z", "b")]
    silence.due(orders, 0)
    assert silence.due(orders, 6 * NS) == ["a", "b"]
    silence.asked(orders, "a", 6 * NS)
    assert silence.due(orders, 7 * NS) == ["b"]


def test_r057_only_what_a_broker_is_known_to_have_is_asked_for_and_ended_orders_are_forgotten() -> None:
    states: tuple[State, ...] = ("planned", "claimed", "in_doubt", "parked", "filled", "canceled")
    silence, orders = Silence(), [child(state, state=state) for state in states]
    silence.due(orders, 0)
    assert silence.due(orders, 60 * NS) == []
    order = child("x")
    silence.due([order], 0)
    silence.due([], NS)
    assert silence.due([order], 100 * NS) == []
