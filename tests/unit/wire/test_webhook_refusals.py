"""What a hook makes of odd messages: marks, refusals, its own settings, its digest."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from kopitra.wire.faults import BodyRefused
from kopitra.wire.webhooks.reading import read_hook
from kopitra.wire.webhooks.settings import HookSettings
from tests.unit.wire.heard import NOW, heard, pmt, raw_of, tv


@pytest.mark.parametrize(
    "raw",
    [
        b"\xef\xbb\xbf" + raw_of({"ticker": "ES1!", "action": "exit"}),
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
