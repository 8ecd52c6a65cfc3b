"""Bodies of order requests, to the byte."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.projectx.codec import (
    cancel_body,
    modify_body,
    place_body,
    place_head,
    read_placed,
    trail_level,
)
from brokers.projectx.symbols import Listing
from brokers.projectx.wire import ORDER_TYPES, SIDES
from kopitra.domain.orders import OrderIntent
from kopitra.domain.signals import OrdType, Side, TimeInForce
from kopitra.ports import NewNumbers, NotSent, OrderRef

HEAD = place_head(4100001, "CON.F.US.MNQ.Z26")
MNQ = Listing("CON.F.US.MNQ.Z26", "MNQZ6", Decimal("0.25"), Decimal("0.5"))


def intent(
    ord_type: OrdType = "market",
    side: Side = "buy",
    qty: str = "1",
    *,
    price: Decimal | None = None,
    stop_price: Decimal | None = None,
    trail_offset: Decimal | None = None,
) -> OrderIntent:
    return OrderIntent(
        cl_ord_id="kp00112233445566778899-e",
        list_id="ls1",
        account_id="acc",
        leader="lead",
        leg="e",
        role="entry",
        symbol="MNQZ6",
        side=side,
        qty=Decimal(qty),
        ord_type=ord_type,
        price=price,
        stop_price=stop_price,
        trail_offset=trail_offset,
    )


def ref(ord_type: OrdType, price: str | None = None, stop_price: str | None = None) -> OrderRef:
    return OrderRef(
        cl_ord_id="kp1-e",
        order_id="3500000001",
        account_id="acc",
        symbol="MNQZ6",
        side="sell",
        ord_type=ord_type,
        qty=Decimal(2),
        price=None if price is None else Decimal(price),
        stop_price=None if stop_price is None else Decimal(stop_price),
        trail_offset=None,
        time_in_force="day",
    )


def test_a_market_order_is_these_bytes() -> None:
    assert place_body(HEAD, intent(), None) == (
        b'{"accountId":4100001,"contractId":"CON.F.US.MNQ.Z26","type":2,"side":0,"size":1,'
        b'"customTag":"kp00112233445566778899-e"}'
    )


@pytest.mark.parametrize(
    "order, level, wanted",
    [
        (intent("limit", price=Decimal("21000.25")), None, {"type": 1, "limitPrice": 21000.25}),
        (intent("stop", stop_price=Decimal("2.095E+4")), None, {"type": 4, "stopPrice": 20950}),
        (intent("trailing_stop", trail_offset=Decimal(10)), Decimal(20990), {"type": 5, "trailPrice": 20990}),
    ],
)
def test_each_type_carries_its_own_price(
    order: OrderIntent, level: Decimal | None, wanted: dict[str, object]
) -> None:
    body = place_body(HEAD, order, level)

    assert isinstance(body, bytes)
    fixed = {"accountId", "contractId", "side", "size", "customTag"}
    assert {key: value for key, value in json.loads(body).items() if key not in fixed} == wanted


@pytest.mark.parametrize(
    "order",
    [
        intent("stop_limit", price=Decimal(1), stop_price=Decimal(1)),
        intent("limit"),
        intent("stop"),
        intent("limit", price=Decimal("NaN")),
        intent("limit", price=Decimal("Infinity")),
        intent(qty="0"),
        intent(qty="-1"),
        intent(qty="1.5"),
        intent(qty="NaN"),
        intent()._replace(cl_ord_id="k" * 61),
    ],
)
def test_what_the_wire_cannot_say_is_refused_with_a_remedy(order: OrderIntent) -> None:
    refused = place_body(HEAD, order, None)

    assert isinstance(refused, NotSent)
    assert refused.reason == "not_supported"
    assert refused.text


@pytest.mark.parametrize("time_in_force", ["gtc", "ioc", "fok", "gtd"])
def test_a_time_in_force_without_a_field_is_refused(time_in_force: TimeInForce) -> None:
    assert isinstance(place_body(HEAD, intent()._replace(time_in_force=time_in_force), None), NotSent)


@given(
    qty=st.integers(1, 10_000),
    price=st.decimals(min_value=-1000, max_value=1_000_000, places=6),
    side=st.sampled_from(["buy", "sell"]),
    tag=st.text(max_size=60),
)
def test_a_placement_reads_back_as_what_was_asked(qty: int, price: Decimal, side: Side, tag: str) -> None:
    order = intent("limit", side, str(qty), price=price)._replace(cl_ord_id=tag)

    body = place_body(HEAD, order, None)

    assert isinstance(body, bytes)
    back = read_placed(body)
    assert (back.custom_tag, back.size, SIDES[back.side], ORDER_TYPES[back.type]) == (tag, qty, side, "limit")
    assert (back.limit_price, back.account_id, back.contract_id) == (price, 4100001, "CON.F.US.MNQ.Z26")


def test_a_cancel_is_these_bytes() -> None:
    assert cancel_body(4100001, 3500000001) == b'{"accountId":4100001,"orderId":3500000001}'


@pytest.mark.parametrize(
    "order, numbers, wanted",
    [
        (
            ref("stop", stop_price="20950"),
            NewNumbers(stop_price=Decimal(20980)),
            {"size": 2, "stopPrice": 20980},
        ),
        (ref("limit", price="21000"), NewNumbers(qty=Decimal(1)), {"size": 1, "limitPrice": 21000}),
        (ref("trailing_stop"), NewNumbers(qty=Decimal(1)), {"size": 1}),
    ],
)
def test_a_modify_is_absolute_and_complete(
    order: OrderRef, numbers: NewNumbers, wanted: dict[str, object]
) -> None:
    body = modify_body(4100001, 3500000001, order, numbers, None)

    assert isinstance(body, bytes)
    assert json.loads(body) == {"accountId": 4100001, "orderId": 3500000001, **wanted}


def test_a_trailing_modify_sends_the_new_level() -> None:
    body = modify_body(1, 2, ref("trailing_stop"), NewNumbers(trail_offset=Decimal(5)), Decimal(20995))

    assert isinstance(body, bytes)
    assert json.loads(body)["trailPrice"] == 20995


def test_a_market_order_cannot_be_modified() -> None:
    assert isinstance(modify_body(1, 2, ref("market"), NewNumbers(qty=Decimal(1)), None), NotSent)


@pytest.mark.parametrize("side, level", [("sell", "20989.75"), ("buy", "21010.25")])
def test_a_trailing_level_lies_beyond_the_market_on_the_grid(side: Side, level: str) -> None:
    assert trail_level(side, Decimal("21000"), Decimal("10.1"), MNQ) == Decimal(level)
