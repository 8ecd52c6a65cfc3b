"""R-009 to R-013: what reads without an order prove, and what follows from that."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopitra.domain.doubt import (
    Absent,
    Doubt,
    Finding,
    Read,
    Resend,
    Sight,
    Unfound,
    Wait,
    is_held_still,
    looked,
    resent,
)
from kopitra.domain.journal import AbsenceProved, Doubted, FollowUp, OrderParked
from kopitra.domain.orders import ChildOrder
from kopitra.domain.signals import StopLoss
from tests.unit.domain.copy_world import ESZ6, World, d, rule

S = 1_000_000_000
GOOD = Sight(authoritative=True)
SINCE = Doubt(since_ns=100 * S)


def read(at_s: float, **changes: object) -> Read:
    """A perfect read, `at_s` seconds after the doubt."""
    made = Read(int((100 + at_s) * S), whole=True, life=1, current=True, explained=True)
    return made._replace(**changes)


def after(*reads: Read, sight: Sight = GOOD) -> Finding:
    """What the last of these reads concludes."""
    doubt, finding = SINCE, None
    for one in reads:
        finding = looked(doubt, one, sight)
        if isinstance(finding, Absent):
            return finding
        doubt = finding.doubt
    assert finding is not None
    return finding


def test_two_whole_reads_five_seconds_apart_prove_absence_r_010() -> None:
    assert after(read(1), read(6)) == Absent(read(1), read(6))


def test_reads_closer_than_t_vis_prove_nothing_r_010() -> None:
    waits = after(read(1), read(3), read(5.9))
    assert isinstance(waits, Wait)
    assert waits.until_ns == 106 * S
    assert waits.doubt.reads == 3


def test_a_broker_whose_lists_lag_needs_a_longer_distance_r_010() -> None:
    slow = Sight(authoritative=True, lag_ms=20_000)
    assert isinstance(after(read(1), read(20), sight=slow), Wait)
    assert isinstance(after(read(1), read(21), sight=slow), Absent)


@pytest.mark.parametrize(
    "bad",
    [
        read(6, whole=False),
        read(6, life=0),
        read(6, current=False),
        read(-1),
    ],
    ids=["not whole", "not logged in", "epoch not current", "begun before the doubt"],
)
def test_a_read_that_is_not_good_does_not_count_r_010(bad: Read) -> None:
    assert isinstance(after(read(1), bad), Wait)
    assert isinstance(after(bad._replace(started_ns=bad.started_ns - 5 * S), read(6)), Wait)


def test_a_new_life_of_the_session_begins_the_proof_anew_r_010() -> None:
    assert isinstance(after(read(1), read(6, life=2)), Wait)
    assert after(read(1), read(6, life=2), read(11, life=2)) == Absent(read(6, life=2), read(11, life=2))


def test_lists_that_are_not_the_last_word_never_prove_absence_r_009() -> None:
    finding = after(*(read(n * 10) for n in range(1, 9)), sight=Sight(authoritative=False))
    assert isinstance(finding, Unfound)


def test_a_position_that_the_order_may_have_made_forbids_the_proof_r_009() -> None:
    assert isinstance(after(read(1), read(6, explained=False)), Unfound)
    assert isinstance(after(read(1, explained=False), read(6)), Wait)
    assert isinstance(after(read(1, explained=False), read(6), read(11)), Absent)


reads = st.builds(
    Read,
    started_ns=st.integers(95, 130).map(lambda s: s * S),
    whole=st.booleans(),
    life=st.integers(0, 2),
    current=st.booleans(),
    explained=st.booleans(),
)


@given(
    st.lists(reads, max_size=12).map(lambda rs: sorted(rs, key=lambda r: r.started_ns)),
    st.booleans(),
    st.sampled_from([0, 5_000, 9_000]),
)
def test_absence_always_rests_on_two_good_reads_t_vis_apart_r_010(
    made: list[Read], authoritative: bool, lag_ms: int
) -> None:
    sight = Sight(authoritative, lag_ms)
    doubt = SINCE
    for one in made:
        finding = looked(doubt, one, sight)
        if isinstance(finding, Absent):
            first, second = finding
            assert authoritative
            assert second.started_ns - first.started_ns >= max(5_000, lag_ms) * 1_000_000
            assert first.life == second.life != 0
            assert first.started_ns >= SINCE.since_ns
            for proof in finding:
                assert proof in made
                assert proof.whole
                assert proof.current
                assert proof.explained
            return
        assert finding.doubt.reads <= len(made)
        doubt = finding.doubt


# what follows ----------------------------------------------------------------------------------------------


def doubted(world: World, child: ChildOrder) -> None:
    world.note(Doubted(child.intent.cl_ord_id, "a1", "no answer"))


def proved(world: World, child: ChildOrder) -> None:
    world.note(AbsenceProved(child.intent.cl_ord_id, "a1", (), 5_000))


def entered(qty: int = 2) -> tuple[World, ChildOrder]:
    """A follower whose entry is written and not answered."""
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(qty))
    return world, world.child()


def leaving(qty: int = 2) -> tuple[World, ChildOrder]:
    """A follower that holds `qty` and whose exit is in doubt."""
    world, entry = entered(qty)
    world.fill(entry)
    world.say("exit")
    exit_ = world.child("exit")
    doubted(world, exit_)
    return world, exit_


def test_evidence_that_comes_before_the_proof_wins_r_010() -> None:
    world, entry = entered()
    doubted(world, entry)
    world.fill(entry)
    proved(world, entry)
    assert entry.state == "filled"
    assert not world.book.blocked


def test_the_same_proof_twice_changes_nothing_i_12() -> None:
    world, entry = entered()
    doubted(world, entry)
    proved(world, entry)
    proved(world, entry)
    assert entry.state == "not_placed"
    assert not world.book.blocked


def test_a_late_fill_of_an_absent_entry_is_closed_when_the_leader_is_out_r_013() -> None:
    world, entry = entered()
    doubted(world, entry)
    proved(world, entry)
    world.say("exit")
    world.fill(entry, d(2))
    closes = [o for o in world.book.orders.values() if o.intent.role == "exit"]
    assert [(o.intent.side, o.qty, o.intent.reduce_only) for o in closes] == [("sell", d(2), True)]


def test_entries_of_a_contract_in_doubt_or_parked_are_refused_r_013() -> None:
    world, entry = entered()
    doubted(world, entry)
    assert world.leg("add", side="buy", quantity=d(1)).reason == "in_doubt"
    world.note(OrderParked(entry.intent.cl_ord_id, "a1", "ann", "I call the broker"))
    assert entry.state == "parked"
    assert world.leg("add", side="buy", quantity=d(1)).reason == "in_doubt"


def test_a_parked_order_ends_by_a_person_s_word_or_by_evidence_r_001() -> None:
    world, entry = entered()
    doubted(world, entry)
    world.note(OrderParked(entry.intent.cl_ord_id, "a1", "ann", "I call the broker"))
    world.note(AbsenceProved(entry.intent.cl_ord_id, "a1", (), who="ann", why="not on their screen"))
    assert entry.state == "not_placed"
    assert "not on their screen" in entry.reason


ALLOWED = Resend(wanted=True, dedups_for_ever=True, age_ms=6_000, max_age_ms=30_000)


@pytest.mark.parametrize(
    "may, sent",
    [
        (ALLOWED, True),
        (ALLOWED._replace(wanted=False), False),
        (ALLOWED._replace(dedups_for_ever=False), False),
        (ALLOWED._replace(age_ms=30_001), False),
    ],
    ids=["all hold", "not asked for", "the broker takes doubles", "too old"],
)
def test_an_absent_entry_is_sent_again_only_where_everything_allows_it_r_011(may: Resend, sent: bool) -> None:
    world, entry = entered()
    doubted(world, entry)
    assert resent(world.book, entry, may) is None, "not while it is only in doubt"
    proved(world, entry)
    follow = resent(world.book, entry, may)
    assert (follow is not None) is sent
    if follow is None:
        return
    assert follow.released[0].cl_ord_id == entry.intent.cl_ord_id
    world.note(follow)
    assert entry.state == "claimed"
    assert entry.leaves_qty == Decimal(2)
    world.fill(entry)
    world.note(follow)  # the same fact again, after an unclear commit
    assert entry.state == "filled"
    assert world.held() == 2


def test_an_order_that_turned_up_is_not_claimed_again_r_011() -> None:
    world, entry = entered()
    doubted(world, entry)
    proved(world, entry)
    follow = resent(world.book, entry, ALLOWED)
    assert isinstance(follow, FollowUp)
    world.report(entry, "new", "new")
    world.note(follow)
    assert entry.state == "working"
    assert world.book.positions.get(("a1", ESZ6)) is None


# held orders that a lost exit file may have let go ------------------------------------------------------------


def held_stop() -> tuple[World, ChildOrder, ChildOrder]:
    """An entry that works, and its stop, which waits for it; both as a successor reads them."""
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2), stop_loss=StopLoss(offset=d(4)))
    entry, stop = world.child(), world.child("stop")
    assert stop.state == "planned"
    world.report(entry, "new", "new")
    doubted(world, stop)
    assert stop.state == "in_doubt"
    return world, entry, stop


def seen(world: World, order: ChildOrder, read: Read, lag_ms: int = 0) -> bool:
    return is_held_still(world.book, order, Doubt(1_000), read, Sight(authoritative=False, lag_ms=lag_ms))


WHOLE = Read(2_000, whole=True, life=1, current=True, explained=True)


def test_one_read_shows_that_a_stop_of_an_unfilled_entry_never_left_r_002() -> None:
    world, _, stop = held_stop()
    assert seen(world, stop, WHOLE)
    proved(world, stop)
    assert stop.state == "planned"
    proved(world, stop)
    assert stop.state == "planned"
    assert not world.book.blocked


@pytest.mark.parametrize(
    "read",
    [
        WHOLE._replace(whole=False),
        WHOLE._replace(life=0),
        WHOLE._replace(current=False),
        WHOLE._replace(explained=False),
        WHOLE._replace(started_ns=999),
    ],
    ids=["partial", "not logged in", "fenced", "something filled unheard", "before the doubt"],
)
def test_a_lesser_read_leaves_a_held_stop_in_doubt_r_010(read: Read) -> None:
    world, _, stop = held_stop()
    assert not seen(world, stop, read)


def test_lists_that_lag_prove_nothing_of_a_held_stop_at_once_r_010() -> None:
    world, _, stop = held_stop()
    assert not seen(world, stop, WHOLE, lag_ms=1)
    assert seen(world, stop, WHOLE._replace(started_ns=1_001_000), lag_ms=1)


def test_a_stop_whose_entry_filled_unheard_is_no_held_stop_r_002() -> None:
    world, entry, stop = held_stop()
    world.fill(entry, d(1))
    assert not seen(world, stop, WHOLE)


def test_a_held_stop_that_was_to_go_meanwhile_goes_when_it_is_found_unsent_r_002() -> None:
    world, _, stop = held_stop()
    world.say("exit")
    assert stop.cancel_requested
    assert stop.state == "in_doubt"
    proved(world, stop)
    assert stop.state == "skipped"


# entries in doubt are not counted on, and stay wanted -----------------------------------------------------------


def test_a_refused_entry_beside_a_doubt_does_not_take_the_doubt_away_r_013() -> None:
    world, entry = entered(1)
    doubted(world, entry)
    assert world.leg("add", side="buy", quantity=d(1)).reason == "in_doubt"
    world.fill(entry, d(1))
    assert world.held() == 1
    assert not [o for o in world.book.orders.values() if o.intent.role == "exit"]


def test_a_smaller_leader_is_followed_by_what_is_really_held_r_013() -> None:
    world, first = entered(1)
    world.fill(first)
    world.say("add", side="buy", quantity=d(1))
    second = next(o for o in world.book.orders.values() if o is not first)
    doubted(world, second)
    assert not world.leg("reduce", quantity=d(1)).orders
    assert world.held() == 1
    world.fill(second, d(1))
    closes = [o for o in world.book.orders.values() if o.intent.role == "exit"]
    assert [(o.intent.side, o.qty) for o in closes] == [("sell", d(1))]
