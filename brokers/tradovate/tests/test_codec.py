"""What our orders look like on the wire, and what the vendor's answers mean."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.tradovate.answers import Accepted, Ambiguous, Penalty, Refused, classify
from brokers.tradovate.codec import (
    Heads,
    encode_bracket,
    encode_cancel,
    encode_liquidate,
    encode_modify,
    encode_order,
)
from brokers.tradovate.failures import AMBIGUOUS, DEFINITIVE
from brokers.tradovate.symbols import is_contract, is_known
from kopitra.domain.orders import OrderIntent
from kopitra.ports import NewNumbers, NotSent, OrderRef

HEADS = Heads.of(4294967299, 'DEMO "1"')
ONE = Decimal(1)
ENTRY = OrderIntent("kp1-e", "ls1", "acc", "lead", "e", "entry", "MNQZ6", "buy", Decimal(2))
ANSWERS = cast(
    "list[dict[str, object]]",
    json.loads((Path(__file__).parents[1] / "recordings/answers.json").read_text())["answers"],
)


def body_of(text: str | NotSent) -> dict[str, object]:
    assert isinstance(text, str), text
    return cast("dict[str, object]", json.loads(f"{text}}}", parse_float=Decimal))


def refusal_of(text: str | NotSent) -> NotSent:
    assert isinstance(text, NotSent)
    return text


def test_a_market_order_names_account_client_id_and_automation() -> None:
    assert body_of(encode_order(HEADS, ENTRY, ONE)) == {
        "accountSpec": 'DEMO "1"',
        "accountId": 4294967299,
        "isAutomated": True,
        "clOrdId": "kp1-e",
        "action": "Buy",
        "symbol": "MNQZ6",
        "orderQty": 2,
        "orderType": "Market",
        "timeInForce": "Day",
    }


@pytest.mark.parametrize(
    "change,shown",
    [
        ({"ord_type": "limit", "price": "21000.25"}, {"orderType": "Limit", "price": "21000.25"}),
        ({"ord_type": "stop", "stop_price": "20950"}, {"orderType": "Stop", "stopPrice": "20950"}),
        (
            {"ord_type": "stop_limit", "stop_price": "20950", "price": "20945"},
            {"orderType": "StopLimit", "price": "20945", "stopPrice": "20950"},
        ),
        (
            {"ord_type": "trailing_stop", "trail_offset": "10"},
            {"orderType": "TrailingStop", "pegDifference": "10"},
        ),
        ({"ord_type": "limit", "price": "1E+3"}, {"orderType": "Limit", "price": "1000"}),
    ],
)
def test_each_order_type_shows_its_prices_exactly(change: dict[str, str], shown: dict[str, str]) -> None:
    prices = {key: Decimal(value) for key, value in change.items() if key != "ord_type"}
    order = ENTRY._replace(ord_type=change["ord_type"], **prices)

    body = body_of(encode_order(HEADS, order, ONE))

    assert {key: str(body[key]) for key in shown} == shown
    assert {"price", "stopPrice", "pegDifference"} & body.keys() == shown.keys() - {"orderType"}


@given(
    price=st.decimals("0.00005", 99999, places=5),
    qty=st.integers(1, 2**31 - 1),
    side=st.sampled_from(["buy", "sell"]),
)
def test_numbers_survive_the_wire_unchanged(price: Decimal, qty: int, side: str) -> None:
    order = ENTRY._replace(qty=Decimal(qty), side=side, ord_type="limit", price=price)

    body = body_of(encode_order(HEADS, order, ONE))

    assert Decimal(str(body["price"])) == price
    assert (body["orderQty"], body["action"]) == (qty, side.capitalize())


def test_the_trail_is_scaled_as_the_setting_says() -> None:
    order = ENTRY._replace(ord_type="trailing_stop", trail_offset=Decimal(10))

    assert body_of(encode_order(HEADS, order, Decimal("-0.25")))["pegDifference"] == Decimal("-2.5")


def test_a_good_till_date_order_says_when_in_utc() -> None:
    at = datetime(2026, 12, 1, 21, 0, tzinfo=UTC)
    order = ENTRY._replace(time_in_force="gtd", expire_at=at)

    assert body_of(encode_order(HEADS, order, ONE))["expireTime"] == "2026-12-01T21:00:00Z"
    assert refusal_of(encode_order(HEADS, order._replace(expire_at=None), ONE)).reason == "not_supported"


@pytest.mark.parametrize(
    "change,reason",
    [
        ({"symbol": 'ES"Z6'}, "unknown_contract"),
        ({"symbol": "ES"}, "unknown_contract"),
        ({"qty": Decimal("1.5")}, "not_supported"),
        ({"qty": Decimal(0)}, "not_supported"),
        ({"qty": Decimal("NaN")}, "not_supported"),
        ({"qty": Decimal(2**31)}, "not_supported"),
        ({"cl_ord_id": 'x"y'}, "not_supported"),
        ({"ord_type": "limit"}, "not_supported"),
        ({"ord_type": "stop"}, "not_supported"),
        ({"ord_type": "trailing_stop"}, "not_supported"),
    ],
)
def test_what_makes_no_sense_never_becomes_bytes(change: dict[str, object], reason: str) -> None:
    order = ENTRY._replace(**change)

    assert refusal_of(encode_order(HEADS, order, ONE)).reason == reason


def test_a_bracket_holds_both_children_with_their_own_ids() -> None:
    stop = ENTRY._replace(
        cl_ord_id="kp1-s", side="sell", role="stop", ord_type="stop", stop_price=Decimal(20970)
    )
    goal = ENTRY._replace(
        cl_ord_id="kp1-t", side="sell", role="target", ord_type="limit", price=Decimal(21060)
    )

    body = body_of(encode_bracket(HEADS, ENTRY, [stop, goal], ONE))

    assert body["bracket1"] == {
        "action": "Sell", "clOrdId": "kp1-s", "orderType": "Stop", "timeInForce": "Day", "stopPrice": 20970,
    }  # fmt: skip
    assert body["bracket2"] == {
        "action": "Sell", "clOrdId": "kp1-t", "orderType": "Limit", "timeInForce": "Day", "price": 21060,
    }  # fmt: skip
    assert body["orderQty"] == 2


@pytest.mark.parametrize(
    "change",
    [{"qty": ONE}, {"side": "buy"}, {"symbol": "ESZ6"}, {"stop_price": None, "offset": Decimal(5)}],
    ids=["other quantity", "same side", "other contract", "offset only"],
)
def test_a_child_that_cannot_be_inherited_is_not_attached(change: dict[str, object]) -> None:
    stop = ENTRY._replace(
        cl_ord_id="kp1-s", side="sell", role="stop", ord_type="stop", stop_price=Decimal(20970)
    )

    refusal = refusal_of(encode_bracket(HEADS, ENTRY, [stop._replace(**change)], ONE))

    assert refusal.reason == "not_supported"


REF = OrderRef(
    "kp1-s", "51", "acc", "MNQZ6", "sell", "stop_limit", ONE, Decimal(20945), Decimal(20950), None, "gtc"
)


def test_a_modify_repeats_every_price_that_stays() -> None:
    text = encode_modify(REF, NewNumbers(stop_price=Decimal(20955)), ONE, None)

    assert isinstance(text, str)
    assert json.loads(text) == {
        "orderId": 51, "orderQty": 1, "orderType": "StopLimit", "timeInForce": "GTC", "isAutomated": True,
        "price": 20945, "stopPrice": 20955,
    }  # fmt: skip


def test_an_order_without_the_brokers_id_can_neither_be_changed_nor_canceled() -> None:
    assert (
        refusal_of(encode_modify(REF._replace(order_id=""), NewNumbers(qty=ONE), ONE, None)).reason
        == "unknown_order"
    )
    assert refusal_of(encode_cancel("")).reason == "unknown_order"


def test_cancel_and_native_close_are_automated() -> None:
    assert json.loads(str(encode_cancel("51"))) == {"orderId": 51, "isAutomated": True}
    assert body_of(encode_liquidate(7, 9)) == {
        "accountId": 7,
        "contractId": 9,
        "admin": False,
        "isAutomated": True,
    }


@pytest.mark.parametrize("answer", ANSWERS, ids=[str(answer["name"]) for answer in ANSWERS])
def test_an_answer_means_what_the_vendor_documents(answer: dict[str, object]) -> None:
    verdict = classify(cast("int", answer["status"]), json.dumps(answer["body"]).encode())

    kinds = {"accepted": Accepted, "refused": Refused, "ambiguous": Ambiguous, "penalty": Penalty}
    assert type(verdict) is kinds[str(answer["means"])]
    for key in ("code", "captcha"):
        if key in answer:
            assert getattr(verdict, key) == answer[key]
    if isinstance(verdict, Accepted):
        assert list(verdict.ids) == answer["ids"]
    if isinstance(verdict, Ambiguous):
        assert verdict.parsed is answer.get("parsed", True)


@pytest.mark.parametrize("payload", [b"", b"{", b'{"orderId":"x"}', b"\xff\xfe", b'{"orderId":1e999}'])
def test_an_unreadable_answer_is_doubt_that_did_not_parse(payload: bytes) -> None:
    verdict = classify(200, payload)

    assert isinstance(verdict, Ambiguous)
    assert not verdict.parsed


@given(st.binary(max_size=200), st.integers(0, 599))
def test_no_bytes_make_the_classification_fail(payload: bytes, status: int) -> None:
    assert isinstance(classify(status, payload), Accepted | Refused | Ambiguous | Penalty)


def test_each_failure_reason_has_one_meaning() -> None:
    assert not DEFINITIVE.keys() & AMBIGUOUS
    assert "Success" not in DEFINITIVE


@pytest.mark.parametrize("symbol", ["ESZ6", "M2KH7", "6EZ6", "GCJ6"])
def test_contract_names_of_the_house_are_the_vendors(symbol: str) -> None:
    assert is_contract(symbol)
    assert is_known(symbol)
