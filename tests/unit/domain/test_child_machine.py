"""One child: any order in which its reports arrive folds to the same position and the same end."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kopitra.domain import book
from kopitra.domain.executions import ExecutionReport
from kopitra.domain.journal import Doubted, OrderNotSent, Reported
from kopitra.domain.news import is_news
from kopitra.domain.orders import TERMINAL, ZERO
from tests.machines import MACHINE
from tests.unit.domain.copy_world import ESZ6, World, d
from tests.unit.domain.copy_world import rule as copy_rule


def _entered(qty: int = 4) -> World:
    world = World([copy_rule()])
    world.say("enter", side="buy", quantity=d(qty), ord_type="limit", price=d(4990))
    return world


def _report(world: World, /, **more: object) -> ExecutionReport:
    name = world.child().intent.cl_ord_id
    base = ExecutionReport("a1", "b1", "new", "new", ESZ6, "buy", world.now, cl_ord_id=name)
    return base._replace(**more)


@st.composite
def lives(draw: st.DrawFn) -> list[dict[str, object]]:
    """What a broker says of one order of four: some fills, then the end."""
    parts = draw(st.lists(st.integers(1, 3), max_size=4).filter(lambda p: sum(p) <= 4))
    said: list[dict[str, object]] = [{"exec_type": "pending_new", "ord_status": "pending_new"}, {}]
    for number, part in enumerate(parts):
        fill: dict[str, object] = {"exec_type": "trade", "ord_status": "new", "exec_id": f"x{number}"}
        said.append(fill | {"last_qty": d(part), "last_px": d(5000 + number)})
    if sum(parts) < 4:
        how = draw(st.sampled_from(["canceled", "expired"]))
        said.append({"exec_type": how, "ord_status": how})
    else:
        said.append({"exec_type": "order_status", "ord_status": "filled"})
    return said


@given(lives(), st.randoms(use_true_random=False), st.lists(st.integers(0, 20), max_size=6))
@settings(max_examples=150)
def test_any_order_of_reports_with_repeats_ends_the_same(
    said: list[dict[str, object]], random: object, repeats: list[int]
) -> None:
    straight, mixed = _entered(), _entered()
    for one in said:
        straight.note(Reported(_report(straight, **one)))
    shuffled = said + [said[n % len(said)] for n in repeats]
    random.shuffle(shuffled)  # pyright: ignore[reportAttributeAccessIssue]
    for one in shuffled:
        mixed.note(Reported(_report(mixed, **one)))
    a, b = straight.child(), mixed.child()
    assert (a.state, a.cum_qty, a.avg_px) == (b.state, b.cum_qty, b.avg_px)
    assert straight.held() == mixed.held() == a.cum_qty
    assert (
        straight.book.positions["a1", ESZ6].qty == mixed.book.positions["a1", ESZ6].qty if a.cum_qty else True
    )
    assert mixed.book.blocked == {}


class ChildMachine(RuleBasedStateMachine):
    """Everything that can be noted of one child, legal by the table; the fold counts what the broker filled."""

    @initialize(qty=st.integers(1, 5))
    def begin(self, qty: int) -> None:
        self.world = _entered(qty)
        self.left = qty
        self.filled = ZERO
        self.ids = 0
        self.sent = True
        self.news: list[ExecutionReport] = []

    @property
    def state(self) -> str:
        return self.world.child().state

    def _hear(self, **more: object) -> None:
        report = _report(self.world, **more)
        self.news.append(report)
        self.world.note(Reported(report))

    @precondition(lambda self: self.state != "skipped")
    @rule(kind=st.sampled_from(["pending_new", "new", "suspended"]))
    def is_acknowledged(self, kind: str) -> None:
        self._hear(exec_type=kind, ord_status=kind)

    @precondition(lambda self: self.state != "skipped" and self.left > 0)
    @rule(data=st.data())
    def fills(self, data: st.DataObject) -> None:
        qty = data.draw(st.integers(1, self.left))
        self.ids += 1
        self.left -= qty
        self.filled += qty
        self._hear(
            exec_type="trade",
            ord_status="partially_filled",
            exec_id=f"x{self.ids}",
            last_qty=d(qty),
            last_px=d(5000),
        )

    @precondition(lambda self: self.state != "skipped")
    @rule(how=st.sampled_from(["canceled", "expired"]))
    def ends(self, how: str) -> None:
        self._hear(exec_type=how, ord_status=how)

    @precondition(lambda self: self.state in ("claimed", "acked", "working"))
    @rule()
    def is_rejected(self) -> None:
        self._hear(exec_type="rejected", ord_status="rejected")

    @precondition(lambda self: self.state in ("claimed", "skipped"))
    @rule()
    def is_not_sent(self) -> None:
        self.world.note(OrderNotSent(self.world.child().intent.cl_ord_id, "a1", "session_down"))

    @precondition(lambda self: self.state != "skipped")
    @rule()
    def is_doubted(self) -> None:
        self.world.note(Doubted(self.world.child().intent.cl_ord_id, "a1", "no answer in time"))

    @precondition(lambda self: self.news)
    @rule(data=st.data())
    def hears_old_news(self, data: st.DataObject) -> None:
        old = data.draw(st.sampled_from(self.news))
        if old.exec_type != "rejected":
            self.world.note(Reported(old))

    @invariant()
    def the_position_is_the_sum_of_the_fills(self) -> None:
        child = self.world.child()
        assert child.cum_qty == self.filled == self.world.held()
        assert self.world.book.blocked == {}

    @invariant()
    def over_means_out_of_the_open_children(self) -> None:
        child = self.world.child()
        assert (child in self.world.book.open_children("a1", "L")) == (child.state not in TERMINAL)
        assert (child.state == "filled") == (child.cum_qty == child.qty)
        assert child.leaves_qty == (ZERO if child.state in TERMINAL else child.qty - child.cum_qty)

    @invariant()
    def who_is_in_doubt_is_in_the_index_of_doubts(self) -> None:
        """What the last look asks instead of every open order (R-013, I-13)."""
        children = self.world.book.orders.items()
        assert set(self.world.book.doubts) == {n for n, c in children if c.state in ("in_doubt", "parked")}

    @invariant()
    def the_journal_gives_the_same_child(self) -> None:
        name = self.world.child().intent.cl_ord_id
        again = self.world.refolded().orders[name]
        assert again == self.world.child()


TestChildMachine = ChildMachine.TestCase
TestChildMachine.settings = MACHINE


def test_a_fill_without_an_execution_id_counts_once() -> None:
    world = _entered()
    said = {
        "exec_type": "trade",
        "ord_status": "partially_filled",
        "last_qty": d(1),
        "last_px": d(5000),
        "cum_qty": d(1),
    }
    world.note(Reported(_report(world, **said)))
    world.note(Reported(_report(world, **said)))
    world.note(Reported(_report(world, **said, leaves_qty=d(2))._replace(cum_qty=d(2))))
    assert world.held() == 2


def test_an_execution_with_two_quantities_is_flagged_and_not_added() -> None:
    world = _entered()
    said = {"exec_type": "trade", "ord_status": "partially_filled", "exec_id": "x", "last_px": d(5000)}
    world.note(Reported(_report(world, **said, last_qty=d(1))))
    effect = world.note(Reported(_report(world, **said, last_qty=d(2))))
    assert world.held() == 1
    assert "x was 1, is now 2" in effect.fault
    assert ("a1", ESZ6) in world.book.sync.blocked


def test_a_restated_price_adds_nothing_and_blocks_nothing() -> None:
    world = _entered()
    said = {"exec_type": "trade", "ord_status": "partially_filled", "exec_id": "x", "last_qty": d(1)}
    world.note(Reported(_report(world, **said, last_px=d(5000))))
    effect = world.note(Reported(_report(world, **said, last_px=d(5001))))
    assert (world.held(), effect.fault, world.book.blocked) == (1, "", {})


def test_a_busted_trade_stops_the_entries_of_its_account() -> None:
    world = _entered()
    effect = world.note(
        Reported(_report(world, exec_type="trade_cancel", ord_status="new", exec_id="x", last_qty=d(1)))
    )
    assert "canceled trade x" in effect.fault
    assert "a1" in world.book.blocked


def test_a_report_for_another_account_moves_no_child() -> None:
    world = _entered()
    report = _report(
        world, exec_type="trade", ord_status="filled", exec_id="x", last_qty=d(4), last_px=d(5000)
    )
    effect = world.note(Reported(report._replace(account_id="a2")))
    assert effect.order is None
    assert world.held() == 0
    assert world.book.positions["a2", ESZ6].qty == Decimal(4)


def test_an_illegal_fact_blocks_its_account_and_still_moves_the_position() -> None:
    """R-001: counted, and the account's entries stop."""
    world = _entered()
    world.note(OrderNotSent(world.child().intent.cl_ord_id, "a1", "session_down"))
    effect = world.note(
        Reported(
            _report(
                world, exec_type="trade", ord_status="filled", exec_id="x", last_qty=d(4), last_px=d(5000)
            )
        )
    )
    assert "skipped cannot complete" in effect.fault
    assert "a1" in world.book.blocked
    assert world.held() == 4


