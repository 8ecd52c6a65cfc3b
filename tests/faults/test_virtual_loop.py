"""The loop under the simulation: order, time, processes (H-1)."""

import asyncio
import inspect
from collections.abc import Coroutine
from datetime import UTC, datetime
from random import Random

import pytest

from tests.faults.virtual_loop import Deadlock, Process, VirtualClock, VirtualLoop


def run(coro: Coroutine[object, object, None], loop: VirtualLoop | None = None) -> None:
    used = loop or VirtualLoop()
    try:
        used.run_until_complete(coro)
    finally:
        used.close()


def test_an_hour_of_sleep_takes_no_time() -> None:
    loop = VirtualLoop()
    clock = VirtualClock(loop, datetime(2026, 11, 20, tzinfo=UTC))

    async def main() -> None:
        await asyncio.sleep(3600)

    before = clock.monotonic_ns()
    run(main(), loop)
    assert clock.monotonic_ns() - before == 3600 * 10**9
    assert clock.now() == datetime(2026, 11, 20, 1, tzinfo=UTC)


def test_timers_run_in_the_order_of_their_times_and_then_of_their_making() -> None:
    seen: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(2, seen.append, "late")
        loop.call_later(1, seen.append, "first of two")
        loop.call_later(1, seen.append, "second of two")
        loop.call_later(1, seen.append, "cancelled").cancel()
        await asyncio.sleep(3)

    run(main())
    assert seen == ["first of two", "second of two", "late"]


def test_a_wait_that_can_never_end_is_told() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        run(main())


@pytest.mark.parametrize("what", ["executor", "socket", "signal"])
def test_the_outside_is_not_there(what: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        if what == "executor":
            await loop.run_in_executor(None, int)
        elif what == "socket":
            await loop.create_connection(asyncio.Protocol, "127.0.0.1", 1)
        else:
            loop.add_signal_handler(15, int)

    with pytest.raises(NotImplementedError):
        run(main())


def test_not_a_line_of_a_killed_process_runs_any_more() -> None:
    seen: list[str] = []
    process = Process("one")

    async def victim() -> None:
        try:
            seen.append("begun")
            await asyncio.sleep(1)
            seen.append("woke up")
        finally:
            seen.append("finally")

    loop = VirtualLoop()

    async def main() -> None:
        keep = loop.create_task(victim(), context=process.context)
        await asyncio.sleep(0.5)
        process.alive = False
        await asyncio.sleep(5)
        assert not keep.done()

    loop.run_until_complete(main())
    assert seen == ["begun"]
    loop.close()


def test_what_the_dead_left_is_ended_with_the_world_and_not_by_the_garbage_collector() -> None:
    """A `finally` that asks for the loop still finds one, whatever it does there."""
    seen: list[str] = []
    process = Process("one")

    async def victim(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            asyncio.get_running_loop().call_later(1, seen.append, "never runs")
            keep.append(asyncio.create_task(victim(0)))
            seen.append(f"ended {number}")
            await asyncio.sleep(1)
            seen.append("never runs")

    keep: list[asyncio.Task[None]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        keep.extend(loop.create_task(victim(n), context=process.context) for n in (1, 2))
        await asyncio.sleep(0.5)
        process.alive = False

    run(main())
    assert seen == ["ended 1", "ended 2"]
    assert all(inspect.getcoroutinestate(task.get_coro()) == "CORO_CLOSED" for task in keep)  # pyright: ignore[reportArgumentType]


def test_a_paused_process_goes_on_where_it_was() -> None:
    seen: list[tuple[str, float]] = []
    process = Process("one")

    async def sleeper() -> None:
        await asyncio.sleep(1)
        seen.append(("woke", asyncio.get_running_loop().time()))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        task = loop.create_task(sleeper(), context=process.context)
        await asyncio.sleep(0.5)
        process.paused = True
        await asyncio.sleep(4.5)
        loop.go_on(process)
        await task

    run(main())
    assert seen == [("woke", 5.0)]


def test_a_seed_draws_the_order_of_one_instant_and_draws_it_again() -> None:
    def order(seed: int) -> list[int]:
        seen: list[int] = []

        async def main() -> None:
            for number in range(10):
                asyncio.get_running_loop().call_later(1, seen.append, number)
            await asyncio.sleep(2)

        run(main(), VirtualLoop(Random(seed)))
        return seen

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_steps_are_counted_and_can_be_met() -> None:
    met: list[int] = []
    loop = VirtualLoop()
    loop.before_step = met.append

    async def main() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    run(main(), loop)
    assert met == list(range(1, loop.steps + 1))
    assert loop.steps >= 6


def test_an_error_that_nobody_takes_is_kept() -> None:
    loop = VirtualLoop()

    def boom() -> None:
        raise ValueError("boom")

    async def main() -> None:
        loop.call_soon(boom)
        await asyncio.sleep(1)

    run(main(), loop)
    assert len(loop.faults) == 1
    assert "boom" in loop.faults[0]
