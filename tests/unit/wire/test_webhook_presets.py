"""Messages as their senders send them today, and what each means."""

from decimal import Decimal

import pytest

from tests.unit.wire.heard import Wanted, heard, pmt, tv

TRADINGVIEW: list[tuple[object, Wanted]] = [
    (
        tv("long", "2", "flat", "0"),
        {"action": "enter", "side": "buy", "quantity": 2, "leaderPosition": 2},
    ),
    (
        tv("short", "1", "flat", "0", "sell"),
        {"action": "enter", "side": "sell", "quantity": 1, "leaderPosition": -1},
    ),
    (tv("long", "3", "long", "1"), {"action": "add", "side": "buy", "quantity": 2, "leaderPosition": 3}),
    (tv("long", "1", "long", "3", "sell", "2"), {"action": "reduce", "quantity": 2, "leaderPosition": 1}),
    (tv("short", "1", "short", "4", "buy", "3"), {"action": "reduce", "quantity": 3, "leaderPosition": -1}),
    (tv("flat", "0", "long", "2", "sell", "2"), {"action": "exit", "leaderPosition": 0}),
    (
        tv("short", "1", "long", "1", "sell", "2"),
        {"action": "reverse", "side": "sell", "quantity": 1, "leaderPosition": -1},
    ),
    (
        {"symbol": "ES", "action": "sell", "position_size": "-2"},
        {"action": "enter", "side": "sell", "quantity": 2, "leaderPosition": -2},
    ),
    (
        {"symbol": "ES", "action": "buy", "contracts": "1", "position_size": "3"},
        {"action": "add", "side": "buy", "quantity": 1, "leaderPosition": 3},
    ),
    (
        {"symbol": "ES", "action": "sell", "contracts": "1", "position_size": "3"},
        {"action": "reduce", "quantity": 1, "leaderPosition": 3},
    ),
    ({"symbol": "ES", "action": "buy"}, {"action": "enter", "side": "buy", "quantity": 1}),
    ({"symbol": "ES", "action": "close"}, {"action": "exit"}),
    (
        "symbol=ES;action=buy;contracts=2;comment=breakout",
        {"action": "enter", "side": "buy", "quantity": 2, "comment": "breakout"},
    ),
    (
        {"symbol": "ES", "action": "buy", "sl": "5990", "tp_percent": "1", "close": 6000},
        {
            "action": "enter",
            "side": "buy",
            "quantity": 1,
            "stopLoss": {"price": "5990"},
            "takeProfits": [{"offset": "60"}],
        },
    ),
    (
        {"symbol": "ES", "action": "buy", "sl_ticks": 16, "tp_dollars": 500},
        {
            "action": "enter",
            "side": "buy",
            "quantity": 1,
            "stopLoss": {"offset": "4"},
            "takeProfits": [{"offset": "10"}],
        },
    ),
]


@pytest.mark.parametrize("message, wanted", TRADINGVIEW)
def test_tradingview(message: object, wanted: Wanted) -> None:
    assert heard("tradingview", message) == {"symbol": "ES", **wanted}


