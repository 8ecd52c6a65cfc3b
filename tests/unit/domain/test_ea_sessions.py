"""The rules of EA sessions: silence, what differs, and what is told again (R-030, R-034, R-035)."""

from dataclasses import replace
from decimal import Decimal
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopitra.domain.ea_sessions import (
    REDELIVER_S,
    SILENT_MAX_S,
    SNAPSHOT_AGE_MAX_S,
    TOLD_AT_ONCE_MAX,
    Beat,
    Mismatch,
    OutEvent,
    deliverable,
    is_certain,
    is_silent,
    mismatch,
    overtaken,
    positions_hash,
    read_up_to,
)
from kopitra.domain.journal import LeaderTold, StreamStale
from kopitra.domain.leader_snapshot import LeaderSnapshot, reductions
from tests.unit.domain.copy_world import World, d, rule

FLAT = positions_hash(())


class TestSilence:
    """R-035: a leader whose sessions are all silent for 15 s is stale."""

    def test_one_session_that_is_heard_is_enough(self) -> None:
        assert not is_silent(100.0, [100.0 - SILENT_MAX_S, 99.0])
        assert is_silent(100.0, [100.0 - SILENT_MAX_S, 0.0])

    def test_a_leader_without_sessions_is_not_waited_for(self) -> None:
        assert not is_silent(1e9, [])


class TestHeartbeats:
    """R-035: the number of the last act, and a hash of what is held."""

    def test_the_hash_is_of_what_an_ea_can_write_down(self) -> None:
        held = [("NQ", Decimal("-1.50")), ("ES", Decimal("2")), ("CL", Decimal(0))]
        assert positions_hash(held) == sha256(b"ES:2;NQ:-1.5").hexdigest()
        assert sha256(b"").hexdigest() == FLAT

    @given(st.dictionaries(st.sampled_from(["ES", "NQ", "CL", "GC"]), st.integers(-5, 5)))
    def test_the_order_and_what_is_flat_do_not_count(self, held: dict[str, int]) -> None:
        given_ = [(root, Decimal(qty)) for root, qty in held.items()]
        open_ = [(root, qty) for root, qty in reversed(given_) if qty]
        assert positions_hash(given_) == positions_hash(open_)

    @pytest.mark.parametrize(
        "beat, found",
        [
            (Beat(5, FLAT), ""),
            (Beat(5, "other"), "positions"),
            (Beat(4, "other"), "sequence_behind"),
            (Beat(6, FLAT), "sequence_ahead"),
            (Beat(5), ""),
            (Beat(None, FLAT), ""),
            (Beat(None, "other"), "positions"),
            (Beat(), ""),
        ],
    )
    def test_what_differs_is_named(self, beat: Beat, found: Mismatch) -> None:
        assert mismatch(beat, 5, FLAT) == found

    def test_other_positions_at_the_same_act_are_wrong_at_once(self) -> None:
        assert is_certain(Beat(5, "other"), "positions", "")

    @pytest.mark.parametrize("beat, found", [(Beat(6), "sequence_ahead"), (Beat(None, "other"), "positions")])
    def test_what_may_be_on_its_way_must_show_twice(self, beat: Beat, found: Mismatch) -> None:
        assert not is_certain(beat, found, "")
        assert is_certain(beat, found, found)

    def test_nothing_wrong_is_never_certain(self) -> None:
        assert not is_certain(Beat(5, FLAT), "", "")


