"""Average prices, realised P&L, fees and equity, by numbers worked out by hand."""

from decimal import Decimal

import pytest

from brokers._kit.matching import BalanceChanged, Execution, RequestRefused, Side
from tests.unit.kit.matching_world import ACCOUNT, ES, MNQ, OPENING_BALANCE, d, names, only, order, world


def last_fill(fills: tuple[Execution, ...]) -> Execution:
    return fills[-1]


# Fills (side, qty, price) in MNQ, 2.00 per point; then net, average price, realised in total.
HAND_COMPUTED: list[tuple[str, list[tuple[Side, int, str]], int, str | None, str]] = [
    ("long gain", [("buy", 2, "100"), ("sell", 2, "110")], 0, None, "40"),
    ("long loss", [("buy", 1, "100"), ("sell", 1, "98.5")], 0, None, "-3"),
    ("short gain", [("sell", 3, "100"), ("buy", 3, "99")], 0, None, "6"),
    ("short loss", [("sell", 1, "100"), ("buy", 1, "104")], 0, None, "-8"),
    ("adding averages", [("buy", 1, "100"), ("buy", 3, "104")], 4, "103", "0"),
    (
        "partial exit keeps the average",
        [("buy", 1, "100"), ("buy", 3, "104"), ("sell", 2, "105")],
        2,
        "103",
        "8",
    ),
    ("reversal long to short", [("buy", 2, "100"), ("sell", 5, "103")], -3, "103", "12"),
    ("reversal short to long", [("sell", 1, "100"), ("buy", 3, "101")], 2, "101", "-2"),
    (
        "reversal and back to flat",
        [("buy", 2, "100"), ("sell", 5, "103"), ("buy", 3, "102")],
        0,
        None,
        "18",
    ),
    (
        "uneven thirds lose no cent",
        [("buy", 1, "100"), ("buy", 2, "100.25"), ("sell", 1, "101"), ("sell", 1, "101"), ("sell", 1, "101")],
        0,
        None,
        "5",
    ),
]


@pytest.mark.parametrize(
    "steps,net,average,realized", [row[1:] for row in HAND_COMPUTED], ids=[r[0] for r in HAND_COMPUTED]
)
def test_positions_and_profit_follow_the_fills(
    steps: list[tuple[Side, int, str]], net: int, average: str | None, realized: str
) -> None:
    market = world()
    for side, qty, price in steps:
        market.quote(price, price, price)
        market.place(order(side, qty=qty))

    (held,) = market.core.positions(ACCOUNT, flat_too=True)
    assert held.net_qty == net
    assert held.avg_px == (None if average is None else d(average))
    assert held.realized_pnl == d(realized)
    assert market.balance() == OPENING_BALANCE + d(realized)


def test_only_closing_fills_carry_profit() -> None:
    market = world()
    market.place(order("buy"))
    market.place(order("sell"))

    assert [fill.realized_pnl for fill in market.core.executions()] == [None, d("-0.5")]


def test_fees_and_commission_are_charged_per_contract_on_both_sides() -> None:
    market = world()
    market.core.set_price(ES, d(5000), d(5000), None, market.tick())
    market.place(order("buy", qty=2, symbol=ES))
    market.core.set_price(ES, d("5000.50"), d("5000.50"), None, market.tick())

    events = market.place(order("sell", qty=2, symbol=ES))

    fill = last_fill(market.core.executions())
    assert (fill.fees, fill.commission, fill.realized_pnl) == (d("2.80"), d("1.20"), d("50"))
    # 2 contracts x 0.5 point x 50, less 4 sides x (1.40 + 0.60)
    assert only(BalanceChanged, events)[0].account.balance == OPENING_BALANCE + 50 - 8
    assert names(events)[-1] == "BalanceChanged"


def test_equity_marks_open_positions_to_the_last_trade() -> None:
    market = world()
    market.place(order("sell", qty=2))
    market.quote("97", "97.25", "97.25")

    assert market.core.open_pnl(ACCOUNT) == d("11")
    assert market.core.equity(ACCOUNT) == OPENING_BALANCE + 11


@pytest.mark.parametrize("qty,left", [(None, 0), (2, 1), (3, 0)])
def test_a_position_is_closed_whole_or_in_part(qty: int | None, left: int) -> None:
    market = world()
    market.place(order("buy", qty=3))

    market.core.close_position(ACCOUNT, MNQ, market.tick(), qty)

    assert market.net() == left


@pytest.mark.parametrize(
    "held,qty,reason",
    [(0, None, "position_not_found"), (2, 3, "invalid_close_size"), (2, 0, "invalid_close_size")],
)
def test_what_cannot_be_closed_is_refused(held: int, qty: int | None, reason: str) -> None:
    market = world()
    if held:
        market.place(order("buy", qty=held))

    events = market.core.close_position(ACCOUNT, MNQ, market.tick(), qty)

    assert [event.reason for event in only(RequestRefused, events)] == [reason]
    assert market.net() == held


def test_liquidation_locks_cancels_and_flattens() -> None:
    market = world()
    market.place(order("buy", qty=3), order("sell", "stop", 3, offset="-5"))
    market.place(order("buy", "limit", 1, "90"))

    market.core.liquidate(ACCOUNT, market.tick())

    assert market.net() == 0
    assert market.core.orders(ACCOUNT, live_only=True) == ()
    assert names(market.place(order("buy"))) == ["OrderRejected"]


def test_a_busted_fill_takes_position_and_money_back() -> None:
    market = world()
    market.place(order("buy", qty=2))
    market.quote(110, 110, 110)
    market.place(order("sell", qty=2))
    fill = last_fill(market.core.executions())
    assert market.balance() == OPENING_BALANCE + d("39")

    events = market.core.bust(fill.exec_id, market.tick())

    assert names(events) == ["ExecutionBusted", "PositionChanged", "BalanceChanged"]
    assert (market.net(), market.balance()) == (2, OPENING_BALANCE)
    assert [row.net_qty for row in market.core.ledger.positions()] == [2]
    with pytest.raises(KeyError):
        market.core.bust(fill.exec_id, market.tick())


def test_accounts_do_not_share_positions_or_cash() -> None:
    market = world()
    market.place(order("buy", qty=2))
    market.place(order("sell", qty=1, account_id=2))

    assert (market.net(1), market.net(2)) == (2, -1)
    assert {account.balance for account in market.core.accounts()} == {Decimal(50_000)}
