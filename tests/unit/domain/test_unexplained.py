"""Positions that a read shows before their executions are told: nothing counts twice, nothing is closed that may not be
there (I-08, R-012).
"""

from datetime import timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kopitra.domain.attribution import closable
from kopitra.domain.book import Position
from kopitra.domain.executions import ExecutionReport, PositionReport
from kopitra.domain.journal import EntriesBlocked, PositionDiffers
from kopitra.domain.orders import ZERO
from kopitra.domain.repairing import Wish
from kopitra.domain.signals import Side, StopLoss, sign
from kopitra.domain.sync import CLOCKS_APART, Drift
from tests.unit.domain.copy_world import ESZ6, World, d, rule
from tests.unit.domain.drift_world import compared, note, planned

PLACE = ("a1", ESZ6)
NUMBERS = count()


def _holding(qty: int, side: Side = "buy") -> World:
    """The follower holds what its leader does."""
    world = World([rule()])
    world.ledger[PLACE] = ZERO
    if qty:
        world.say("enter", side=side, quantity=d(qty), leader_position=qty * sign(side))
        world.settle()
    return world


def _by_hand(world: World, side: Side, qty: int) -> ExecutionReport:
    """A person trades now; the stream may tell it later."""
    world.ledger[PLACE] += qty * sign(side)
    name = f"h{next(NUMBERS)}"
    return ExecutionReport(
        "a1", name, "trade", "filled", ESZ6, side, world.now, exec_id=name, last_qty=d(qty), last_px=d(5000)
    )


def _read(world: World, later_s: float = 5) -> None:
    """The broker's position as it is then."""
    world.now += timedelta(seconds=later_s)
    known = world.book.positions.get(PLACE)
    report = PositionReport("a1", ESZ6, world.ledger[PLACE], None, world.now)
    world.note(PositionDiffers(report, known.qty if known is not None else ZERO))


def _told(world: World, execution: ExecutionReport, later_s: float = 1) -> None:
    world.now += timedelta(seconds=later_s)
    world.hear(execution)


def _confirmed(world: World) -> None:
    note(world, *compared(world).drifts)


def _closable(world: World) -> int:
    return int(closable(world.book, "a1", ESZ6, "L"))


@pytest.mark.parametrize("confirmed", [False, True])
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_r041_a_close_by_hand_that_a_read_showed_before_it_was_told_counts_once(
    side: Side, confirmed: bool
) -> None:
    """The rest stays with its leader, and no repair opens too much."""
    world, one = _holding(3, side), sign(side)
    late = _by_hand(world, "sell" if side == "buy" else "buy", 1)
    _read(world)
    if confirmed:
        _confirmed(world)
    _told(world, late)
    assert _closable(world) == 1 * one  # it may be another one: the next read tells
    _read(world)
    assert (world.held(), _closable(world), compared(world).drifts) == (2 * one, 2 * one, ())
    assert world.book.sync.unexplained == {}
    again = planned(world, Wish("top_up", include_closed_by_hand=True))
    assert [i.qty for i in again.intents] == [1]
    world.say("exit", leader_position=ZERO)
    assert world.child("exit").qty == 2


@pytest.mark.parametrize("confirmed", [False, True])
def test_a_close_by_hand_that_is_told_after_another_one_that_was_lost_waits_for_the_next_read(
    confirmed: bool,
) -> None:
    world = _holding(3)
    _by_hand(world, "sell", 1)
    _read(world)
    if confirmed:
        _confirmed(world)
    _told(world, _by_hand(world, "sell", 1))
    assert (world.held(), _closable(world)) == (2, 1)
    _read(world)
    _confirmed(world)
    assert (world.held(), _closable(world), compared(world).drifts) == (1, 1, ())


def test_what_was_told_an_hour_later_counts_once_too() -> None:
    world = _holding(3)
    late = _by_hand(world, "sell", 1)
    _read(world)
    _confirmed(world)
    _read(world, 3600)
    _told(world, late)
    _read(world)
    assert (world.held(), _closable(world), compared(world).drifts) == (2, 2, ())


def test_what_reads_showed_to_come_and_go_cuts_no_exit() -> None:
    """Nobody tells of either: an entry of ours passes for the one that was bought as long as they are news."""
    world = _holding(0)
    for side in ("sell", "buy"):
        _by_hand(world, side, 1)
        _read(world)
    world.now += CLOCKS_APART
    world.say("enter", side="buy", quantity=d(2), leader_position=d(2), ord_type="limit", price=d(4990))
    world.fill(world.child())
    assert _closable(world) == 2


def test_round_trips_by_hand_cut_no_exit() -> None:
    """Each brings back what was there."""
    world = _holding(2)
    _by_hand(world, "buy", 3)
    _read(world)
    for _ in range(3):
        _told(world, _by_hand(world, "buy", 2))
        _told(world, _by_hand(world, "sell", 2))
    assert (world.held(), _closable(world)) == (2, 2)


def test_an_order_of_ours_at_the_market_is_shown_by_no_read_before_it_is_told() -> None:
    """What is on its way there keeps reads from being written down."""
    world = _holding(0)
    for side in ("buy", "sell"):
        _by_hand(world, side, 3)
        _read(world)
    world.say("enter", side="buy", quantity=d(2), leader_position=d(2))
    world.settle()
    assert _closable(world) == 2


@pytest.mark.parametrize("sold, left", [(3, 2), (4, 1)])
def test_foreign_contracts_of_before_that_a_person_closes_take_nothing_from_a_leader(
    sold: int, left: int
) -> None:
    """The difference of three ends with the read, and the execution that ended it comes later."""
    world = _holding(0)
    world.ledger[PLACE] += 3
    _read(world)
    _confirmed(world)
    world.note(EntriesBlocked("a1", "", ESZ6, "ann"))
    world.say("enter", side="buy", quantity=d(2), leader_position=d(2))
    world.settle()
    _read(world, 3600)
    late = _by_hand(world, "sell", sold)
    _read(world)
    _told(world, late)
    assert (world.held(), world.ledger[PLACE]) == (left, left)
    _read(world)
    assert _closable(world) == left