class TestSnapshots:
    def test_one_that_tells_of_the_past_is_overtaken(self) -> None:
        assert overtaken(4, 5, 0.0)
        assert not overtaken(5, 5, 9e9)
        assert overtaken(None, 0, SNAPSHOT_AGE_MAX_S + 1)
        assert not overtaken(None, 0, SNAPSHOT_AGE_MAX_S - 1)

    def test_two_at_the_same_number_both_count(self) -> None:
        """R-033, R-035: an act can pass an EA by, so what it holds may differ at one number."""
        world = World([rule()])
        assert world.leg("enter", side="buy", quantity=d(3), sequence=1).outcome == "approved"
        first = LeaderSnapshot("w", "L", "ea", world.now, (("ES", d(2)),), sequence=1)
        (one,) = reductions(first, world.book, world.now)
        second = replace(first, positions=(), taken_at=world.now.replace(microsecond=1))
        (two,) = reductions(second, world.book, world.now)
        assert one.signal_id != two.signal_id
        assert (one.action, two.action) == ("reduce", "exit")
        assert reductions(first, world.book, world.now)[0].signal_id == one.signal_id


class TestStale:
    """R-035: entries are refused until a snapshot, exits are followed."""

    @pytest.mark.parametrize("numbers", [(1, 2, 3, 4), (None,) * 4])
    def test_entries_wait_for_a_snapshot_and_exits_do_not(self, numbers: tuple[int | None, ...]) -> None:
        world = World([rule()])
        assert world.leg("enter", side="buy", quantity=d(2), sequence=numbers[0]).outcome == "approved"
        world.settle()
        world.note(StreamStale("L", 15, world.now))
        leg = world.leg("add", side="buy", quantity=d(1), sequence=numbers[1])
        assert (leg.outcome, leg.reason) == ("skipped", "stream_stale")
        assert world.leg("exit", sequence=numbers[2]).outcome == "approved"
        world.settle()
        world.note(LeaderTold(LeaderSnapshot("w", "L", "ea", world.now, (), sequence=numbers[2])))
        assert world.leg("enter", side="buy", quantity=d(1), sequence=numbers[3]).outcome == "approved"

    def test_other_leaders_and_other_sources_are_not_touched(self) -> None:
        world = World([rule()])
        world.note(StreamStale("another", 15, world.now))
        assert world.leg("enter", side="buy", quantity=d(1)).outcome == "approved"
        world.settle()
        world.note(StreamStale("L", 15, world.now))
        assert world.leg("add", side="buy", quantity=d(1), source="webhook").outcome == "approved"


events = st.builds(
    OutEvent, st.integers(1, 60), st.just("SyncRequest"), st.just(b"{}"), requires_ack=st.booleans()
)


class TestOutbox:
    @given(st.lists(events, max_size=60), st.integers(0, 60), st.floats(0, 100))
    def test_whoever_reads_and_acknowledges_hears_everything_in_order(
        self, made: list[OutEvent], cursor: int, now_s: float
    ) -> None:
        waiting = {event.sequence: event for event in made}
        told: dict[int, float] = {}
        heard: list[int] = []
        owed = {n for n, e in waiting.items() if n > cursor or e.requires_ack}
        while found := deliverable(waiting, told, cursor, now_s):
            assert len(found) <= TOLD_AT_ONCE_MAX
            numbers = [event.sequence for event in found]
            assert numbers == sorted(numbers)
            heard += numbers
            cursor = max(cursor, *numbers)
            for event in found:
                told[event.sequence] = now_s
                if event.requires_ack:
                    del waiting[event.sequence]
            for number in read_up_to(waiting, cursor):
                del waiting[number]
        assert set(heard) >= owed
        assert len(heard) == len(set(heard))

    @given(st.lists(events, max_size=30), st.integers(0, 60))
    def test_what_is_not_acknowledged_comes_again(self, made: list[OutEvent], cursor: int) -> None:
        waiting = {event.sequence: event for event in made}
        told = dict.fromkeys(waiting, 10.0)
        early = deliverable(waiting, told, cursor, 10.0 + REDELIVER_S / 2)
        assert all(event.sequence > cursor for event in early)
        late = deliverable(waiting, told, cursor, 10.0 + REDELIVER_S)
        owed = [n for n, e in sorted(waiting.items()) if n > cursor or e.requires_ack]
        assert [event.sequence for event in late] == owed[:TOLD_AT_ONCE_MAX]
