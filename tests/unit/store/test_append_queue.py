"""Order is kept, limits hold, nothing is lost or doubled."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopitra.domain.errors import QueueFull, Unavailable
from kopitra.store.append_queue import (
    BATCH_BYTES_MAX,
    BATCH_ROWS_MAX,
    WAITING_ROWS_MAX,
    AppendQueue,
    Pending,
)
from kopitra.store.drafts import Committed, Draft

AT = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture
def loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def facts(count: int, size: int = 2) -> list[Draft]:
    return [Draft("k", "e", "w", AT, b"x" * size)] * count


def fill(queue: AppendQueue, loop: asyncio.AbstractEventLoop, counts: Sequence[int], size: int = 2) -> None:
    for count in counts:
        future: asyncio.Future[Committed] = loop.create_future()
        queue.put(facts(count, size), future)


def drain(queue: AppendQueue) -> list[list[Pending]]:
    batches: list[list[Pending]] = []
    while queue:
        batches.append(queue.take())
    return batches


@given(st.lists(st.integers(1, 100), max_size=40))
def test_batches_keep_order_and_limits(counts: list[int]) -> None:
    loop = asyncio.new_event_loop()
    queue = AppendQueue()
    fill(queue, loop, counts)
    assert queue.rows == sum(counts)
    batches = drain(queue)
    assert [len(one.drafts) for batch in batches for one in batch] == counts
    assert all(sum(len(one.drafts) for one in batch) <= BATCH_ROWS_MAX for batch in batches)
    assert queue.rows == 0
    loop.close()


def test_a_batch_ends_before_it_is_too_heavy(loop: asyncio.AbstractEventLoop) -> None:
    queue = AppendQueue()
    fill(queue, loop, [1, 1, 1], size=BATCH_BYTES_MAX // 2)
    assert [len(batch) for batch in drain(queue)] == [2, 1]
    loop.close()


def test_one_append_is_never_split(loop: asyncio.AbstractEventLoop) -> None:
    queue = AppendQueue()
    fill(queue, loop, [BATCH_ROWS_MAX * 2, 1])
    assert [len(batch) for batch in drain(queue)] == [1, 1]
    loop.close()


def test_what_was_put_back_comes_first_and_alone(loop: asyncio.AbstractEventLoop) -> None:
    queue = AppendQueue()
    fill(queue, loop, [1, 2, 3])
    batch = queue.take()
    fill(queue, loop, [4, 5])
    queue.put_back(batch, alone=True)
    assert queue.rows == 15
    assert [[len(one.drafts) for one in taken] for taken in drain(queue)] == [[1], [2], [3], [4, 5]]
    loop.close()


def test_a_full_queue_takes_nothing(loop: asyncio.AbstractEventLoop) -> None:
    queue = AppendQueue()
    fill(queue, loop, [WAITING_ROWS_MAX])
    with pytest.raises(QueueFull):
        fill(queue, loop, [1])
    assert queue.rows == WAITING_ROWS_MAX
    loop.close()


def test_everybody_is_told_when_all_fail(loop: asyncio.AbstractEventLoop) -> None:
    queue = AppendQueue()
    fill(queue, loop, [1, 1])
    futures = queue.futures()
    queue.fail_all(Unavailable("down"))
    assert all(isinstance(future.exception(), Unavailable) for future in futures)
    assert (len(queue), queue.rows) == (0, 0)
    loop.close()
