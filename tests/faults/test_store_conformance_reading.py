"""What both stores give back (H-2): pages, signals, first answers, switches, changes, projections, snapshots."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from kopitra.domain.switches import SwitchScope, SwitchState
from kopitra.store.config_changes import KEPT, ChangeRow, Place, record_of
from kopitra.store.drafts import IdempotencyRecord, SignalRef
from kopitra.store.idempotency import CACHED_AGE, RETENTION
from kopitra.store.journal_reader import PAGE_ROWS_MAX
from kopitra.store.projections import (
    ExecutionRow,
    HeldContract,
    HoldingRow,
    ListSignal,
    OrderRow,
    PositionRow,
    Projected,
)
from kopitra.store.shelf import Reply
from kopitra.store.snapshots import KEPT_MAX, SnapshotRow
from kopitra.store.switches import SwitchRow
from tests.faults.store_rigs import AT, Names, Rig, batch_of, fact, head_of, held, names, record, talking

# the journal -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "after, limit, wanted",
    [
        (0, 10, range(1, 11)),
        (0, 1, range(1, 2)),
        (0, 0, range(0)),
        (7, 3, range(8, 11)),
        (1099, 10, range(1100, 1103)),
        (1102, 10, range(0)),
        (5000, 10, range(0)),
        (-5, 2, range(1, 3)),
        (0, PAGE_ROWS_MAX, range(1, PAGE_ROWS_MAX + 1)),
        (0, 10 * PAGE_ROWS_MAX, range(1, PAGE_ROWS_MAX + 1)),
        (PAGE_ROWS_MAX, PAGE_ROWS_MAX, range(PAGE_ROWS_MAX + 1, 1103)),
    ],
)
async def test_a_page(rig: Rig, at: Names, after: int, limit: int, wanted: Sequence[int]) -> None:
    await held(rig, at)
    batch = batch_of(at, [fact(at, n) for n in range(1, 1103)])
    async with talking(rig.calm) as talk:
        assert await talk.ask(batch) == Reply(1102)
    assert await rig.shelf.page(at.shard, after, limit) == [batch.rows[n - 1] for n in wanted]


async def test_a_page_of_a_shard_without_rows_is_empty(rig: Rig, at: Names) -> None:
    assert await rig.shelf.page(at.shard, 0, 10) == []


async def planned(rig: Rig, at: Names, count: int) -> None:
    await held(rig, at)
    batch = batch_of(at, [fact(at, n, signal=f"sig{n}", answer=record(f"k{n}")) for n in range(1, count + 1)])
    async with talking(rig.calm) as talk:
        assert await talk.ask(batch) == Reply(count)


@pytest.mark.parametrize(
    "signal_id, seq", [("sig1", 1), ("sig3", 3), ("sig4", None), ("SIG1", None), ("", None)]
)
async def test_the_row_of_a_signal(rig: Rig, at: Names, signal_id: str, seq: int | None) -> None:
    await planned(rig, at, 3)
    row = await rig.shelf.signal_row(at.workspace, signal_id)
    assert (row and row.seq) == seq
    assert await rig.shelf.signal_row(f"{at.workspace}-other", signal_id) is None


@pytest.mark.parametrize("limit, wanted", [(0, []), (1, [5]), (3, [5, 4, 3]), (99, [5, 4, 3, 2, 1])])
async def test_the_newest_signals(rig: Rig, at: Names, limit: int, wanted: list[int]) -> None:
    await planned(rig, at, 5)
    found = await rig.shelf.recent_signals(at.shard, limit)
    assert found == [SignalRef(at.workspace, f"sig{n}", at.shard, n) for n in wanted]
    assert await rig.shelf.recent_signals(names().shard, limit) == []


# first answers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed", ["", "workspace", "principal", "endpoint", "key"], ids=lambda name: name or "as it was"
)
async def test_a_first_answer_is_found_by_all_of_its_key(rig: Rig, at: Names, changed: str) -> None:
    await planned(rig, at, 2)
    key = {"workspace": at.workspace, "principal": "ea-1", "endpoint": "POST /signals", "key": "k2"}
    if changed:
        key[changed] += "x"
    found = await rig.shelf.find_answer(**key)
    stamp = AT + timedelta(microseconds=2)
    wanted = IdempotencyRecord(
        at.workspace, "ea-1", "POST /signals", "k2", b"f" * 32, 202, b"answer 2", stamp
    )
    assert found == (None if changed else wanted)


async def aged(rig: Rig, at: Names, *stamps: datetime) -> None:
    """First answers k0, k1, ... of these times."""
    await held(rig, at)
    drafts = [fact(at, n, answer=record(f"k{n}"))._replace(at=stamp) for n, stamp in enumerate(stamps)]
    async with talking(rig.calm) as talk:
        assert await talk.ask(batch_of(at, drafts)) == Reply(len(stamps))


async def keys_left(rig: Rig, at: Names, count: int) -> list[int]:
    found = [await rig.calm.find_answer(at.workspace, "ea-1", "POST /signals", f"k{n}") for n in range(count)]
    return [n for n, answer in enumerate(found) if answer is not None]


async def test_recent_answers_come_newest_first_and_no_older_than_a_day(rig: Rig, at: Names) -> None:
    now = AT + timedelta(days=100)
    age = CACHED_AGE
    await aged(rig, at, now - age, now - age + timedelta(microseconds=1), now, now - timedelta(hours=1))
    found = [a.key for a in await rig.shelf.recent_answers(now) if a.workspace == at.workspace]
    assert found == ["k2", "k3", "k1"]


async def test_answers_are_purged_after_their_retention_and_not_before(rig: Rig, at: Names) -> None:
    now = datetime(1990, 1, 1, tzinfo=UTC)  # before anything that other cases wrote
    await aged(
        rig, at, now - RETENTION - timedelta(microseconds=1), now - RETENTION, now, now - 2 * RETENTION
    )
    assert await rig.shelf.purge_answers(now) == 2
    assert await keys_left(rig, at, 4) == [1, 2]
    assert await rig.shelf.purge_answers(now) == 0


async def test_a_key_may_be_used_again_after_its_answer_was_purged(rig: Rig, at: Names) -> None:
    now = datetime(1990, 1, 1, tzinfo=UTC)
    await aged(rig, at, now - 2 * RETENTION)
    await rig.shelf.purge_answers(now)
    async with talking(rig.shelf) as talk:
        assert talk.line is not None
        again = batch_of(at, [fact(at, 9, answer=record("k0"))], after=await talk.line.head(at.shard))
        assert await talk.ask(again) == Reply(1)


# switches --------------------------------------------------------------------------------------------------


def switch(at: Names, epoch: int, state: SwitchState = "halted", scope: SwitchScope = "account") -> SwitchRow:
    return SwitchRow(scope, f"a-{at.workspace}", at.workspace, state, epoch, "why", "ann", AT)


@pytest.mark.parametrize(
    "epochs, taken",
    [
        ([1, 2, 3], [True, True, True]),
        ([5, 5], [True, False]),
        ([5, 4, 6], [True, False, True]),
        ([-1, 0], [True, True]),
    ],
)
async def test_a_switch_takes_only_what_is_newer(
    rig: Rig, at: Names, epochs: list[int], taken: list[bool]
) -> None:
    states: list[SwitchState] = ["halted", "active", "reducing"]
    assert [
        await rig.shelf.set_switch(switch(at, epoch, states[n])) for n, epoch in enumerate(epochs)
    ] == taken


async def test_a_switch_whose_author_did_not_know_of_the_newest_is_not_taken(rig: Rig, at: Names) -> None:
    """R-091: known is what stands, and not any that is older than its own."""
    first, newer = switch(at, 5, "halted"), switch(at, 7, "reducing")
    assert await rig.shelf.read_switch(first.scope, first.scope_id) is None
    assert await rig.shelf.set_switch(first, 0)
    assert not await rig.shelf.set_switch(newer, 4)
    assert await rig.shelf.read_switch(first.scope, first.scope_id) == first
    assert await rig.shelf.set_switch(newer, 5)
    assert await rig.shelf.read_switch(first.scope, first.scope_id) == newer


async def test_switches_of_different_scopes_are_different_switches(rig: Rig, at: Names) -> None:
    assert await rig.shelf.set_switch(switch(at, 5))
    assert await rig.shelf.set_switch(switch(at, 1, scope="leader"))
    assert not await rig.shelf.set_switch(switch(at, 5))


# changes of configuration ----------------------------------------------------------------------------------


async def told(rig: Rig, at: Names, count: int, stamp: datetime = AT) -> list[ChangeRow]:
    """Changes of this workspace; those of earlier cases are out of the way."""
    while before := await rig.calm.waiting_changes(100):
        await rig.calm.mark_journalled([(row.change_id, Place("elsewhere", 1)) for row in before])
    for n in range(count):
        await rig.tell_change(ChangeRow(0, at.workspace, "ann", "rule", f"r{n}", "null", '{"n": 1}', stamp))
    return await rig.calm.waiting_changes(100)


@pytest.mark.parametrize("limit, wanted", [(0, 0), (1, 1), (2, 2), (3, 3), (20, 3)])
async def test_changes_wait_oldest_first(rig: Rig, at: Names, limit: int, wanted: int) -> None:
    await told(rig, at, 3)
    rows = await rig.shelf.waiting_changes(limit)
    assert [row.what_id for row in rows] == [f"r{n}" for n in range(wanted)]
    assert [row.change_id for row in rows] == sorted(row.change_id for row in rows)
    if rows:
        wanted_row = ChangeRow(rows[0].change_id, at.workspace, "ann", "rule", "r0", "null", '{"n": 1}', AT)
        assert rows[0] == wanted_row


async def test_a_change_that_was_marked_waits_no_more(rig: Rig, at: Names) -> None:
    rows = await told(rig, at, 3)
    await rig.shelf.mark_journalled([(rows[0].change_id, Place("s", 1)), (rows[2].change_id, Place("s", 2))])
    assert await rig.shelf.waiting_changes(10) == [rows[1]]
    await rig.shelf.mark_journalled([(rows[1].change_id, Place("s", 3)), (10**9, Place("s", 4))])
    assert await rig.shelf.waiting_changes(10) == []


async def test_a_change_whose_mark_was_lost_shows_its_record(rig: Rig, at: Names) -> None:
    rows = await told(rig, at, 2)
    await held(rig, at)
    draft = fact(at, 1, answer=record_of(rows[1].change_id, at.shard))
    async with talking(rig.calm) as talk:
        assert await talk.ask(batch_of(at, [draft])) == Reply(1)
    assert [row.record for row in await rig.shelf.waiting_changes(10)] == [None, f"{at.shard} 1".encode()]


async def test_changes_are_purged_long_after_they_were_journalled(rig: Rig, at: Names) -> None:
    now = datetime(1990, 1, 1, tzinfo=UTC)
    old, young = await told(rig, at, 1, now - 2 * KEPT), await told(rig, names(), 1, now)
    assert len(old) == len(young) == 1
    assert await rig.shelf.purge_changes(now) == 1  # `told` marked the first; the second still waits
    assert await rig.shelf.purge_changes(now) == 0
    assert await rig.shelf.waiting_changes(10) == young


# projections -----------------------------------------------------------------------------------------------


def position(at: Names, symbol: str, net: int, seq: int) -> PositionRow:
    return PositionRow(at.workspace, "a1", symbol, at.shard, Decimal(net), None, Decimal(0), AT, seq)


def holding(at: Names, leader: str, net: int, seq: int) -> HoldingRow:
    return HoldingRow(at.workspace, "a1", leader, "MESH6", at.shard, Decimal(net), AT, seq)


def order(at: Names, n: int, seq: int, signal: str = "sig") -> OrderRow:
    return OrderRow(
        at.workspace, f"{at.shard}-{n}", at.shard, "a1", "lead", f"list {n}", signal, "rule", 1, "", "MESH6", "buy",
        "market", "day", Decimal(1), None, None, "working", Decimal(0), None, "", AT, AT, seq,
    )  # fmt: skip


def execution(at: Names, n: int, seq: int) -> ExecutionRow:
    return ExecutionRow(
        at.workspace, "a1", f"x{n}", at.shard, "c", "o", "trade", "MESH6", "buy", Decimal(1), Decimal(5), AT, seq
    )  # fmt: skip


async def test_projections_of_a_new_shard_show_nothing(rig: Rig, at: Names) -> None:
    assert await rig.shelf.shown(at.shard, 10) == (0, [], [], [])


@pytest.mark.parametrize("seqs, wanted", [([7], 7), ([7, 9], 9), ([9, 7], 9)])
async def test_projections_never_go_back(rig: Rig, at: Names, seqs: list[int], wanted: int) -> None:
    for seq in seqs:
        await rig.shelf.write_projected(Projected(), at.shard, seq)
    assert (await rig.calm.shown(at.shard, 10)).seq == wanted


@pytest.mark.parametrize(
    "nets, wanted",
    [
        ([(2, 1)], ["M"]),
        ([(0, 1)], []),
        ([(2, 1), (0, 2)], []),
        ([(0, 2), (2, 1)], []),
        ([(2, 5), (0, 5)], ["M"]),
    ],
    ids=["held", "flat", "closed", "an older row comes late", "the same row twice"],
)
async def test_an_older_position_never_overwrites_a_newer_one(
    rig: Rig, at: Names, nets: list[tuple[int, int]], wanted: list[str]
) -> None:
    for net, seq in nets:
        batch = Projected(positions=[position(at, "M", net, seq)], holdings=[holding(at, "lead", net, seq)])
        await rig.shelf.write_projected(batch, at.shard, seq)
    found = await rig.calm.shown(at.shard, 10)
    assert found.positions == [HeldContract("a1", symbol) for symbol in wanted]
    assert found.holdings == [HeldContract("a1", "MESH6", "lead") for _ in wanted]


async def test_the_last_row_of_a_key_in_a_batch_wins(rig: Rig, at: Names) -> None:
    batch = Projected(
        orders=[order(at, 1, 1), order(at, 1, 2)],
        executions=[execution(at, 1, 1), execution(at, 1, 2)],
        positions=[position(at, "M", 2, 1), position(at, "M", 0, 2)],
    )
    await rig.shelf.write_projected(batch, at.shard, 2)
    assert (await rig.calm.shown(at.shard, 10)).positions == []


@pytest.mark.parametrize("limit, wanted", [(10, [2, 3, 1]), (2, [2, 3]), (0, [])])
async def test_lists_of_orders_come_newest_first(rig: Rig, at: Names, limit: int, wanted: list[int]) -> None:
    rows = [order(at, 1, 1, "s1"), order(at, 2, 9, "s2"), order(at, 3, 5, "s3"), order(at, 4, 10, "")]
    await rig.shelf.write_projected(Projected(orders=rows), at.shard, 10)
    found = await rig.calm.shown(at.shard, limit)
    assert found.signals == [ListSignal(f"list {n}", f"s{n}") for n in wanted]


# snapshots -------------------------------------------------------------------------------------------------


async def test_the_newest_snapshot_of_a_layout(rig: Rig, at: Names) -> None:
    assert await rig.shelf.latest_snapshot(at.shard, 1) is None
    rows = [
        SnapshotRow(at.shard, seq, layout, b"book %d" % seq, AT)
        for seq, layout in ((10, 1), (30, 2), (20, 1))
    ]
    for row in rows:
        await rig.shelf.save_snapshot(row)
    assert await rig.calm.latest_snapshot(at.shard, 1) == rows[2]
    assert await rig.calm.latest_snapshot(at.shard, 2) == rows[1]
    assert await rig.calm.latest_snapshot(at.shard, 3) is None
    await rig.shelf.save_snapshot(replace(rows[2], payload=b"again"))
    assert await rig.calm.latest_snapshot(at.shard, 1) == replace(rows[2], payload=b"again")


async def test_old_snapshots_are_dropped(rig: Rig, at: Names) -> None:
    await rig.shelf.save_snapshot(SnapshotRow(at.shard, 1, 7, b"", AT))
    for seq in range(2, 2 + KEPT_MAX):
        assert await rig.calm.latest_snapshot(at.shard, 7) is not None
        await rig.shelf.save_snapshot(SnapshotRow(at.shard, seq, 1, b"", AT))
    assert await rig.calm.latest_snapshot(at.shard, 7) is None


async def test_batches_are_read_in_the_order_of_their_numbers(rig: Rig, at: Names) -> None:
    await held(rig, at)
    late = batch_of(at, [fact(at, 9)], after=head_of(batch_of(at, [fact(at, n) for n in range(8)])))
    early = batch_of(at, [fact(at, n) for n in range(8)])
    async with talking(rig.calm) as talk:
        assert await talk.ask(late) == Reply(1)
        assert await talk.ask(early) == Reply(8)
    assert [row.seq for row in await rig.shelf.page(at.shard, 0, 20)] == list(range(1, 10))


async def test_the_stores_own_clock_is_in_utc_and_goes_forward(rig: Rig) -> None:
    """R-070: what a process's wall clock is compared with."""
    first, second = await rig.shelf.server_time(), await rig.calm.server_time()
    assert first.utcoffset() == timedelta(0)
    assert timedelta(0) <= second - first < timedelta(seconds=20)


async def test_the_store_tells_a_clock_that_goes_on_with_a_zone(rig: Rig) -> None:
    first = await rig.shelf.server_time()
    second = await rig.shelf.server_time()
    assert first.utcoffset() is not None
    assert timedelta() <= second - first < timedelta(seconds=5)
