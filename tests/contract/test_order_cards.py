"""KC-110 to KC-170: every kind of order, its acceptance, its executions, its refusals."""

from datetime import timedelta
from decimal import Decimal
from typing import Final, Literal, get_args

import pytest

from kopitra.domain.executions import PositionReport
from kopitra.domain.instruments import front_month
from kopitra.domain.orders import OrderIntent
from kopitra.domain.signals import OrdType, Side, TimeInForce
from kopitra.ports import NotSent, Quote
from tests.contract.card import card, claim
from tests.contract.desk import Desk
from tests.contract.logins import A1
from tests.contract.rig import SimBroker

_ALL_TYPES: Final = get_args(OrdType)
_ALL_TIMES: Final = get_args(TimeInForce)
#: the market is 6800 bid, 6800.25 offered: (prices of a buy that rests, market that fills it)
_RESTING: Final[dict[OrdType, tuple[dict[str, str], tuple[str, str]]]] = {
    "limit": ({"price": "6790"}, ("6789.50", "6789.75")),
    "stop": ({"stop_price": "6810"}, ("6810", "6810.25")),
    "stop_limit": ({"stop_price": "6810", "price": "6812"}, ("6810", "6810.25")),
    "trailing_stop": ({"trail_offset": "10"}, ("6812", "6812.25")),
}


async def _resting(broker: SimBroker, desk: Desk, ord_type: OrdType) -> OrderIntent:
    claim(ord_type in broker.adapter.capabilities.ord_types, f"{ord_type} orders")
    if ord_type == "trailing_stop" and broker.adapter.capabilities.quotes:
        desk.session.watch([desk.symbol])
        await desk.ear.until(lambda: desk.ear.of(Quote), "a quote to trail")
    prices = _RESTING[ord_type][0]
    intent = desk.intent(
        "buy",
        2,
        ord_type,
        price=prices.get("price"),
        stop_price=prices.get("stop_price"),
        trail_offset=prices.get("trail_offset"),
    )
    return await desk.send(intent)


@card("KC-110")
@pytest.mark.parametrize("side", ["buy", "sell"])
async def test_a_market_order_is_accepted_and_filled(broker: SimBroker, desk: Desk, side: Side) -> None:
    intent = await desk.send(desk.intent(side, 3))

    trades = await desk.filled(intent)

    assert {(t.account_id, t.symbol, t.side) for t in trades} == {(A1, broker.symbol, side)}
    assert {t.last_px for t in trades} == {Decimal("6800.25") if side == "buy" else Decimal(6800)}
    assert all(t.exec_id for t in trades)
    assert all(t.received_ns > 0 for t in trades)
    rows = await broker.placements(intent)
    assert [(row.side, row.qty, row.ord_type, row.outcome) for row in rows] == [
        (side, 3, "market", "accepted")
    ]


@card("KC-115")
async def test_an_acceptance_ties_our_id_to_the_brokers(broker: SimBroker, desk: Desk) -> None:
    intent = await desk.send(desk.intent("buy", 1, "limit", price="6700"))

    report = await desk.said(intent, lambda r: r.cl_ord_id == intent.cl_ord_id, "our id in a report")

    (row,) = await broker.placements(intent)
    assert report.order_id == str(row.order_id)


@card("KC-117")
async def test_an_id_of_the_claimed_length_travels_whole(broker: SimBroker, desk: Desk) -> None:
    length = broker.adapter.capabilities.cl_ord_id_length_max
    intent = desk.intent("buy", 1)
    intent = intent._replace(cl_ord_id=intent.cl_ord_id.replace("-e", "-").ljust(length, "9"))
    await desk.send(intent)

    await desk.filled(intent)

    assert len(await broker.placements(intent)) == 1


@card("KC-120")
async def test_partial_fills_only_grow(broker: SimBroker, desk: Desk) -> None:
    await broker.settings(partial_fill_slices=4)

    trades = await desk.filled(await desk.send(desk.intent("buy", 4)))

    assert len({trade.exec_id for trade in trades}) == 4
    assert sum(trade.last_qty or 0 for trade in trades) == 4
    told = [t.cum_qty for t in trades if t.cum_qty is not None]
    assert told == sorted(told)
    assert all(
        t.leaves_qty == t.order_qty - t.cum_qty
        for t in trades
        if t.leaves_qty is not None and t.order_qty is not None and t.cum_qty is not None
    )


@card("KC-130")
@pytest.mark.parametrize("ord_type", [kind for kind in _ALL_TYPES if kind != "market"])
async def test_a_claimed_order_type_rests_with_its_numbers(
    broker: SimBroker, desk: Desk, ord_type: OrdType
) -> None:
    intent = await _resting(broker, desk, ord_type)

    report = await desk.working(intent)

    assert (report.ord_type, report.side, report.order_qty) == (ord_type, "buy", Decimal(2))
    assert (report.price, report.stop_price) == (
        intent.price,
        intent.stop_price,
    ) or ord_type == "trailing_stop"
    (row,) = await broker.placements(intent)
    assert (row.ord_type, row.qty, row.outcome) == (ord_type, 2, "accepted")
    assert not desk.trades(intent)


