"""Logging in, tokens, penalties, losing the socket and coming back."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import pytest

from brokers.tradovate.simulator import Simulator
from brokers.tradovate.tests.harness import A1, A2, SYMBOL, House, plan_of, wrong_password
from kopitra.domain.errors import LoginRefused
from kopitra.domain.executions import AccountSnapshot, Quote
from kopitra.ports import AccountLink, OrderUnknown, ProtocolAlert, SessionChanged


async def test_a_login_brings_a_snapshot_of_each_account_then_live(live: House) -> None:
    assert live.states() == ["connecting", "logging_in", "reconciling", "live"]
    balances = {s.account_id: s.balance.balance for s in live.of(AccountSnapshot) if s.balance is not None}
    assert balances == {A1: Decimal(50_000), A2: Decimal(75_000)}


async def test_the_seeded_loss_of_the_day_is_told(live: House) -> None:
    first = next(s for s in live.of(AccountSnapshot) if s.account_id == A1)
    later = await live.session.snapshot(A1, None)

    assert first.balance is not None
    assert later.balance is not None
    assert first.balance.realized_day == later.balance.realized_day == Decimal(-1000)
    assert later.balance.equity == Decimal(50_000)


async def test_a_wrong_password_is_fatal_and_tried_once(simulator: Simulator) -> None:
    house = House(simulator, wrong_password(plan_of(simulator)))

    async with asyncio.timeout(5):
        await house.session.run()

    assert house.of(SessionChanged)[-1].fatal
    assert simulator.firm.logins.users["leader1"].logins == 0
    assert house.states().count("logging_in") == 1


async def test_settings_that_make_no_sense_stop_the_session_before_it_connects(simulator: Simulator) -> None:
    with pytest.raises(LoginRefused, match="requests_per_minute"):
        House(simulator, plan_of(simulator, {"requests_per_minute": "many"}))
    with pytest.raises(LoginRefused, match="no_such_thing"):
        House(simulator, plan_of(simulator, {"no_such_thing": "1"}))


async def test_a_penalised_login_waits_and_comes_back_with_its_ticket(house: House) -> None:
    house.settings(penalty_ticket_s=0)
    house.quirks(penalty_next=1)

    house.run()
    await house.live()

    assert "backoff" not in house.states()


async def test_a_captcha_is_told_to_a_person_and_no_login_is_tried_again(house: House) -> None:
    house.settings(captcha=True)
    house.quirks(penalty_next=1)

    house.run()
    alert = await house.heard(ProtocolAlert)
    await house.until(lambda: house.session.state == "backoff", "backoff")

    assert "captcha" in alert.text
    assert house.states() == ["connecting", "logging_in", "backoff"]
    assert house.simulator.firm.logins.users["leader1"].logins == 0


async def test_a_penalised_snapshot_is_asked_again_with_its_ticket(house: House) -> None:
    house.run()
    await house.until(lambda: house.session.state == "logging_in", "logging in")
    await house.live()
    house.settings(penalty_ticket_s=0)
    house.quirks(penalty_next=1)
    house.command("drop-streams")

    await house.until(lambda: house.states().count("live") == 2, "live again")


@pytest.mark.parametrize(
    "quirk",
    [
        {"array_props": True},
        {"sync_padding_bytes": 3_000_000},
        {"events_first": True},
        {"mute_heartbeat": True},
    ],
    ids=["arrays", "snapshot above 1 MiB", "events before answers", "no server heartbeat"],
)
async def test_a_session_trades_over_a_wire_with_a_quirk(house: House, quirk: Mapping[str, object]) -> None:
    house.quirks(**quirk)
    house.run()
    await house.live()

    trades = await house.filled(house.send(house.intent("buy", 2)))

    assert [trade.last_qty for trade in trades] == [Decimal(2)]
    assert house.of(ProtocolAlert) == []


async def test_our_own_heartbeat_keeps_the_socket_open(simulator: Simulator) -> None:
    house = House(simulator, plan_of(simulator, {"heartbeat_s": "0.1"}))
    house.quirks(client_silence_max_s=0.4)
    house.run()
    await house.live()
    beats = asyncio.get_running_loop().time() + 1.5

    while asyncio.get_running_loop().time() < beats:
        await asyncio.sleep(0.05)

    assert house.states().count("backoff") == 0
    await house.close()


async def test_a_client_without_heartbeat_is_dropped_and_comes_back(simulator: Simulator) -> None:
    house = House(simulator, plan_of(simulator, {"heartbeat_s": "60"}))
    house.quirks(client_silence_max_s=0.2)
    house.run()

    await house.until(lambda: "backoff" in house.states(), "the drop")

    house.quirks(client_silence_max_s=10)
    await house.until(lambda: house.states().count("live") >= 1 and house.session.state == "live", "live")
    await house.close()


async def test_a_silent_server_counts_as_dead(simulator: Simulator) -> None:
    house = House(simulator, plan_of(simulator, {"silence_s": "0.4"}))
    house.quirks(mute_heartbeat=True)
    house.run()

    changed = await house.until(
        lambda: [s for s in house.of(SessionChanged) if s.state == "backoff"], "backoff"
    )

    assert "silent" in changed[0].reason
    await house.close()


async def test_a_server_that_never_greets_is_given_up(simulator: Simulator) -> None:
    house = House(simulator, plan_of(simulator, {"connect_timeout_s": "0.3"}))
    house.quirks(deaf_next=1)
    house.run()

    await house.live()

    assert house.states().count("backoff") == 1
    await house.close()


async def test_going_away_and_maintenance_bring_the_session_back(live: House) -> None:
    live.command("go-away")
    await live.until(lambda: live.states().count("live") == 2, "live after c[3000]")
    live.command("shutdown", reason_code="Maintenance")
    await live.until(lambda: live.states().count("live") == 3, "live after maintenance")

    reasons = [event.reason for event in live.of(SessionChanged) if event.state == "backoff"]
    assert "3000" in reasons[0]
    assert "Maintenance" in reasons[1]


async def test_a_quota_shutdown_does_not_fight_for_the_slot(live: House) -> None:
    live.command("shutdown", reason_code="ConnectionQuotaReached")

    changed = await live.until(
        lambda: [s for s in live.of(SessionChanged) if s.state == "backoff"], "backoff"
    )

    assert "ConnectionQuotaReached" in changed[0].reason
    assert live.simulator.firm.logins.users["leader1"].logins == 1


async def test_a_second_socket_of_the_user_pushes_the_first_one_out(live: House) -> None:
    live.settings(max_sessions=1)
    other = House(live.simulator, live.plan)
    other.run()
    await other.live()

    changed = await live.until(
        lambda: [s for s in live.of(SessionChanged) if s.state == "backoff"], "backoff"
    )

    assert "ConnectionQuotaReached" in changed[0].reason
    await other.close()


async def test_the_token_is_renewed_without_dropping_the_socket(house: House) -> None:
    house.settings(token_ttl_s=2)
    house.run()
    await house.live()
    user = house.simulator.firm.logins.users["leader1"]

    await house.until(lambda: user.renewals >= 1, "a renewal")
    await house.session.snapshot(A1, None)

    assert house.states().count("live") == 1
    assert user.logins == 1


async def test_a_missing_device_id_is_refused_in_live_mode_and_we_always_send_one(live: House) -> None:
    live.quirks(live_mode=True)

    await live.filled(live.send(live.intent()))


async def test_an_account_that_the_login_does_not_have_is_named(simulator: Simulator) -> None:
    plan = plan_of(simulator)
    house = House(simulator, replace(plan, accounts=(*plan.accounts, AccountLink("acc-9", "NOPE", {}))))
    house.run()
    await house.live()

    assert any("NOPE" in alert.text for alert in house.of(ProtocolAlert))
    assert "NOPE" in house.refused(house.intent(account="acc-9")).text
    await house.filled(house.send(house.intent()))
    await house.close()


async def test_what_a_gap_hid_is_told_once_after_the_reconnect(live: House) -> None:
    before = await live.filled(live.send(live.intent("buy", 1)))
    resting = live.send(live.intent("buy", 2, "limit", price="6700"))
    await live.report(resting, "new")
    live.settings(stream_silent=True)
    live.price("6699", "6699.25")
    live.by_hand("sell", 1)
    live.settings(stream_silent=False)
    live.command("drop-streams")

    trades = await live.filled(resting)
    await live.until(lambda: live.states().count("live") == 2, "live again")

    assert len(trades) == 1
    strangers = [r for r in live.reports() if r.exec_type == "trade" and r.cl_ord_id is None]
    assert [r.side for r in strangers] == ["sell"]
    assert len(live.reports(order_id=before[0].order_id)) == len(
        live.reports(cl_ord_id=before[0].cl_ord_id or "")
    )
    told = [r.exec_id for r in live.reports() if r.exec_type == "trade"]
    assert len(told) == len(set(told)) == 3


async def test_history_is_not_replayed_as_live_at_the_first_login(simulator: Simulator) -> None:
    first = House(simulator, plan_of(simulator))
    first.run()
    await first.live()
    await first.filled(first.send(first.intent("buy", 1)))
    await first.close()

    second = House(simulator, plan_of(simulator))
    second.run()
    await second.live()

    assert second.reports() == []
    snapshot = next(s for s in second.of(AccountSnapshot) if s.account_id == A1)
    assert snapshot.executions is not None
    assert [e.last_qty for e in snapshot.executions] == [Decimal(1)]
    assert snapshot.positions is not None
    assert [p.net_qty for p in snapshot.positions] == [Decimal(1)]
    await second.close()


async def test_quotes_are_streamed_for_watched_contracts(live: House) -> None:
    live.session.watch([SYMBOL])
    await live.heard(Quote)

    live.price("6900", "6900.25")

    await live.until(lambda: [q for q in live.of(Quote) if q.bid == Decimal(6900)], "the new quote")


async def test_without_the_setting_no_quote_is_asked_for(simulator: Simulator) -> None:
    house = House(simulator, plan_of(simulator, {"quotes": "off"}))
    house.run()
    await house.live()

    house.session.watch([SYMBOL])
    await house.filled(house.send(house.intent()))

    assert house.of(Quote) == []
    await house.close()


async def test_a_lost_socket_leaves_the_waiting_order_in_doubt(live: House) -> None:
    live.settings(ack_delay_ms=2_000, event_delay_ms=3_000)
    intent = live.send(live.intent())
    live.command("drop-streams")

    doubt = await live.heard(OrderUnknown)

    assert doubt.cl_ord_id == intent.cl_ord_id


async def test_quotes_come_back_after_their_socket_was_lost(live: House) -> None:
    live.session.watch([SYMBOL])
    await live.heard(Quote)
    live.command("drop-streams")
    before = len(live.of(Quote))

    await live.until(lambda: len(live.of(Quote)) > before, "a quote on the new socket")
