"""KC-310 to KC-390: positions from every side, snapshots, and what others do in the account."""

from datetime import timedelta
from decimal import Decimal

import pytest

from kopitra.domain.errors import KopitraError
from kopitra.domain.executions import AccountSnapshot, ExecutionReport, PositionReport
from kopitra.domain.ids import is_own
from kopitra.domain.signals import Side, opposite
from tests.contract.card import card
from tests.contract.desk import Desk
from tests.contract.logins import A1, A2
from tests.contract.rig import SimBroker


async def _told(desk: Desk, net_qty: int) -> None:
    """The last position report says so."""

    def last() -> Decimal | None:
        positions = [p for p in desk.ear.of(PositionReport) if p.account_id == A1]
        return positions[-1].net_qty if positions else None

    await desk.ear.until(lambda: last() == net_qty, f"a position of {net_qty}")


@card("KC-310")
@pytest.mark.parametrize("side, net_qty", [("buy", 2), ("sell", -2)])
async def test_from_flat(broker: SimBroker, desk: Desk, side: Side, net_qty: int) -> None:
    await desk.hold(side, 2)

    await _told(desk, net_qty)
    assert await broker.net_qty(A1) == net_qty


@card("KC-320")
@pytest.mark.parametrize("side", ["buy", "sell"])
async def test_a_closing_order_closes(broker: SimBroker, desk: Desk, side: Side) -> None:
    await desk.hold(side, 2)

    await desk.filled(await desk.send(desk.closing(opposite(side), 2)))

    await _told(desk, 0)
    assert await broker.net_qty(A1) == 0


@card("KC-325")
async def test_a_closing_order_for_a_part_leaves_the_rest(broker: SimBroker, desk: Desk) -> None:
    await desk.hold("buy", 3)

    await desk.filled(await desk.send(desk.closing("sell", 1)))

    await _told(desk, 2)
    assert await broker.net_qty(A1) == 2


@card("KC-330")
@pytest.mark.parametrize("side, net_qty", [("buy", -1), ("sell", 1)])
async def test_one_order_reverses(broker: SimBroker, desk: Desk, side: Side, net_qty: int) -> None:
    await desk.hold(side, 2)

    await desk.filled(await desk.send(desk.intent(opposite(side), 3)))

    await _told(desk, net_qty)
    assert await broker.net_qty(A1) == net_qty


@card("KC-350")
async def test_working_orders_and_position_can_be_flattened(broker: SimBroker, desk: Desk) -> None:
    await desk.hold("buy", 2)
    resting = await desk.send(desk.intent("buy", 1, "limit", price="6700"))
    await desk.working(resting)

    desk.session.cancel(desk.ref(resting), "c-1")
    await desk.said(resting, lambda r: r.exec_type == "canceled", "the cancel")
    await desk.filled(await desk.send(desk.closing("sell", 2)))

    found = await desk.snapshot()
    assert found.positions == () or all(p.net_qty == 0 for p in found.positions or ())
    assert [o for o in found.orders or () if o.ord_status == "new"] == []
    assert await broker.net_qty(A1) == 0


@card("KC-355")
@pytest.mark.parametrize("side", ["buy", "sell"])
async def test_the_house_itself_closes_a_position(broker: SimBroker, desk: Desk, side: Side) -> None:
    await desk.hold(side, 3)
    flatten = desk.closing(opposite(side), 3)._replace(leader="")

    trades = await desk.filled(await desk.send(flatten))

    assert {trade.side for trade in trades} == {opposite(side)}
    assert await broker.net_qty(A1) == 0


@card("KC-360")
async def test_a_snapshot_tells_positions_working_orders_and_balance(broker: SimBroker, desk: Desk) -> None:
    await desk.hold("sell", 2)
    resting = await desk.send(desk.intent("buy", 1, "limit", price="6700"))
    await desk.working(resting)
    before_ns = broker.clock.monotonic_ns()

    found = await desk.snapshot()

    assert found.started_ns >= before_ns
    assert found.positions is not None
    assert found.orders is not None
    assert [(p.account_id, p.symbol, p.net_qty) for p in found.positions if p.net_qty] == [
        (A1, broker.symbol, Decimal(-2))
    ]
    working = [o for o in found.orders if o.ord_status == "new"]
    assert [(o.order_id, o.exec_type, o.price, o.order_qty) for o in working] == [
        (desk.ref(resting).order_id, "order_status", Decimal(6700), Decimal(1))
    ]
    assert found.balance is not None


