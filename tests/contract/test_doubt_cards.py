"""KC-410 to KC-490: faults of the wire. Nothing is doubled, nothing is lost in silence."""

from datetime import timedelta
from typing import Final

import pytest

from kopitra.domain.orders import OrderIntent
from kopitra.ports import NotSent, ProtocolAlert, Sent
from tests.contract.card import card
from tests.contract.desk import Desk
from tests.contract.logins import A1, A2
from tests.contract.rig import SimBroker

_STORM: Final = {
    "drop_request_ratio": 0.15,
    "drop_answer_ratio": 0.15,
    "answer_500_after_execute_ratio": 0.15,
    "reset_ratio": 0.15,
}
_CALM: Final = dict.fromkeys(_STORM, 0.0)


async def _another(desk: Desk) -> None:
    """A later order passes: whatever wanted to be sent again would have been."""
    await desk.filled(await desk.send(desk.intent("buy", 1)))


@card("KC-410")
async def test_a_link_that_is_down_before_the_write_refuses(broker: SimBroker, desk: Desk) -> None:
    await broker.running.stop()

    answers: list[object] = []

    def refused() -> bool:
        answers.append(desk.try_send(desk.intent()))
        return isinstance(answers[-1], NotSent) or len(answers) > 100

    await desk.ear.until(refused, "a refusal while the broker is away", within_s=40)
    assert isinstance(answers[-1], NotSent)
    assert answers[-1].reason in ("session_down", "busy", "penalty")


@card("KC-415")
async def test_a_request_that_is_lost_is_in_doubt_and_never_sent_again(broker: SimBroker, desk: Desk) -> None:
    """R-007."""
    await broker.settings(drop_request_ratio=1.0)
    intent = await desk.send(desk.intent())

    await desk.doubt(intent)

    await broker.settings(drop_request_ratio=0.0)
    await _another(desk)
    assert await broker.placements(intent) == []
    assert await broker.net_qty(A1) == 1


@card("KC-420")
@pytest.mark.parametrize("fault", ["drop_answer_ratio", "reset_ratio", "answer_500_after_execute_ratio"])
async def test_an_answer_that_is_lost_is_resolved_by_report_and_never_sent_again(
    broker: SimBroker, desk: Desk, fault: str
) -> None:
    """R-007, R-008: our own wire; one placement at the broker whose answer was dropped."""
    await broker.settings(**{fault: 1.0})
    intent = await desk.send(desk.intent("buy", 2))

    trades = await desk.filled(intent)

    await broker.settings(**{fault: 0.0})
    await _another(desk)
    assert sum(trade.last_qty or 0 for trade in trades) == 2
    assert not [r for r in desk.reports(intent) if r.ord_status == "rejected"]
    assert len(await broker.placements(intent)) == 1
    assert await broker.net_qty(A1) == 3


@card("KC-422")
async def test_an_answer_that_comes_too_late_changes_nothing(broker: SimBroker, desk: Desk) -> None:
    await broker.settings(ack_delay_ms=3_500)
    intent = await desk.send(desk.intent("buy", 2))
    await desk.ear.until(lambda: desk.is_decided(intent), "an outcome before the answer")

    await desk.pass_time(4.0)
    await broker.settings(ack_delay_ms=0)

    await desk.filled(intent)
    await _another(desk)
    assert desk.filled_qty(intent) == 2
    assert len(await broker.placements(intent)) == 1


@card("KC-425")
async def test_an_answer_that_does_not_parse_is_doubt_and_an_alert(broker: SimBroker, desk: Desk) -> None:
    await broker.quirks(garbage_next=1)
    intent = await desk.send(desk.intent("buy", 2))

    await desk.ear.until(lambda: desk.ear.of(ProtocolAlert), "an alert")
    await desk.ear.until(lambda: desk.is_decided(intent), "doubt, unless reports were faster")

    await desk.filled(intent)
    await _another(desk)
    assert len(await broker.placements(intent)) == 1


@card("KC-430")
async def test_a_doubt_is_resolved_by_the_snapshot(broker: SimBroker, desk: Desk) -> None:
    since = broker.clock.now() - timedelta(minutes=1)
    await broker.settings(stream_silent=True, drop_answer_ratio=1.0)
    resting = await desk.send(desk.intent("buy", 1, "limit", price="6700"))
    await desk.doubt(resting)
    await broker.settings(drop_answer_ratio=0.0)

    found = await desk.snapshot(since=since)

    (row,) = await broker.placements(resting)
    assert found.orders is not None
    assert [(o.order_id, o.cl_ord_id) for o in found.orders if o.ord_status == "new"] == [
        (str(row.order_id), resting.cl_ord_id)
    ]


@card("KC-435", lambda c: c.lists_executions)
async def test_a_doubt_about_a_filled_order_is_resolved_by_its_executions(
    broker: SimBroker, desk: Desk
) -> None:
    since = broker.clock.now() - timedelta(minutes=1)
    await broker.settings(stream_silent=True, drop_answer_ratio=1.0)
    intent = await desk.send(desk.intent("buy", 2))
    await desk.doubt(intent)
    await broker.settings(drop_answer_ratio=0.0)

    found = await desk.snapshot(since=since)

    (row,) = await broker.placements(intent)
    assert found.executions is not None
    assert sum(e.last_qty or 0 for e in found.executions if e.order_id == str(row.order_id)) == 2
    orders = found.orders or ()
    assert [o.ord_status for o in orders if o.cl_ord_id == intent.cl_ord_id] == ["filled"]


