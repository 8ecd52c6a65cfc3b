"""A live session: orders, answers and events, beyond what the cards of every broker ask."""

import asyncio
from dataclasses import replace
from decimal import Decimal

import msgspec
import pytest

from brokers.projectx import api
from brokers.projectx.tests.conftest import Quick
from kopitra.domain.executions import BalanceReport, ExecutionReport, PositionReport, Quote
from kopitra.ports import NewNumbers, NotSent, OrderUnknown, ProtocolAlert, Sent, Writable
from tests.contract.desk import Desk
from tests.contract.logins import A1, A2, ALPHA
from tests.contract.rig import SimBroker


async def test_a_custom_tag_in_use_is_a_doubt_and_never_a_second_order(firm: SimBroker, desk: Desk) -> None:
    desk.lawful = False  # nobody places the same order twice: this is what would happen
    intent = await desk.send(desk.intent())
    await desk.filled(intent)
    again = desk.encode(intent)

    assert isinstance(desk.session.submit(again, lane_exit=False), Sent)

    doubt = await desk.doubt(intent)
    assert "custom tag already in use" in doubt.reason
    rows = await firm.placements(intent)
    assert [row.outcome for row in rows] == ["accepted", "rejected"]
    assert await firm.net_qty(A1) == 1


@pytest.mark.parametrize("code", [6, 7])
async def test_an_ambiguous_code_is_a_doubt(firm: SimBroker, desk: Desk, code: int) -> None:
    await firm.quirks(ambiguous_next=1, ambiguous_code=code)

    intent = await desk.send(desk.intent())

    assert f"errorCode {code}" in (await desk.doubt(intent)).reason
    assert len(await firm.placements(intent)) == 1


async def test_a_rejection_of_the_hub_is_told_when_its_answer_is_lost(firm: SimBroker, desk: Desk) -> None:
    await firm.control("reject-next", text="no margin")
    await firm.quirks(fail_next=1)

    intent = await desk.send(desk.intent())

    await desk.doubt(intent)
    await desk.said(intent, lambda r: r.exec_type == "rejected", "the hub's own word")
    assert len(await firm.placements(intent)) == 1


@pytest.mark.parametrize("hub_first", [True, False], ids=["hub first", "answer first"])
async def test_a_rejection_of_the_hub_is_told_though_the_answer_takes_the_order(
    firm: SimBroker, desk: Desk, hub_first: bool
) -> None:
    """P4, I-03: the rejection that came before the accepting answer was dropped, and the order never ended."""
    await firm.settings(**({"ack_delay_ms": 150} if hub_first else {"event_delay_ms": 150}))
    await firm.control("reject-next", text="no margin")
    await firm.quirks(hub_rejects_next=1)

    intent = await desk.send(desk.intent())

    rejected = await desk.said(intent, lambda r: r.exec_type == "rejected", "the hub's own word")
    told = [r for r in desk.every_report() if r.cl_ord_id == intent.cl_ord_id]
    assert [r.exec_type for r in told] == ["pending_new", "rejected"]
    assert rejected.order_id == told[0].order_id != ""
    assert len(await firm.placements(intent)) == 1


async def test_a_refused_token_puts_the_order_in_doubt_and_renews(firm: SimBroker, desk: Desk) -> None:
    await firm.control("revoke-tokens")

    lost = await desk.send(desk.intent())

    assert (await desk.doubt(lost)).reason == "http 401"
    assert await firm.placements(lost) == []
    await desk.filled(await desk.send(desk.intent()))
    assert desk.states()[-1] == "live"


async def test_a_late_401_of_an_older_token_leaves_the_new_one_in_use(firm: SimBroker, desk: Desk) -> None:
    """R-014: both orders carried the revoked token; the second answer came after the renewal."""
    await firm.quirks(late_denial_next=1)
    await firm.control("revoke-tokens")
    late, soon = desk.intent(), desk.intent()
    assert isinstance(desk.try_send(late), Sent)
    await firm.quirks()  # so that the first has arrived
    await desk.doubt(await desk.send(soon))
    await desk.filled(await desk.send(desk.intent()))
    assert not [e for e in desk.ear.of(OrderUnknown) if e.cl_ord_id == late.cl_ord_id]

    assert (await desk.doubt(late)).reason == "http 401"

    assert isinstance(desk.try_send(desk.intent("sell", 1)), Sent)


