"""Appends on both stores (H-2): what becomes durable, what is refused and how, and that nothing is ever half done."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from kopitra.store.drafts import Head, IdempotencyRecord, SignalRef
from kopitra.store.shelf import Reply, Shelf
from tests.faults.store_rigs import Names, Rig, batch_of, fact, head_of, held, names, record, talking


async def rows_of(shelf: Shelf, at: Names) -> Sequence[object]:
    return await shelf.page(at.shard, 0, 1000)


# what becomes durable --------------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", [False, True], ids=["", "answers"])
@pytest.mark.parametrize("signals", [False, True], ids=["", "signals"])
@pytest.mark.parametrize("count", [1, 2, 3, 40, 256])
async def test_a_batch_is_read_back_as_it_was_sent(
    rig: Rig, at: Names, count: int, signals: bool, answers: bool
) -> None:
    await held(rig, at)
    drafts = [
        fact(at, n, signal=f"sig{n}" if signals else None, answer=record(f"k{n}") if answers else None)
        for n in range(1, count + 1)
    ]
    batch = batch_of(at, drafts)
    async with talking(rig.shelf) as talk:
        assert await talk.ask(batch) == Reply(count)
    assert await rows_of(rig.calm, at) == batch.rows
    wanted = [SignalRef(at.workspace, f"sig{n}", at.shard, n) for n in range(count, 0, -1)] if signals else []
    assert await rig.calm.recent_signals(at.shard, 1000) == wanted
    for row, draft in zip(batch.rows, drafts, strict=True):
        found = await rig.calm.find_answer(at.workspace, "ea-1", "POST /signals", f"k{draft.at.microsecond}")
        assert (found is not None) == answers
        if found is not None:
            assert (found.body, found.at) == (b"answer %d" % row.seq, row.at)


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b"[]",
        b"null",
        b'"text"',
        b"-0.10e+5",
        b' { "a" :  1.50 ,\n "b" : [ 1 , 2 ] } ',
        '{"town": "Zürich ✓ 東京 \U0001f4c8"}'.encode(),
        b'{"escaped": "\\u0000\\u00e9"}',
        b'{"same": 1, "same": 2}',
        b'{"long": "' + b"x" * 200_000 + b'"}',
    ],
    ids=["object", "array", "null", "text", "number", "spaces", "unicode", "escapes", "twice", "long"],
)
@pytest.mark.parametrize("beside", [0, 1], ids=["alone", "in company"])
async def test_a_payload_keeps_every_byte(rig: Rig, at: Names, payload: bytes, beside: int) -> None:
    await held(rig, at)
    drafts = [fact(at)._replace(payload=payload), *(fact(at, 2 + n) for n in range(beside))]
    batch = batch_of(at, drafts)
    async with talking(rig.shelf) as talk:
        assert await talk.ask(batch) == Reply(1 + beside)
    (found, *_) = await rig.calm.page(at.shard, 0, 10)
    assert (found.payload, found.hash) == (payload, batch.rows[0].hash)


async def test_batches_follow_each_other(rig: Rig, at: Names) -> None:
    await held(rig, at)
    first = batch_of(at, [fact(at, 1), fact(at, 2)])
    second = batch_of(at, [fact(at, 3)], after=head_of(first))
    async with talking(rig.shelf) as talk:
        assert await talk.ask(first) == Reply(2)
        assert await talk.ask(second) == Reply(1)
        assert talk.line is not None
        assert await talk.line.head(at.shard) == head_of(second)
    assert await rows_of(rig.calm, at) == [*first.rows, *second.rows]


@pytest.mark.parametrize("seq", [5, 2**40])
async def test_a_number_may_be_skipped_and_taken_later(rig: Rig, at: Names, seq: int) -> None:
    """The store knows no gaps: that there are none is the writer's doing."""
    await held(rig, at)
    late, early = batch_of(at, [fact(at)], after=Head(seq - 1)), batch_of(at, [fact(at)])
    async with talking(rig.shelf) as talk:
        assert await talk.ask(late) == Reply(1)
        assert await talk.ask(early) == Reply(1)
    assert await rows_of(rig.calm, at) == [early.rows[0], late.rows[0]]


@pytest.mark.parametrize(
    "second",
    [
        pytest.param({"workspace": "other"}, id="another workspace"),
        pytest.param({"principal": "ea-2"}, id="another principal"),
        pytest.param({"endpoint": "POST /executions"}, id="another endpoint"),
        pytest.param({"key": "K1"}, id="another case"),
    ],
)
async def test_keys_are_one_per_workspace_principal_and_endpoint(
    rig: Rig, at: Names, second: dict[str, str]
) -> None:
    await held(rig, at)
    there = at._replace(workspace=f"{at.workspace}-other") if "workspace" in second else at
    other = replace(record(), **{name: value for name, value in second.items() if name != "workspace"})
    drafts = [fact(at, 1, answer=record()), fact(there, 2, answer=other)]
    async with talking(rig.shelf) as talk:
        assert await talk.ask(batch_of(at, drafts)) == Reply(2)


async def test_a_signal_id_is_one_per_workspace(rig: Rig, at: Names) -> None:
    await held(rig, at)
    there = at._replace(workspace=f"{at.workspace}-other")
    async with talking(rig.shelf) as talk:
        batch = batch_of(at, [fact(at, 1, signal="s"), fact(there, 2, signal="s")])
        assert await talk.ask(batch) == Reply(2)