@card("KC-132")
@pytest.mark.parametrize("ord_type", [kind for kind in _ALL_TYPES if kind != "market"])
async def test_a_claimed_order_type_fills_when_the_market_comes(
    broker: SimBroker, desk: Desk, ord_type: OrdType
) -> None:
    intent = await _resting(broker, desk, ord_type)
    await desk.working(intent)

    await broker.price(*_RESTING[ord_type][1])

    await desk.filled(intent)
    assert await broker.net_qty(A1) == 2


@card("KC-135")
@pytest.mark.parametrize("ord_type", _ALL_TYPES)
async def test_an_order_type_that_is_not_claimed_never_leaves(
    broker: SimBroker, desk: Desk, ord_type: OrdType
) -> None:
    claim(ord_type not in broker.adapter.capabilities.ord_types, f"to refuse {ord_type} orders")
    intent = desk.intent("buy", 1, ord_type, price="6790", stop_price="6810", trail_offset="10")

    refused = desk.session.encode(intent)

    assert isinstance(refused, NotSent)
    assert refused.reason == "not_supported"
    assert refused.text


@card("KC-140")
@pytest.mark.parametrize("time_in_force", [tif for tif in _ALL_TIMES if tif != "gtd"])
async def test_a_claimed_time_in_force_reaches_the_broker(
    broker: SimBroker, desk: Desk, time_in_force: TimeInForce
) -> None:
    claim(time_in_force in broker.adapter.capabilities.times_in_force, time_in_force)
    intent = await desk.send(desk.intent("buy", 2, "limit", price="6801", time_in_force=time_in_force))

    await desk.filled(intent)

    assert await broker.net_qty(A1) == 2


@card("KC-141", lambda c: "gtd" in c.times_in_force)
async def test_an_order_with_a_date_reaches_the_broker(broker: SimBroker, desk: Desk) -> None:
    until = broker.clock.now() + timedelta(hours=6)
    intent = desk.intent("buy", 1, "limit", price="6801", time_in_force="gtd")._replace(expire_at=until)

    await desk.filled(await desk.send(intent))

    undated = desk.session.encode(intent._replace(expire_at=None))
    assert isinstance(undated, NotSent)
    assert undated.reason == "not_supported"


@card("KC-142")
@pytest.mark.parametrize("time_in_force, filled_qty", [("ioc", 3), ("fok", 0)])
async def test_an_order_that_may_not_rest_ends_canceled(
    broker: SimBroker, desk: Desk, time_in_force: Literal["ioc", "fok"], filled_qty: int
) -> None:
    claim(time_in_force in broker.adapter.capabilities.times_in_force, time_in_force)
    await broker.settings(liquidity_qty=3)

    intent = await desk.send(desk.intent("buy", 5, "limit", price="6801", time_in_force=time_in_force))

    await desk.said(intent, lambda r: r.exec_type in ("canceled", "expired"), "the rest canceled")
    assert desk.filled_qty(intent) == filled_qty


@card("KC-144")
@pytest.mark.parametrize("time_in_force, ends", [("day", True), ("gtc", False)])
async def test_a_resting_order_lives_as_long_as_it_should(
    broker: SimBroker, desk: Desk, time_in_force: TimeInForce, ends: bool
) -> None:
    claim(time_in_force in broker.adapter.capabilities.times_in_force, time_in_force)
    intent = await desk.send(desk.intent("buy", 1, "limit", price="6700", time_in_force=time_in_force))
    await desk.working(intent)

    await broker.control("end-session")
    await desk.hold("buy", 1)

    if ends:
        await desk.said(intent, lambda r: r.exec_type in ("expired", "canceled"), "the day order ending")
    else:
        assert not [r for r in desk.reports(intent) if r.ord_status in ("expired", "canceled")]


@card("KC-145")
@pytest.mark.parametrize("time_in_force", _ALL_TIMES)
async def test_a_time_in_force_that_is_not_claimed_never_leaves(
    broker: SimBroker, desk: Desk, time_in_force: TimeInForce
) -> None:
    claim(time_in_force not in broker.adapter.capabilities.times_in_force, f"to refuse {time_in_force}")

    refused = desk.session.encode(desk.intent("buy", 1, "limit", price="6790", time_in_force=time_in_force))

    assert isinstance(refused, NotSent)
    assert refused.reason == "not_supported"
    assert refused.text


@card("KC-148")
async def test_a_contract_that_nobody_lists_never_leaves(broker: SimBroker, desk: Desk) -> None:
    refused = desk.session.encode(desk.intent()._replace(symbol="QQZ6"))

    assert isinstance(refused, NotSent)
    assert refused.reason == "unknown_contract"


@card("KC-147")
@pytest.mark.parametrize("root", ["MES", "NQ", "GC", "6E"])
async def test_an_order_reaches_the_contract_that_it_names(broker: SimBroker, desk: Desk, root: str) -> None:
    symbol = front_month(root, broker.clock.now().date()).symbol
    intent = await desk.send(desk.intent("buy", 1)._replace(symbol=symbol))

    trades = await desk.filled(intent)

    (row,) = await broker.placements(intent)
    assert (row.symbol, trades[0].symbol) == (symbol, symbol)


