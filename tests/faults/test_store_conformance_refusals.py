"""Appends that both stores refuse (H-2): why, in the same words, and that nothing of them is ever half done."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from kopitra.store.drafts import Draft, Head
from kopitra.store.shelf import Reply, Shelf
from tests.faults.store_rigs import Names, Rig, batch_of, fact, head_of, held, record, talking


async def rows_of(shelf: Shelf, at: Names) -> Sequence[object]:
    return await shelf.page(at.shard, 0, 1000)


# what is refused, whole ------------------------------------------------------------------------------------

S, A = "signal_ids_pkey", "idempotency_pkey"


@pytest.mark.parametrize(
    "size, place", [(1, 0), (3, 0), (3, 1), (3, 2)], ids=["alone", "first", "second", "last"]
)
@pytest.mark.parametrize("repeats", ["signal", "answer", "both"])
async def test_a_repetition_rolls_its_neighbours_back(
    rig: Rig, at: Names, repeats: str, size: int, place: int
) -> None:
    await held(rig, at)
    first = batch_of(at, [fact(at, 1, signal="s", answer=record())])
    drafts = [fact(at, 10 + n, signal=f"n{n}", answer=record(f"n{n}")) for n in range(size)]
    drafts[place] = drafts[place]._replace(
        **({} if repeats == "answer" else {"signal_id": "s"}),
        **({} if repeats == "signal" else {"idempotency": record()}),
    )
    async with talking(rig.shelf) as talk:
        assert await talk.ask(first) == Reply(1)
        reply = await talk.ask(batch_of(at, drafts, after=head_of(first)))
        assert reply.error is not None
        assert (reply.inserted, reply.error.sqlstate) == (0, "23505")
        wanted = {"signal": {S}, "answer": {A}, "both": {S, A}}[repeats]
        assert reply.error.constraint in wanted
        # The connection goes on, and nothing of the refused batch is there.
        again = batch_of(at, [fact(at, 20, signal="n0", answer=record("n0"))], after=head_of(first))
        assert await talk.ask(again) == Reply(1)
    assert await rows_of(rig.calm, at) == [*first.rows, *again.rows]
    assert len(await rig.calm.recent_signals(at.shard, 10)) == 2
    for n in range(1, size):
        assert await rig.calm.find_answer(at.workspace, "ea-1", "POST /signals", f"n{n}") is None


@pytest.mark.parametrize(
    "drafts, constraint",
    [
        pytest.param([{"signal": "s"}, {"signal": "s"}], S, id="signal"),
        pytest.param([{"answer": record()}, {"answer": record()}], A, id="answer"),
        pytest.param([{"signal": "s"}, {}, {"signal": "s", "answer": record()}], S, id="signal far"),
    ],
)
async def test_a_batch_that_repeats_itself_is_refused(
    rig: Rig, at: Names, drafts: list[dict[str, object]], constraint: str
) -> None:
    await held(rig, at)
    made = [fact(at, n, **fields) for n, fields in enumerate(drafts, 1)]  # pyright: ignore[reportArgumentType]
    async with talking(rig.shelf) as talk:
        await talk.refused(batch_of(at, made), "23505", constraint)
    assert await rows_of(rig.calm, at) == []


@pytest.mark.parametrize("also", ["", "signal", "answer"], ids=["alone", "and the signal", "and the answer"])
@pytest.mark.parametrize("size", [1, 2])
async def test_a_number_that_is_taken_is_told_before_anything_else(
    rig: Rig, at: Names, size: int, also: str
) -> None:
    """The writer must learn that it is not alone, not that a signal is known."""
    await held(rig, at)
    first = batch_of(at, [fact(at, n, signal=f"s{n}", answer=record(f"k{n}")) for n in (1, 2)])
    again = [
        fact(
            at,
            n,
            signal=f"s{n}" if also == "signal" else None,
            answer=record(f"k{n}") if also == "answer" else None,
        )
        for n in range(1, size + 1)
    ]
    async with talking(rig.shelf) as talk:
        assert await talk.ask(first) == Reply(2)
        await talk.refused(batch_of(at, again), "23505", "journal_pkey")
    assert await rows_of(rig.calm, at) == first.rows


def _nul(field: str, at: Names) -> Draft:
    draft = fact(at, 1, signal="s", answer=record())
    assert draft.idempotency is not None
    if field in ("principal", "endpoint", "key"):
        return draft._replace(idempotency=replace(draft.idempotency, **{field: "a\0b"}))
    return draft._replace(**{field: "a\0b"})


@pytest.mark.parametrize("beside", [0, 1], ids=["alone", "in company"])
@pytest.mark.parametrize("field", ["kind", "entry", "workspace", "signal_id", "principal", "endpoint", "key"])
async def test_a_text_with_a_nul_is_refused(rig: Rig, at: Names, field: str, beside: int) -> None:
    await held(rig, at)
    batch = batch_of(at, [_nul(field, at), *(fact(at, 2 + n) for n in range(beside))])
    async with talking(rig.shelf) as talk:
        await talk.refused(batch, "22021")
    assert await rows_of(rig.calm, at) == []


@pytest.mark.parametrize("beside", [0, 1], ids=["alone", "in company"])
@pytest.mark.parametrize("payload", [b"", b"{", b"{'a': 1}", b"NaN", b'{"a": 01}', b'{"a":1} x'], ids=repr)
async def test_a_payload_that_is_no_json_is_refused(rig: Rig, at: Names, payload: bytes, beside: int) -> None:
    await held(rig, at)
    drafts = [*(fact(at, 2 + n) for n in range(beside)), fact(at)._replace(payload=payload)]
    async with talking(rig.shelf) as talk:
        await talk.refused(batch_of(at, drafts), "22P02")
    assert await rows_of(rig.calm, at) == []


@pytest.mark.parametrize("payload", [b'{"a": "\xff"}', b'{"a": "\xc3("}', b'{"a": "\x00"}'], ids=repr)
async def test_a_payload_that_is_no_utf8_is_refused(rig: Rig, at: Names, payload: bytes) -> None:
    await held(rig, at)
    async with talking(rig.shelf) as talk:
        reply = await talk.ask(batch_of(at, [fact(at)._replace(payload=payload)]))
    assert reply.error is not None
    assert reply.error.sqlstate in ("22021", "22P02")


@pytest.mark.parametrize("beside", [0, 1], ids=["alone", "in company"])
@pytest.mark.parametrize("seq", [0, -1])
async def test_a_number_below_one_is_refused(rig: Rig, at: Names, seq: int, beside: int) -> None:
    await held(rig, at)
    drafts = [fact(at, 1 + n) for n in range(1 + beside)]
    async with talking(rig.shelf) as talk:
        await talk.refused(batch_of(at, drafts, after=Head(seq - 1)), "23514", "journal_seq_check")


async def test_a_fact_without_bytes_never_leaves(rig: Rig, at: Names) -> None:
    await held(rig, at)
    async with talking(rig.shelf) as talk:
        assert talk.line is not None
        batch = batch_of(at, [fact(at, signal="lone \ud800 half")])
        with pytest.raises(UnicodeEncodeError):
            talk.line.send(batch)
        assert await talk.ask(batch_of(at, [fact(at)])) == Reply(1)