@card("KC-440")
async def test_in_a_storm_of_faults_no_order_is_doubled_and_each_has_an_outcome(
    broker: SimBroker, desk: Desk
) -> None:
    await broker.settings(**_STORM)
    sent: list[OrderIntent] = []
    for number in range(20):
        intent = await desk.send(desk.intent("buy" if number % 2 else "sell", 1 + number % 3))
        sent.append(intent)
        await desk.ear.until(lambda order=intent: desk.is_decided(order), "what became of an order")
    await broker.settings(**_CALM)
    await _another(desk)

    rows = await broker.placements()
    asked = [row.cl_ord_id for row in rows]
    assert len(asked) == len(set(asked))
    executed = {row.cl_ord_id for row in rows if row.outcome == "accepted"}
    for intent in sent:
        if intent.cl_ord_id in executed:
            await desk.filled(intent)
        else:
            assert desk.trades(intent) == []


@card("KC-450")
async def test_an_execution_that_is_told_twice_counts_once(broker: SimBroker, desk: Desk) -> None:
    await broker.settings(duplicate_event_ratio=1.0, partial_fill_slices=3)

    await desk.filled(await desk.send(desk.intent("buy", 3)))
    await desk.filled(await desk.send(desk.intent("sell", 3)))

    told = [r.exec_id for r in desk.every_report() if r.exec_type == "trade"]
    assert len(told) == len(set(told)) == 6


@card("KC-460")
async def test_reports_out_of_order_make_the_same_fills(broker: SimBroker, desk: Desk) -> None:
    await broker.settings(reorder_event_ratio=1.0, partial_fill_slices=5)

    for _ in range(4):
        intent = await desk.send(desk.intent("buy", 5))
        trades = await desk.filled(intent)
        assert sum(trade.last_qty or 0 for trade in trades) == 5
        assert len({trade.exec_id for trade in trades}) == 5
    assert desk.ear.of(ProtocolAlert) == []


@card("KC-470")
async def test_after_a_gap_the_executions_it_hid_are_told_once(broker: SimBroker, desk: Desk) -> None:
    await desk.hold("buy", 1)
    resting = await desk.send(desk.intent("buy", 2, "limit", price="6790"))
    await desk.working(resting)
    await broker.settings(stream_down=True)
    await broker.price("6789", "6789.25")
    await broker.settings(stream_down=False)

    trades = await desk.filled(resting)

    assert sum(trade.last_qty or 0 for trade in trades) == 2
    told = [r.exec_id for r in desk.every_report() if r.exec_type == "trade"]
    assert len(told) == len(set(told)) == 2


@card("KC-475")
async def test_a_new_session_does_not_replay_history(broker: SimBroker, desk: Desk) -> None:
    await desk.hold("buy", 1)
    await desk.close()

    later = await broker.open()
    await later.hold("buy", 1)

    assert len([r for r in later.every_report() if r.exec_type == "trade"]) == 1
    assert await broker.net_qty(A1) == 2


@card("KC-477")
async def test_an_order_from_before_a_restart_is_known_again(broker: SimBroker, desk: Desk) -> None:
    """R-066: what rests when a session ends is neither taken for canceled nor forgotten: the broker's list tells."""
    resting = await desk.send(desk.intent("buy", 2, "limit", price="6790"))
    await desk.working(resting)
    ref = desk.ref(resting)
    await desk.close()
    later = await broker.open()

    found = await later.snapshot()
    await broker.price("6789", "6789.25")

    assert found.orders is not None
    assert [(o.order_id, o.cl_ord_id) for o in found.orders if o.ord_status == "new"] == [
        (ref.order_id, ref.cl_ord_id)
    ]
    trades = await later.ear.until(
        lambda: [r for r in later.every_report() if r.exec_type == "trade"], "the fill of the old order"
    )
    assert (trades[0].order_id, trades[0].last_qty) == (ref.order_id, 2)


@card("KC-478")
async def test_an_order_from_before_a_restart_can_be_canceled(broker: SimBroker, desk: Desk) -> None:
    resting = await desk.send(desk.intent("buy", 2, "limit", price="6790"))
    await desk.working(resting)
    ref = desk.ref(resting)
    await desk.close()
    later = await broker.open()

    later.session.cancel(ref, "c-1")

    await later.ear.until(
        lambda: [r for r in later.every_report() if r.order_id == ref.order_id and r.exec_type == "canceled"],
        "the cancel of the old order",
    )