async def test_shards_share_nothing(rig: Rig, at: Names) -> None:
    there = names()
    await held(rig, at)
    await held(rig, there)
    here, other = batch_of(at, [fact(at)]), batch_of(there, [fact(there)])
    async with talking(rig.shelf) as talk:
        assert await talk.ask(here) == Reply(1)
        assert await talk.ask(other) == Reply(1)
        assert talk.line is not None
        assert await talk.line.head(there.shard) == head_of(other)
    assert await rows_of(rig.calm, at) == here.rows


# the fence -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("epoch", [0, 1, 3, 7], ids=lambda epoch: f"epoch {epoch} of 2")
async def test_an_append_under_another_epoch_inserts_nothing(
    rig: Rig, at: Names, epoch: int, size: int
) -> None:
    """R-084: zero rows and no error, also where it repeats what is there."""
    await held(rig, at)
    await rig.expire(at.shard)
    assert await held(rig, at) == 2
    first = batch_of(at, [fact(at, 1, signal="s", answer=record())], epoch=2)
    async with talking(rig.shelf) as talk:
        assert await talk.ask(first) == Reply(1)
        drafts = [fact(at, n, signal="s", answer=record()) for n in range(size)]
        assert await talk.ask(batch_of(at, drafts, epoch=epoch)) == Reply(0)
        assert await talk.ask(batch_of(at, drafts, epoch=epoch, after=head_of(first))) == Reply(0)
    assert await rows_of(rig.calm, at) == first.rows


@pytest.mark.parametrize("size", [1, 2])
async def test_an_append_without_a_lease_row_inserts_nothing(rig: Rig, at: Names, size: int) -> None:
    async with talking(rig.shelf) as talk:
        assert await talk.ask(batch_of(at, [fact(at, n) for n in range(size)])) == Reply(0)
    assert await rows_of(rig.calm, at) == []


@pytest.mark.parametrize("state", ["released", "run out"])
async def test_an_append_passes_as_long_as_nobody_took_over(rig: Rig, at: Names, state: str) -> None:
    """The fence is the epoch alone; that a holder stops in time is its own clock's business."""
    await held(rig, at)
    if state == "released":
        assert await rig.calm.release_lease(at.shard, 1, "holder", "")
    else:
        await rig.expire(at.shard)
    async with talking(rig.shelf) as talk:
        assert await talk.ask(batch_of(at, [fact(at)])) == Reply(1)


async def test_a_bad_fact_is_refused_before_the_fence_is_looked_at(rig: Rig, at: Names) -> None:
    async with talking(rig.shelf) as talk:
        await talk.refused(batch_of(at, [fact(at)._replace(kind="a\0b")]), "22021")


# the writer's questions ------------------------------------------------------------------------------------


async def test_an_empty_shard_has_no_head_no_row_and_no_epoch(rig: Rig, at: Names) -> None:
    async with talking(rig.shelf) as talk:
        assert talk.line is not None
        assert await talk.line.head(at.shard) == Head()
        assert await talk.line.row_after(at.shard, 0) is None
        assert await talk.line.epoch(at.shard) is None


@pytest.mark.parametrize("after, wanted", [(-5, 1), (0, 1), (1, 2), (4, 5), (5, None), (9, None)])
async def test_the_row_after(rig: Rig, at: Names, after: int, wanted: int | None) -> None:
    epoch = await held(rig, at)
    batch = batch_of(at, [fact(at, n) for n in range(1, 6)])
    async with talking(rig.shelf) as talk:
        assert talk.line is not None
        assert await talk.ask(batch) == Reply(5)
        found = await talk.line.row_after(at.shard, after)
        assert await talk.line.epoch(at.shard) == epoch
    assert found == (None if wanted is None else (wanted, batch.rows[wanted - 1].hash))


@pytest.mark.parametrize(
    "drafts, wanted",
    [
        pytest.param([{"signal": "s1"}], "s1", id="signal"),
        pytest.param([{"answer": record("k2")}], "k2", id="answer"),
        pytest.param([{"signal": "s1", "answer": record("k2")}], "k2", id="an answer before a signal"),
        pytest.param([{"signal": "s1"}, {"answer": record("k2")}], "k2", id="also of a later draft"),
        pytest.param([{"answer": record("k2")}, {"answer": record("k1")}], "k2", id="the first answer"),
        pytest.param([{"signal": "s2"}, {"signal": "s1"}], "s2", id="the first signal"),
        pytest.param([{"signal": "s9"}, {"signal": "s1", "answer": record("k9")}], "s1", id="one of many"),
        pytest.param([{"signal": "s9", "answer": record("k9")}], None, id="none"),
        pytest.param([{"signal": None}], None, id="nothing to repeat"),
        pytest.param([{"answer": record("k1", "ea-2")}], None, id="of another principal"),
    ],
)
async def test_the_first_record_of_a_repetition(
    rig: Rig, at: Names, drafts: list[dict[str, object]], wanted: str | None
) -> None:
    await held(rig, at)
    known = [fact(at, n, signal=f"s{n}", answer=record(f"k{n}")) for n in (1, 2)]
    asked = [fact(at, n, **fields) for n, fields in enumerate(drafts)]  # pyright: ignore[reportArgumentType]
    async with talking(rig.shelf) as talk:
        assert talk.line is not None
        assert await talk.ask(batch_of(at, known)) == Reply(2)
        found = await talk.line.first_record(asked)
    if isinstance(found, IdempotencyRecord):
        n = int(wanted[1:]) if wanted else 0
        assert (found.key, found.body, found.workspace) == (wanted, b"answer %d" % n, at.workspace)
        assert (found.fingerprint, found.status) == (b"f" * 32, 202)
    elif isinstance(found, SignalRef):
        n = int(wanted[1:]) if wanted else 0
        assert found == SignalRef(at.workspace, wanted or "", at.shard, n)
    else:
        assert wanted is None
