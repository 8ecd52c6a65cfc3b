"""The turnstile: a burst waits a little, in its order, and is refused while nothing has happened (L-4)."""

import asyncio

import pytest

from gateway_container.engine.turnstile import LEGS_MAX, WAIT_S, WAITING_IN_A_FLOOD, WAITING_MAX, Turnstile
from kopitra.domain.errors import QueueFull


async def test_it_is_open_until_the_legs_under_way_fill_it() -> None:
    stile = Turnstile()
    stile.entered(LEGS_MAX - 1)
    assert not stile.crowded
    stile.entered(500)  # one signal may have more followers than all may have together
    assert stile.crowded
    stile.left(500)
    assert not stile.crowded


async def test_who_waits_goes_in_order_when_others_have_left() -> None:
    stile = Turnstile()
    stile.entered(LEGS_MAX)
    gone: list[int] = []

    async def come(number: int) -> None:
        await stile.wait()
        stile.entered(LEGS_MAX // 2)
        gone.append(number)

    coming = [asyncio.create_task(come(number)) for number in range(4)]
    await asyncio.sleep(0)
    assert gone == []
    stile.left(LEGS_MAX)
    await asyncio.wait(coming[:2])
    assert gone == [0, 1]
    stile.left(LEGS_MAX)
    await asyncio.gather(*coming)
    assert gone == [0, 1, 2, 3]


async def test_who_finds_no_room_in_time_is_refused() -> None:
    stile = Turnstile()
    stile.entered(LEGS_MAX)
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(QueueFull, match="send it again"):
        await stile.wait()
    assert loop.time() - began >= WAIT_S
    stile.left(LEGS_MAX)
    await stile.wait()  # nothing of it is left


async def test_a_flood_leaves_few_waiting_until_they_are_in() -> None:
    stile = Turnstile()
    stile.entered(LEGS_MAX)
    waiting = [asyncio.create_task(stile.wait()) for _ in range(WAITING_MAX)]
    await asyncio.sleep(0)
    assert not any(one.done() for one in waiting), "a moment's crowd waits"
    with pytest.raises(QueueFull):
        await stile.wait()
    await asyncio.wait(waiting[WAITING_IN_A_FLOOD:])
    assert [type(one.exception()) for one in waiting[WAITING_IN_A_FLOOD:]] == [QueueFull] * (
        WAITING_MAX - WAITING_IN_A_FLOOD
    )
    with pytest.raises(QueueFull):
        await stile.wait()
    stile.left(LEGS_MAX)
    await asyncio.gather(*waiting[:WAITING_IN_A_FLOOD])
    stile.entered(LEGS_MAX)
    again = asyncio.create_task(stile.wait())
    await asyncio.sleep(0)
    assert not again.done(), "the flood is over"
    stile.left(LEGS_MAX)
    await again


async def test_nobody_slips_in_before_those_who_wait() -> None:
    stile = Turnstile()
    stile.entered(LEGS_MAX)
    waiting = [asyncio.create_task(stile.wait()) for _ in range(2)]
    await asyncio.sleep(0)
    stile.left(LEGS_MAX)
    assert stile.crowded, "there is room, and somebody was here before"
    await asyncio.gather(*waiting)
    assert not stile.crowded
