"""The journal's writer on both stores (H-2): what it promises, also when the way to the store fails."""

import asyncio
from dataclasses import replace

import pytest

from kopitra.domain.errors import LeaseLost, StoreError
from kopitra.store.append_queue import BATCH_ROWS_MAX
from kopitra.store.drafts import Committed, Draft, Duplicate, Head, IdempotencyRecord, SignalRef
from tests.faults.store_rigs import (
    Names,
    Rig,
    fact,
    held,
    record,
)
from tests.faults.store_writing import stored, writing

# a calm store ----------------------------------------------------------------------------------------------


async def test_what_is_told_is_what_is_stored(rig: Rig, at: Names) -> None:
    async with writing(rig, at) as w:
        first = await w.append(fact(at, 1, signal="s1", answer=record("k1")), fact(at, 2))
        second = await w.append(fact(at, 3))
    rows = await stored(rig, at)
    assert [*first.rows, *second.rows] == rows == w.committed
    assert (first.seq, first.answers, second.seq, second.answers) == (1, (b"answer 1", None), 3, (None,))
    assert w.orphaned == []


@pytest.mark.parametrize("count", [2, BATCH_ROWS_MAX, BATCH_ROWS_MAX + 1, 600])
async def test_appends_of_one_turn_keep_their_order(rig: Rig, at: Names, count: int) -> None:
    async with writing(rig, at) as w:
        done = await asyncio.gather(*(w.append(fact(at, n)) for n in range(count)))
    assert [one.seq for one in done] == list(range(1, count + 1))
    assert w.committed == await stored(rig, at)


async def test_appends_while_one_is_in_flight_keep_their_order(rig: Rig, at: Names) -> None:
    async with writing(rig, at) as w:
        futures: list[asyncio.Future[Committed]] = []
        for n in range(40):
            futures.append(w.append(fact(at, n)))
            if n % 3 == 0:
                w.writer.flush()
            if n % 7 == 0:
                await asyncio.sleep(0)
        done = await asyncio.gather(*futures)
    assert [one.seq for one in done] == list(range(1, 41))


@pytest.mark.parametrize("repeats", ["signal", "answer", "both"])
@pytest.mark.parametrize("company", [0, 1, 5])
async def test_a_repetition_is_told_its_first_record_and_harms_no_neighbour(
    rig: Rig, at: Names, company: int, repeats: str
) -> None:
    """R-023: the second gets the first answer."""
    async with writing(rig, at) as w:
        await w.append(fact(at, 1, signal="s", answer=record("k")))
        again = fact(
            at,
            2,
            signal=None if repeats == "answer" else "s",
            answer=None if repeats == "signal" else record("k"),
        )
        neighbours = [w.append(fact(at, 10 + n, signal=f"n{n}")) for n in range(company)]
        twice = w.append(again)
        neighbours += [w.append(fact(at, 20 + n, answer=record(f"n{n}"))) for n in range(company)]
        with pytest.raises(Duplicate) as told:
            await twice
        seqs = [(await one).seq for one in neighbours]
        assert seqs == list(range(2, 2 + 2 * company))
        assert (await w.append(fact(at, 30))).seq == 2 + 2 * company
    first = told.value.existing
    if repeats == "signal":
        assert first == SignalRef(at.workspace, "s", at.shard, 1)
    else:
        assert isinstance(first, IdempotencyRecord)
        assert (first.key, first.body) == ("k", b"answer 1")
    assert len(await stored(rig, at)) == 2 + 2 * company


async def test_of_two_copies_in_one_turn_the_first_is_written(rig: Rig, at: Names) -> None:
    async with writing(rig, at) as w:
        await w.append(fact(at, 0))
        one, two = (w.append(fact(at, n, signal="s", answer=record())) for n in (1, 2))
        assert (await one).answers == (b"answer 2",)
        with pytest.raises(Duplicate) as told:
            await two
        assert isinstance(told.value.existing, IdempotencyRecord)
        assert told.value.existing.body == b"answer 2"


async def test_an_append_that_repeats_itself_is_told_so(rig: Rig, at: Names) -> None:
    async with writing(rig, at) as w:
        with pytest.raises(StoreError, match="repeats itself"):
            await w.append(fact(at, 1, signal="s"), fact(at, 2, signal="s"))
        assert (await w.append(fact(at, 3, signal="s"))).seq == 1


def _no_body(seq: int) -> bytes:
    raise ValueError(f"no answer for row {seq}")


def bad(at: Names, what: str) -> Draft:
    if what == "no bytes":
        return fact(at, 1, signal="lone \ud800 half")
    if what == "no answer":
        return fact(at, 1, answer=replace(record(), body=_no_body))
    return fact(at)._replace(**({"kind": "a\0b"} if what == "nul" else {"payload": b"{"}))


@pytest.mark.parametrize("what", ["no bytes", "no answer", "nul", "no json"])
@pytest.mark.parametrize("company", [0, 3])
async def test_a_fact_that_cannot_be_stored_fails_alone(rig: Rig, at: Names, company: int, what: str) -> None:
    async with writing(rig, at) as w:
        before = [w.append(fact(at, n)) for n in range(company)]
        fault = w.append(bad(at, what))
        after = [w.append(fact(at, n)) for n in range(company)]
        with pytest.raises(StoreError):
            await fault
        assert [(await one).seq for one in before + after] == list(range(1, 2 * company + 1))
        assert w.writer.available
    assert len(await stored(rig, at)) == 2 * company


async def test_a_writer_continues_where_the_last_one_stopped(rig: Rig, at: Names) -> None:
    async with writing(rig, at) as w:
        await w.append(fact(at, 1), fact(at, 2))
    assert await rig.calm.release_lease(at.shard, 1, "holder", "")
    async with writing(rig, at) as later:
        assert later.writer.head == w.writer.head != Head()
        assert (await later.append(fact(at, 3))).seq == 3
    rows = await stored(rig, at)
    assert [row.epoch for row in rows] == [1, 1, 2]


# the fence -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [1, 3])
async def test_a_writer_is_not_opened_under_another_epoch(rig: Rig, at: Names, epoch: int) -> None:
    await held(rig, at)
    await rig.expire(at.shard)
    await held(rig, at)
    with pytest.raises(LeaseLost):
        async with writing(rig, at, epoch):
            pass


async def test_a_superseded_writer_stops_for_good_and_writes_nothing(rig: Rig, at: Names) -> None:
    """R-084, R-085."""
    async with writing(rig, at) as old:
        await old.append(fact(at, 1))
        await rig.expire(at.shard)
        epoch = await held(rig, at, "successor")
        flying = [old.append(fact(at, n)) for n in (2, 3)]
        for one in flying:
            with pytest.raises(LeaseLost):
                await one
        with pytest.raises(LeaseLost):
            old.append(fact(at, 4))
        async with writing(rig, at, epoch) as new:
            assert (await new.append(fact(at, 5))).seq == 2
    assert [row.epoch for row in await stored(rig, at)] == [1, 2]


async def test_two_writers_of_one_epoch_find_out_about_each_other(rig: Rig, at: Names) -> None:
    """A holder started twice by mistake: the second number taken stops it."""
    epoch = await held(rig, at)
    async with writing(rig, at, epoch) as one, writing(rig, at, epoch) as two:
        assert (await one.append(fact(at, 1))).seq == 1
        with pytest.raises(LeaseLost):
            await two.append(fact(at, 2))
        assert (await one.append(fact(at, 3))).seq == 2
    assert len(await stored(rig, at)) == 2
