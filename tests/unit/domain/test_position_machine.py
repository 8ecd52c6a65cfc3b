"""Positions come from fills and from nothing else, against a naive model (T-10, R-003, R-040, I-08).

Executions come twice, in any order, late, for orders that are over and for nobody's orders; some are taken back, and
some say another quantity than before.
"""

from decimal import Decimal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kopitra.domain.executions import ExecutionReport
from kopitra.domain.journal import Reported
from kopitra.domain.orders import ZERO, ChildOrder
from kopitra.domain.signals import Side, sign
from tests.machines import MACHINE
from tests.unit.domain.copy_world import ESZ6, World, assert_way_out, d
from tests.unit.domain.copy_world import rule as copy_rule

PLACE = ("a1", ESZ6)


class PositionMachine(RuleBasedStateMachine):
    """One account whose orders rest in both directions; a person trades beside them."""

    @initialize()
    def begin(self) -> None:
        self.world = World([copy_rule()])
        self.number = 0
        #: execution id -> signed quantity: every execution counts once, whatever order they come in
        self.executions: dict[str, Decimal] = {}
        #: told by the broker, not heard yet
        self.under_way: list[ExecutionReport] = []
        self.heard: list[ExecutionReport] = []
        #: what each order may still fill at the broker
        self.room: dict[str, Decimal] = {}
        #: what is attributed: fills of ours, less what others closed
        self.ours = ZERO
        self.flagged = self.busted = False

    def _id(self) -> str:
        self.number += 1
        return f"x{self.number}"

    @rule(side=st.sampled_from(["buy", "sell"]), qty=st.integers(1, 4))
    def the_leader_rests_an_order(self, side: Side, qty: int) -> None:
        before = len(self.world.book.orders)
        name = f"o{self._id()}"
        self.world.say(
            "enter", side=side, quantity=d(qty), ord_type="limit", price=d(4990), leader_order_id=name, symbol="ES"
        )  # fmt: skip
        for child in list(self.world.book.orders.values())[before:]:
            self.room[child.intent.cl_ord_id] = child.qty

    def _orders(self) -> list[ChildOrder]:
        return [o for o in self.world.book.orders.values() if o.intent.cl_ord_id in self.room]

    @precondition(lambda self: any(self.room.values()))
    @rule(data=st.data())
    def an_order_fills(self, data: st.DataObject) -> None:
        """Ended orders fill too: the cancel lost the race (R-038)."""
        order = data.draw(st.sampled_from([o for o in self._orders() if self.room[o.intent.cl_ord_id]]))
        name = order.intent.cl_ord_id
        qty = d(data.draw(st.integers(1, int(self.room[name]))))
        self.room[name] -= qty
        self.under_way.append(self._trade(order.intent.side, qty, name))

    @rule(side=st.sampled_from(["buy", "sell"]), qty=st.integers(1, 3))
    def a_person_trades(self, side: Side, qty: int) -> None:
        self.under_way.append(self._trade(side, d(qty), None))

    def _trade(self, side: Side, qty: Decimal, cl_ord_id: str | None) -> ExecutionReport:
        name = self._id()
        self.executions[name] = qty * sign(side)
        return ExecutionReport(
            "a1", f"b-{cl_ord_id or name}", "trade", "partially_filled", ESZ6, side, self.world.now,
            cl_ord_id=cl_ord_id, exec_id=name, last_qty=qty, last_px=d(5000 + self.number % 7),
        )  # fmt: skip

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def one_is_heard(self, data: st.DataObject) -> None:
        """In any order."""
        report = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.heard.append(report)
        self.world.note(Reported(report))
        signed = self.executions[report.exec_id or ""]
        if report.cl_ord_id is not None:
            self.ours += signed
        else:
            self._closed_by_a_person()

    def _closed_by_a_person(self) -> None:
        there = self._position()
        if self.ours * there <= 0:
            self.ours = ZERO
        elif abs(self.ours) > abs(there):
            self.ours = there

    def _position(self) -> Decimal:
        told = {report.exec_id for report in self.heard}
        return sum((qty for name, qty in self.executions.items() if name in told), ZERO)

    @precondition(lambda self: self.heard)
    @rule(data=st.data())
    def one_is_heard_again(self, data: st.DataObject) -> None:
        report = data.draw(st.sampled_from(self.heard))
        effect = self.world.note(Reported(report._replace(last_px=(report.last_px or ZERO) + 1)))
        assert not effect.new_execution

    @precondition(lambda self: self.heard)
    @rule(data=st.data())
    def one_is_told_with_another_quantity(self, data: st.DataObject) -> None:
        """R-040: kept, flagged, the contract's entries stop."""
        report = data.draw(st.sampled_from(self.heard))
        effect = self.world.note(Reported(report._replace(last_qty=(report.last_qty or ZERO) + 1)))
        self.flagged = True
        assert "was" in effect.fault

    @precondition(lambda self: self.heard)
    @rule(data=st.data())
    def one_is_taken_back(self, data: st.DataObject) -> None:
        report = data.draw(st.sampled_from(self.heard))
        self.world.note(Reported(report._replace(exec_type="trade_cancel")))
        self.busted = True

    @precondition(lambda self: self.room)
    @rule(data=st.data(), how=st.sampled_from(["canceled", "expired"]))
    def an_order_ends(self, data: st.DataObject, how: str) -> None:
        order = data.draw(st.sampled_from(self._orders()))
        report = self._trade(order.intent.side, d(1), order.intent.cl_ord_id)
        self.executions.pop(report.exec_id or "")
        self.world.note(
            Reported(
                report._replace(exec_type=how, ord_status=how, exec_id=None, last_qty=None, last_px=None)
            )
        )

    @invariant()
    def the_position_is_the_sum_of_the_executions_heard(self) -> None:
        position = self.world.book.positions.get(PLACE)
        assert (position.qty if position is not None else ZERO) == self._position()

    @invariant()
    def the_way_out_is_counted_as_the_book_stands(self) -> None:
        assert_way_out(self.world)

    @invariant()
    def what_is_attributed_is_ours_and_no_more(self) -> None:
        assert self.world.held() == self.ours

    @invariant()
    def only_what_does_not_fit_stops_entries(self) -> None:
        assert (PLACE in self.world.book.sync.blocked) == self.flagged
        assert ("a1" in self.world.book.blocked) == self.busted

    @invariant()
    def an_order_has_filled_what_it_was_told(self) -> None:
        for order in self._orders():
            name = order.intent.cl_ord_id
            told = [r.last_qty or ZERO for r in self.heard if r.cl_ord_id == name]
            assert order.cum_qty == sum(told, ZERO)

    @invariant()
    def the_journal_gives_the_same_book(self) -> None:
        again = self.world.refolded()
        assert again.positions == self.world.book.positions
        assert again.holdings == self.world.book.holdings
        assert again.sync == self.world.book.sync


TestPositionMachine = PositionMachine.TestCase
TestPositionMachine.settings = MACHINE
