"""The user hub goes away and comes back; the session lives on REST, nothing is lost or told twice."""

from decimal import Decimal

import pytest

from brokers.projectx.tests.conftest import Quick
from kopitra.domain.executions import AccountSnapshot, ExecutionReport, PositionReport
from kopitra.ports import ProtocolAlert, SessionChanged
from tests.contract.desk import Desk
from tests.contract.logins import A1
from tests.contract.rig import SimBroker


def health(desk: Desk) -> list[str]:
    return [event.reason for event in desk.ear.of(SessionChanged) if event.state == "live"]


async def degraded(desk: Desk) -> None:
    await desk.ear.until(lambda: health(desk)[-1].startswith("degraded"), "the link told as degraded")


async def restored(desk: Desk) -> None:
    await desk.ear.until(lambda: len(health(desk)) > 2 and health(desk)[-1] == "", "the hub is back")


def fills(desk: Desk) -> list[ExecutionReport]:
    return [report for report in desk.every_report() if report.exec_type == "trade"]


async def test_while_the_hub_is_down_fills_are_seen_by_polling(firm: SimBroker, desk: Desk) -> None:
    await firm.settings(stream_down=True)
    await degraded(desk)

    intent = await desk.send(desk.intent("buy", 2))
    (trade,) = await desk.filled(intent)
    await firm.by_hand(A1, "sell", 1)
    await desk.ear.until(lambda: len(fills(desk)) == 2, "the fill made by hand")

    assert trade.cl_ord_id == intent.cl_ord_id
    assert desk.session.state == "live"
    await desk.ear.until(
        lambda: [r for r in desk.ear.of(PositionReport) if r.net_qty == Decimal(1)], "the position"
    )


async def test_while_the_hub_is_down_orders_and_their_end_are_seen(firm: SimBroker, desk: Desk) -> None:
    await firm.settings(stream_down=True)
    await degraded(desk)

    intent = await desk.send(desk.intent("buy", 1, "limit", price="6700"))
    await desk.working(intent)
    desk.session.cancel(desk.ref(intent), "c1")

    await desk.said(intent, lambda r: r.exec_type == "canceled", "the cancel")


async def test_the_hub_comes_back_and_each_fill_was_told_once(firm: SimBroker, desk: Desk) -> None:
    await desk.hold("buy", 1)
    await firm.settings(stream_down=True)
    await degraded(desk)
    await desk.hold("buy", 1)

    await firm.settings(stream_down=False)
    await restored(desk)
    await desk.hold("buy", 1)

    ids = [report.exec_id for report in fills(desk)]
    assert len(ids) == len(set(ids)) == 3
    assert await firm.net_qty(A1) == 3


async def test_a_reconnect_tells_what_the_gap_hid(firm: SimBroker, quick: Quick) -> None:
    desk = quick(
        poll_trades_s="60",
        poll_orders_s="60",
        poll_positions_s="60",
        reconnect_first_s="0.3",
        reconnect_max_s="0.3",
    )
    desk.run()
    await desk.live()
    resting = await desk.send(desk.intent("buy", 1, "limit", price="6790"))
    await desk.working(resting)
    snapshots = len(desk.ear.of(AccountSnapshot))
    await firm.control("drop-streams")
    await degraded(desk)

    await firm.price("6789", "6789.25")

    (trade,) = await desk.filled(resting)
    assert trade.cl_ord_id == resting.cl_ord_id
    await restored(desk)
    await desk.ear.until(lambda: len(desk.ear.of(AccountSnapshot)) >= snapshots + 2, "fresh snapshots")


async def test_history_is_not_told_as_news_at_the_start(firm: SimBroker, quick: Quick) -> None:
    for _ in range(3):
        await firm.by_hand(A1, "buy", 1)

    desk = quick()
    desk.run()
    await desk.live()

    assert desk.every_report() == []
    (snapshot,) = [s for s in desk.ear.of(AccountSnapshot) if s.account_id == A1]
    assert len(snapshot.executions or ()) == 3


async def test_a_session_starts_without_the_hub_and_says_so(firm: SimBroker, quick: Quick) -> None:
    await firm.settings(stream_down=True)
    desk = quick(hub_patience_s="0.2")
    desk.run()

    await desk.live()

    await degraded(desk)
    await desk.filled(await desk.send(desk.intent()))


async def test_a_silent_hub_counts_as_dead(firm: SimBroker, quick: Quick) -> None:
    desk = quick(ping_s="0.1", silence_max_s="0.4")
    desk.run()
    await desk.live()
    await firm.settings(stream_frozen=True)

    await degraded(desk)

    assert any("silent" in reason for reason in health(desk))


async def test_a_logout_by_the_firm_logs_in_again(firm: SimBroker, desk: Desk) -> None:
    for _ in range(3):
        known = len(health(desk))
        await firm.control("logout")
        await desk.ear.until(
            lambda known=known: len(health(desk)) >= known + 2 and health(desk)[-1] == "", "the hub back"
        )

    await desk.filled(await desk.send(desk.intent()))
    assert any("ended this login 3 times" in alert.text for alert in desk.ear.of(ProtocolAlert))


async def test_without_hub_and_rest_the_session_is_not_live(firm: SimBroker, desk: Desk) -> None:
    await firm.settings(stream_down=True, maintenance=True)

    await desk.ear.until(lambda: "backoff" in desk.states(), "backoff")

    await firm.settings(stream_down=False, maintenance=False)
    await desk.live()
    await desk.filled(await desk.send(desk.intent()))


@pytest.mark.parametrize("record", ["{", '{"type":1,"target":"GatewayUserOrder","arguments":[]}'])
async def test_a_hub_message_that_does_not_parse_is_an_alert_and_the_session_lives(
    firm: SimBroker, desk: Desk, record: str
) -> None:
    await firm.control("say", record=record)

    await desk.ear.until(lambda: desk.ear.of(ProtocolAlert), "an alert")

    await desk.filled(await desk.send(desk.intent()))
