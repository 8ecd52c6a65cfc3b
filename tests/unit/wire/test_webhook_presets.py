"""Messages as their senders send them today, and what each means."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from kopitra.wire.faults import BodyRefused
from kopitra.wire.webhooks.reading import read_hook
from kopitra.wire.webhooks.settings import HookSettings

NOW = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
Wanted = dict[str, object]


def heard(preset: str, message: object, settings: HookSettings | None = None) -> Wanted:
    """What a message means: the body's fields that differ from their defaults; numbers as int or Decimal."""
    raw = message if isinstance(message, bytes) else _raw(message)
    body = read_hook(preset, "", settings or HookSettings(), raw, NOW).body
    found = body.model_dump(exclude_defaults=True, by_alias=True)
    for level in ("stopLoss", *("takeProfits",) * ("takeProfits" in found)):
        if level in found:
            found[level] = json.loads(json.dumps(found[level], default=str))
    return found


def _raw(message: object) -> bytes:
    return message.encode() if isinstance(message, str) else json.dumps(message).encode()


def tv(
    after: str, size: str, before: str, before_size: str, action: str = "buy", contracts: str = "1"
) -> Wanted:
    return {
        "ticker": "ES1!",
        "action": action,
        "contracts": contracts,
        "market_position": after,
        "market_position_size": size,
        "prev_market_position": before,
        "prev_market_position_size": before_size,
        "price": "6000.25",
        "time": "2026-11-20T14:29:59Z",
    }


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


def pmt(**changes: object) -> Wanted:
    """The message that their generator writes, values as texts."""
    return {
        "symbol": "NQZ6",
        "date": "2026-11-20T14:29:58Z",
        "data": "buy",
        "quantity": "2",
        "risk_percentage": "0",
        "price": "21000",
        "tp": "0",
        "percentage_tp": "0",
        "dollar_tp": "0",
        "sl": "0",
        "percentage_sl": "0",
        "dollar_sl": "0",
        "trail": "0",
        "update_tp": "false",
        "update_sl": False,
        "token": "CANARY-TOKEN",
        "account_id": "somebody-else",
        "duplicate_position_allow": "true",
        "reverse_order_close": "true",
        "multiple_accounts": [{"token": "CANARY-TOKEN", "account_id": "9", "quantity_multiplier": 50}],
        **changes,
    }


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


@pytest.mark.parametrize(
    "raw",
    [
        b"\xef\xbb\xbf" + _raw({"ticker": "ES1!", "action": "exit"}),
        b"\xff\xfe" + '{"ticker": "ES1!", "action": "exit"}'.encode("utf-16-le"),
        b"\xfe\xff" + '{"ticker": "ES1!", "action": "exit"}'.encode("utf-16-be"),
        b'\r\n  {"ticker": "ES1!", "action": "exit"}\n\n',
    ],
)
def test_byte_order_marks_and_spaces_do_not_matter(raw: bytes) -> None:
    assert heard("traderspost", raw) == {"symbol": "ES", "action": "exit"}


