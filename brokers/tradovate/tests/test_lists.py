"""What lists prove: a part that is late, a row that does not read, a contract without a name."""

import re

from brokers.tradovate.simulator import Simulator
from brokers.tradovate.simulator.tables import Row
from brokers.tradovate.tests.harness import A1, A2, SYMBOL, House, plan_of
from kopitra.domain.executions import AccountSnapshot
from kopitra.ports import ProtocolAlert, Sent


def row_of(house: House, kind: str) -> Row:
    return list(house.simulator.firm.tables.all(kind))[-1]


def nameless(row: Row) -> str:
    """In a contract that no list of contracts knows."""
    text, changed = re.subn(r'"contractId":\d+', '"contractId":424242', row.text)
    assert changed == 1
    return text


def newest(house: House, account: str) -> AccountSnapshot:
    return [s for s in house.of(AccountSnapshot) if s.account_id == account][-1]


async def live_again(house: House) -> None:
    lives = house.states().count("live")
    house.command("drop-streams")
    await house.until(lambda: house.states().count("live") > lives, "live again")


async def test_a_part_of_the_snapshot_that_is_late_makes_nothing_flat_r_044(live: House) -> None:
    await live.filled(live.send(live.intent("buy", 2)))
    live.quirks(sync_late="positions")

    await live_again(live)

    found = newest(live, A1)
    assert [(p.symbol, p.net_qty) for p in found.positions or ()] == [(SYMBOL, 2)]
    assert found.orders is not None


async def test_without_the_lists_a_snapshot_of_unknown_end_proves_nothing_and_tells_its_fills_r_044(
    simulator: Simulator,
) -> None:
    # Ten requests a minute leave no room for six of a status read.
    house = House(simulator, plan_of(simulator, {"requests_per_minute": "10"}))
    house.by_hand("buy", 1)
    house.run()
    await house.live()

    found = newest(house, A1)

    assert (found.positions, found.orders) == (None, None)
    assert [e.last_qty for e in found.executions or ()] == [1]
    await house.close()


async def test_a_row_of_unknown_words_or_times_stops_its_account_and_neither_the_login_nor_an_exit_r_001_r_044(
    live: House,
) -> None:
    await live.filled(live.send(live.intent("buy", 2)))
    order, version = row_of(live, "order"), row_of(live, "orderVersion")
    odd_rows = [
        (order, '"Filled"', '"Unknown"'),
        (order, '"Filled"', '"Odd"'),
        (order, 'Z"', '"'),  # a time without a zone
        (version, '"Market"', '"Odd"'),
    ]
    for number, (row, known, odd) in enumerate(odd_rows):
        assert known in row.text
        text = row.text.replace(f'"id":{row.id}', f'"id":{row.id + 1000 + number}').replace(known, odd)
        live.simulator.firm.tables.put(row._replace(id=row.id + 1000 + number, text=text))

    await live_again(live)

    odd = [a for a in live.of(ProtocolAlert) if "does not read" in a.text]
    assert [(a.account_id, a.unmodelled) for a in odd] == [(A1, True)] * 4
    assert newest(live, A1).orders is None
    assert [p.net_qty for p in newest(live, A1).positions or ()] == [2]
    assert newest(live, A2).orders == ()
    assert isinstance(live.submit_exit(live.closing("sell", 2)), Sent)
    await live.until(lambda: live.net_qty() == 0, "flat")
    await live.session.snapshot(A1, None)
    assert len([a for a in live.of(ProtocolAlert) if "does not read" in a.text]) == 4  # told once


async def test_a_row_of_a_stranger_on_the_same_user_is_nobodys_business_r_001(live: House) -> None:
    await live.filled(live.send(live.intent("buy", 1)))
    order, ours = row_of(live, "order"), f'"accountId":{live.number()}'
    assert ours in order.text
    text = order.text.replace(ours, '"accountId":77').replace('"Filled"', '"Odd"')
    live.simulator.firm.tables.put(order._replace(id=order.id + 1, account_id=0, text=text))

    await live_again(live)

    assert newest(live, A1).orders
    assert live.of(ProtocolAlert) == []


async def test_an_order_of_nobody_knows_whom_leaves_every_list_of_orders_open_r_001_r_044(
    live: House,
) -> None:
    await live.filled(live.send(live.intent("buy", 1)))
    order, ours = row_of(live, "order"), f'"accountId":{live.number()}'
    assert ours in order.text
    text = order.text.replace(ours, '"accountId":null')
    live.simulator.firm.tables.put(order._replace(text=text))

    found = [await live.session.snapshot(account, None) for account in (A1, A2)]

    assert [(s.orders, s.executions) for s in found] == [(None, None)] * 2
    assert [p.net_qty for p in found[0].positions or ()] == [1]
    odd = [a for a in live.of(ProtocolAlert) if "does not read" in a.text]
    assert [(a.account_id, a.unmodelled) for a in odd] == [(A1, True), (A2, True)]  # told once each
    assert isinstance(live.submit_exit(live.closing("sell", 1)), Sent)
    await live.until(lambda: live.net_qty() == 0, "flat")


async def test_a_position_in_a_contract_without_a_name_is_not_flat_r_044(live: House) -> None:
    await live.filled(live.send(live.intent("buy", 1)))
    held = row_of(live, "position")
    text = nameless(held)
    live.simulator.firm.tables.put(held._replace(id=held.id + 1, text=text))

    found = await live.session.snapshot(A1, None)

    assert found.positions is None
    assert found.orders is not None


async def test_an_order_in_a_contract_without_a_name_leaves_the_list_of_orders_open_r_044(
    live: House,
) -> None:
    await live.filled(live.send(live.intent("buy", 1)))
    order = row_of(live, "order")
    text = nameless(order)
    live.simulator.firm.tables.put(order._replace(id=order.id + 1, text=text))

    found = await live.session.snapshot(A1, None)

    assert (found.orders, found.executions) == (None, None)
    assert [p.net_qty for p in found.positions or ()] == [1]
