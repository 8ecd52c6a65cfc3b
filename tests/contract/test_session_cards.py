"""KC-010 to KC-080: logging in, going live, losing the link, leaving."""

import asyncio
import logging
from dataclasses import replace
from decimal import Decimal
from types import CoroutineType
from typing import cast

import pytest
from jsonschema import Draft202012Validator

from kopitra.domain.errors import LoginRefused
from kopitra.domain.executions import AccountSnapshot, BalanceReport, ExecutionReport, Quote
from kopitra.ports import BrokerAdapter, NotSent, SessionChanged
from tests.contract.card import card
from tests.contract.desk import Desk
from tests.contract.ear import PATIENCE_S
from tests.contract.logins import A1, A2, ALPHA, B1, BETA, LOGINS
from tests.contract.rig import SimBroker, secrets_of


def _wrong(broker: SimBroker) -> dict[str, str]:
    schema = broker.adapter.credential_schema
    right = broker.plan(ALPHA).credentials
    secret = secrets_of(broker.plan(ALPHA), cast("dict[str, object]", schema["properties"]))
    assert secret, "mark the secrets of credential_schema with format password"
    return {name: "wrong" if value in secret else value for name, value in right.items()}


@card("KC-010")
async def test_wrong_credentials_are_fatal_and_not_tried_again(broker: SimBroker) -> None:
    desk = broker.desk(plan=replace(broker.plan(ALPHA), credentials=_wrong(broker)))

    async with asyncio.timeout(PATIENCE_S):
        await desk.session.run()

    last = desk.ear.of(SessionChanged)[-1]
    assert (last.state, last.fatal) == ("closed", True)
    assert last.reason
    assert desk.states().count("logging_in") == 1
    assert "live" not in desk.states()


@card("KC-010")
async def test_wrong_credentials_cannot_list_accounts(broker: SimBroker) -> None:
    plan = replace(broker.plan(ALPHA), credentials=_wrong(broker))

    with pytest.raises(LoginRefused):
        await broker.adapter.list_accounts(plan, broker.clock)


@card("KC-012")
async def test_a_broker_that_is_away_is_waited_for(broker: SimBroker) -> None:
    await broker.settings(maintenance=True)
    desk = broker.desk()
    desk.run()
    await desk.ear.until(lambda: "backoff" in desk.states(), "the session backing off")

    await broker.settings(maintenance=False)

    await desk.live()
    assert not any(event.fatal for event in desk.ear.of(SessionChanged))
    await desk.hold("buy", 1)


@card("KC-015")
def test_the_schema_of_credentials_is_a_json_schema(adapter: BrokerAdapter) -> None:
    Draft202012Validator.check_schema(adapter.credential_schema)


@card("KC-015")
async def test_what_the_simulator_hands_out_fits_the_schema(broker: SimBroker) -> None:
    plan = broker.plan(ALPHA)
    check = Draft202012Validator(broker.adapter.credential_schema)

    assert [fault.message for fault in check.iter_errors({**plan.settings, **plan.credentials})] == []


@card("KC-020")
async def test_a_session_logs_in_reads_the_accounts_then_goes_live(desk: Desk) -> None:
    assert desk.states() == ["connecting", "logging_in", "reconciling", "live"]
    live_at = next(
        at
        for at, event in enumerate(desk.ear.events)
        if isinstance(event, SessionChanged) and event.state == "live"
    )
    before = [event for event in desk.ear.events[:live_at] if isinstance(event, AccountSnapshot)]
    assert {snapshot.account_id for snapshot in before} == {A1, A2}
    assert all(snapshot.positions == () and snapshot.orders == () for snapshot in before)


@card("KC-025")
async def test_nothing_is_sent_before_the_session_is_live(broker: SimBroker) -> None:
    desk = broker.desk()
    encoded = desk.session.encode(desk.intent())
    refused = encoded if isinstance(encoded, NotSent) else desk.session.submit(encoded, lane_exit=False)

    assert isinstance(refused, NotSent)
    assert await broker.ledger() == []


@card("KC-030")
async def test_a_token_is_renewed_before_it_expires(broker: SimBroker) -> None:
    await broker.settings(token_ttl_s=2)
    desk = await broker.open()

    await desk.pass_time(3.0)

    await desk.filled(await desk.send(desk.intent()))
    assert "backoff" not in desk.states()


@card("KC-035")
async def test_a_token_that_is_revoked_is_replaced_and_no_order_is_lost_in_silence(
    broker: SimBroker, desk: Desk
) -> None:
    """R-056: expiry while an order is on the wire."""
    await broker.control("revoke-tokens")

    sent = await desk.trade_again()

    for intent in sent:
        assert len(await broker.placements(intent)) <= 1


@card("KC-040")
async def test_after_a_dropped_stream_the_session_hears_again(broker: SimBroker, desk: Desk) -> None:
    await broker.control("drop-streams")

    sent = await desk.trade_again()

    assert desk.session.state == "live"
    for intent in sent:
        assert len(await broker.placements(intent)) <= 1


