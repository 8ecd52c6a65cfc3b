"""Idempotent signals: one key, one effect, one answer, byte for byte."""

import asyncio

import pytest

from kopitra.domain.errors import SignalRefused
from kopitra.store.drafts import Duplicate, SignalRef
from tests.api.client import ENTER, SECRET
from tests.api.world import World

Changes = dict[str, object]


async def test_the_first_answer_comes_again_byte_for_byte(world: World) -> None:
    first = await world.signal()
    again = await world.signal()
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert len(world.ledger.signals) == 1


@pytest.mark.parametrize(
    "changes", [{"quantity": "2.0"}, {"occurredAt": "2026-11-20T14:30:01Z"}, {"quantity": 2.000}]
)
async def test_another_spelling_of_the_same_act_is_the_same_body(world: World, changes: Changes) -> None:
    """R-025: the fingerprint is of what a signal means."""
    first = await world.signal()
    again = await world.signal({**ENTER, **changes})
    assert again.body == first.body
    assert len(world.ledger.signals) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"quantity": 3},
        {"side": "sell"},
        {"symbol": "NQ"},
        {"comment": "x"},
        {"stopLoss": {"offset": 1}},
        {"takeProfits": [{"offset": 1}]},
        {"leaderPosition": 2},
        {"signalId": "s-2"},
    ],
)
async def test_the_same_key_with_another_body_is_refused(world: World, changes: Changes) -> None:
    """I-16: 422, and no effect."""
    await world.signal()
    reply = await world.signal({**ENTER, **changes})
    assert (reply.status, reply.code) == (422, "idempotency-key-reused")
    assert len(world.ledger.signals) == 1


async def test_a_key_whose_first_call_still_runs_is_a_conflict(world: World) -> None:
    world.ledger.hold = True
    first = asyncio.create_task(world.signal())
    while not world.ledger.held:
        await asyncio.sleep(0)
    again = await world.signal()
    assert (again.status, again.code) == (409, "idempotency-in-progress")
    assert int(again.headers["retry-after"]) >= 1
    world.ledger.release()
    assert (await first).status == 202
    assert len(world.ledger.signals) == 1


async def test_a_client_that_goes_away_does_not_cancel_the_commit(world: World) -> None:
    world.ledger.hold = True
    first = asyncio.create_task(world.signal())
    while not world.ledger.held:
        await asyncio.sleep(0)
    first.cancel()
    world.ledger.release()
    await asyncio.gather(first, return_exceptions=True)
    assert first.cancelled()
    assert (await world.signal()).headers["idempotent-replayed"] == "true"


async def test_after_a_restart_the_database_gives_the_first_answer(world: World) -> None:
    first = await world.signal()
    world.ledger.forget()
    again = await world.signal()
    assert (again.status, again.body) == (202, first.body)
    assert again.headers["idempotent-replayed"] == "true"
    world.ledger.forget()
    assert (await world.signal({**ENTER, "quantity": 9})).code == "idempotency-key-reused"


async def test_a_retry_of_a_known_signal_whose_answer_left_the_memory_gets_its_first_answer(
    world: World,
) -> None:
    first = await world.signal()
    world.ledger.forget()
    world.ledger.trouble = Duplicate("known", SignalRef("w1", "s-1", "main", 41))
    again = await world.signal()
    assert (again.status, again.body) == (202, first.body)
    assert again.headers["idempotent-replayed"] == "true"
    assert (await world.signal(key="other")).status == 409


async def test_a_retry_that_has_become_stale_still_gets_its_first_answer(world: World) -> None:
    first = await world.signal()
    world.ledger.forget()
    world.ledger.trouble = SignalRefused("The signal is too old; send it sooner.", code="stale-signal")
    again = await world.signal()
    assert (again.status, again.body) == (202, first.body)
    reply = await world.signal(key="other")
    assert (reply.status, reply.code) == (422, "stale-signal")


async def test_keys_of_different_callers_do_not_meet(world: World) -> None:
    await world.signal()
    reply = await world.signal(authorization=f"Bearer kpt_ea2_{SECRET}", x_tradeagent_account="acc2")
    assert reply.status == 202
    assert "idempotent-replayed" not in reply.headers
    assert [s.workspace for s in world.ledger.signals] == ["w1", "w2"]


async def test_the_same_signal_under_another_key_is_known_already(world: World) -> None:
    world.ledger.failure = Duplicate("known", SignalRef("w1", "s-1", "s0", 7))
    reply = await world.signal()
    assert (reply.status, reply.code) == (409, "duplicate-signal")


# the engine says no --------------------------------------------------------------------------------------
