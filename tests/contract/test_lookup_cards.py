"""KC-610 to KC-680: what a broker's lists and ids are worth when nobody knows what became of an order.

These cards fill the capability record: what is seen here must be what is claimed, no more and no less (R-009 to R-012).
"""

from datetime import timedelta

import pytest

from kopitra.domain.executions import AccountSnapshot
from kopitra.domain.orders import OrderIntent
from kopitra.ports import ProtocolAlert
from tests.contract.card import card
from tests.contract.desk import Desk
from tests.contract.logins import A1, A2, ALPHA
from tests.contract.relay import Relay
from tests.contract.rig import SimBroker


def named(found: AccountSnapshot) -> set[str | None]:
    """Our ids that a snapshot shows, by its orders or by its executions."""
    return {report.cl_ord_id for report in (*(found.orders or ()), *(found.executions or ()))}


async def _fates(broker: SimBroker, desk: Desk) -> dict[str, OrderIntent]:
    """One order for everything that can become of it."""
    filled = await desk.send(desk.intent("buy", 1))
    await desk.filled(filled)
    canceled = await desk.send(desk.intent("buy", 1, "limit", price="6700"))
    await desk.working(canceled)
    desk.session.cancel(desk.ref(canceled), "c-1")
    await desk.said(canceled, lambda r: r.exec_type == "canceled", "the cancel")
    await broker.settings(liquidity_qty=1)
    part = await desk.send(desk.intent("buy", 3, "limit", price="6800.25"))
    await desk.ear.until(lambda: desk.filled_qty(part) == 1, "the first part of a fill")
    working = await desk.send(desk.intent("buy", 1, "limit", price="6701"))
    await desk.working(working)
    return {"filled": filled, "canceled": canceled, "partly filled": part, "working": working}


@card("KC-610")
async def test_whether_finished_orders_are_listed_by_our_ids(broker: SimBroker, desk: Desk) -> None:
    since = broker.clock.now() - timedelta(minutes=1)
    fates = await _fates(broker, desk)

    orders = {report.cl_ord_id for report in (await desk.snapshot(since=since)).orders or ()}

    seen = {fates["filled"].cl_ord_id, fates["canceled"].cl_ord_id} <= orders
    assert seen == broker.adapter.capabilities.lists_finished_orders


@card("KC-620")
async def test_whether_a_whole_read_names_every_order_so_that_absence_is_proof_r_009(
    broker: SimBroker, desk: Desk
) -> None:
    since = broker.clock.now() - timedelta(minutes=1)
    fates = await _fates(broker, desk)
    await broker.settings(drop_request_ratio=1.0)
    lost = await desk.send(desk.intent("buy", 1, "limit", price="6702"))
    await desk.doubt(lost)
    await broker.settings(drop_request_ratio=0.0)
    await desk.close()
    later = await broker.open()

    found = await later.snapshot(since=since)

    whole = None not in (found.orders, found.positions, found.executions)
    missing = [fate for fate, intent in fates.items() if intent.cl_ord_id not in named(found)]
    assert (whole and not missing) == broker.adapter.capabilities.proves_absence, missing
    assert lost.cl_ord_id not in named(found)
    assert await broker.placements(lost) == []


@card("KC-630")
async def test_lists_that_lag_as_much_as_claimed_show_the_order_in_time_r_010(
    broker: SimBroker, desk: Desk
) -> None:
    lag_ms = broker.adapter.capabilities.lists_lag_ms_max
    since = broker.clock.now() - timedelta(minutes=1)
    await broker.settings(list_visibility_lag_ms=lag_ms, drop_answer_ratio=1.0, stream_silent=True)
    intent = await desk.send(desk.intent("buy", 1, "limit", price="6700"))
    await desk.doubt(intent)
    await broker.settings(drop_answer_ratio=0.0)

    await desk.pass_time(lag_ms / 1000)
    found = await desk.snapshot(since=since)

    assert intent.cl_ord_id in named(found)