def test_a_size_that_a_move_changed_unheard_ends_the_child_when_it_is_filled() -> None:
    """R-003, R-018: a move to fewer contracts was never answered; the list shows the order filled with what we have
    counted, so nothing of it is left. Without the broker's size it stays open until executions say so."""
    for told, state in ((d(1), "filled"), (None, "partial")):
        world = _entered(2)
        fill = {"exec_type": "trade", "ord_status": "partially_filled", "exec_id": "x1"}
        world.note(Reported(_report(world, **fill, last_qty=d(1), last_px=d(4990))))
        listed = _report(world, exec_type="order_status", ord_status="filled", cum_qty=d(1), order_qty=told)
        assert is_news(world.book, listed) == (state == "filled")
        world.note(Reported(listed))
        child = world.book.orders[listed.cl_ord_id or ""]
        assert (child.state, child.cum_qty) == (state, d(1))
        assert child.leaves_qty == (0 if state == "filled" else 1)


def test_executions_that_were_forgotten_are_not_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-003, R-021: a broker lists its whole day at every read, and memory has a bound."""
    monkeypatch.setattr(book, "EXEC_IDS_MAX", 2)
    world = _entered(4)
    fills = [
        _report(
            world, exec_type="trade", exec_id=f"x{n}", last_qty=d(1), last_px=d(4990),
            transact_time=world.now + timedelta(seconds=n),
        )
        for n in range(4)
    ]  # fmt: skip
    for fill in fills:
        world.note(Reported(fill))
    assert list(world.book.exec_ids["a1"]) == ["x2", "x3"]
    assert not any(is_news(world.book, fill) for fill in fills)
    for fill in fills:
        assert not world.note(Reported(fill)).new_execution
    assert world.held() == 4