@pytest.mark.parametrize("read_again", [False, True])
def test_contracts_bought_by_hand_and_told_late_let_no_exit_open_a_position(read_again: bool) -> None:
    world = _holding(2)
    late = _by_hand(world, "buy", 1)
    _read(world)
    _told(world, late)
    _told(world, _by_hand(world, "sell", 3))
    if read_again:
        _read(world)
    assert (_closable(world), world.ledger[PLACE]) == (0, 0)
    _read(world)
    _confirmed(world)
    assert (world.held(), world.book.sync.unexplained) == (0, {})


def test_contracts_bought_by_hand_cover_what_is_sold_by_hand() -> None:
    world = _holding(2)
    _by_hand(world, "buy", 1)
    _read(world)
    _told(world, _by_hand(world, "sell", 1))
    assert (world.held(), _closable(world)) == (2, 2)


def test_a_second_close_that_a_read_showed_while_the_first_was_told_counts_once_too() -> None:
    world = _holding(3)
    first = _by_hand(world, "sell", 1)
    _read(world, 1)
    world.now += timedelta(seconds=90)
    second = _by_hand(world, "sell", 1)
    _told(world, first, 2)
    _read(world)  # the same difference as before, and another one
    _told(world, second)
    assert world.held() == world.ledger[PLACE] == 1
    _read(world)
    assert (_closable(world), compared(world).drifts) == (1, ())


@pytest.mark.parametrize("ahead_s", [-3600, 0, 6, 60])
def test_a_clock_that_is_off_does_no_harm(ahead_s: int) -> None:
    world = _holding(3)
    late = _by_hand(world, "sell", 1)
    _read(world)
    _told(world, late._replace(transact_time=late.transact_time + timedelta(seconds=ahead_s)))
    assert world.held() == 2


def test_a_stop_that_a_read_showed_filled_leaves_another_leader_what_is_its_own() -> None:
    world = World([rule()])
    world.say("enter", side="buy", quantity=d(2), leader_position=d(2), stop_loss=StopLoss(price=d(4990)))
    world.fill(world.child())
    world.accept(world.child("stop"))
    world.book.holdings["a1", "M"] = {ESZ6: Position(qty=d(1))}
    world.book.positions[PLACE].fill("buy", d(1), d(5000))
    world.ledger[PLACE] = d(1)
    _read(world)
    world.ledger[PLACE] = d(3)
    world.fill(world.child("stop"))
    assert (world.held(), world.ledger[PLACE]) == (0, 1)
    _read(world)
    assert closable(world.book, "a1", ESZ6, "M") == 1


#: a person's trade, one that is told at once, a late one being told, a read, a long pause and a read
DEEDS = st.lists(
    st.tuples(st.sampled_from(("trade", "told", "late", "read", "pause")), st.sampled_from((-2, -1, 1, 2))),
    max_size=14,
)


class Person:
    """Trades beside the gateway, which hears of it and reads the account."""

    def __init__(self, held: int) -> None:
        self.side: Side = "buy" if held > 0 else "sell"
        self.world = _holding(abs(held), self.side)
        #: contracts on the leader's side that are there, and the fewest that ever were
        self.here = self.least = abs(held)
        #: nobody has heard of some trade, nor read of it
        self.unseen = False
        self._late: list[ExecutionReport] = []
        self._shown: tuple[Drift, ...] = ()

    def does(self, deed: str, qty: int) -> None:
        match deed:
            case "trade" | "told":
                self._late.append(_by_hand(self.world, "buy" if qty > 0 else "sell", abs(qty)))
                self.here = max(0, int(self.world.ledger[PLACE]) * sign(self.side))
                self.least = min(self.least, self.here)
                self.unseen = True
                if deed == "told":
                    self.tells(len(self._late))
            case "late":
                self.tells(1)
            case _:
                self._reads(70 if deed == "pause" else 5)

    def tells(self, number: int) -> None:
        """A stream keeps its order."""
        for execution in self._late[:number]:
            _told(self.world, execution)
        del self._late[:number]
        self.unseen = self.unseen and bool(self._late)

    def _reads(self, later_s: int) -> None:
        _read(self.world, later_s)
        found = compared(self.world).drifts
        note(self.world, *(drift for drift in found if drift in self._shown))
        self._shown, self.unseen = found, False

    @property
    def held(self) -> int:
        return int(self.world.held()) * sign(self.side)

    @property
    def closable(self) -> int:
        return _closable(self.world) * sign(self.side)


@settings(max_examples=300, deadline=None)
@given(deeds=DEEDS, held=st.sampled_from((-3, -1, 1, 3)))
def test_a_leader_loses_what_is_gone_and_no_more_and_no_exit_closes_what_no_read_shows(
    deeds: list[tuple[str, int]], held: int
) -> None:
    """Whatever a person trades, whenever it is told, and whenever somebody reads."""
    person = Person(held)
    for deed, qty in deeds:
        person.does(deed, qty)
        assert person.unseen or person.closable <= person.here
        assert person.held >= person.least
    person.tells(len(deeds))
    for deed in ("read", "read", "pause", "pause"):
        person.does(deed, 0)
    assert person.least <= person.closable == person.held <= person.here
    assert [drift.kind for drift in compared(person.world).drifts if drift.leader] == []
    assert not any(beside.is_open for beside in person.world.book.sync.unexplained.values())