async def test_after_a_429_entries_pause_and_cancels_pass(firm: SimBroker, desk: Desk) -> None:
    resting = await desk.send(desk.intent("buy", 1, "limit", price="6700"))
    await desk.working(resting)
    await firm.quirks(throttle_next=1)

    await desk.doubt(await desk.send(desk.intent()))

    refused = desk.try_send(desk.intent())
    assert isinstance(refused, NotSent)
    assert (refused.reason, refused.retry_after_s > 0) == ("penalty", True)
    assert isinstance(desk.session.cancel(desk.ref(resting), "c1"), Sent)
    await desk.said(resting, lambda r: r.exec_type == "canceled", "the cancel")


async def test_a_session_that_ends_in_a_penalty_comes_back_for_the_exits(
    firm: SimBroker, quick: Quick
) -> None:
    """R-062: an entry earned the silence; without a session no close could leave until its end."""
    desk = quick(throttled_s="120")
    desk.run()
    await desk.live()
    await desk.hold("buy", 1)
    await firm.quirks(throttle_next=1)
    await desk.doubt(await desk.send(desk.intent()))

    (life,) = (task for task in asyncio.all_tasks() if task.get_name() == f"session login-{ALPHA}")
    life.cancel()
    await desk.ear.until(lambda: desk.states().count("live") == 2, "live again")

    refused = desk.try_send(desk.intent())
    assert isinstance(refused, NotSent)
    assert refused.reason == "penalty"
    assert isinstance(desk.session.submit(desk.encode(desk.intent("sell", 1)), lane_exit=True), Sent)


async def test_the_request_budget_refuses_here_and_keeps_room_for_exits(quick: Quick) -> None:
    desk = quick(budget_per_window="40")
    desk.run()
    await desk.live()

    async def until_refused(reason: str) -> NotSent:
        while not isinstance(
            answer := desk.try_send(desk.intent("buy", 1, "limit", price="6700")), NotSent
        ) or (answer.reason == "busy" != reason):
            await desk.ear.next(within_s=0.05)
        return answer

    refused = await until_refused("rate_budget")

    assert (refused.reason, refused.retry_after_s > 0) == ("rate_budget", True)
    await desk.filled(await desk.send(desk.closing("sell", 1)))


async def test_an_account_that_gets_no_answers_leaves_its_neighbour_connections(
    firm: SimBroker, quick: Quick
) -> None:
    desk = quick(order_connections="1")  # two for each of the login's two accounts
    desk.run()
    await desk.live()
    await firm.settings(ack_delay_ms=200)

    for _ in range(2):
        assert isinstance(desk.try_send(desk.intent()), Sent)
    refused = desk.try_send(desk.intent())

    assert isinstance(refused, NotSent)
    assert refused.reason == "busy"
    assert isinstance(desk.try_send(desk.intent(account=A2)), Sent)
    await desk.ear.until(lambda: desk.ear.of(Writable), "Writable")
    assert isinstance(desk.try_send(desk.intent()), Sent)


async def test_payloads_with_text_ids_bare_and_coalesced_are_read(firm: SimBroker, desk: Desk) -> None:
    await firm.quirks(string_ids=True, bare_payloads=True, coalesced_frames=True)

    trades = await desk.filled(await desk.send(desk.intent("buy", 2)))

    assert [trade.last_qty for trade in trades] == [Decimal(2)]
    assert desk.ear.of(ProtocolAlert) == []