@card("KC-150")
@pytest.mark.parametrize("late", [False, True], ids=["at once", "after acceptance"])
async def test_a_rejection_keeps_the_brokers_words(broker: SimBroker, desk: Desk, late: bool) -> None:
    await broker.control("reject-next", text="Margin 4711 is missing", late=late)

    intent = await desk.send(desk.intent())

    report = await desk.said(intent, lambda r: r.ord_status == "rejected", "the rejection")
    assert report.exec_type == "rejected"
    assert "Margin 4711 is missing" in report.text
    assert not desk.trades(intent)
    assert len(await broker.placements(intent)) == 1


def _bracket(desk: Desk) -> tuple[OrderIntent, OrderIntent, OrderIntent]:
    entry = desk.intent("buy", 2)
    stop = desk.intent("sell", 2, "stop", stop_price="6790")._replace(
        role="stop", leg="sl", offset=Decimal(-10), list_id=entry.list_id, parent=entry.cl_ord_id, oco="o"
    )
    target = desk.intent("sell", 2, "limit", price="6810")._replace(
        role="target", leg="tp", offset=Decimal(10), list_id=entry.list_id, parent=entry.cl_ord_id, oco="o"
    )
    return entry, stop, target


@card("KC-160", lambda c: c.brackets)
async def test_a_bracket_travels_in_one_request_and_guards_the_entry(broker: SimBroker, desk: Desk) -> None:
    entry, stop, target = _bracket(desk)
    assert desk.encode(entry, stop, target).attached == (stop.cl_ord_id, target.cl_ord_id)

    await desk.send(entry, stop, target)

    await desk.filled(entry)
    order_id = desk.ref(entry).order_id
    children = await desk.ear.until(
        lambda: (
            {
                report.order_id: report
                for report in desk.every_report()
                if report.parent_order_id == order_id and report.ord_status == "new"
            }
            if len({r.order_id for r in desk.every_report() if r.parent_order_id == order_id}) == 2
            else {}
        ),
        "both children working, with the entry's order id",
    )
    assert {(c.ord_type, c.side) for c in children.values()} <= {("stop", "sell"), ("limit", "sell")}
    assert len(await broker.placements(entry)) == 1


@card("KC-162", lambda c: c.brackets)
async def test_a_filled_child_cancels_the_other(broker: SimBroker, desk: Desk) -> None:
    entry, stop, target = _bracket(desk)
    await desk.send(entry, stop, target)
    await desk.filled(entry)
    order_id = desk.ref(entry).order_id
    await desk.ear.until(
        lambda: len({r.order_id for r in desk.every_report() if r.parent_order_id == order_id}) == 2,
        "both children",
    )

    await broker.price("6810", "6810.25")

    children = {r.order_id for r in desk.every_report() if r.parent_order_id == order_id}
    await desk.ear.until(
        lambda: {r.exec_type for r in desk.every_report() if r.order_id in children} >= {"trade", "canceled"},
        "one child filled, the other canceled",
    )
    assert await broker.net_qty(A1) == 0


@card("KC-165", lambda c: not c.brackets)
async def test_a_bracket_that_is_not_claimed_never_leaves(broker: SimBroker, desk: Desk) -> None:
    entry, stop, target = _bracket(desk)

    refused = desk.session.encode(entry, (stop, target))

    assert isinstance(refused, NotSent)
    assert refused.reason == "not_supported"


@card("KC-170")
async def test_the_position_is_told_after_a_fill(desk: Desk) -> None:
    await desk.hold("sell", 2)

    report = await desk.ear.until(
        lambda: [p for p in desk.ear.of(PositionReport) if p.net_qty == -2], "the new position"
    )
    assert (report[0].account_id, report[0].symbol) == (A1, desk.symbol)


@card("KC-180", lambda c: c.quotes)
async def test_a_watched_contract_is_quoted(broker: SimBroker, desk: Desk) -> None:
    desk.session.watch([broker.symbol])
    await desk.ear.until(lambda: desk.ear.of(Quote), "a first quote")

    await broker.price("6805", "6805.50")

    quote = await desk.ear.until(lambda: [q for q in desk.ear.of(Quote) if q.bid == 6805], "the new bid")
    assert (quote[0].symbol, quote[0].ask) == (broker.symbol, Decimal("6805.50"))


@card("KC-182", lambda c: c.quotes)
async def test_quotes_go_on_after_a_dropped_stream(broker: SimBroker, desk: Desk) -> None:
    desk.session.watch([broker.symbol])
    await desk.ear.until(lambda: desk.ear.of(Quote), "a first quote")

    await broker.control("drop-streams")

    async def moved(offer: str) -> bool:
        await broker.price("6805", offer)
        await desk.ear.next(within_s=0.1)
        return any(quote.bid == 6805 for quote in desk.ear.of(Quote))

    offers = iter(range(6806, 6906))
    while not await moved(str(next(offers))):
        pass
