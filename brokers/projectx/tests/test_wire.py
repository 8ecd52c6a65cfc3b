"""Recorded payloads, read."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar

import msgspec
import pytest

from brokers.projectx.tests.samples import recorded
from brokers.projectx.wire import (
    ORDER_STATUS,
    AccountsReply,
    ContractsReply,
    OrdersReply,
    PositionsReply,
    TradesReply,
    WireAccount,
    WireOrder,
    WirePosition,
    WireTrade,
    number,
    read_account,
    read_order,
    read_position,
    read_quote,
    read_reply,
    read_trade,
    rows_of,
    utc,
    word,
)
from kopitra.domain.errors import ProtocolViolation

T = TypeVar("T")


def test_a_wrapped_order_is_read_with_seven_digit_times() -> None:
    order = read_order(recorded("hub_order_rejected"))

    assert (order.id, order.account_id, order.status, order.type, order.side) == (
        3500000001,
        4100001,
        5,
        2,
        1,
    )
    assert order.custom_tag == "cp-1"
    assert order.limit_price is None
    assert order.update_timestamp == datetime(2026, 8, 19, 20, 49, 25, 396211, UTC)


def test_a_trade_keeps_its_price_as_written() -> None:
    trade = read_trade(recorded("hub_trade"))

    assert (trade.id, trade.order_id, trade.size, trade.side) == (3000000202, 3500000202, 1, 0)
    assert trade.price == Decimal(29423)
    assert not trade.voided


def test_a_closed_position_is_flat() -> None:
    position = read_position(recorded("hub_position_closed"))

    assert (position.type, position.size) == (0, 0)


@pytest.mark.parametrize("name", ["hub_account", "hub_account_bare"])
def test_payloads_are_read_wrapped_and_bare(name: str) -> None:
    assert read_account(recorded(name)).balance == Decimal("150017.25")


def first(raws: list[msgspec.Raw] | None, shape: type[T]) -> T:
    return rows_of(raws or [], shape)[0]


def test_lists_are_read() -> None:
    order = first(read_reply(OrdersReply, recorded("rest_order_stop_filled")).orders, WireOrder)
    position = first(read_reply(PositionsReply, recorded("rest_positions")).positions, WirePosition)
    trade = first(read_reply(TradesReply, recorded("rest_trades")).trades, WireTrade)
    account = first(read_reply(AccountsReply, recorded("rest_accounts")).accounts, WireAccount)
    contracts = read_reply(ContractsReply, recorded("rest_contracts")).contracts or []

    assert (order.parent_order_id, order.filled_price) == (3500000101, Decimal("30196.25"))
    assert position.average_price == Decimal("21000.375")
    assert trade.price == Decimal("29542.25")
    assert (account.name, account.balance) == ("PRAC-V2-1-2", Decimal("150000.5"))
    assert contracts[2].tick_size == Decimal("0.015625")


@pytest.mark.parametrize("body", [b'{"success":true,"errorCode":0}', b'{"orders":null,"success":true}'])
def test_a_missing_list_is_no_empty_list(body: bytes) -> None:
    assert read_reply(OrdersReply, body).orders is None


def test_a_sparse_quote_names_only_what_changed() -> None:
    quote = read_quote(b'{"symbol":"F.US.EP","bestBid":6800.25,"timestamp":"2026-11-20T15:00:00Z"}')

    assert (quote.best_bid, quote.best_ask, quote.last_price) == (Decimal("6800.25"), None, None)


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b'{"action":1,"data":{}}', b'{"id":1,"size":1.5}', b"\xff\xfe"]
)
def test_what_is_no_order_is_a_violation_with_its_payload(payload: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        read_order(payload)


@pytest.mark.parametrize("code", [0, 9, -1, 2**40])
def test_an_unknown_status_has_no_fallback(code: int) -> None:
    with pytest.raises(ProtocolViolation, match="order status"):
        word(ORDER_STATUS, code, "order status")


@pytest.mark.parametrize("ident, wanted", [(3500000001, 3500000001), ("3500000001", 3500000001)])
def test_ids_may_be_text(ident: int | str, wanted: int) -> None:
    assert number(ident) == wanted


@pytest.mark.parametrize("ident", [None, "", "12a", "-1", "١٢"])
def test_what_is_no_id_is_a_violation(ident: str | None) -> None:
    with pytest.raises(ProtocolViolation):
        number(ident)


def test_times_without_a_zone_are_utc() -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)

    assert utc(datetime(2026, 1, 2), now) == datetime(2026, 1, 2, tzinfo=UTC)  # noqa: DTZ001 - that is the point
    assert utc(None, now) == now