@card("KC-362", lambda c: c.lists_executions)
async def test_a_snapshot_lists_executions_by_id(broker: SimBroker, desk: Desk) -> None:
    since = broker.clock.now() - timedelta(minutes=1)
    await broker.settings(partial_fill_slices=2)
    intent = await desk.send(desk.intent("buy", 2))
    heard = await desk.filled(intent)

    found = await desk.snapshot(since=since)

    assert found.executions is not None
    assert {(e.exec_id, e.last_qty, e.last_px) for e in found.executions} == {
        (e.exec_id, e.last_qty, e.last_px) for e in heard
    }
    assert all(e.exec_type == "trade" for e in found.executions)


@card("KC-365")
async def test_a_snapshot_of_one_account_holds_nothing_of_another(broker: SimBroker, desk: Desk) -> None:
    await desk.hold("buy", 1, account=A1)

    found = await desk.snapshot(A2)

    assert found.account_id == A2
    assert [p for p in found.positions or () if p.net_qty] == []
    assert [e for e in found.executions or () if e.account_id != A2] == []


@card("KC-370")
async def test_a_snapshot_that_fails_is_no_evidence(broker: SimBroker, desk: Desk) -> None:
    await desk.hold("buy", 1)
    await broker.settings(maintenance=True)

    try:
        found: AccountSnapshot | None = await desk.snapshot()
    except KopitraError:
        found = None

    if found is not None and found.positions is not None:
        assert [p.net_qty for p in found.positions] == [1]


@card("KC-380")
async def test_an_order_of_somebody_else_is_shown_and_not_claimed(broker: SimBroker, desk: Desk) -> None:
    number = await broker.by_hand(A1, "sell", 2)

    def of_theirs() -> list[ExecutionReport]:
        return [r for r in desk.every_report() if r.order_id == str(number) and r.exec_type == "trade"]

    trades = await desk.ear.until(of_theirs, "the fill of a manual order")
    assert sum(trade.last_qty or 0 for trade in trades) == 2
    assert {(t.account_id, t.symbol, t.side) for t in trades} == {(A1, broker.symbol, "sell")}
    assert not any(is_own(trade.cl_ord_id) for trade in trades)


@card("KC-385")
async def test_a_hand_made_bracket_is_told_with_its_numbers_and_its_moves(
    broker: SimBroker, desk: Desk
) -> None:
    children = [
        {"side": "sell", "ord_type": "stop", "qty": 2, "offset": "-10"},
        {"side": "sell", "ord_type": "limit", "qty": 2, "offset": "20"},
    ]
    number = await broker.by_hand(A1, "buy", 2, children=children)

    def stops() -> list[ExecutionReport]:
        return [r for r in desk.every_report() if r.ord_type == "stop" and r.ord_status == "new"]

    stop = (await desk.ear.until(stops, "the stop working"))[-1]
    assert (stop.side, stop.order_qty) == ("sell", Decimal(2))

    await broker.control("manual-replace", order_id=int(stop.order_id), stop_price="6795")

    moved = await desk.ear.until(
        lambda: [
            r
            for r in desk.every_report()
            if r.order_id == stop.order_id and r.exec_type == "replaced" and r.stop_price == 6795
        ],
        "the stop moved",
    )
    assert moved[0].ord_status == "new"
    entry = [r for r in desk.every_report() if r.order_id == str(number)]
    assert entry[0].ord_type == "market"


@card("KC-387")
async def test_a_hand_made_order_that_is_canceled_is_told(broker: SimBroker, desk: Desk) -> None:
    number = await broker.by_hand(A1, "buy", 1, ord_type="limit", price="6700")
    await desk.ear.until(
        lambda: [r for r in desk.every_report() if r.order_id == str(number) and r.ord_status == "new"],
        "the manual order working",
    )

    await broker.control("manual-cancel", order_id=number)

    await desk.ear.until(
        lambda: [r for r in desk.every_report() if r.order_id == str(number) and r.exec_type == "canceled"],
        "the manual cancel",
    )


@card("KC-390")
async def test_a_trade_that_the_broker_takes_back_is_told(broker: SimBroker, desk: Desk) -> None:
    (trade,) = await desk.filled(await desk.send(desk.intent("buy", 1)))
    (row,) = await broker.ledger("execution")
    desk.lawful = False  # the fold stops the account on purpose

    await broker.control("bust", exec_id=row.exec_id)

    busted = await desk.ear.until(
        lambda: [r for r in desk.every_report() if r.exec_type == "trade_cancel"], "the trade taken back"
    )
    assert busted[0].exec_id == trade.exec_id
