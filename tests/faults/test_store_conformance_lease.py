"""The lease rows on both stores (H-2): by the database's clock, under an epoch that only grows (R-083, R-084)."""

import asyncio
from collections.abc import Awaitable
from typing import Literal

import pytest
from psycopg import DataError

from kopitra.domain.errors import Unavailable
from kopitra.store.builds import BuildNotAllowed
from kopitra.store.shelf import LeaseRow, Reply, Shelf, TakeTry
from tests.faults.store_rigs import (
    BUILD,
    TTL_S,
    Names,
    Rig,
    batch_of,
    fact,
    held,
    talking,
    until_waiting,
)

State = Literal["held", "released", "run out", "released and run out", "stolen"]
STATES: list[State] = ["held", "released", "run out", "released and run out", "stolen"]


async def brought_to(rig: Rig, at: Names, state: State) -> None:
    """A lease of "holder" under epoch 1, in this state."""
    assert await held(rig, at) == 1
    if "released" in state:
        assert await rig.calm.release_lease(at.shard, 1, "holder", "went home")
    if "run out" in state:
        await rig.expire(at.shard)
    if state == "stolen":
        await rig.steal(at.shard)


async def row_of(shelf: Shelf, at: Names) -> LeaseRow:
    row = await shelf.read_lease(at.shard)
    assert row is not None
    return row


async def take(rig: Rig, at: Names, holder: str) -> TakeTry:
    return await rig.shelf.take_lease(at.shard, holder, BUILD, TTL_S)


# taking ----------------------------------------------------------------------------------------------------


async def test_a_new_shard_starts_at_epoch_one(rig: Rig, at: Names) -> None:
    assert await rig.shelf.read_lease(at.shard) is None
    assert await rig.shelf.take_lease(at.shard, "me", BUILD, TTL_S) == TakeTry(None, 1)
    row = await row_of(rig.calm, at)
    assert (row.shard, row.holder, row.epoch, row.build) == (at.shard, "me", 1, BUILD)
    assert (row.released, row.note) == (False, "")
    assert 0 < row.left_s <= TTL_S


@pytest.mark.parametrize("who", ["holder", "another"])
@pytest.mark.parametrize("state", STATES)
async def test_taking_a_shard(rig: Rig, at: Names, state: State, who: str) -> None:
    """Free once it was released or has run out; the holder's own name opens no door, because names come back."""
    await brought_to(rig, at, state)
    before, epoch = await rig.shelf.take_lease(at.shard, who, BUILD, TTL_S)
    assert before is not None
    free = state not in ("held", "stolen")
    assert epoch == (2 if free else None)
    assert (before.holder, before.epoch) == (("thief", 2) if state == "stolen" else ("holder", 1))
    assert before.released == ("released" in state)
    assert before.note == ("went home" if before.released else "")
    assert (before.left_s > 0) == (not free)
    after = await row_of(rig.calm, at)
    if free:
        assert (after.holder, after.epoch, after.released, after.note) == (who, 2, False, "")
        assert 0 < after.left_s <= TTL_S
    else:
        assert (after.holder, after.epoch) == (before.holder, before.epoch)


async def test_a_life_is_counted_from_the_moment_of_taking(rig: Rig, at: Names) -> None:
    taken = await rig.shelf.take_lease(at.shard, "me", BUILD, 0.05)
    assert taken.epoch == 1
    assert (await rig.shelf.take_lease(at.shard, "you", BUILD, TTL_S)).epoch in (None, 2)
    async with asyncio.timeout(5):
        while (row := await row_of(rig.calm, at)).holder == "me":
            await rig.shelf.take_lease(at.shard, "you", BUILD, TTL_S)
            await asyncio.sleep(0.01)
    assert (row.holder, row.epoch) == ("you", 2)


@pytest.mark.parametrize("epochs", [2, 5])
async def test_the_epoch_only_grows(rig: Rig, at: Names, epochs: int) -> None:
    for wanted in range(1, epochs + 1):
        assert await held(rig, at, f"holder {wanted}") == wanted
        assert await rig.calm.release_lease(at.shard, wanted, f"holder {wanted}", "")


