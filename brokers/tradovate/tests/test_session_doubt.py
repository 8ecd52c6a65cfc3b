"""Answers that prove nothing, penalties, and the request budget: what is in doubt is never sent again."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest

from brokers.tradovate.tests.harness import House
from kopitra.ports import NotSent, OrderUnknown, ProtocolAlert, RequestUnknown, Sent


@pytest.mark.parametrize(
    "quirk,executed",
    [
        ({"fail_next": 1}, True),
        ({"garbage_next": 1}, True),
        ({"hang_up_next": 1}, True),
        ({"swallow_next": 1}, False),
        ({"throttle_next": 1}, False),
        ({"soft_lock_next": 1}, False),
        ({"penalty_next": 1}, False),
    ],
    ids=["500 after executing", "garbage", "drop before the answer", "no answer", "429", "423", "p-ticket"],
)
async def test_an_answer_that_proves_nothing_is_doubt_and_is_never_sent_again(
    live: House, quirk: Mapping[str, object], executed: bool
) -> None:
    live.settings(event_delay_ms=200, penalty_ticket_s=1)
    live.quirks(**quirk)

    intent = live.send(live.intent("buy", 1))
    doubt = await live.heard(OrderUnknown)

    assert doubt.cl_ord_id == intent.cl_ord_id
    if executed:
        await live.filled(intent)
    assert len(live.placements(intent)) == (1 if executed else 0)


@pytest.mark.parametrize("quirk", ["throttle_next", "soft_lock_next", "penalty_next"])
async def test_a_vendor_that_asks_for_silence_gets_it(live: House, quirk: str) -> None:
    live.settings(penalty_ticket_s=30)
    live.quirks(**{quirk: 1})
    live.send(live.intent())
    await live.heard(OrderUnknown)

    refused = live.refused(live.intent())

    assert refused.reason == "penalty"
    assert refused.retry_after_s > 20
    assert any("silence" in alert.text for alert in live.of(ProtocolAlert))


async def test_an_order_answered_401_is_doubt_and_brings_one_new_login(live: House) -> None:
    user = live.simulator.firm.logins.users["leader1"]
    live.quirks(deny_next=1)
    intent = live.send(live.intent())
    await live.heard(OrderUnknown)
    await live.until(lambda: live.states().count("live") == 2, "live on a new socket")
    live.quirks(deny_next=1)
    second = live.send(live.intent())
    await live.until(lambda: len(live.of(OrderUnknown)) == 2, "the second doubt")

    await live.filled(live.send(live.intent()))

    assert live.placements(intent) == live.placements(second) == []
    assert user.logins == 2
    assert live.states().count("live") == 2


async def test_a_captcha_on_an_order_silences_the_login_for_an_hour(live: House) -> None:
    live.settings(captcha=True)
    live.quirks(penalty_next=1)
    live.send(live.intent())

    alert = await live.heard(ProtocolAlert)

    assert "captcha" in alert.text
    assert live.refused(live.intent()).retry_after_s > 3_500


async def test_a_penalised_close_waits_as_told_and_goes_again_with_its_ticket(live: House) -> None:
    await live.filled(live.send(live.intent("buy", 1)))
    live.settings(penalty_ticket_s=1)
    live.quirks(penalty_next=1)
    first, second = (live.closing("sell", 1) for _ in range(2))
    live.submit_exit(first)
    assert (await live.heard(OrderUnknown)).cl_ord_id == first.cl_ord_id

    refused = live.submit_exit(second)
    assert isinstance(refused, NotSent)
    assert (refused.reason, 0 < refused.retry_after_s <= 1) == ("penalty", True)
    assert live.simulator.firm.open_tickets == 1
    await live.until(lambda: isinstance(live.submit_exit(second), Sent), "the end of the wait")

    await live.filled(second)
    assert live.net_qty() == 0
    assert live.simulator.firm.open_tickets == 0


async def test_a_captcha_on_placements_leaves_the_native_close_open(live: House) -> None:
    await live.filled(live.send(live.intent("buy", 1)))
    live.settings(captcha=True)
    live.quirks(penalty_next=1)
    live.send(live.intent())
    await live.heard(OrderUnknown)

    exit_ = live.closing("sell", 1)._replace(leader="lead")
    refused = live.submit_exit(exit_)
    assert isinstance(refused, NotSent)
    assert refused.retry_after_s > 3_500
    closing = live.closing("sell", 1)
    assert isinstance(live.submit_exit(closing), Sent)
    await live.filled(closing)
    assert live.net_qty() == 0


@pytest.mark.parametrize("quirk", ["throttle_next", "penalty_next"])
async def test_a_session_that_drops_in_a_penalty_comes_back_for_the_exits(live: House, quirk: str) -> None:
    """R-062: an entry earned the silence; without a session no close could leave until its end."""
    await live.filled(live.send(live.intent("buy", 1)))
    live.settings(captcha=True)
    live.quirks(**{quirk: 1})
    live.send(live.intent())
    await live.heard(OrderUnknown)
    live.settings(captcha=False)

    live.command("drop-streams")
    await live.until(lambda: live.states().count("live") == 2, "live on a new socket")

    assert live.refused(live.intent()).reason == "penalty"
    assert isinstance(live.submit_exit(live.closing("sell", 1)._replace(native=True)), Sent)
    await live.until(lambda: live.net_qty() == 0, "the native close")


async def test_a_flattens_read_waits_for_no_poll(live: House) -> None:
    """R-060: the lists are read by one at a time, but a flatten goes first."""
    live.settings(ack_delay_ms=100)
    poll = asyncio.create_task(live.session.snapshot("acc-1", None, lane="status"))
    await asyncio.sleep(0)
    flattens = [asyncio.create_task(live.session.snapshot("acc-1", None, lane="flatten")) for _ in range(4)]

    await asyncio.wait({flattens[0], poll}, return_when=asyncio.FIRST_COMPLETED)
    done_first = flattens[0].done() and not poll.done()
    await poll
    found = await asyncio.gather(*flattens)

    assert done_first, "the flatten's read is shorter, and it does not wait"
    assert len({snapshot.started_ns for snapshot in found}) == 2, "the others share the read after the first"


async def test_an_ambiguous_reason_is_doubt(live: House) -> None:
    live.command("reject-next", text="RiskCheckTimeout: slow")

    intent = live.send(live.intent())

    assert "RiskCheckTimeout" in (await live.heard(OrderUnknown)).reason
    assert not [r for r in live.reports(cl_ord_id=intent.cl_ord_id) if r.exec_type == "rejected"]


async def test_an_unanswered_cancel_is_a_doubtful_request_and_the_order_is_not(live: House) -> None:
    intent = live.send(live.intent("buy", 1, "limit", price="6700"))
    await live.report(intent, "new")
    live.quirks(swallow_next=1)

    live.session.cancel(live.ref(intent), "c-77")

    unknown = await live.heard(RequestUnknown)
    assert unknown.request_id == "c-77"
    assert live.of(OrderUnknown) == []


async def test_an_order_past_the_budget_never_leaves_but_a_cancel_does(live: House) -> None:
    settings = {**live.plan.settings, "requests_per_minute": "12"}
    house = House(live.simulator, replace(live.plan, settings=settings))
    house.made = 100
    house.run()
    await house.live()
    resting = house.send(house.intent("buy", 1, "limit", price="6700"))
    await house.report(resting, "new")
    answers = [house.session.submit(house.encode(house.intent()), lane_exit=False) for _ in range(12)]

    refused = [answer for answer in answers if isinstance(answer, NotSent)]

    assert refused
    assert refused[0].reason == "rate_budget"
    assert isinstance(house.session.cancel(house.ref(resting), "c1"), Sent)
    await house.close()
