"""KC-210 to KC-270: cancel and replace, with and without an answer."""

from decimal import Decimal

import pytest

from kopitra.domain.orders import OrderIntent
from kopitra.domain.signals import OrdType
from kopitra.ports import NewNumbers, NotSent, OrderUnknown, RequestUnknown, Sent
from tests.contract.card import card, claim
from tests.contract.desk import Desk
from tests.contract.logins import A1
from tests.contract.rig import SimBroker


async def _resting(desk: Desk, ord_type: OrdType = "limit") -> OrderIntent:
    price = "6700" if ord_type == "limit" else "6912" if ord_type == "stop_limit" else None
    stop = "6910" if ord_type in ("stop", "stop_limit") else None
    intent = await desk.send(desk.intent("buy", 3, ord_type, price=price, stop_price=stop))
    await desk.working(intent)
    return intent


@card("KC-210")
async def test_a_working_order_is_canceled(broker: SimBroker, desk: Desk) -> None:
    intent = await _resting(desk)

    assert isinstance(desk.session.cancel(desk.ref(intent), "c-1"), Sent)

    report = await desk.said(intent, lambda r: r.exec_type == "canceled", "the cancel")
    assert report.ord_status == "canceled"
    (row,) = await broker.ledger("cancel")
    assert (str(row.order_id), row.outcome) == (report.order_id, "accepted")


@card("KC-215")
async def test_a_partly_filled_order_is_canceled_and_keeps_its_fill(broker: SimBroker, desk: Desk) -> None:
    await broker.settings(liquidity_qty=2)
    intent = await desk.send(desk.intent("buy", 5, "limit", price="6801"))
    await desk.ear.until(lambda: desk.filled_qty(intent) == 2, "the part that fills")

    desk.session.cancel(desk.ref(intent), "c-1")

    await desk.said(intent, lambda r: r.exec_type == "canceled", "the cancel")
    assert desk.filled_qty(intent) == await broker.net_qty(A1) == 2


@card("KC-220")
async def test_a_cancel_that_comes_too_late_is_refused_and_the_order_stays_filled(
    broker: SimBroker, desk: Desk
) -> None:
    intent = await desk.send(desk.intent("buy", 1))
    await desk.filled(intent)

    answer = desk.session.cancel(desk.ref(intent), "c-1")

    if isinstance(answer, Sent):
        report = await desk.said(intent, lambda r: r.exec_type == "cancel_rejected", "the refusal")
        assert report.text
    assert not [r for r in desk.reports(intent) if r.exec_type == "canceled"]
    assert await broker.net_qty(A1) == 1


@card("KC-230", lambda c: c.replace != "none")
@pytest.mark.parametrize(
    "ord_type, numbers",
    [
        ("limit", NewNumbers(price=Decimal("6710.25"))),
        ("limit", NewNumbers(qty=Decimal(2))),
        ("stop", NewNumbers(stop_price=Decimal("6920"))),
        ("stop_limit", NewNumbers(price=Decimal("6922"), stop_price=Decimal("6920"))),
    ],
    ids=["limit price", "quantity", "stop price", "both prices"],
)
async def test_a_working_order_gets_new_numbers(
    broker: SimBroker, desk: Desk, ord_type: OrdType, numbers: NewNumbers
) -> None:
    claim(ord_type in broker.adapter.capabilities.ord_types, f"{ord_type} orders")
    intent = await _resting(desk, ord_type)

    assert isinstance(desk.session.replace(desk.ref(intent), numbers, "r-1"), Sent)

    report = await desk.said(intent, lambda r: r.exec_type == "replaced", "the replacement")
    assert report.order_qty == (numbers.qty or intent.qty)
    assert report.price == (numbers.price or intent.price)
    assert report.stop_price == (numbers.stop_price or intent.stop_price)
    assert not desk.trades(intent)


@card("KC-232", lambda c: c.replace != "none")
async def test_a_replaced_order_fills_at_its_new_price(broker: SimBroker, desk: Desk) -> None:
    intent = await _resting(desk)
    desk.session.replace(desk.ref(intent), NewNumbers(price=Decimal(6801)), "r-1")

    trades = await desk.filled(intent)

    assert {trade.last_px for trade in trades} == {Decimal("6800.25")}
    assert await broker.net_qty(A1) == 3


@card("KC-235", lambda c: c.replace != "none")
async def test_a_replace_that_comes_too_late_is_refused(broker: SimBroker, desk: Desk) -> None:
    intent = await desk.send(desk.intent("buy", 1))
    await desk.filled(intent)

    answer = desk.session.replace(desk.ref(intent), NewNumbers(price=Decimal(6790)), "r-1")

    if isinstance(answer, Sent):
        report = await desk.said(intent, lambda r: r.exec_type == "replace_rejected", "the refusal")
        assert report.text
    assert await broker.net_qty(A1) == 1


@card("KC-240", lambda c: c.replace == "none")
async def test_a_replace_that_is_not_claimed_never_leaves(broker: SimBroker, desk: Desk) -> None:
    intent = await _resting(desk)

    refused = desk.session.replace(desk.ref(intent), NewNumbers(price=Decimal(6790)), "r-1")

    assert isinstance(refused, NotSent)
    assert refused.reason == "not_supported"
    assert await broker.ledger("replace") == []


@card("KC-250")
async def test_a_cancel_without_an_answer_leaves_the_request_in_doubt_not_the_order(
    broker: SimBroker, desk: Desk
) -> None:
    intent = await _resting(desk)
    await broker.settings(drop_request_ratio=1.0)

    assert isinstance(desk.session.cancel(desk.ref(intent), "c-1"), Sent)

    doubt = await desk.ear.until(lambda: desk.ear.of(RequestUnknown), "doubt about the cancel")
    assert (doubt[0].cl_ord_id, doubt[0].request_id) == (intent.cl_ord_id, "c-1")
    assert not [r for r in desk.reports(intent) if r.exec_type == "canceled"]
    assert desk.ear.of(OrderUnknown) == []


@card("KC-255")
async def test_a_cancel_whose_answer_is_lost_is_confirmed_by_report(broker: SimBroker, desk: Desk) -> None:
    intent = await _resting(desk)
    await broker.settings(drop_answer_ratio=1.0)

    desk.session.cancel(desk.ref(intent), "c-1")

    await desk.said(intent, lambda r: r.exec_type == "canceled", "the cancel")
    assert len(await broker.ledger("cancel")) == 1


@card("KC-260", lambda c: c.replace != "none")
async def test_a_replace_without_an_answer_leaves_the_request_in_doubt_not_the_order(
    broker: SimBroker, desk: Desk
) -> None:
    intent = await _resting(desk)
    await broker.settings(drop_request_ratio=1.0)

    desk.session.replace(desk.ref(intent), NewNumbers(price=Decimal(6705)), "r-1")

    doubt = await desk.ear.until(lambda: desk.ear.of(RequestUnknown), "doubt about the replace")
    assert (doubt[0].cl_ord_id, doubt[0].request_id) == (intent.cl_ord_id, "r-1")
    assert desk.ear.of(OrderUnknown) == []