@pytest.mark.parametrize("state", [None, "released", "run out"])
@pytest.mark.parametrize("racers", [2, 6])
async def test_of_many_who_take_at_once_one_wins(
    rig: Rig, at: Names, racers: int, state: State | None
) -> None:
    if state is not None:
        await brought_to(rig, at, state)
    shelves = [rig.process() for _ in range(racers)]
    tries = await asyncio.gather(
        *(shelf.take_lease(at.shard, f"racer {n}", BUILD, TTL_S) for n, shelf in enumerate(shelves))
    )
    won = [n for n, one in enumerate(tries) if one.epoch is not None]
    assert len(won) == 1
    row = await row_of(rig.calm, at)
    assert (row.holder, row.epoch) == (f"racer {won[0]}", 1 if state is None else 2)


@pytest.mark.parametrize("judged", [None, False], ids=["never judged", "forbidden"])
@pytest.mark.parametrize("state", [None, "released"])
async def test_a_build_that_is_not_allowed_takes_nothing(
    rig: Rig, at: Names, state: State | None, judged: bool | None
) -> None:
    """R-089: the verdict is looked up in the transaction that takes."""
    if state is not None:
        await brought_to(rig, at, state)
    build = f"build of {at.shard}"
    if judged is not None:
        await rig.judge(build, allowed=judged)
    before = await rig.calm.read_lease(at.shard)
    with pytest.raises(BuildNotAllowed):
        await rig.shelf.take_lease(at.shard, "me", build, TTL_S)
    after = await rig.calm.read_lease(at.shard)
    assert (after and (after.holder, after.epoch)) == (before and (before.holder, before.epoch))
    await rig.judge(build, allowed=True)
    assert (await rig.shelf.take_lease(at.shard, "me", build, TTL_S)).epoch is not None


async def test_a_forbidden_build_hears_first_that_the_shard_is_held(rig: Rig, at: Names) -> None:
    await held(rig, at)
    assert (await rig.shelf.take_lease(at.shard, "me", "unheard of", TTL_S)).epoch is None


# renewing and releasing ------------------------------------------------------------------------------------

Claim = Literal["own", "another epoch", "another name"]
CLAIMS: list[Claim] = ["own", "another epoch", "another name"]


def claim(what: Claim) -> tuple[int, str]:
    return {"own": (1, "holder"), "another epoch": (2, "holder"), "another name": (1, "another")}[what]


@pytest.mark.parametrize("what", CLAIMS)
@pytest.mark.parametrize("state", STATES)
async def test_renewing(rig: Rig, at: Names, state: State, what: Claim) -> None:
    """One that has run out is renewed as long as nobody took it: only the holder's own clock says stop."""
    await brought_to(rig, at, state)
    renewed = await rig.shelf.renew_lease(at.shard, *claim(what), 2 * TTL_S)
    assert renewed == (what == "own" and state in ("held", "run out"))
    row = await row_of(rig.calm, at)
    assert (row.left_s > TTL_S) == renewed
    assert row.released == ("released" in state)


@pytest.mark.parametrize("what", CLAIMS)
@pytest.mark.parametrize("state", STATES)
async def test_releasing(rig: Rig, at: Names, state: State, what: Claim) -> None:
    await brought_to(rig, at, state)
    note = "Übergabe: 3 Aufträge offen ✓"
    released = await rig.shelf.release_lease(at.shard, *claim(what), note)
    assert released == (what == "own" and state != "stolen")
    row = await row_of(rig.calm, at)
    assert row.released == (released or "released" in state)
    if released:
        assert row.note == note
        assert row.left_s <= 0


async def test_a_shard_without_a_row_is_neither_renewed_nor_released(rig: Rig, at: Names) -> None:
    assert not await rig.shelf.renew_lease(at.shard, 1, "holder", TTL_S)
    assert not await rig.shelf.release_lease(at.shard, 1, "holder", "")
    assert await rig.shelf.read_lease(at.shard) is None


