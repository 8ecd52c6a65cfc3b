"""The leader's drop copy: each thing the leader did becomes one signal, whatever order and how often it is told."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kopitra.domain.executions import ExecutionReport
from kopitra.domain.leader import LeaderTracker
from kopitra.domain.orders import ZERO
from kopitra.domain.signals import Signal, check_signal
from tests.machines import MACHINE
from tests.unit.domain.copy_world import ESZ6, NOW, World, d
from tests.unit.domain.copy_world import rule as copy_rule


def _report(order_id: str, exec_type: str = "new", /, **more: object) -> ExecutionReport:
    given: dict[str, object] = {"ord_status": "new", "symbol": ESZ6, "side": "buy", "transact_time": NOW}
    return ExecutionReport("lead", order_id, exec_type, **(given | more))  # pyright: ignore[reportArgumentType]


def _fill(order_id: str, exec_id: str, side: str, qty: int, price: int = 5000) -> ExecutionReport:
    return _report(
        order_id, "trade", ord_status="filled", side=side, exec_id=exec_id, last_qty=d(qty), last_px=d(price)
    )  # fmt: skip


def _rest(
    order_id: str, side: str, qty: int, ord_type: str = "limit", at: int = 4990, **more: object
) -> ExecutionReport:
    level: dict[str, object] = {"price": d(at)} if ord_type == "limit" else {"stop_price": d(at)}
    given: dict[str, object] = {"side": side, "ord_type": ord_type, "order_qty": d(qty)} | level | more
    return _report(order_id, **given)


class Leader:
    """A tracker, and a world of followers that gets every signal."""

    def __init__(self) -> None:
        self.tracker = LeaderTracker("w", "L", "lead")
        self.world = World([copy_rule("a1"), copy_rule("a2", mirror="fills")])
        self.told: list[Signal] = []

    def hear(self, report: ExecutionReport) -> list[str]:
        """The actions that a report makes."""
        made = self.tracker.signals(report, NOW)
        for one in made:
            check_signal(one)
            fields = {name: getattr(one, name) for name in Signal.__slots__}
            for name in ("signal_id", "workspace", "leader", "occurred_at", "received_at", "action"):
                del fields[name]
            self.world.say(one.action, **fields)
        self.told += made
        return [one.action for one in made]


def test_bracket_entry_moved_stop_partial_exit_reversal_flat() -> None:
    lead = Leader()
    assert lead.hear(_report("e", ord_type="market", order_qty=d(3))) == []
    assert lead.hear(_fill("e", "x1", "buy", 3)) == ["enter"]
    lead.world.settle()
    assert lead.hear(_rest("st", "sell", 3, "stop", 4990, parent_order_id="e")) == ["exit"]
    assert lead.hear(_rest("tp", "sell", 1, "limit", 5020, parent_order_id="e")) == ["exit"]
    for stop in (4992, 4994, 4996):
        assert lead.hear(_rest("st", "sell", 3, "stop", stop)._replace(exec_type="replaced")) == ["replace"]
        lead.world.settle()
    assert [o.stop_price for o in lead.world.working("stop")] == [4996]
    assert lead.hear(_fill("tp", "x2", "sell", 1, 5020)) == ["reduce"]
    lead.world.settle()
    assert (lead.world.held("a1"), lead.world.held("a2")) == (2, 2)
    assert lead.hear(_fill("r", "x3", "sell", 4)) == ["reverse"]
    assert lead.hear(_report("st", "canceled", ord_status="canceled", side="sell")) == ["cancel"]
    lead.world.settle()
    assert (lead.world.held("a1"), lead.world.held("a2")) == (-2, -2)
    assert lead.hear(_fill("f", "x4", "buy", 2)) == ["exit"]
    lead.world.settle()
    assert (lead.world.held("a1"), lead.world.held("a2"), lead.world.open()) == (0, 0, [])
    assert len({one.signal_id for one in lead.told}) == len(lead.told)


@pytest.mark.parametrize(
    "report",
    [_fill("o", "x1", "buy", 2), _rest("o", "buy", 2), _report("o", "canceled", ord_status="canceled")],
)
def test_a_report_that_comes_twice_makes_signals_once(report: ExecutionReport) -> None:
    lead = Leader()
    lead.hear(_rest("o", "buy", 2))
    first = lead.tracker.signals(report, NOW)
    assert lead.tracker.signals(report, NOW) == ()
    assert len(first) <= 1


def test_our_own_orders_are_never_copied() -> None:
    tracker = LeaderTracker("w", "L", "lead")
    for report in (
        _fill("o", "x1", "buy", 2),
        _rest("o", "buy", 2),
        _report("o", "canceled", ord_status="canceled"),
    ):
        assert tracker.signals(report._replace(cl_ord_id="kp0123-e"), NOW) == ()
    assert tracker.positions == {}


def test_news_of_an_order_that_has_filled_already_opens_nothing() -> None:
    lead = Leader()
    assert lead.hear(_fill("o", "x1", "buy", 2)) == ["enter"]
    assert lead.hear(_rest("o", "buy", 2)) == []
    lead.world.settle()
    assert lead.world.held("a1") == 2


def test_news_of_an_order_that_has_partly_filled_rests_what_is_left() -> None:
    lead = Leader()
    lead.hear(_fill("o", "x1", "buy", 2))
    assert lead.hear(_rest("o", "buy", 5)) == ["enter"]
    assert lead.told[-1].quantity == 3


def test_late_news_of_an_order_that_is_over_opens_nothing() -> None:
    lead = Leader()
    lead.hear(_rest("o", "buy", 2))
    lead.hear(_report("o", "canceled", ord_status="canceled"))
    assert lead.hear(_rest("o", "buy", 2)) == []


def test_a_cancel_of_an_order_never_told_makes_none() -> None:
    assert Leader().hear(_report("o", "canceled", ord_status="canceled")) == []


def test_a_moved_quantity_is_what_is_open() -> None:
    lead = Leader()
    lead.hear(_rest("o", "buy", 3))
    lead.hear(_fill("o", "x1", "buy", 1))
    assert lead.hear(_rest("o", "buy", 5)._replace(exec_type="replaced")) == ["replace"]
    assert lead.told[-1].quantity == 4
    lead.world.settle()
    assert lead.world.book.leader("L", "ES").exposure == 5


def test_a_trailing_order_is_copied_by_its_fill() -> None:
    lead = Leader()
    lead.hear(_fill("e", "x1", "buy", 1))
    assert lead.hear(_rest("t", "sell", 1, ord_type="trailing_stop")) == []
    assert lead.hear(_fill("t", "x2", "sell", 1)) == ["exit"]


def test_what_was_held_when_we_began_is_known_and_not_copied() -> None:
    lead = Leader()
    lead.tracker.baseline([(ESZ6, d(2))])
    assert lead.hear(_fill("o", "x1", "sell", 2)) == ["exit"]
    lead.world.settle()
    assert lead.world.held("a1") == 0


class LeaderMachine(RuleBasedStateMachine):
    """A leader trading by hand; its broker tells things late, twice and in any order within one order."""

    @initialize()
    def begin(self) -> None:
        self.lead = Leader()
        self.qty = ZERO
        self.open: dict[str, tuple[str, int]] = {}
        self.heard: list[ExecutionReport] = []
        self.ids = 0

    def _tell(self, report: ExecutionReport) -> None:
        self.heard.append(report)
        self.lead.world.settle()
        self.lead.hear(report)

    def _id(self, kind: str) -> str:
        self.ids += 1
        return f"{kind}{self.ids}"

    @rule(side=st.sampled_from(["buy", "sell"]), qty=st.integers(1, 3), late=st.booleans())
    def trades(self, side: str, qty: int, late: bool) -> None:
        name = self._id("m")
        self.qty += qty if side == "buy" else -qty
        self._tell(_fill(name, self._id("x"), side, qty))
        if late:
            self._tell(_rest(name, side, qty))

    @rule(side=st.sampled_from(["buy", "sell"]), qty=st.integers(1, 3))
    def rests(self, side: str, qty: int) -> None:
        name = self._id("r")
        self.open[name] = (side, qty)
        self._tell(_rest(name, side, qty))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def resting_fills(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.open)))
        side, left = self.open.pop(name)
        part = data.draw(st.integers(1, left))
        if part < left:
            self.open[name] = (side, left - part)
        self.qty += part if side == "buy" else -part
        self._tell(_fill(name, self._id("x"), side, part))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def resting_canceled(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.open)))
        side, _ = self.open.pop(name)
        self._tell(_report(name, "canceled", ord_status="canceled", side=side))

    @precondition(lambda self: self.heard)
    @rule(data=st.data())
    def told_again(self, data: st.DataObject) -> None:
        before = len(self.lead.told)
        self.lead.hear(data.draw(st.sampled_from(self.heard)))
        assert len(self.lead.told) == before

    @rule()
    def brokers_settle(self) -> None:
        self.lead.world.settle()
        if self.qty == 0 and not self.open:
            assert (self.lead.world.held("a1"), self.lead.world.held("a2")) == (0, 0)
        assert self.lead.world.held("a2") == self.qty

    @invariant()
    def the_book_knows_what_the_leader_holds_and_rests(self) -> None:
        leader = self.lead.world.book.leader("L", "ES")
        assert leader.qty == self.qty
        assert sorted((n, int(o.leaves)) for n, o in leader.working.items()) == sorted(
            (n, left) for n, (_, left) in self.open.items()
        )

    @invariant()
    def every_signal_has_its_own_id(self) -> None:
        assert len({one.signal_id for one in self.lead.told}) == len(self.lead.told)


TestLeaderMachine = LeaderMachine.TestCase
TestLeaderMachine.settings = MACHINE


def test_decimal_positions_are_exact() -> None:
    tracker = LeaderTracker("w", "L", "lead")
    tracker.signals(_fill("o", "x1", "buy", 1)._replace(last_qty=Decimal("0.1")), NOW)
    tracker.signals(_fill("o", "x2", "buy", 1)._replace(last_qty=Decimal("0.2")), NOW)
    assert tracker.positions[ESZ6] == Decimal("0.3")


def test_old_news_of_a_move_moves_nothing_back() -> None:
    lead = Leader()
    lead.hear(_rest("o", "buy", 1, at=4990))
    moved = _rest("o", "buy", 1, at=4991, transact_time=NOW + timedelta(seconds=1))
    assert lead.hear(moved) == ["replace"]
    assert lead.hear(_rest("o", "buy", 1, at=4990)) == []


def test_a_resting_order_outlives_the_process_that_told_of_it() -> None:
    """After a hand-over the new tracker copies the end and the moves of orders that it never saw (simulation)."""
    before = Leader()
    before.hear(_rest("o-1", "buy", 2))
    working = before.world.book.leader("L", "ES").working["o-1"]
    after = Leader()
    after.tracker.resume("o-1", working, ZERO)
    assert after.hear(_rest("o-1", "buy", 2)) == []
    assert after.hear(_rest("o-1", "buy", 2, at=4980)) == ["replace"]
    gone = _report("o-1", "canceled", ord_status="canceled", ord_type="limit", order_qty=d(2))
    assert after.hear(gone) == ["cancel"]


def test_what_filled_of_a_resumed_order_is_no_move() -> None:
    """The read says how much has filled; the rest is what was told."""
    leader = Leader()
    leader.hear(_rest("o-1", "buy", 3))
    working = leader.world.book.leader("L", "ES").working["o-1"]
    working.leaves = d(2)
    after = Leader()
    after.tracker.resume("o-1", working, d(1))
    assert after.hear(_rest("o-1", "buy", 3)) == []


@pytest.mark.parametrize("status", ["canceled", "expired"])
def test_an_end_that_the_stream_lost_is_read_from_the_list(status: str) -> None:
    """The line was down when the leader took its order back: the next read copies that (simulation)."""
    leader = Leader()
    leader.hear(_rest("o-1", "buy", 2))
    assert leader.tracker.rests("o-1")
    shown = _report("o-1", "order_status", ord_status=status, ord_type="limit", order_qty=d(2))
    assert leader.hear(shown) == ["cancel"]
    assert leader.hear(shown) == []
    assert not leader.tracker.rests("o-1")