@card("KC-479", lambda c: c.lists_executions)
async def test_executions_while_nobody_listened_are_in_the_snapshot(broker: SimBroker, desk: Desk) -> None:
    resting = await desk.send(desk.intent("buy", 2, "limit", price="6790"))
    await desk.working(resting)
    ref = desk.ref(resting)
    await desk.close()
    left_at = broker.clock.now() - timedelta(seconds=1)
    await broker.price("6789", "6789.25")
    later = await broker.open()

    found = await later.snapshot(since=left_at)

    assert found.executions is not None
    assert [(e.order_id, e.last_qty) for e in found.executions] == [(ref.order_id, 2)]
    assert [o.ord_status for o in found.orders or () if o.cl_ord_id == ref.cl_ord_id] == ["filled"]


@card("KC-480")
async def test_a_fault_of_one_account_does_not_stop_another(broker: SimBroker, desk: Desk) -> None:
    number = await broker.number(A1)
    await broker.control("lock", account_id=number, can_trade=False)
    locked = await desk.send(desk.intent("buy", 1, account=A1))

    await desk.hold("buy", 1, account=A2)

    await desk.said(locked, lambda r: r.ord_status == "rejected", "the rejection of the locked account")
    assert desk.session.state == "live"


@card("KC-510")
async def test_a_penalty_silences_entries_and_lets_cancels_pass(broker: SimBroker, desk: Desk) -> None:
    resting = await desk.send(desk.intent("buy", 1, "limit", price="6700"))
    await desk.working(resting)
    await broker.quirks(throttle_next=1)
    hit = await desk.send(desk.intent())
    await desk.ear.until(lambda: desk.is_decided(hit), "what became of the order that met the limit")

    refused = desk.try_send(desk.intent())
    passed = desk.session.cancel(desk.ref(resting), "c-1")

    assert isinstance(refused, NotSent)
    assert refused.reason in ("penalty", "rate_budget")
    assert refused.retry_after_s > 0
    assert not isinstance(passed, NotSent)
    await desk.said(resting, lambda r: r.exec_type == "canceled", "the cancel behind the penalty")
    assert len(await broker.placements()) == 1


@card("KC-512")
@pytest.mark.parametrize("leader", ["lead", ""], ids=["exit", "flatten"])
async def test_a_penalty_that_an_entry_earned_holds_no_exit_back(
    broker: SimBroker, desk: Desk, leader: str
) -> None:
    await desk.hold("buy", 2)
    await broker.quirks(throttle_next=1)
    hit = await desk.send(desk.intent())
    await desk.ear.until(lambda: desk.is_decided(hit), "what became of the order that met the limit")
    assert isinstance(desk.try_send(desk.intent()), NotSent)
    closing = desk.closing("sell", 2)._replace(leader=leader)

    read = await desk.session.snapshot(A1, None, lane="flatten")
    answer = desk.try_send(closing)

    assert [(p.symbol, p.net_qty) for p in read.positions or () if p.net_qty] == [(broker.symbol, 2)]
    assert isinstance(answer, Sent), answer
    await desk.filled(closing)
    assert await broker.net_qty(A1) == 0


@card("KC-514")
async def test_an_exit_that_is_itself_refused_waits_as_long_as_told(broker: SimBroker, desk: Desk) -> None:
    await desk.hold("buy", 1)
    await broker.quirks(throttle_next=1)
    hit = await desk.send(desk.closing("sell", 1)._replace(leader=""))
    await desk.doubt(hit)

    refused = desk.try_send(desk.closing("sell", 1)._replace(leader=""))

    assert isinstance(refused, NotSent)
    assert refused.reason == "penalty"
    assert 0 < refused.retry_after_s <= 10
    assert await broker.net_qty(A1) == 1


@card("KC-520")
async def test_a_burst_is_taken_or_refused_but_never_lost(broker: SimBroker, desk: Desk) -> None:
    taken: list[OrderIntent] = []
    for _ in range(40):
        intent = desk.intent("buy", 1, "limit", price="6700")
        answer = desk.try_send(intent)
        if isinstance(answer, NotSent):
            assert answer.reason in ("busy", "rate_budget", "penalty")
            assert answer.reason == "busy" or answer.retry_after_s > 0
        else:
            taken.append(intent)
    assert taken

    for intent in taken:
        await desk.working(intent)

    asked = [row.cl_ord_id for row in await broker.placements()]
    assert sorted(asked, key=str) == sorted(intent.cl_ord_id for intent in taken)


@card("KC-525")
async def test_a_busy_session_says_when_it_can_write_again(broker: SimBroker, desk: Desk) -> None:
    await broker.settings(ack_delay_ms=50)

    sent = [await desk.send(desk.intent("buy", 1, "limit", price="6700")) for _ in range(40)]

    for intent in sent:
        await desk.working(intent)
    assert len(await broker.placements()) == 40


@card("KC-490", lambda c: c.dedups_cl_ord_id)
async def test_a_broker_that_dedups_takes_an_id_once(broker: SimBroker, desk: Desk) -> None:
    intent = desk.intent("buy", 1)
    await desk.filled(await desk.send(intent))
    desk.lawful = False

    await desk.send(intent)

    await _another(desk)
    rows = await broker.placements(intent)
    assert [row.outcome for row in rows] == ["accepted", "rejected"]
    assert desk.filled_qty(intent) == 1
    assert await broker.net_qty(A1) == 2