async def test_fills_that_come_first_are_attributed(firm: SimBroker, desk: Desk) -> None:
    await firm.settings(reorder_event_ratio=1.0, duplicate_event_ratio=1.0, partial_fill_slices=3)

    intents = [await desk.send(desk.intent("buy", 3)) for _ in range(5)]

    for intent in intents:
        trades = await desk.filled(intent)
        assert {trade.cl_ord_id for trade in trades} == {intent.cl_ord_id}
        assert len({trade.exec_id for trade in trades}) == len(trades) == 3
    assert await firm.net_qty(A1) == 15


async def test_a_fill_whose_order_nobody_told_is_looked_up(firm: SimBroker, desk: Desk) -> None:
    await firm.settings(drop_event_ratio=0.5)
    for _ in range(8):
        await firm.by_hand(A1, "buy", 1)
    await firm.settings(drop_event_ratio=0.0)

    def attributed() -> bool:
        fills = [r for r in desk.every_report() if r.exec_type == "trade"]
        named = {r.order_id for r in desk.every_report() if r.exec_type != "trade"}
        return bool(fills) and all(fill.order_id in named for fill in fills)

    await desk.ear.until(attributed, "an order behind every fill")


async def test_a_trailing_stop_starts_from_a_fresh_quote(firm: SimBroker, desk: Desk) -> None:
    intent = desk.intent("sell", 1, "trailing_stop", trail_offset="10")
    refused = desk.session.encode(intent)
    assert isinstance(refused, NotSent)
    assert refused.reason == "stale"

    desk.session.watch([desk.symbol])
    await desk.ear.until(lambda: desk.ear.of(Quote), "a quote")
    await desk.send(intent)

    await desk.working(intent)
    (order,) = msgspec.json.decode(await firm.ask("orders"), type=list[dict[str, object]])
    assert Decimal(str(order["trail"])) == 10
    moved = desk.session.replace(desk.ref(intent), NewNumbers(trail_offset=Decimal(20)), "r1")
    assert isinstance(moved, Sent)
    await desk.said(intent, lambda r: r.exec_type == "replaced", "the new distance")


async def test_quotes_are_merged_from_sparse_updates(firm: SimBroker, desk: Desk) -> None:
    desk.session.watch([desk.symbol])
    await desk.ear.until(lambda: desk.ear.of(Quote), "the first quote")

    await firm.price("6801", "6801.25")

    last = await desk.ear.until(
        lambda: [q for q in desk.ear.of(Quote) if q.bid == Decimal(6801)], "the new quote"
    )
    assert (last[0].ask, last[0].symbol) == (Decimal("6801.25"), desk.symbol)


async def test_equity_follows_the_market_while_a_position_is_open(firm: SimBroker, quick: Quick) -> None:
    desk = quick(mark_s="0.05", quote_age_max_s="60")
    desk.run()
    await desk.live()
    await desk.hold("buy", 2)

    await firm.price("6810", "6810.25")

    # 2 contracts x 9.75 points x 50, less fees of 2 x 1.88
    wanted = Decimal(50_000) - Decimal("3.76") + Decimal(975)
    await desk.ear.until(
        lambda: [r for r in desk.ear.of(BalanceReport) if r.equity == wanted], f"equity {wanted}"
    )


async def test_an_account_that_the_login_does_not_see_is_told_and_harms_nobody(
    firm: SimBroker, quick: Quick
) -> None:
    plan = firm.plan("alpha")
    broken = replace(plan.accounts[1], broker_account="NOT-THERE")
    desk = firm.desk(plan=replace(plan, accounts=(plan.accounts[0], broken)))
    desk.run()
    await desk.live()

    (alert,) = desk.ear.of(ProtocolAlert)
    assert (alert.account_id, "NOT-THERE" in alert.text) == (A2, True)
    refused = desk.session.encode(desk.intent(account=A2))
    assert isinstance(refused, NotSent)
    assert "account" in refused.text
    await desk.filled(await desk.send(desk.intent()))


