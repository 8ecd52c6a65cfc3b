"""The control commands that every face mounts under /_sim/."""

import json

import pytest

from brokers._kit.matching import ControlAnswer, apply_control
from tests.unit.kit.matching_world import ACCOUNT, MNQ, World, id_of, names, order, world


def run(market: World, command: str, **arguments: object) -> ControlAnswer:
    return apply_control(market.core, {"command": command, **arguments}, market.tick())


def test_every_answer_can_be_sent_as_json() -> None:
    market = world()
    market.place(order("buy", qty=2, tag="a"), order("sell", "stop", 2, offset="-5"))

    for command in ("ledger", "positions", "orders", "accounts", "settings", "end-session", "reset"):
        assert json.loads(json.dumps(run(market, command).body)) is not None


def test_a_price_moves_the_market_and_its_events_are_handed_out() -> None:
    market = world()
    market.place(order("buy", "limit", 1, "99"))

    answer = run(market, "set-price", symbol=MNQ, bid="98.75", ask="99", last="98.75")

    assert names(answer.events) == ["OrderFilled", "PositionChanged"]
    run(market, "set-price", symbol=MNQ, price=97)
    quote = market.core.quote(MNQ)
    assert quote is not None
    assert (quote.bid, quote.ask, quote.last) == (97, 97, 97)


def test_settings_are_changed_together_or_not_at_all() -> None:
    market = world()

    answer = run(market, "set-settings", ack_delay_ms=20, halted_symbols=[MNQ], reject_ratio=0.5)
    assert isinstance(answer.body, dict)
    assert market.core.settings.ack_delay_ms == 20

    with pytest.raises(ValueError, match="no setting"):
        run(market, "set-settings", ack_delay_ms=99, nonsense=1)
    assert market.core.settings.ack_delay_ms == 20


def test_a_person_trades_by_hand() -> None:
    market = world()

    entered = run(
        market,
        "manual-order",
        account_id=ACCOUNT,
        symbol=MNQ,
        side="buy",
        qty=3,
        children=[
            {"side": "sell", "ord_type": "stop", "stop_price": "95"},
            {"side": "sell", "ord_type": "limit", "price": "110"},
        ],
    )
    stop_id = id_of(entered.events, 1)
    run(market, "manual-replace", order_id=stop_id, stop_price="96")
    run(market, "manual-cancel", order_id=id_of(entered.events, 2))
    run(market, "manual-close", account_id=ACCOUNT, symbol=MNQ, qty=1)

    assert market.net() == 2
    assert market.state(stop_id).stop_price == 96
    assert not market.state(stop_id).request.automated
    assert {row.origin for row in market.core.ledger.placements()} == {"manual", "bracket"}
    assert [row.kind for row in market.core.ledger.requests()] == ["replace", "cancel", "close"]


def test_the_firm_locks_liquidates_and_busts() -> None:
    market = world()
    run(market, "manual-order", account_id=ACCOUNT, symbol=MNQ, side="buy", qty=3)
    run(market, "liquidate", account_id=ACCOUNT)
    assert market.net() == 0
    assert names(market.place(order())) == ["OrderRejected"]

    run(market, "lock", account_id=ACCOUNT, can_trade=True)
    market.place(order())
    run(market, "bust", exec_id=market.core.executions()[-1].exec_id)
    assert market.net() == 0


def test_the_next_placements_can_be_refused() -> None:
    market = world()
    run(market, "reject-next", count=1, text="no", late=True)

    assert names(market.place(order())) == ["OrderAccepted", "OrderRejected"]


@pytest.mark.parametrize(
    "command,remedy",
    [
        ({}, "known: "),
        ({"command": "fly"}, "known: "),
        ({"command": "set-price", "symbol": MNQ}, "bid and ask"),
        ({"command": "set-price", "symbol": MNQ, "price": 1.5}, "decimal string"),
        ({"command": "set-price", "symbol": MNQ, "price": "x"}, "decimal string"),
        ({"command": "set-price", "symbol": MNQ, "bid": "2", "ask": "1"}, "not above"),
        ({"command": "set-price", "symbol": "NOPE", "price": 1}, "not found"),
        ({"command": "set-price", "price": 1}, "symbol"),
        ({"command": "manual-cancel"}, "order_id"),
        ({"command": "manual-cancel", "order_id": 5}, "unknown_order"),
        ({"command": "manual-cancel", "order_id": "5"}, "whole number"),
        ({"command": "manual-order", "account_id": 1, "symbol": MNQ, "qty": 1}, "side"),
        ({"command": "manual-order", "account_id": 1, "symbol": MNQ, "qty": 1, "side": "up"}, "one of"),
        ({"command": "bust", "exec_id": 5}, "unknown"),
        ({"command": "lock", "account_id": 1, "can_trade": "yes"}, "true or false"),
        ({"command": "set-settings", "ack_delay_ms": "5"}, "ack_delay_ms"),
    ],
)
def test_a_wrong_command_says_what_to_do(command: dict[str, object], remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        apply_control(world().core, command, 1)
