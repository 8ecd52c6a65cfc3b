"""The ground truth: one row per request, one per fill, nothing forgotten."""

import json
from dataclasses import asdict

import pytest

from brokers._kit.matching import Ledger, LedgerFull, Replacement
from tests.unit.kit.matching_world import ACCOUNT, MNQ, d, id_of, order, world


def test_every_request_and_every_fill_is_one_row_in_order() -> None:
    market = world()
    order_id = id_of(market.place(order("buy", "limit", 2, "99", tag="a")))
    market.core.replace(order_id, Replacement(price=d("99.5")), market.tick())
    market.core.replace(order_id, Replacement(price=d("99.6")), market.tick())
    market.core.cancel(order_id, market.tick())
    market.core.cancel(order_id, market.tick())
    market.place(order("sell", qty=1, tag="b"))
    market.core.close_position(ACCOUNT, MNQ, market.tick())

    rows = market.core.ledger.to_rows()

    assert [(row.kind, row.outcome, row.origin) for row in rows] == [
        ("placement", "accepted", "api"),
        ("replace", "accepted", "api"),
        ("replace", "rejected", "api"),
        ("cancel", "accepted", "api"),
        ("cancel", "rejected", "api"),
        ("placement", "accepted", "api"),
        ("execution", "accepted", None),
        ("close", "accepted", "close"),
        ("placement", "accepted", "close"),
        ("execution", "accepted", None),
    ]
    assert [row.seq for row in rows] == list(range(1, 11))
    assert len(market.core.ledger) == 10


def test_rows_are_ready_for_json_and_can_be_read_on() -> None:
    market = world()
    market.place(order("buy", "limit", 2, "100.25", tag="a"))

    rows = market.core.ledger.to_rows()
    placed, filled = json.loads(json.dumps([asdict(row) for row in rows]))

    assert (placed["price"], placed["qty"], placed["cl_ord_id"], placed["ts_ns"]) == (
        "100.25",
        2,
        "a",
        2_000_000,
    )
    assert (filled["price"], filled["exec_id"]) == ("100.25", market.core.executions()[0].exec_id)
    assert market.core.ledger.to_rows(after_seq=1) == rows[1:]


def test_orders_by_hand_and_bracket_legs_are_told_from_api_orders() -> None:
    market = world()
    market.core.place(order("buy", tag="m"), market.tick(), origin="manual")
    market.place(order("buy", tag="a"), order("sell", "stop", offset="-5"))

    ledger = market.core.ledger
    assert [row.origin for row in ledger.placements()] == ["manual", "api", "bracket"]
    assert [row.cl_ord_id for row in ledger.placements(origin="api")] == ["a"]
    assert [row.request.side for row in ledger.placements(ACCOUNT, "bracket")] == ["sell"]


def test_a_doubled_placement_shows() -> None:
    market = world()
    for tag in ("a", "b", "a", None):
        market.place(order(tag=tag))

    counts = {tag: len(rows) for tag, rows in market.core.ledger.placements_by_tag().items()}

    assert counts == {"a": 2, "b": 1}


def test_positions_are_the_sum_of_the_executions_alone() -> None:
    market = world()
    market.place(order("buy", qty=3))
    market.place(order("sell", qty=1))
    market.place(order("sell", qty=2, account_id=2))
    market.place(order("buy", qty=2, account_id=2))

    (held,) = market.core.ledger.positions()

    assert (held.account_id, held.symbol, held.net_qty) == (ACCOUNT, MNQ, 2)


def test_a_full_ledger_raises_instead_of_forgetting() -> None:
    ledger = Ledger(rows_max=2)
    ledger.requested("cancel", 1, None, "api")
    ledger.requested("cancel", 1, None, "api")

    with pytest.raises(LedgerFull, match="reset"):
        ledger.placed(order(), 1, 1, None, "api")
    assert len(ledger.to_rows()) == 2


def test_a_reset_forgets_orders_and_money_but_keeps_prices_and_settings() -> None:
    market = world()
    market.core.change_settings(market.core.settings.with_(ack_delay_ms=5), market.tick())
    first_id = id_of(market.place(order("buy", tag="a")))
    market.core.set_account(ACCOUNT, market.tick(), can_trade=False)

    market.core.reset()

    assert len(market.core.ledger) == 0
    assert market.core.orders() == market.core.positions() == ()
    assert market.core.settings.ack_delay_ms == 5
    assert id_of(market.place(order("buy", tag="a"))) == first_id
    assert market.net() == 1
