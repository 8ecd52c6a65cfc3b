"""Messages in pairs and in one line, and what each means."""

from decimal import Decimal

import pytest

from tests.unit.wire.heard import Wanted, heard

CROSSTRADE: list[tuple[str, Wanted]] = [
    (
        "command=PLACE;account=Sim101;instrument=ES 12-26;action=BUY;qty=1;order_type=MARKET;tif=DAY;",
        {"symbol": "ESZ26", "action": "enter", "side": "buy", "quantity": 1},
    ),
    (
        "key=CANARY;\ncommand=place;\ninstrument=ES1!;\naction=sell;\nqty=2;\norder_type=market;\n",
        {"symbol": "ES", "action": "enter", "side": "sell", "quantity": 2},
    ),
    (
        "command=PLACE;instrument=NQ DEC26;action=BUY;order_type=LIMIT;limit_price=20900.25;order_id=o7",
        {
            "symbol": "NQZ26",
            "action": "enter",
            "side": "buy",
            "quantity": 1,
            "ordType": "limit",
            "price": Decimal("20900.25"),
            "leaderOrderId": "o7",
        },
    ),
    (
        "command=PLACE;instrument=ES1!;action=BUY;qty=1;order_type=STOPLIMIT;limit_price=6011;stop_price=6010",
        {
            "symbol": "ES",
            "action": "enter",
            "side": "buy",
            "quantity": 1,
            "ordType": "stop_limit",
            "price": 6011,
            "stopPrice": 6010,
            "leaderOrderId": "hook-ES",
        },
    ),
    (
        "command=FLATPLACE;instrument=ES1!;action=SELL;qty=1;take_profit=5950;stop_loss=20 ticks",
        {
            "symbol": "ES",
            "action": "reverse",
            "side": "sell",
            "quantity": 1,
            "stopLoss": {"offset": "5"},
            "takeProfits": [{"price": "5950"}],
        },
    ),
    (
        "command=PLACE;flatten_first=true;instrument=ES1!;action=BUY;qty=1",
        {"symbol": "ES", "action": "reverse", "side": "buy", "quantity": 1},
    ),
    ("command=CLOSEPOSITION;account=x;instrument=ES1!", {"symbol": "ES", "action": "exit"}),
    (
        "command=REVERSEPOSITION;instrument=ES1!;action=SELL;qty=3",
        {"symbol": "ES", "action": "reverse", "side": "sell", "quantity": 3},
    ),
    ("command=FLATTEN;instrument=ES1!", {"symbol": "ES", "action": "flatten"}),
    ("command=FLATTENEVERYTHING;key=k", {"action": "flatten"}),
    (
        "command=CANCEL;instrument=ES1!;order_id=o7",
        {"symbol": "ES", "action": "cancel", "leaderOrderId": "o7"},
    ),
    (
        "command=CANCELORDERS;instrument=ES1!",
        {"symbol": "ES", "action": "cancel", "leaderOrderId": "hook-ES"},
    ),
    (
        "command=CHANGE;instrument=ES1!;order_id=o7;qty=2;limit_price=6001",
        {"symbol": "ES", "action": "replace", "origLeaderOrderId": "o7", "quantity": 2, "price": 6001},
    ),
]


@pytest.mark.parametrize("message, wanted", CROSSTRADE)
def test_crosstrade(message: str, wanted: Wanted) -> None:
    assert heard("crosstrade", message) == wanted


LINES: list[tuple[str, Wanted]] = [
    (
        "long NQ q=2 sl=40",
        {"symbol": "NQ", "action": "enter", "side": "buy", "quantity": 2, "stopLoss": {"offset": "40"}},
    ),
    ("  short mes1!  \r\n", {"symbol": "MES", "action": "enter", "side": "sell", "quantity": 1}),
    (
        "buy ES 12-26 q=1 p=6000.25 tif=gtc",
        {
            "symbol": "ESZ26",
            "action": "enter",
            "side": "buy",
            "quantity": 1,
            "ordType": "limit",
            "price": Decimal("6000.25"),
            "timeInForce": "gtc",
            "leaderOrderId": "hook-ES",
        },
    ),
    (
        "sell ES q=1 stop=5990 p=5989",
        {
            "symbol": "ES",
            "action": "enter",
            "side": "sell",
            "quantity": 1,
            "ordType": "stop_limit",
            "price": 5989,
            "stopPrice": 5990,
            "leaderOrderId": "hook-ES",
        },
    ),
    (
        "long ES sl=@5990 tp=$500",
        {
            "symbol": "ES",
            "action": "enter",
            "side": "buy",
            "quantity": 1,
            "stopLoss": {"price": "5990"},
            "takeProfits": [{"offset": "10"}],
        },
    ),
    (
        "long ES ref=6000 sl=16t tp=1%",
        {
            "symbol": "ES",
            "action": "enter",
            "side": "buy",
            "quantity": 1,
            "stopLoss": {"offset": "4"},
            "takeProfits": [{"offset": "60"}],
        },
    ),
    ("exit ES", {"symbol": "ES", "action": "exit"}),
    ("close CL q=1", {"symbol": "CL", "action": "exit", "quantity": 1}),
    ("reduce ES q=1", {"symbol": "ES", "action": "reduce", "quantity": 1}),
    ("add long ES q=1", {"symbol": "ES", "action": "add", "side": "buy", "quantity": 1}),
    ("reverse NQ short q=1", {"symbol": "NQ", "action": "reverse", "side": "sell", "quantity": 1}),
    ("cancel CL id=7", {"symbol": "CL", "action": "cancel", "leaderOrderId": "7"}),
    ("flatten", {"action": "flatten"}),
    ("flatten ES", {"symbol": "ES", "action": "flatten"}),
]


@pytest.mark.parametrize("message, wanted", LINES)
def test_one_line(message: str, wanted: Wanted) -> None:
    assert heard("line", message) == wanted