@card("KC-640")
@pytest.mark.parametrize("ended", ["filled", "canceled"])
async def test_whether_an_id_is_refused_again_after_its_order_ended_r_011(
    broker: SimBroker, desk: Desk, ended: str
) -> None:
    kind = "market" if ended == "filled" else "limit"
    intent = desk.intent("buy", 1, kind, price=None if ended == "filled" else "6700")
    await desk.send(intent)
    if ended == "filled":
        await desk.filled(intent)
    else:
        await desk.working(intent)
        desk.session.cancel(desk.ref(intent), "c-1")
        await desk.said(intent, lambda r: r.exec_type == "canceled", "the cancel")
    desk.lawful = False

    await desk.send(intent)  # on purpose, behind the engine's back
    await desk.hold("sell", 1)

    outcomes = [row.outcome for row in await broker.placements(intent)]
    assert len(outcomes) == 2
    assert (outcomes == ["accepted", "rejected"]) == broker.adapter.capabilities.dedups_for_ever


@card("KC-645")
async def test_a_broker_s_refusal_of_a_repeat_is_told_and_never_tried_under_another_id_r_015(
    broker: SimBroker, desk: Desk
) -> None:
    await broker.control("reject-next", text="Duplicate order: same symbol, side and quantity")
    intent = await desk.send(desk.intent("buy", 1))

    refused = await desk.said(intent, lambda r: r.ord_status == "rejected", "the refusal")

    assert "Duplicate order" in refused.text
    await desk.hold("buy", 1)
    assert len(await broker.placements()) == 2
    assert len(await broker.placements(intent)) == 1


@card("KC-650")
async def test_whether_the_broker_cuts_a_reduce_only_close_itself_r_012(
    broker: SimBroker, desk: Desk
) -> None:
    await desk.hold("buy", 1)
    close = await desk.send(desk.closing("sell", 3))
    await desk.ear.until(lambda: desk.filled_qty(close) >= 1, "the close")
    await desk.hold("buy", 2)

    flat_in_between = await broker.net_qty(A1) == 2
    assert flat_in_between == broker.adapter.capabilities.reduce_only


@card("KC-660")
async def test_whether_working_orders_end_with_our_session(broker: SimBroker, desk: Desk) -> None:
    resting = await desk.send(desk.intent("buy", 1, "limit", price="6700"))
    await desk.working(resting)
    await desk.close()
    later = await broker.open()

    found = await later.snapshot()

    alive = [o for o in found.orders or () if o.cl_ord_id == resting.cl_ord_id and o.ord_status == "new"]
    assert (not alive) == broker.adapter.capabilities.cancels_on_disconnect


@card("KC-670")
async def test_an_answer_lost_on_the_way_means_one_placement_through_every_reconnect_r_007(
    broker: SimBroker,
) -> None:
    relay = Relay()
    try:
        desk = broker.desk(plan=await relay.between(broker.plan(ALPHA)))
        desk.run()
        await desk.live()
        intent = desk.intent("buy", 1)
        await desk.send(desk.intent("buy", 1, "limit", price="6700"))
        relay.swallow = True
        await desk.send(intent)
        await desk.doubt(intent)
        relay.cut()
        relay.swallow = False

        await desk.filled(intent)
        await desk.trade_again()

        assert len(await broker.placements(intent)) == 1
        asked = [row.cl_ord_id for row in await broker.placements()]
        assert len(asked) == len(set(asked))
        await desk.close()
    finally:
        await relay.stop()


@card("KC-680")
async def test_a_state_of_no_known_word_is_told_for_its_account_and_the_neighbour_trades_on_r_001(
    broker: SimBroker, desk: Desk
) -> None:
    await broker.quirks(odd_state_next=1)
    await desk.send(desk.intent("buy", 1, "limit", price="6700", account=A1))

    alerts = await desk.ear.until(
        lambda: [a for a in desk.ear.of(ProtocolAlert) if a.unmodelled], "the alert of the account"
    )

    assert {alert.account_id for alert in alerts} == {A1}
    await desk.hold("buy", 1, account=A2)
    assert desk.session.state == "live"