TRADERSPOST: list[tuple[object, Wanted]] = [
    (
        {"ticker": "NQ1!", "action": "buy"},
        {"symbol": "NQ", "action": "reverse", "side": "buy", "quantity": 1},
    ),
    (
        {"ticker": "NQZ2026", "action": "sell", "quantity": 2, "signalPrice": 21000.25},
        {"symbol": "NQZ26", "action": "reverse", "side": "sell", "quantity": 2},
    ),
    (
        {"ticker": "ES1!", "action": "buy", "sentiment": "long", "quantity": "2", "price": "6000"},
        {"symbol": "ES", "action": "reverse", "side": "buy", "quantity": 2},
    ),
    (
        {"ticker": "ES1!", "action": "sell", "sentiment": "flat", "quantity": "2"},
        {"symbol": "ES", "action": "exit"},
    ),
    (
        {"ticker": "ES1!", "action": "sell", "sentiment": "long", "quantity": "1"},
        {"symbol": "ES", "action": "reduce", "quantity": 1},
    ),
    (
        {"ticker": "ES1!", "action": "buy", "sentiment": "bearish", "quantity": "1"},
        {"symbol": "ES", "action": "reduce", "quantity": 1},
    ),
    ({"ticker": "ES1!", "action": "exit"}, {"symbol": "ES", "action": "exit"}),
    ({"ticker": "ES1!", "action": "exit", "quantity": 1}, {"symbol": "ES", "action": "exit", "quantity": 1}),
    (
        {"ticker": "ES1!", "action": "cancel"},
        {"symbol": "ES", "action": "cancel", "leaderOrderId": "hook-ES"},
    ),
    (
        {"ticker": "ES1!", "action": "add", "sentiment": "bullish", "quantity": 1},
        {"symbol": "ES", "action": "add", "side": "buy", "quantity": 1},
    ),
    (
        {
            "ticker": "ES1!",
            "action": "buy",
            "signalPrice": 6000,
            "takeProfit": {"percent": 1},
            "stopLoss": {"type": "stop", "percent": 0.5},
        },
        {
            "symbol": "ES",
            "action": "reverse",
            "side": "buy",
            "quantity": 1,
            "stopLoss": {"offset": "30"},
            "takeProfits": [{"offset": "60"}],
        },
    ),
    (
        {
            "ticker": "MNQ1!",
            "action": "sell",
            "takeProfit": {"limitPrice": 20000},
            "stopLoss": {"amount": 50.1},
        },
        {
            "symbol": "MNQ",
            "action": "reverse",
            "side": "sell",
            "quantity": 1,
            "stopLoss": {"offset": "50"},
            "takeProfits": [{"price": "20000"}],
        },
    ),
    (
        {
            "ticker": "ES1!",
            "action": "buy",
            "orderType": "limit",
            "limitPrice": "5999.50",
            "timeInForce": "gtc",
        },
        {
            "symbol": "ES",
            "action": "enter",
            "side": "buy",
            "quantity": 1,
            "ordType": "limit",
            "price": Decimal("5999.5"),
            "timeInForce": "gtc",
            "leaderOrderId": "hook-ES",
        },
    ),
    (
        {
            "ticker": "ES1!",
            "action": "buy",
            "orderType": "stop",
            "stopPrice": 6010,
            "extras": {"note": [1, 2]},
        },
        {
            "symbol": "ES",
            "action": "enter",
            "side": "buy",
            "quantity": 1,
            "ordType": "stop",
            "stopPrice": 6010,
            "leaderOrderId": "hook-ES",
        },
    ),
    (
        {"ticker": "ES1!", "action": "sell", "orderType": "trailing_stop", "trailAmount": 5},
        {
            "symbol": "ES",
            "action": "enter",
            "side": "sell",
            "quantity": 1,
            "ordType": "trailing_stop",
            "trailOffset": 5,
            "leaderOrderId": "hook-ES",
        },
    ),
]


@pytest.mark.parametrize("message, wanted", TRADERSPOST)
def test_traderspost(message: object, wanted: Wanted) -> None:
    assert heard("traderspost", message) == wanted


PICKMYTRADE: list[tuple[Wanted, Wanted]] = [
    ({}, {"action": "reverse", "side": "buy", "quantity": 2}),
    ({"data": "SELL", "quantity": 1}, {"action": "reverse", "side": "sell", "quantity": 1}),
    ({"data": "close"}, {"action": "exit"}),
    ({"reverse_order_close": "false"}, {"action": "enter", "side": "buy", "quantity": 2}),
    ({"reverse_order_close": False}, {"action": "enter", "side": "buy", "quantity": 2}),
    (
        {"tp": "21100", "sl": "20950.10"},
        {
            "action": "reverse",
            "side": "buy",
            "quantity": 2,
            "stopLoss": {"price": "20950"},
            "takeProfits": [{"price": "21100"}],
        },
    ),
    (
        {"percentage_tp": "1", "percentage_sl": 0.5},
        {
            "action": "reverse",
            "side": "buy",
            "quantity": 2,
            "stopLoss": {"offset": "105"},
            "takeProfits": [{"offset": "210"}],
        },
    ),
    (
        {"dollar_tp": "1000", "dollar_sl": 200},
        {
            "action": "reverse",
            "side": "buy",
            "quantity": 2,
            "stopLoss": {"offset": "10"},
            "takeProfits": [{"offset": "50"}],
        },
    ),
    (
        {"order_type": "LMT"},
        {
            "action": "enter",
            "side": "buy",
            "quantity": 2,
            "ordType": "limit",
            "price": 21000,
            "leaderOrderId": "hook-NQ",
        },
    ),
    (
        {"order_type": "STP"},
        {
            "action": "enter",
            "side": "buy",
            "quantity": 2,
            "ordType": "stop",
            "stopPrice": 21000,
            "leaderOrderId": "hook-NQ",
        },
    ),
]


@pytest.mark.parametrize("changes, wanted", PICKMYTRADE)
def test_pickmytrade(changes: Wanted, wanted: Wanted) -> None:
    assert heard("pickmytrade", pmt(**changes)) == {"symbol": "NQZ26", **wanted}
