"""What only the store in memory can do: delays from a seed, faults by chance, torn commits at a crash."""

from collections.abc import Coroutine, Iterator
from random import Random
from typing import TypeVar

import pytest

from kopitra.domain.errors import Unavailable
from kopitra.store.drafts import Committed
from kopitra.store.journal import COMMIT_WAIT_S, JournalWriter
from kopitra.store.shelf import Reply
from tests.faults.memory_store import SILENCE_S, MemoryStore
from tests.faults.memory_wire import LOCK_WAIT_S, Weather, elapse
from tests.faults.store_rigs import BUILD, TTL_S, Names, batch_of, fact, names, record, talking
from tests.faults.virtual_loop import VirtualLoop

T = TypeVar("T")
HOUR_S = 3600.0


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.close()


@pytest.fixture
def store(loop: VirtualLoop) -> MemoryStore:
    return MemoryStore(loop.time)


def run(loop: VirtualLoop, coro: Coroutine[object, object, T]) -> T:
    return loop.run_until_complete(coro)


async def taken(store: MemoryStore, at: Names) -> None:
    """The shard, for longer than any case lasts."""
    assert (await store.shelf().take_lease(at.shard, "holder", BUILD, HOUR_S)).epoch == 1


def test_both_ways_take_their_time(loop: VirtualLoop, store: MemoryStore, at: Names) -> None:
    async def timed() -> None:
        await taken(store, at)
        slow = store.shelf(Weather(request_s=(0.2, 0.2), reply_s=(0.3, 0.3)))
        began = loop.time()
        assert await slow.page(at.shard, 0, 1) == []
        assert loop.time() - began == pytest.approx(0.5)
        async with talking(slow) as talk:
            began = loop.time()
            assert await talk.ask(batch_of(at, [fact(at)])) == Reply(1)
            assert loop.time() - began == pytest.approx(0.5)

    run(loop, timed())


@pytest.mark.parametrize("torn", [False, True])
def test_a_server_that_crashes_forgets_what_did_not_commit(
    loop: VirtualLoop, store: MemoryStore, at: Names, torn: bool
) -> None:
    """H-2: a torn commit is durable although nobody was told; then the writer finds it, once."""

    async def crash() -> Committed:
        await taken(store, at)
        writer = await JournalWriter.open(
            store.shelf(Weather(request_s=(0.01, 0.01))), shard=at.shard, epoch=1
        )
        future = writer.append([fact(at, signal="s", answer=record())])
        await elapse(0.005)
        store.crash(torn=torn)
        assert len(store.tables.journal.get(at.shard, [])) == int(torn)
        await elapse(0.2)
        store.recover()
        committed = await future
        await writer.close()
        return committed

    assert run(loop, crash()).seq == 1
    assert len(store.tables.journal[at.shard]) == 1


def test_what_left_a_process_before_its_death_still_commits(
    loop: VirtualLoop, store: MemoryStore, at: Names
) -> None:
    async def die() -> None:
        await taken(store, at)
        shelf = store.shelf(Weather(request_s=(0.01, 0.01)))
        async with talking(shelf) as talk:
            assert talk.line is not None
            talk.line.send(batch_of(at, [fact(at)]))
            shelf.wire.crash()
            await elapse(1)
            assert talk.replies.empty()
        with pytest.raises(Unavailable):
            await shelf.page(at.shard, 0, 1)

    run(loop, die())
    assert len(store.tables.journal[at.shard]) == 1


def test_a_silent_store_is_given_up(loop: VirtualLoop, store: MemoryStore, at: Names) -> None:
    async def silent() -> None:
        shelf = store.shelf()
        shelf.wire.hold()
        began = loop.time()
        with pytest.raises(Unavailable, match="silent"):
            await shelf.page(at.shard, 0, 1)
        assert loop.time() - began == pytest.approx(SILENCE_S)
        shelf.wire.release()
        assert await shelf.page(at.shard, 0, 1) == []

    run(loop, silent())


def test_a_slow_disk_is_an_unclear_commit_and_a_locked_row(
    loop: VirtualLoop, store: MemoryStore, at: Names
) -> None:
    async def slow() -> None:
        await taken(store, at)
        writer = await JournalWriter.open(store.shelf(), shard=at.shard, epoch=1)
        store.slow_commits()
        future = writer.append([fact(at)])
        await elapse(0.1)
        began = loop.time()
        with pytest.raises(Unavailable):
            await store.shelf().take_lease(at.shard, "other", BUILD, TTL_S)
        assert loop.time() - began == pytest.approx(LOCK_WAIT_S)
        with pytest.raises(Unavailable) as unknown:
            await future
        assert unknown.value.code == "commit-unknown"
        assert loop.time() < COMMIT_WAIT_S + 0.1
        store.fast_commits()
        while not writer.available:
            await elapse(0.1)
        assert (await writer.append([fact(at, 2)])).seq == 2
        await writer.close()

    run(loop, slow())
    assert [row.seq for row in store.tables.journal[at.shard]] == [1, 2]


def test_a_full_disk_refuses_and_writes_nothing(loop: VirtualLoop, store: MemoryStore, at: Names) -> None:
    async def full() -> None:
        await taken(store, at)
        weather = Weather(refuse=1.0)
        shelf = store.shelf()
        async with talking(shelf) as calm:
            shelf.wire.weather = weather
            await calm.refused(batch_of(at, [fact(at)]), "53100")
        assert weather.counts == {"refuse": 1}

    run(loop, full())
    assert at.shard not in store.tables.journal


def _story(seed: int) -> tuple[list[tuple[float, str]], int, dict[str, int]]:
    """An hour of appends in foul weather: what was told and when, what is durable, what befell."""
    loop = VirtualLoop()
    store, at = MemoryStore(loop.time), Names("s", "w")
    weather = Weather(Random(seed), (0.0, 0.02), (0.0, 0.02), cut_before=0.02, cut_after=0.02, refuse=0.02)
    told: list[tuple[float, str]] = []

    async def live() -> None:
        await taken(store, at)
        shelf = store.shelf()
        writer = await JournalWriter.open(shelf, shard=at.shard, epoch=1)
        shelf.wire.weather = weather
        for n in range(400):
            try:
                committed = await writer.append([fact(at, n, signal=f"s{n}")])
                told.append((loop.time(), str(committed.seq)))
            except Unavailable as error:
                told.append((loop.time(), error.code))
                await elapse(0.1)
        await writer.close()

    loop.run_until_complete(live())
    loop.close()
    assert loop.faults == []
    return told, len(store.tables.journal["s"]), dict(weather.counts)


def test_the_same_seed_is_the_same_story() -> None:
    """T-21, as far as the store goes."""
    assert _story(7) == _story(7)
    assert _story(7) != _story(8)


@pytest.mark.parametrize("seed", range(5))
def test_in_foul_weather_what_was_told_as_durable_is_durable_once(seed: int) -> None:
    """I-01: and each kind of fault befell."""
    told, durable, befell = _story(seed)
    numbers = [int(what) for _, what in told if what.isdigit()]
    assert len(numbers) == len(set(numbers))
    assert len(numbers) <= durable <= 400
    assert befell.keys() == {"cut_before", "cut_after", "refuse"}


def test_every_shelf_knows_only_its_own_faults(loop: VirtualLoop, store: MemoryStore) -> None:
    async def apart() -> None:
        one, two, at = store.shelf(), store.shelf(), names()
        one.wire.down()
        with pytest.raises(Unavailable):
            await one.page(at.shard, 0, 1)
        assert await two.page(at.shard, 0, 1) == []

    run(loop, apart())
