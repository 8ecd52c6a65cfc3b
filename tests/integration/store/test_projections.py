"""Written behind, written twice, written late: the projection shows the newest fact."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from kopitra.store.held import Held, Scope, held_in
from kopitra.store.pool import Database
from kopitra.store.projections import (
    ExecutionRow,
    HoldingRow,
    OrderRow,
    PositionRow,
    Projected,
    executions_of_account,
    orders_of_account,
    orders_of_signal,
    positions_of_workspace,
    shown_seq,
    write_projected,
)

NOW = datetime(2026, 1, 5, 14, 30, 0, 123456, tzinfo=UTC)
ORDER = OrderRow(
    workspace="w1", cl_ord_id="c1", shard="s1", account_id="a1", leader_id="boss", list_id="L",
    signal_id="S", rule_id="r1", rule_version=3, order_id="", symbol="ESZ6", side="buy", ord_type="limit",
    time_in_force="day", qty=Decimal("2"), price=Decimal("5011.25"), stop_price=None,
    ord_status="pending_new", cum_qty=Decimal("0"), avg_px=None, reason="", created_at=NOW, updated_at=NOW,
    applied_seq=10,
)  # fmt: skip
EXECUTION = ExecutionRow(
    workspace="w1", account_id="a1", exec_id="e1", shard="s1", cl_ord_id="c1", order_id="77",
    exec_type="trade", symbol="ESZ6", side="buy", last_qty=Decimal("1"), last_px=Decimal("5011.25"),
    transact_time=NOW, applied_seq=11,
)  # fmt: skip
POSITION = PositionRow("w1", "a1", "ESZ6", "s1", Decimal("-2"), Decimal("5011.25"), Decimal("12.50"), NOW, 11)


async def test_rows_come_back_exactly(db: Database) -> None:
    await write_projected(db, Projected([ORDER], [EXECUTION], [POSITION]))
    assert await orders_of_account(db, "w1", "a1") == [ORDER]
    assert await orders_of_signal(db, "w1", "S") == [ORDER]
    assert await executions_of_account(db, "w1", "a1") == [EXECUTION]
    assert await positions_of_workspace(db, "w1") == [POSITION]


async def test_a_batch_written_twice_changes_nothing(db: Database) -> None:
    for _ in range(2):
        await write_projected(db, Projected([ORDER], [EXECUTION], [POSITION]))
    assert len(await executions_of_account(db, "w1", "a1")) == 1


async def test_an_older_fact_never_overwrites_a_newer_one(db: Database) -> None:
    filled = replace(ORDER, ord_status="filled", cum_qty=Decimal(2), order_id="77", applied_seq=20)
    await write_projected(db, Projected([filled], positions=[replace(POSITION, applied_seq=20)]))
    await write_projected(db, Projected([ORDER], positions=[replace(POSITION, net_qty=Decimal(9))]))
    assert await orders_of_account(db, "w1", "a1") == [filled]
    [position] = await positions_of_workspace(db, "w1")
    assert position.net_qty == Decimal(-2)


async def test_of_one_key_in_a_batch_the_last_row_wins(db: Database) -> None:
    new = replace(ORDER, ord_status="new", applied_seq=12)
    await write_projected(db, Projected([ORDER, new]))
    assert await orders_of_account(db, "w1", "a1") == [new]


async def test_an_execution_counts_once_per_account(db: Database) -> None:
    other = replace(EXECUTION, account_id="a2")
    again = replace(EXECUTION, applied_seq=11, last_qty=Decimal(5))
    await write_projected(db, Projected(executions=[EXECUTION, other]))
    await write_projected(db, Projected(executions=[again]))
    assert await executions_of_account(db, "w1", "a1") == [EXECUTION]
    assert await executions_of_account(db, "w1", "a2") == [other]


async def test_a_corrected_execution_replaces_the_first_report(db: Database) -> None:
    corrected = replace(EXECUTION, last_px=Decimal("5011.50"), exec_type="trade_correct", applied_seq=15)
    await write_projected(db, Projected(executions=[EXECUTION]))
    await write_projected(db, Projected(executions=[corrected]))
    assert await executions_of_account(db, "w1", "a1") == [corrected]


async def test_queries_keep_to_workspace_status_and_limit(db: Database) -> None:
    orders = [
        replace(ORDER, cl_ord_id=f"c{i}", created_at=NOW + timedelta(seconds=i), ord_status=status)
        for i, status in enumerate(["new", "filled", "new"])
    ]
    await write_projected(db, Projected([*orders, replace(ORDER, workspace="w2")]))
    assert await orders_of_account(db, "w1", "a1", "new") == [orders[2], orders[0]]
    assert await orders_of_account(db, "w1", "a1", limit=1) == [orders[2]]
    assert len(await orders_of_account(db, "w2", "a1")) == 1
    assert await orders_of_account(db, "w3", "a1") == []


async def held(db: Database, scope: Scope) -> list[Held]:
    async with db.transaction() as session:
        return await held_in(session, scope)


async def test_holdings_and_open_orders_are_found_by_account_and_leader(db: Database) -> None:
    await db.run("insert into workspaces values ('w1', 'w', now())")
    await db.run("insert into logins values ('w1', 'l1', 'b', '', '{}')")
    await db.run("insert into accounts values ('w1', 'a1', 'l1', '1', '', '{}', '{}')")
    holding = HoldingRow("w1", "a1", "boss", "ESZ6", "s1", Decimal(2), NOW, 20)
    working = replace(ORDER, leader_id="other", ord_status="working")
    over = replace(ORDER, cl_ord_id="c2", ord_status="filled")
    await write_projected(db, Projected([working, over], holdings=[holding]))
    await write_projected(db, Projected(holdings=[replace(holding, net_qty=Decimal(9), applied_seq=19)]))
    both = [Held("a1", "boss", "ESZ6", Decimal(2), 0), Held("a1", "other", "ESZ6", Decimal(0), 1)]
    assert await held(db, Scope("w1")) == await held(db, Scope("w1", login_id="l1")) == both
    assert await held(db, Scope("w1", "a1", "boss")) == both[:1]
    assert await held(db, Scope("w1", "a2")) == await held(db, Scope("w2")) == []
    await write_projected(db, Projected(holdings=[replace(holding, net_qty=Decimal(0), applied_seq=21)]))
    assert await held(db, Scope("w1", "a1", "boss")) == []


async def test_how_far_the_rows_have_come_never_goes_back(db: Database) -> None:
    assert await shown_seq(db, "s1") == 0
    for seq in (7, 5):
        await write_projected(db, Projected(), ("s1", seq))
    assert await shown_seq(db, "s1") == 7
