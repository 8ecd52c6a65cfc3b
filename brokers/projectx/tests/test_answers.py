"""What an answer proves: only what the tables list is definitive (R-014, R-015)."""

import json

import pytest

from brokers.projectx.answers import Accepted, Refused, Unsure, judge_place, judge_request
from brokers.projectx.tests.samples import recorded


def answer(code: int, text: str | None = None, order_id: int | None = None) -> bytes:
    return json.dumps(
        {"orderId": order_id, "success": code == 0, "errorCode": code, "errorMessage": text}
    ).encode()


def test_an_accepted_placement_has_its_order_id() -> None:
    assert judge_place(200, recorded("place_accepted")) == Accepted(3500000001)


def test_a_refusal_keeps_its_words_and_its_order_id_decides_nothing() -> None:
    verdict = judge_place(200, recorded("place_refused_bracket"))

    assert isinstance(verdict, Refused)
    assert verdict.reason == "invalid-bracket"
    assert verdict.text.startswith("Invalid stop loss ticks (40).")


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 8, 9, 10])
def test_listed_place_codes_are_refusals(code: int) -> None:
    assert isinstance(judge_place(200, answer(code)), Refused)


@pytest.mark.parametrize("code", [6, 7, 11, 99, -1])
def test_other_place_codes_leave_the_order_in_doubt(code: int) -> None:
    assert isinstance(judge_place(200, answer(code)), Unsure)


@pytest.mark.parametrize("code", [1, 2, 3, 6])
def test_listed_cancel_codes_are_refusals(code: int) -> None:
    assert isinstance(judge_request("cancel", 200, answer(code)), Refused)


@pytest.mark.parametrize("code", [4, 5, 7, 8])
def test_other_cancel_codes_leave_the_request_in_doubt(code: int) -> None:
    assert isinstance(judge_request("cancel", 200, answer(code)), Unsure)


def test_the_same_number_means_another_thing_elsewhere() -> None:
    assert isinstance(judge_request("modify", 200, answer(7)), Refused)


@pytest.mark.parametrize("status", [201, 204, 302, 400, 401, 403, 404, 408, 429, 500, 502, 503, 504])
def test_no_status_but_200_decides_a_placement(status: int) -> None:
    assert isinstance(judge_place(status, recorded("place_accepted")), Unsure)


def test_a_tag_in_use_proves_an_earlier_order() -> None:
    verdict = judge_place(200, answer(2, "Order rejected: custom tag already in use.", 3500000002))

    assert isinstance(verdict, Unsure)
    assert not verdict.alert


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"orderId":',
        b"null",
        b"{}",
        b'{"success":true,"errorCode":0}',
        b'{"orderId":"x1","success":true,"errorCode":0}',
        b'{"orderId":1,"success":true,"errorCode":2}',
        b'{"orderId":1,"success":"true","errorCode":0}',
        b'{"success":false}',
    ],
)
def test_an_answer_that_does_not_parse_is_a_doubt_and_an_alert(body: bytes) -> None:
    verdict = judge_place(200, body)

    assert isinstance(verdict, Unsure)
    assert verdict.alert


@pytest.mark.parametrize(
    "text, reason",
    [
        (
            "Trading is currently unavailable. The instrument is not in an active trading status.",
            "market-closed",
        ),
        ("Invalid price. Price is outside allowed range.", "price-out-of-range"),
        ("Invalid stop price. Price is not aligned to tick size.", "off-tick"),
        ("Not enough margin.", "insufficient-funds"),
        ("Brackets cannot be used with Position Brackets", "invalid-bracket"),
        ("something new", "order-rejected"),
    ],
)
def test_known_words_give_a_finer_reason(text: str, reason: str) -> None:
    verdict = judge_place(200, answer(2, text))

    assert verdict == Refused(reason, text)
