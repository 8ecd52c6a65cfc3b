"""The local exit file's bytes: whatever a crash or a disk does to them, no record is made up, no whole one lost."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopitra.domain.errors import Corrupt
from kopitra.store.exit_records import PAYLOAD_BYTES_MAX, ExitRecord, frame, once, read

AT = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)


def record(number: int, payload: str = '{"a":1}') -> ExitRecord:
    return ExitRecord("main", 7, number, "ws1", AT, "trade.executions", "FollowUp", payload)


payloads = st.lists(st.text(max_size=40), min_size=1, max_size=6)


@given(payloads)
def test_what_was_written_is_read_in_its_order(texts: list[str]) -> None:
    records = [record(n, text) for n, text in enumerate(texts)]
    reading = read(b"".join(map(frame, records)))
    assert (list(reading.records), reading.damages) == (records, ())


@given(payloads, st.data())
def test_a_half_written_tail_is_told_and_takes_nothing_with_it(texts: list[str], data: st.DataObject) -> None:
    """R-072: a crash in the middle of an append."""
    whole = b"".join(frame(record(n, text)) for n, text in enumerate(texts[:-1]))
    last = frame(record(99, texts[-1]))
    cut = data.draw(st.integers(1, len(last) - 1))
    reading = read(whole + last[:cut])
    assert [r.payload for r in reading.records] == texts[:-1]
    assert [(d.offset, d.length, d.in_the_middle) for d in reading.damages] == [(len(whole), cut, False)]
    assert not reading.is_corrupt


@given(payloads, st.data())
def test_a_flipped_bit_costs_one_record_and_makes_up_none(texts: list[str], data: st.DataObject) -> None:
    """R-072: a damaged middle is found, and the records around it stay."""
    frames = [frame(record(n, text)) for n, text in enumerate(texts)]
    hit = data.draw(st.integers(0, len(frames) - 1))
    damaged = bytearray(frames[hit])
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    reading = read(b"".join((*frames[:hit], bytes(damaged), *frames[hit + 1 :])))
    assert [r.number for r in reading.records] == [n for n in range(len(texts)) if n != hit]
    assert reading.is_corrupt is (hit < len(texts) - 1)


@given(st.binary(max_size=300))
def test_noise_is_no_record(noise: bytes) -> None:
    reading = read(noise)
    assert reading.records == ()
    assert sum(d.length for d in reading.damages) == len(noise)


def test_a_record_that_could_not_be_read_again_is_refused() -> None:
    with pytest.raises(Corrupt, match="too long"):
        frame(record(1, "x" * PAYLOAD_BYTES_MAX))


def test_a_record_keeps_its_name_in_every_process() -> None:
    """R-072: the journal takes it once because of this name."""
    made = once(record(3))
    assert (made.principal, made.endpoint, made.key) == ("exit-file", "exits", "main:7:3")
    assert made.body(12) == b'{"sequence":12}'
    assert made.fingerprint != once(record(3, "{}")).fingerprint
