"""The journal's writer on both stores (H-2) when the way to the store fails."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from kopitra.domain.errors import LeaseLost, Unavailable
from kopitra.store.drafts import Duplicate, Head, IdempotencyRecord, JournalRow
from kopitra.store.journal import JournalWriter
from tests.faults.store_rigs import (
    BUILD,
    TTL_S,
    Names,
    Rig,
    fact,
    held,
    record,
    talking,
    until,
    until_waiting,
)
from tests.faults.store_writing import Writing, stored, writing

# the way fails ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["request", "answer"])
@pytest.mark.parametrize("count", [1, 2, 7])
async def test_what_was_lost_with_the_connection_is_written_once(
    rig: Rig, at: Names, count: int, lost: str
) -> None:
    """The journal itself says what became of the batch."""
    async with writing(rig, at) as w:
        await w.append(fact(at, 0))
        rig.way.lose_answers, rig.way.lose_requests = lost == "answer", lost == "request"
        futures = [w.append(fact(at, n, signal=f"s{n}", answer=record(f"k{n}"))) for n in range(1, count + 1)]
        await rig.way.lost.wait()
        rig.way.lose_answers = rig.way.lose_requests = False
        rig.way.cut()
        done = await asyncio.gather(*futures)
        assert [one.seq for one in done] == list(range(2, count + 2))
        assert [one.answers for one in done] == [(b"answer %d" % n,) for n in range(2, count + 2)]
        assert w.orphaned == []
    assert w.committed == await stored(rig, at)


@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_an_unclear_commit_is_told_and_the_late_truth_to_the_orphanage(
    rig: Rig, at: Names, lost: str
) -> None:
    """R-071: within a second; what turns out to be durable is told as such, and what is not is not."""
    async with writing(rig, at) as w:
        rig.way.lose_answers, rig.way.lose_requests = lost == "answer", lost == "request"
        flying = w.append(fact(at, 1, signal="s"))
        await rig.way.lost.wait()
        waiting = w.append(fact(at, 2))
        await rig.down()
        with pytest.raises(Unavailable) as unknown:
            await flying
        with pytest.raises(Unavailable) as refused:
            await waiting
        assert (unknown.value.code, refused.value.code) == ("commit-unknown", "store-unavailable")
        with pytest.raises(Unavailable):
            w.append(fact(at, 3))
        await rig.up()
        await until(lambda: w.writer.available)
        durable = await stored(rig, at)
        assert (w.orphaned, len(durable)) == (durable, 1 if lost == "answer" else 0)
        assert (await w.append(fact(at, 4))).seq == len(durable) + 1
    assert w.committed == await stored(rig, at)


async def test_the_retry_of_an_unclear_commit_gets_the_first_answer(rig: Rig, at: Names) -> None:
    """R-024: the client repeats with the same key after a 503 that was none."""
    async with writing(rig, at) as w:
        rig.way.lose_answers = True
        flying = w.append(fact(at, 1, signal="s", answer=record()))
        await rig.way.lost.wait()
        await rig.down()
        with pytest.raises(Unavailable):
            await flying
        await rig.up()
        await until(lambda: w.writer.available)
        with pytest.raises(Duplicate) as told:
            await w.append(fact(at, 1, signal="s", answer=record()))
        assert isinstance(told.value.existing, IdempotencyRecord)
        assert told.value.existing.body == b"answer 1"
    assert len(await stored(rig, at)) == 1


async def test_an_idle_connection_that_breaks_is_replaced(rig: Rig, at: Names) -> None:
    async with writing(rig, at) as w:
        await w.append(fact(at, 1))
        before = rig.way.served
        rig.way.cut()
        await until(lambda: rig.way.served > before and w.writer.available)
        assert (await w.append(fact(at, 2))).seq == 2


async def test_an_old_connection_is_ended_before_the_journal_is_asked(rig: Rig, at: Names) -> None:
    """What still waits for a lock in the old connection must not commit after we have looked."""
    async with writing(rig, at) as w:
        await rig.lock(at.shard)
        flying = w.append(fact(at, 1))
        await until_waiting(rig)
        before = rig.way.served
        rig.way.cut()
        await until(lambda: rig.way.served > before and w.writer.available)
        await rig.unlock(at.shard)
        assert (await flying).seq == 1
        assert w.writer.available
    assert len(await stored(rig, at)) == 1


async def test_an_old_connection_that_does_not_end_is_waited_for(rig: Rig, at: Names) -> None:
    """It may still commit: until it is gone nobody knows, and the attempts before do not make it forgotten."""
    async with writing(rig, at) as w:
        await rig.freeze(at.shard)
        flying = w.append(fact(at, 1))
        for _ in range(5):  # turns in which the statement leaves; the server says nothing about it
            await asyncio.sleep(0)
        rig.way.cut()
        with pytest.raises(Unavailable) as unknown:
            await flying
        assert unknown.value.code == "commit-unknown"
        before = rig.way.served
        await until(lambda: rig.way.served >= before + 2)
        assert not w.writer.available
        await rig.thaw(at.shard)
        await until(lambda: w.writer.available)
        assert w.orphaned == await stored(rig, at)
        assert (await w.append(fact(at, 2))).seq == len(w.orphaned) + 1


async def test_ending_the_connections_of_a_name_ends_no_other(rig: Rig, at: Names) -> None:
    await held(rig, at)
    name = f"mine {at.shard}"
    async with (
        talking(rig.calm, name) as mine,
        talking(rig.calm, f"other {at.shard}") as other,
        talking(rig.calm, name) as again,
    ):
        assert again.line is not None
        assert other.line is not None
        await again.line.end_sessions(name)
        assert await mine.broke()
        assert await again.line.head(at.shard) == Head()
        assert await other.line.head(at.shard) == Head()


async def test_a_question_on_a_broken_connection_is_unavailable(rig: Rig, at: Names) -> None:
    async with talking(rig.shelf) as talk:
        assert talk.line is not None
        rig.way.lose_requests = True
        asked = asyncio.ensure_future(talk.line.row_after(at.shard, 0))
        await rig.way.lost.wait()
        rig.way.cut()
        with pytest.raises(Unavailable):
            await asked


@pytest.mark.parametrize("what", ["line", "page", "take", "switches"])
async def test_a_store_that_is_down_is_unavailable_and_comes_back(rig: Rig, at: Names, what: str) -> None:
    await rig.down()
    asks: dict[str, Callable[[], Awaitable[object]]] = {
        "line": lambda: rig.shelf.line("x", lambda _: None, lambda _: None),
        "page": lambda: rig.shelf.page(at.shard, 0, 1),
        "take": lambda: rig.shelf.take_lease(at.shard, "me", BUILD, TTL_S),
        "switches": lambda: rig.shelf.waiting_changes(1),
    }
    with pytest.raises(Unavailable):
        await asks[what]()
    await rig.up()
    async with asyncio.timeout(20):
        while not await answers(rig, at):
            await asyncio.sleep(0.01)


async def answers(rig: Rig, at: Names) -> bool:
    try:
        found: Sequence[JournalRow] = await rig.shelf.page(at.shard, 0, 1)
    except Unavailable:
        return False
    return not found


@pytest.mark.parametrize("meanwhile", ["nothing", "another epoch", "a row by somebody else"])
async def test_what_happened_during_an_outage_is_noticed_on_return(
    rig: Rig, at: Names, meanwhile: str
) -> None:
    async with writing(rig, at) as w:
        await rig.down()
        await until(lambda: not w.writer.available)
        if meanwhile == "another epoch":
            await rig.steal(at.shard)
        elif meanwhile == "a row by somebody else":
            async with other_writer(rig, at) as other:
                await other.append([fact(at, 9)])
        await rig.up()
        if meanwhile == "nothing":
            await until(lambda: w.writer.available)
            assert (await w.append(fact(at, 1))).seq == 1
        else:
            await until(lambda: is_lost(w, at))


@asynccontextmanager
async def other_writer(rig: Rig, at: Names) -> AsyncGenerator[JournalWriter]:
    writer = await JournalWriter.open(rig.calm, shard=at.shard, epoch=1)
    yield writer
    await writer.close()


def is_lost(w: Writing, at: Names) -> bool:
    try:
        w.append(fact(at, 1)).add_done_callback(lambda done: done.exception())
    except LeaseLost:
        return True
    except Unavailable:
        return False
    return False
