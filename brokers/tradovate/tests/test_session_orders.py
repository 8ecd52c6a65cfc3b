"""Orders of every kind through the session, and what the stream makes of them."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from brokers.tradovate.tests.harness import A1, SYMBOL, House
from kopitra.domain.executions import BalanceReport, ExecutionReport, PositionReport
from kopitra.ports import NewNumbers, NotSent, ProtocolAlert, Sent

ONE = Decimal(1)


async def test_a_market_order_is_pending_then_new_then_filled(live: House) -> None:
    intent = live.send(live.intent("buy", 2))

    await live.filled(intent)

    assert [r.exec_type for r in live.reports(cl_ord_id=intent.cl_ord_id)] == ["pending_new", "new", "trade"]
    trade = live.trades(intent)[0]
    assert (trade.last_px, trade.ord_status, trade.leaves_qty) == (Decimal("6800.25"), "filled", Decimal(0))
    assert trade.received_ns > 0
    position = await live.heard(PositionReport)
    assert (position.symbol, position.net_qty) == (SYMBOL, Decimal(2))


@pytest.mark.parametrize(
    "order,away,hit",
    [
        ({"ord_type": "limit", "price": "6790"}, "6800", "6789"),
        ({"ord_type": "stop", "stop_price": "6810"}, "6800", "6811"),
        ({"ord_type": "stop_limit", "stop_price": "6810", "price": "6815"}, "6800", "6811"),
        ({"ord_type": "trailing_stop", "trail": "10"}, "6795", "6806"),
    ],
    ids=["limit", "stop", "stop limit", "trailing stop"],
)
async def test_an_order_waits_for_its_price(
    live: House, order: Mapping[str, str], away: str, hit: str
) -> None:
    intent = live.send(live.intent("buy", 1, **order))  # pyright: ignore[reportArgumentType]
    working = await live.report(intent, "new")
    live.price(away, away)
    assert live.trades(intent) == []

    live.price(hit, hit)

    await live.filled(intent)
    assert working.ord_type == intent.ord_type
    assert working.stop_price == intent.stop_price or intent.ord_type == "trailing_stop"


async def test_partial_fills_only_grow(live: House) -> None:
    live.settings(partial_fill_slices=3, fill_delay_ms=5)

    trades = await live.filled(live.send(live.intent("sell", 7)))

    assert [t.last_qty for t in trades] == [Decimal(3), Decimal(2), Decimal(2)]
    assert [t.cum_qty for t in trades] == [Decimal(3), Decimal(5), Decimal(7)]
    assert [t.leaves_qty for t in trades] == [Decimal(4), Decimal(2), Decimal(0)]
    assert [t.ord_status for t in trades] == ["partially_filled", "partially_filled", "filled"]


async def test_a_good_till_date_order_keeps_its_date_through_a_replace(live: House) -> None:
    intent = live.intent("buy", 1, "limit", price="6700")
    expire_at = datetime.now(UTC) + timedelta(days=1)
    intent = live.send(intent._replace(time_in_force="gtd", expire_at=expire_at))
    working = await live.report(intent, "new")

    live.session.replace(live.ref(intent), NewNumbers(price=Decimal("6701")), "r1")

    replaced = await live.report(intent, "replaced")
    assert working.time_in_force == replaced.time_in_force == "gtd"
    assert replaced.price == Decimal("6701")


async def test_a_bracket_travels_in_one_request_and_its_target_cancels_its_stop(live: House) -> None:
    entry, stop, target = live.bracket(2)
    live.send(entry, stop, target)
    await live.filled(entry)
    parent = live.ref(entry).order_id
    await live.report(stop, "new")
    await live.report(target, "new")

    live.price("6821", "6821.25")

    await live.filled(target)
    canceled = await live.report(stop, "canceled")
    assert canceled.parent_order_id == parent
    assert live.reports(cl_ord_id=stop.cl_ord_id)[0].exec_type == "suspended"
    assert live.net_qty() == 0
    assert len(live.placements(entry)) == 1


async def test_a_suspended_stop_can_be_moved_before_the_entry_fills(live: House) -> None:
    entry, stop, target = live.bracket()
    entry = entry._replace(ord_type="limit", price=Decimal("6795"))
    live.send(entry, stop, target)
    await live.report(stop, "suspended")

    live.session.replace(live.ref(stop), NewNumbers(stop_price=Decimal("6785")), "r1")

    replaced = await live.report(stop, "replaced")
    assert (replaced.stop_price, replaced.ord_status) == (Decimal("6785"), "suspended")


async def test_two_targets_are_not_attached(live: House) -> None:
    entry, stop, target = live.bracket()
    second = target._replace(cl_ord_id="kp9-t2")

    assert live.refused(entry, target, second).reason == "not_supported"
    assert live.refused(entry, stop, target, second).reason == "not_supported"
    assert live.placements(entry) == []


async def test_a_refused_bracket_refuses_every_leg(live: House) -> None:
    live.command("reject-next", text="MaxPosLimitReached: too many")
    legs = live.bracket()
    live.send(*legs)

    for leg in legs:
        report = await live.report(leg, "rejected")
        assert report.ord_rej_reason == "size-limit"
        assert "MaxPosLimitReached: too many" in report.text


async def test_a_replace_changes_all_numbers_and_keeps_the_others(live: House) -> None:
    intent = live.send(live.intent("buy", 3, "stop_limit", stop_price="6810", price="6815"))
    await live.report(intent, "new")

    sent = live.session.replace(live.ref(intent), NewNumbers(stop_price=Decimal("6812")), "r1")
    replaced = await live.report(intent, "replaced")

    assert isinstance(sent, Sent)
    numbers = (replaced.order_qty, replaced.price, replaced.stop_price)
    assert numbers == (Decimal(3), Decimal("6815"), Decimal("6812"))


async def test_a_trailing_stop_takes_a_new_quantity_only(live: House) -> None:
    intent = live.send(live.intent("sell", 2, "trailing_stop", trail="10"))
    await live.report(intent, "new")

    moved = live.session.replace(live.ref(intent), NewNumbers(trail_offset=Decimal(5)), "r1")
    live.session.replace(live.ref(intent), NewNumbers(qty=ONE), "r2")

    assert isinstance(moved, NotSent)
    assert (await live.report(intent, "replaced")).order_qty == ONE


async def test_a_cancel_ends_the_order_and_a_second_one_is_refused_in_the_vendors_words(live: House) -> None:
    intent = live.send(live.intent("buy", 1, "limit", price="6700"))
    await live.report(intent, "new")
    ref = live.ref(intent)

    live.session.cancel(ref, "c1")
    await live.report(intent, "canceled")
    live.session.cancel(ref, "c2")

    refused = await live.report(intent, "cancel_rejected")
    assert (refused.ord_rej_reason, refused.ord_status) == ("too-late", "canceled")


async def test_a_late_rejection_keeps_the_vendors_words(live: House) -> None:
    live.command("reject-next", text="LiquidationOnly: no new positions", late=True)

    intent = live.send(live.intent())

    report = await live.report(intent, "rejected")
    assert report.text == "LiquidationOnly: no new positions"
    assert report.ord_rej_reason == "liquidation-only"
    assert live.reports(cl_ord_id=intent.cl_ord_id)[0].exec_type == "pending_new"


@pytest.mark.parametrize(
    "settings",
    [
        {"reorder_event_ratio": 1.0},
        {"duplicate_event_ratio": 1.0},
        {"ack_delay_ms": 100},
        {"event_delay_ms": 50},
    ],
    ids=["shuffled", "doubled", "late answers", "late events"],
)
async def test_each_execution_is_told_once_with_its_client_id(
    live: House, settings: Mapping[str, object]
) -> None:
    live.settings(partial_fill_slices=4, **settings)

    for _ in range(5):
        trades = await live.filled(live.send(live.intent("buy", 4)))
        assert sum(t.last_qty or 0 for t in trades) == 4

    told = [r.exec_id for r in live.reports() if r.exec_type == "trade"]
    assert len(told) == len(set(told)) == 20
    assert {r.cl_ord_id for r in live.reports()} <= {f"kp{n:020}-e" for n in range(1, 6)}
    assert live.of(ProtocolAlert) == []


async def test_a_fill_whose_order_never_comes_is_looked_up(live: House) -> None:
    live.settings(drop_event_ratio=0.6, ack_delay_ms=1_500)

    for _ in range(6):
        live.send(live.intent("buy", 1))
    live.settings(drop_event_ratio=0.0)
    live.send(live.intent("buy", 1))

    reports = await live.until(lambda: [r for r in live.reports() if r.exec_type == "trade"], "a trade")
    assert all(r.cl_ord_id for r in reports)


async def test_a_busted_trade_is_taken_back(live: House) -> None:
    trade = (await live.filled(live.send(live.intent("buy", 2))))[0]

    live.command("bust", exec_id=int(trade.exec_id or 0))

    busted = await live.until(
        lambda: [r for r in live.reports() if r.exec_type == "trade_cancel"], "the bust"
    )
    assert (busted[0].exec_id, busted[0].last_qty) == (trade.exec_id, Decimal(2))


async def test_flattening_uses_the_native_close_and_knows_its_order(live: House) -> None:
    await live.filled(live.send(live.intent("buy", 3)))
    resting = live.send(live.intent("sell", 1, "limit", price="6900"))
    await live.report(resting, "new")
    flat = live.intent("sell", 3)._replace(leader="", role="exit", reduce_only=True)

    live.settings(ack_delay_ms=100)
    live.send(flat)

    trades = await live.filled(flat)
    await live.report(resting, "canceled")
    assert [t.last_qty for t in trades] == [Decimal(3)]
    assert live.net_qty() == 0
    assert not [r for r in live.reports() if r.exec_type == "trade" and r.cl_ord_id is None]


async def test_a_native_close_of_a_flat_account_is_refused(live: House) -> None:
    flat = live.send(live.intent("sell", 1)._replace(leader="", role="exit", reduce_only=True))

    await live.report(flat, "rejected")


# -- strangers --------------------------------------------------------------------------------


async def test_a_leader_by_hand_is_seen_whole(live: House) -> None:
    child = {"side": "sell", "ord_type": "stop", "stop_price": "6790"}
    goal = {"side": "sell", "ord_type": "limit", "price": "6820"}
    live.by_hand("buy", 2, children=[child, goal])
    trade = (await live.until(lambda: [r for r in live.reports() if r.exec_type == "trade"], "the entry"))[0]
    stop = (await live.until(lambda: _working(live, "stop"), "the stop"))[0]
    for level in ("6792", "6794", "6796"):
        live.command("manual-replace", order_id=int(stop.order_id), stop_price=level)
    await live.until(lambda: len(_replaced(live, stop.order_id)) == 3, "three moves")

    live.by_hand("sell", 1)
    live.by_hand("sell", 3)

    await live.until(lambda: len([r for r in live.reports() if r.exec_type == "trade"]) == 3, "all trades")
    assert (trade.side, trade.last_qty, trade.cl_ord_id, trade.ord_type) == (
        "buy",
        Decimal(2),
        None,
        "market",
    )
    assert (stop.parent_order_id, stop.stop_price, stop.order_qty) == (
        trade.order_id,
        Decimal("6790"),
        Decimal(2),
    )
    assert [r.stop_price for r in _replaced(live, stop.order_id)] == [
        Decimal(6792),
        Decimal(6794),
        Decimal(6796),
    ]


async def test_a_cancel_by_hand_is_seen(live: House) -> None:
    live.by_hand("buy", 1, ord_type="limit", price="6700")
    working = (await live.until(lambda: _working(live, "limit"), "the order"))[0]

    live.command("manual-cancel", order_id=int(working.order_id))

    await live.until(
        lambda: [r for r in live.reports(working.order_id) if r.exec_type == "canceled"], "the cancel"
    )


async def test_the_balance_follows_the_trades(live: House) -> None:
    await live.filled(live.send(live.intent("buy", 1)))
    live.price("6810.25", "6810.50")
    await live.filled(live.send(live.intent("sell", 1)))

    balance = await live.heard(BalanceReport)

    assert (balance.account_id, balance.balance, balance.realized_day) == (A1, Decimal(50_500), Decimal(-500))


async def test_many_orders_at_once_all_find_their_fills(live: House) -> None:
    intents = [live.send(live.intent("buy" if number % 2 else "sell", 1)) for number in range(100)]

    await asyncio.gather(*(live.filled(intent) for intent in intents))

    assert all(len(live.trades(intent)) == 1 for intent in intents)
    assert all(len(live.placements(intent)) == 1 for intent in intents)


def _working(house: House, ord_type: str) -> list[ExecutionReport]:
    return [r for r in house.reports() if r.exec_type == "new" and r.ord_type == ord_type]


def _replaced(house: House, order_id: str) -> list[ExecutionReport]:
    return [r for r in house.reports(order_id) if r.exec_type == "replaced"]