async def test_who_was_superseded_can_do_nothing_more(rig: Rig, at: Names) -> None:
    """R-084: neither renew, nor release, nor append."""
    await brought_to(rig, at, "run out")
    assert await held(rig, at, "successor") == 2
    assert not await rig.shelf.renew_lease(at.shard, 1, "holder", TTL_S)
    assert not await rig.shelf.release_lease(at.shard, 1, "holder", "")
    async with talking(rig.shelf) as talk:
        assert await talk.ask(batch_of(at, [fact(at)])) == Reply(0)
        assert await talk.ask(batch_of(at, [fact(at)], epoch=2)) == Reply(1)
    row = await row_of(rig.calm, at)
    assert (row.holder, row.epoch, row.released) == ("successor", 2, False)


@pytest.mark.parametrize("way", ["take", "release"])
async def test_a_text_with_a_nul_changes_nothing(rig: Rig, at: Names, way: str) -> None:
    await held(rig, at)
    await rig.expire(at.shard)
    taking = way == "take"
    with pytest.raises(DataError):
        await (take(rig, at, "a\0b") if taking else rig.shelf.release_lease(at.shard, 1, "holder", "a\0b"))
    row = await row_of(rig.calm, at)
    assert (row.holder, row.epoch, row.released) == ("holder", 1, False)


# the row's lock --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["take", "renew", "release"])
async def test_a_row_that_is_locked_too_long_is_told_as_unavailable(rig: Rig, at: Names, what: str) -> None:
    await brought_to(rig, at, "run out")
    await rig.lock(at.shard)
    asked: Awaitable[object] = {
        "take": lambda: take(rig, at, "me"),
        "renew": lambda: rig.shelf.renew_lease(at.shard, 1, "holder", TTL_S),
        "release": lambda: rig.shelf.release_lease(at.shard, 1, "holder", ""),
    }[what]()
    with pytest.raises(Unavailable):
        await asked
    row = await row_of(rig.calm, at)  # reading waits for nobody
    await rig.unlock(at.shard)
    assert (row.holder, row.epoch, row.released) == ("holder", 1, False)
    assert row.left_s < 0
    assert (await rig.shelf.take_lease(at.shard, "me", BUILD, TTL_S)).epoch == 2


async def test_an_append_that_waits_too_long_for_the_row_is_refused_whole(rig: Rig, at: Names) -> None:
    await held(rig, at)
    async with talking(rig.shelf) as talk:
        await rig.lock(at.shard)
        await talk.refused(batch_of(at, [fact(at, signal="s")]), "55P03")
        await rig.unlock(at.shard)
        assert await talk.ask(batch_of(at, [fact(at, signal="s")])) == Reply(1)


@pytest.mark.parametrize("meanwhile", ["nothing", "a take-over"])
async def test_an_append_that_waited_sees_the_row_as_it_is_then(rig: Rig, at: Names, meanwhile: str) -> None:
    """R-084: an append that waited for a take-over inserts nothing."""
    await brought_to(rig, at, "held")
    async with talking(rig.shelf) as talk:
        assert talk.line is not None
        await rig.lock(at.shard)
        talk.line.send(batch_of(at, [fact(at)]))
        await until_waiting(rig)
        if meanwhile == "a take-over":
            await rig.steal_locked(at.shard)
        await rig.unlock(at.shard)
        reply = await asyncio.wait_for(talk.replies.get(), 5)
    assert reply == Reply(0 if meanwhile == "a take-over" else 1)


@pytest.mark.parametrize("turn", range(8))
async def test_an_append_and_a_take_over_exclude_each_other(rig: Rig, at: Names, turn: int) -> None:
    """Whatever comes first: after a take-over nothing of the old epoch becomes durable."""
    await brought_to(rig, at, "run out")
    async with talking(rig.shelf) as talk:
        assert talk.line is not None

        async def take_over() -> int:
            for _ in range(turn):
                await asyncio.sleep(0)
            assert (await rig.calm.take_lease(at.shard, "successor", BUILD, TTL_S)).epoch == 2
            return len(await rig.calm.page(at.shard, 0, 10))

        taking = asyncio.ensure_future(take_over())
        for _ in range(8 - turn):
            await asyncio.sleep(0)
        reply = await talk.ask(batch_of(at, [fact(at)]))
        seen = await taking
    assert reply == Reply(seen)
    assert len(await rig.calm.page(at.shard, 0, 10)) == seen
