"""T-10, sequence and snapshot: an EA numbers its acts, the line loses, repeats and reorders them (R-029 to R-033)."""

from decimal import Decimal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kopitra.domain.journal import LeaderTold, SignalPlanned
from kopitra.domain.leader_snapshot import LeaderSnapshot, reductions
from kopitra.domain.orders import ZERO
from kopitra.domain.plan import plan
from kopitra.domain.signals import Signal
from tests.machines import MACHINE
from tests.unit.domain.copy_world import World, d, signal
from tests.unit.domain.copy_world import rule as copy_rule

#: acts on the line at once
LINE_MAX = 6


class StreamMachine(RuleBasedStateMachine):
    """One EA with one ticket at a time or several, its line, and one follower that copies one to one."""

    @initialize(states_position=st.booleans())
    def begin(self, states_position: bool) -> None:
        self.world = World([copy_rule()])
        self.states_position = states_position
        self.number = 0
        self.tickets: dict[str, Decimal] = {}
        self.closed: set[str] = set()
        self.line: list[Signal] = []
        self.delivered: list[Signal] = []
        self.copies = 0

    @property
    def position(self) -> Decimal:
        return sum(self.tickets.values(), ZERO)

    def _says(self, action: str, **more: object) -> None:
        self.number += 1
        if self.states_position:
            more["leader_position"] = self.position
        act = signal(action, f"n{self.number}", sequence=self.number, **more)
        if len(self.line) < LINE_MAX:  # a full line loses the act
            self.line.append(act)

    # the EA ------------------------------------------------------------------------------------------------

    @rule(qty=st.integers(1, 3))
    def opens(self, qty: int) -> None:
        ticket = f"t{self.number}"
        self.tickets[ticket] = d(qty)
        self._says("enter", side="buy", quantity=d(qty), leader_order_id=ticket)

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def closes(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.tickets)))
        qty = self.tickets.pop(ticket)
        self.closed.add(ticket)
        self._says("exit", quantity=qty, leader_order_id=ticket)

    # the line ----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.line)
    @rule(data=st.data())
    def delivers(self, data: st.DataObject) -> None:
        self._hear(self.line.pop(data.draw(st.integers(0, len(self.line) - 1))))

    @precondition(lambda self: self.line)
    @rule(data=st.data())
    def loses(self, data: st.DataObject) -> None:
        self.line.pop(data.draw(st.integers(0, len(self.line) - 1)))

    @precondition(lambda self: self.delivered)
    @rule(data=st.data())
    def repeats(self, data: st.DataObject) -> None:
        """The same act under another key: nothing at all may come of an entry."""
        act = data.draw(st.sampled_from(self.delivered))
        before = self.world.held()
        self.copies += 1
        self._hear(signal_again(act, self.copies))
        if act.action == "enter":
            assert self.world.held() <= before

    @rule()
    def snapshot(self) -> None:
        """The EA tells everything: the leader is where it says, and followers hold no more than it."""
        held = (("ES", self.position),) if self.position else ()
        told = LeaderSnapshot("w", "L", "ea", self.world.now, held, frozenset(), self.number)
        for act in reductions(told, self.world.book, self.world.now):
            self._plan(act)
        self.world.note(LeaderTold(told))
        self.line.clear()
        assert self.world.book.leader("L", "ES").qty == self.position
        assert self.world.held() <= max(self.position, ZERO)

    def _hear(self, act: Signal) -> None:
        opened = act.action == "enter" and act.leader_order_id in self.closed
        told = any(
            heard.action == "exit" and heard.leader_order_id == act.leader_order_id
            for heard in self.delivered
        )
        before = self.world.held()
        self._plan(act)
        self.delivered = [*self.delivered, act][-20:]
        if opened and told:
            assert self.world.held() <= before, "opened after its ticket's close was accepted (I-10)"

    def _plan(self, act: Signal) -> None:
        made = plan(act, self.world.book, self.world.rules, self.world.inputs())
        self.world.note(SignalPlanned(act, made))
        for leg in made.legs:
            self.world.write([approved.intent for approved in leg.orders])
        self.world.settle()

    # always ------------------------------------------------------------------------------------------------

    @invariant()
    def never_short(self) -> None:
        """The leader never is."""
        assert self.world.held() >= 0

    @invariant()
    def each_ticket_opens_once(self) -> None:
        """I-01 for the leader's own orders: one entry per ticket, however often it was told."""
        entries = [o for o in self.world.book.orders.values() if o.intent.role == "entry"]
        names = [o.intent.leader_order_id for o in entries if o.cum_qty]
        assert len(names) == len(set(names))

    @invariant()
    def replay_is_equal(self) -> None:
        assert self.world.refolded().streams == self.world.book.streams


def signal_again(act: Signal, copy: int) -> Signal:
    """The act as a second copy of the EA tells it."""
    return signal(
        act.action,
        f"{act.signal_id}-copy{copy}",
        side=act.side,
        quantity=act.quantity,
        leader_order_id=act.leader_order_id,
        leader_position=act.leader_position,
        sequence=act.sequence,
    )


TestStreamMachine = StreamMachine.TestCase
TestStreamMachine.settings = MACHINE