async def test_a_leader_trading_by_hand_is_seen_with_its_bracket(firm: SimBroker, desk: Desk) -> None:
    bracket = [
        {"side": "sell", "ord_type": "stop", "offset": "-10"},
        {"side": "sell", "ord_type": "limit", "offset": "20"},
    ]
    entry = str(await firm.by_hand(A1, "buy", 2, children=bracket))

    def legs() -> list[ExecutionReport]:
        return [r for r in desk.every_report() if r.parent_order_id == entry and r.ord_status == "new"]

    await desk.ear.until(lambda: len(legs()) == 2, "both legs working")
    stop, target = sorted(legs(), key=lambda r: r.ord_type == "limit")
    assert (stop.stop_price, target.price) == (Decimal("6790.25"), Decimal("6820.25"))
    fill = next(r for r in desk.every_report() if r.exec_type == "trade")
    assert (fill.order_id, fill.last_qty, fill.cl_ord_id) == (entry, Decimal(2), None)

    await firm.control("manual-replace", order_id=int(stop.order_id), stop_price="6795")
    await desk.ear.until(
        lambda: [
            r for r in desk.every_report() if r.exec_type == "replaced" and r.stop_price == Decimal(6795)
        ],
        "the stop moved",
    )
    await firm.price("6794", "6794.25")
    await desk.ear.until(
        lambda: [
            r for r in desk.every_report() if r.order_id == target.order_id and r.exec_type == "canceled"
        ],
        "the target canceled by its sibling",
    )
    flat = [r for r in desk.ear.of(PositionReport) if not r.net_qty]
    assert flat


async def test_a_locked_account_keeps_the_brokers_words(firm: SimBroker, desk: Desk) -> None:
    await firm.control("lock", account_id=await firm.number(A1), can_trade=False)

    intent = await desk.send(desk.intent())

    report = await desk.said(intent, lambda r: r.exec_type == "rejected", "the refusal")
    assert (report.ord_rej_reason, report.text) == ("account-violation", "Account is not allowed to trade.")


async def test_a_closed_market_has_its_own_reason(firm: SimBroker, desk: Desk) -> None:
    await firm.settings(halted_symbols=[desk.symbol])

    intent = await desk.send(desk.intent())

    report = await desk.said(intent, lambda r: r.exec_type == "rejected", "the refusal")
    assert report.ord_rej_reason == "market-closed"


async def test_a_missing_list_is_no_evidence(firm: SimBroker, desk: Desk) -> None:
    await desk.hold("buy", 1)
    await firm.quirks(missing_lists=True)

    snapshot = await desk.snapshot()

    assert (snapshot.positions, snapshot.orders, snapshot.executions) == (None, None, None)


async def test_an_older_deployment_without_v2_query_is_read_by_search_open(
    firm: SimBroker, desk: Desk
) -> None:
    await firm.quirks(no_v2_query=True)
    intent = await desk.send(desk.intent("buy", 1, "limit", price="6700"))
    await desk.working(intent)

    snapshot = await desk.snapshot()

    assert [order.cl_ord_id for order in snapshot.orders or ()] == [intent.cl_ord_id]


@pytest.mark.parametrize("again_s, shown", [(0, 3), (60, 1)], ids=["asked again", "not each time"])
async def test_one_404_of_v2_query_does_not_hide_suspended_orders_for_good(
    firm: SimBroker, desk: Desk, monkeypatch: pytest.MonkeyPatch, again_s: int, shown: int
) -> None:
    """R-044: searchOpen shows neither pending nor suspended orders."""
    monkeypatch.setattr(api, "V2_AGAIN_S", again_s)
    bracket = [
        {"side": "sell", "ord_type": "stop", "offset": "-10"},
        {"side": "sell", "ord_type": "limit", "offset": "20"},
    ]
    await firm.by_hand(A1, "buy", 1, ord_type="limit", price="6700", children=bracket)
    await firm.quirks(no_v2_query=True)
    assert len((await desk.snapshot()).orders or ()) == 1

    await firm.quirks(no_v2_query=False)

    assert len((await desk.snapshot()).orders or ()) == shown