@card("KC-050")
async def test_accounts_are_listed_with_their_balance(broker: SimBroker) -> None:
    listed = await broker.adapter.list_accounts(broker.plan(ALPHA), broker.clock)

    assert {a.broker_account for a in listed} == {a.broker_account for a in LOGINS[ALPHA]}
    assert all(account.tradable for account in listed)
    told = {account.broker_account: account.balance for account in listed if account.balance is not None}
    assert told == {a.broker_account: a.balance for a in LOGINS[ALPHA] if a.broker_account in told}


@card("KC-055")
async def test_the_balance_of_an_account_is_told(desk: Desk) -> None:
    told = await desk.ear.until(
        lambda: {
            balance.account_id: balance.balance
            for balance in [
                *desk.ear.of(BalanceReport),
                *(s.balance for s in desk.ear.of(AccountSnapshot) if s.balance is not None),
            ]
        },
        "a balance",
    )
    assert told == {A1: Decimal(50_000), A2: Decimal(75_000)}


@card("KC-060")
async def test_accounts_of_one_login_share_a_session_and_stay_apart(broker: SimBroker, desk: Desk) -> None:
    await desk.hold("buy", 1, account=A1)
    await desk.hold("sell", 2, account=A2)

    trades = [report for report in desk.ear.of(ExecutionReport) if report.exec_type == "trade"]
    assert {(trade.account_id, trade.side, trade.last_qty) for trade in trades} == {
        (A1, "buy", Decimal(1)),
        (A2, "sell", Decimal(2)),
    }
    assert (await broker.net_qty(A1), await broker.net_qty(A2)) == (1, -2)


@card("KC-065")
async def test_a_login_hears_nothing_of_another_login(broker: SimBroker, desk: Desk) -> None:
    other = await broker.open(BETA)
    heard_before = len(desk.ear.of(ExecutionReport))

    await other.hold("buy", 1, account=B1)
    await desk.hold("buy", 1)

    accounts = {report.account_id for report in desk.ear.of(ExecutionReport)[heard_before:]}
    assert accounts == {A1}
    assert {report.account_id for report in other.ear.of(ExecutionReport)} == {B1}


@card("KC-070")
async def test_no_secret_is_ever_told(
    broker: SimBroker, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    plan = broker.plan(ALPHA)
    secrets = secrets_of(plan, cast("dict[str, object]", broker.adapter.credential_schema["properties"]))
    await desk.hold("buy", 1)
    await broker.control("revoke-tokens")
    await broker.control("drop-streams")
    await broker.quirks(garbage_next=1)
    intent = await desk.send(desk.intent())
    await desk.ear.until(lambda: desk.is_decided(intent), "what became of an order")

    said = [repr(event) for event in desk.ear.events] + [
        repr(desk.session),
        repr(broker.adapter),
        caplog.text,
    ]
    assert secrets
    assert not [text for text in said for secret in secrets if secret in text]


@card("KC-080")
async def test_closing_drains_cancels_pass_and_placements_do_not(broker: SimBroker, desk: Desk) -> None:
    resting = await desk.send(desk.intent("buy", 1, "limit", price="6700"))
    await desk.working(resting)
    closing = asyncio.create_task(desk.close(drain_s=PATIENCE_S))
    await desk.ear.until(lambda: "draining" in desk.states(), "the session draining")

    refused = desk.try_send(desk.intent())
    passed = desk.session.cancel(desk.ref(resting), "c-1")

    assert isinstance(refused, NotSent)
    assert not isinstance(passed, NotSent)
    await desk.said(resting, lambda r: r.exec_type == "canceled", "the cancel")
    await broker.http.get("/_sim/settings")
    closing.cancel()
    assert len(await broker.placements()) == 1


@card("KC-085")
async def test_closing_ends_the_session_for_good(broker: SimBroker, desk: Desk) -> None:
    if broker.adapter.capabilities.quotes:
        desk.session.watch([broker.symbol])
        await desk.ear.until(lambda: desk.ear.of(Quote), "a quote: its stream has a life of its own")
    assert tasks_of(broker)
    await desk.close()
    async with asyncio.timeout(PATIENCE_S):
        while tasks_of(broker):
            await asyncio.sleep(0)

    assert desk.session.state == "closed"
    assert desk.states()[-1] == "closed"
    refused = desk.session.encode(desk.intent())
    if not isinstance(refused, NotSent):
        refused = desk.session.submit(refused, lane_exit=True)
    assert isinstance(refused, NotSent)
    assert await broker.placements() == []


def tasks_of(broker: SimBroker) -> list[str]:
    """What the broker's folder runs, its simulator apart."""
    folder = f"/brokers/{broker.adapter.code}/"
    found = [task.get_coro() for task in asyncio.all_tasks()]
    running = [one for one in found if isinstance(one, CoroutineType)]
    return [
        one.__qualname__
        for one in running
        if folder in one.cr_code.co_filename and "simulator" not in one.cr_code.co_filename
    ]