@pytest.mark.parametrize(
    "preset, message, code",
    [
        ("tradingview", {"symbol": "ES"}, "missing-field"),
        ("tradingview", {"action": "buy"}, "missing-field"),
        ("tradingview", {"symbol": "ES", "action": "hold"}, "unknown-value"),
        ("tradingview", {"symbol": "ES", "action": "{{strategy.order.action}}"}, "unfilled-placeholder"),
        ("tradingview", {"symbol": "AAPL", "action": "buy"}, "unknown-symbol"),
        ("tradingview", tv("long", "1", "long", "1"), "no-change"),
        ("tradingview", {"symbol": "ES", "action": "buy", "contracts": "two"}, "invalid-number"),
        ("tradingview", {"symbol": "ES", "action": "buy", "contracts": "-2"}, "not-above-zero"),
        ("tradingview", {"symbol": "ES", "action": "buy", "sl_percent": 1}, "missing-price"),
        ("tradingview", b'{"symbol":"ES","action":"buy","price":NaN}', "number-not-finite"),
        ("tradingview", b'{"symbol":"ES","symbol":"NQ"}', "duplicate-key"),
        ("tradingview", "buy the dip", "unexpected-format"),
        ("tradingview", b"", "empty-message"),
        ("tradingview", b"\xff\x00\xff", "invalid-encoding"),
        ("traderspost", {"ticker": "ES1!", "action": "moon"}, "unknown-value"),
        ("traderspost", {"ticker": "ES1!", "action": "add"}, "missing-field"),
        (
            "traderspost",
            {"ticker": "ES1!", "action": "buy", "quantityType": "percent_of_equity"},
            "unsupported-field",
        ),
        ("traderspost", {"ticker": "ES1!", "action": "buy", "stopLoss": {"percent": 5}}, "missing-price"),
        ("traderspost", {"ticker": "ES1!", "action": "buy", "stopLoss": 5}, "wrong-type"),
        ("traderspost", {"ticker": "ES1!", "action": "buy", "orderType": "iceberg"}, "unknown-value"),
        ("pickmytrade", pmt(data="maybe"), "unknown-value"),
        ("pickmytrade", pmt(update_sl="true"), "unsupported-field"),
        ("pickmytrade", pmt(trail="5"), "unsupported-field"),
        ("pickmytrade", pmt(quantity="0", risk_percentage="1"), "unsupported-field"),
        ("pickmytrade", pmt(symbol="NQ 13-26"), "unknown-symbol"),
        ("crosstrade", "command=PLACE;instrument=ES1!;qty=1", "missing-field"),
        ("crosstrade", "command=CLOSESTRATEGY;instrument=ES1!", "unknown-value"),
        ("crosstrade", "command=PLACE;instrument=ES1!;action=BUY;max_positions=1", "unsupported-field"),
        (
            "crosstrade",
            "command=PLACE;instrument=ES1!;action=BUY;require_market_position=flat",
            "unsupported-field",
        ),
        ("crosstrade", "command=PLACE;command=FLATTEN;", "duplicate-key"),
        ("crosstrade", "command=PLACE;instrument=ES1!;action=BUY;oops", "invalid-pair"),
        ("line", "long", "missing-field"),
        ("line", "hodl ES", "unknown-value"),
        ("line", "long ES size=2", "unknown-field"),
        ("line", "long ES q=1 q=2", "duplicate-key"),
        ("line", "long ES sl=abc", "invalid-level"),
        ("line", "add ES q=1", "missing-field"),
        ("kopitra", {"action": "exit", "symbol": "ES", "workspace": "w2"}, "unknown-field"),
        ("kopitra", {"action": "exit"}, "missing-symbol"),
    ],
)
def test_messages_that_cannot_be_meant_are_refused_with_a_code(
    preset: str, message: object, code: str
) -> None:
    with pytest.raises(BodyRefused) as refused:
        heard(preset, message)
    assert refused.value.code == code
    assert "CANARY" not in str(refused.value.faults)


def test_the_hook_adds_quantity_symbols_and_time() -> None:
    settings = HookSettings(quantity=Decimal(3), sender_time=True, symbols={"US500": "MES"})
    found = heard(
        "tradingview", {"symbol": "US500", "action": "buy", "time": "2026-11-20T14:29:58Z"}, settings
    )
    assert (found["symbol"], found["quantity"]) == ("MES", 3)
    assert found["occurredAt"] == datetime(2026, 11, 20, 14, 29, 58, tzinfo=UTC)


@pytest.mark.parametrize("stamp", ["1795185000", "1795185000000", "2026-11-20T14:30:00"])
def test_senders_stamp_their_messages_in_several_ways(stamp: str) -> None:
    found = heard("pickmytrade", pmt(date=stamp), HookSettings(sender_time=True))
    assert found["occurredAt"] == NOW


def test_entries_above_the_cap_are_refused_and_exits_are_not() -> None:
    settings = HookSettings(quantity_max=Decimal(5))
    with pytest.raises(BodyRefused) as refused:
        heard("line", "long ES q=6", settings)
    assert refused.value.code == "quantity-above-cap"
    assert heard("line", "close ES q=6", settings)["quantity"] == 6


def test_the_same_text_has_the_same_digest_and_another_has_another() -> None:
    def digest(raw: bytes) -> bytes:
        return read_hook("line", "", HookSettings(), raw, NOW).digest

    assert digest(b"long ES") == digest(b"\xef\xbb\xbflong ES\n")
    assert digest(b"long ES") != digest(b"long ES q=2")
