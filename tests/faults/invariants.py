"""The invariants that can be seen here, judged by the brokers' ledgers and the store's rows, never by belief (H-4).

Safety is judged at every write, placement and fill while it is chaos; liveness and accounting once everything is
healed and quiet (H-6). An unknown outcome may turn out either way, but never silently (H-7).
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from brokers._kit.matching.events import Execution, OrderFilled
from gateway_container.engine.machine import Machine
from kopitra.domain.book import root_of
from kopitra.domain.signals import sign
from tests.faults.journal_view import Bounds, JournalView, Known
from tests.faults.people import Operator, Stopped
from tests.faults.rude_broker import RudeBroker
from tests.faults.rude_words import Answer, Change, Place
from tests.faults.virtual_loop import Process

#: violations kept of one run
KEPT_MAX: Final = 40
#: seconds in which the news of a fill may still be on its way
NEWS_S: Final = 3.0


class Violation(NamedTuple):
    """A promise that was broken."""

    invariant: str
    text: str
    at_s: float

    def __str__(self) -> str:
        return f"{self.invariant} at {self.at_s:.3f} s: {self.text}"


class _Fill(NamedTuple):
    account_id: str
    #: our order id
    name: str
    fill: Execution


@dataclass(slots=True)
class Checker:
    """Sees everything that leaves, arrives and trades."""

    view: JournalView
    operator: Operator
    machine_of: Callable[[Process], Machine | None]
    machine_now: Callable[[], Machine | None]
    epoch_now: Callable[[], int]
    now_s: Callable[[], float]
    #: (scope, id) pairs that cover an account under a leader
    scopes: Callable[[str, str], tuple[tuple[str, str], ...]]
    #: a stop that one process confirmed is known to another: the store has it, or a disk that both know
    must_know: Callable[[Process, tuple[str, str], Stopped], bool]
    trace: Callable[[str], None]
    violations: list[Violation] = field(default_factory=list[Violation])
    #: our order id -> how often it left; that of an exit with the process that wrote it
    writes: Counter[str] = field(default_factory=Counter[str])
    #: our order id -> how often a broker was asked for it
    placements: Counter[str] = field(default_factory=Counter[str])
    #: our order id -> how often a broker took it
    taken: Counter[str] = field(default_factory=Counter[str])
    #: (account, leader, product) -> what our own orders made of it, since it was last confirmed flat
    own: dict[tuple[str, str, str], int] = field(
        default_factory=lambda: defaultdict[tuple[str, str, str], int](int)
    )
    #: (account, leader, product) -> when a stop or target last filled
    protected_s: dict[tuple[str, str, str], float] = field(default_factory=dict[tuple[str, str, str], float])
    #: accounts in which somebody else traded: what our orders made there is not what is there
    touched: set[str] = field(default_factory=set[str])
    #: those of them where that was a person or the firm, not a flatten
    hands: set[str] = field(default_factory=set[str])
    #: account -> the newest epoch under which an entry left
    entered: dict[str, int] = field(default_factory=dict[str, int])
    #: epochs of writes, of processes that were not current any more (exits within the grace, R-073)
    stale_exits: int = 0
    #: accounts of which a stream kept something to itself: until it was read again the house may be wrong
    blind: set[str] = field(default_factory=set[str])
    #: fills of orders that no row knows yet
    uncounted: list[_Fill] = field(default_factory=list[_Fill])
    _flats: Counter[str] = field(default_factory=Counter[str])

    def broken(self, invariant: str, text: str) -> None:
        """Note a violation."""
        if len(self.violations) < KEPT_MAX:
            self.violations.append(Violation(invariant, text, self.now_s()))
        self.trace(f"VIOLATION {invariant} {text}")

    # the broker's side ----------------------------------------------------------------------------------------

    def left(self, broker: RudeBroker, request: Place | Change, process: Process) -> None:
        """Bytes leave a process.

        I-01 is about the ledger. An entry leaves once, whoever writes; an exit once from each process: a successor that
        lacks the exit file of its predecessor works out the same exit from what the broker shows, under the same id,
        so that a broker that knows ids refuses it. What other brokers make of it is judged in `placed`.
        """
        self.trace(f"{process.name} -> {broker.code} {_shown(request)}")
        self._alone(request)
        if isinstance(request, Change):
            self._move(broker, request, process)
            return
        for name in request.names:
            writer = f"{name} by {process.name}" if request.is_exit else name
            self.writes[writer] += 1
            if self.writes[writer] > 1:
                self.broken("I-01", f"{writer} was written {self.writes[writer]} times")
        self._epoch(request)
        self.view.follow()
        if request.is_exit:
            return
        known = self.view.children.get(request.cl_ord_id)
        if known is None:
            self.broken("R-006", f"{request.cl_ord_id} left before the journal had it")
            return
        machine = self.machine_of(process)
        if machine is not None:
            self._entry(request, known, machine, process)

    def _alone(self, request: Place | Change) -> None:
        """An entry says that nobody older writes there any more, not even an exit within its grace (R-073, R-085)."""
        newest = self.entered.get(request.account_id, 0)
        if request.epoch < newest:
            two = f"{request.epoch} after an entry under {newest}"
            self.broken(
                "I-11", f"{request.cl_ord_id} left under epoch {two}: two write to {request.account_id}"
            )
        if isinstance(request, Place) and not request.is_exit:
            self.entered[request.account_id] = request.epoch

    def _epoch(self, request: Place) -> None:
        current = self.epoch_now()
        if request.epoch == current:
            return
        if request.is_exit:
            self.stale_exits += 1
            return
        self.broken("I-11", f"{request.cl_ord_id} left under epoch {request.epoch}, current is {current}")

    def _entry(self, request: Place, known: Known, machine: Machine, process: Process) -> None:
        closed = self.view.closed_since(known, machine.writer.head.seq)
        if closed:
            self.broken("I-10", f"{request.cl_ord_id} left after the leader's close in row {closed}")
        self._stopped(request, known, process)
        doubtful = [
            name
            for (account, _), children in machine.state.book.open.items()
            if account == request.account_id
            for name, child in children.items()
            if child.state == "in_doubt" and child.intent.role == "entry"
            if child.intent.symbol == known.intent.symbol and name != request.cl_ord_id
        ]
        if doubtful:
            self.broken("I-13", f"{request.cl_ord_id} left while {doubtful[0]} is in doubt")

    def _stopped(self, request: Place | Change, known: Known, process: Process) -> None:
        for scope in self.scopes(request.account_id, known.intent.leader):
            stopped = self.operator.in_force.get(scope)
            if stopped is not None and self.must_know(process, scope, stopped):
                what = "left" if isinstance(request, Place) else "was moved"
                self.broken("I-06", f"{request.cl_ord_id} {what} although {scope} is stopped")
            elif stopped is not None:
                self.trace(f"a stop of {scope} died with {stopped.by} and its disk")

    def _move(self, broker: RudeBroker, request: Change, process: Process) -> None:
        """A resting entry that is moved or made larger is an entry that leaves (I-06); a smaller one is not."""
        numbers, live = request.numbers, broker.live_orders(request.account_id)
        order = next((o for o in live if o.order_id == request.order_id), None)
        if numbers is None or order is None:
            return
        stays = numbers.price is None and numbers.stop_price is None and numbers.trail is None
        if stays and (numbers.qty is None or numbers.qty <= order.qty):
            return
        self.view.follow()
        known = self.view.children.get(request.cl_ord_id)
        if known is not None and not known.intent.reduce_only:
            self._stopped(request, known, process)

    def placed(self, broker: RudeBroker, request: Place, answer: Answer) -> None:
        """A broker was asked for an order. A double that it refused is none (I-01)."""
        self.trace(f"{broker.code} {answer.outcome} {request.cl_ord_id} {answer.text}")
        took = bool(answer.orders) and all(order.status != "rejected" for order in answer.orders)
        for name in request.names:
            self.placements[name] += 1
            self.taken[name] += took
            if self.taken[name] > 1:
                self.broken("I-01", f"{name} was placed {self.taken[name]} times at {broker.code}")

    def traded(self, broker: RudeBroker, account_id: str, event: OrderFilled) -> None:
        """An order filled."""
        fill = event.execution
        name = fill.cl_ord_id or ""
        self.trace(
            f"{broker.code} fill {account_id} {fill.side} {fill.qty} {fill.symbol} {name or 'by hand'}"
        )
        if not name:
            return
        self.view.follow()
        self._count_late()
        self._forget_flattened(account_id)
        known = self.view.children.get(name)
        if known is None:
            self.uncounted.append(_Fill(account_id, name, fill))
            return
        line = self._count(account_id, known, fill)
        if not known.intent.leader:
            self._closes(broker, account_id, fill)
        if any(
            late.account_id == account_id and root_of(late.fill.symbol) == line[2] for late in self.uncounted
        ):
            return  # what is held there is not known before the journal has taken the exit file in
        self._fits(line)

    def _closes(self, broker: RudeBroker, account_id: str, fill: Execution) -> None:
        """A flatten's close shrinks what is there, but where a stop, target or somebody else closed it too (R-095)."""
        net = broker.net(account_id).get(fill.symbol, 0)
        stops = [at for (owner, *_), at in self.protected_s.items() if owner == account_id]
        if net * sign(fill.side) > 0 and account_id not in self.hands and not stops:
            self.broken(
                "R-095", f"{fill.cl_ord_id} of a flatten turned {fill.symbol} of {account_id} to {net}"
            )

    def _count_late(self) -> None:
        """Exits that left by an exit file are in the journal once it is back."""
        late, self.uncounted = self.uncounted, []
        for one in late:
            known = self.view.children.get(one.name)
            if known is None:
                self.uncounted.append(one)
            else:
                self._count(one.account_id, known, one.fill)

    def _count(self, account_id: str, known: Known, fill: Execution) -> tuple[str, str, str]:
        line = (account_id, known.intent.leader, root_of(fill.symbol))
        self.own[line] += fill.qty * sign(fill.side)
        if known.intent.role in ("stop", "target"):
            self.protected_s[line] = self.now_s()
        return line

    def _fits(self, line: tuple[str, str, str]) -> None:
        """I-09, while it is chaos: never beyond any target there has been."""
        account_id, leader, root = line
        bounds = self.view.bounds.get(line)
        if not leader or bounds is None or account_id in self.touched or account_id in self.blind:
            return
        if self.now_s() - self.protected_s.get(line, -NEWS_S) < NEWS_S:
            return  # a stop or target filled while an exit was under way: it must be gone when it is quiet
        low, high = self._with_exits(line, bounds)
        if not low <= self.own[line] <= high:
            targets = f"targets were {bounds.low}..{bounds.high}"
            self.broken("I-09", f"{account_id} has {self.own[line]} {root} for {leader}, its {targets}")

    def unheard(self, account_id: str) -> None:
        """An event of this account reached nobody."""
        self.blind.add(account_id)

    def _with_exits(self, line: tuple[str, str, str], bounds: Bounds) -> tuple[int, int]:
        """Bounds of a position: an exit that is still under way may be overtaken by the next entry."""
        buys = sells = 0
        account_id, leader, root = line
        machine = self.machine_now()
        children = machine.state.book.open_children(account_id, leader) if machine is not None else ()
        for child in children:
            if child.intent.reduce_only and root_of(child.intent.symbol) == root:
                if child.intent.side == "buy":
                    buys += int(child.leaves_qty)
                else:
                    sells += int(child.leaves_qty)
        return int(bounds.low) - buys, int(bounds.high) + sells

    def _forget_flattened(self, account_id: str) -> None:
        """A flatten closed everything there, whoever had opened it."""
        flats = self.view.flats.get(account_id, 0)
        if flats != self._flats[account_id]:
            self._flats[account_id] = flats
            for line in self.own:
                if line[0] == account_id:
                    self.own[line] = 0


def _shown(request: Place | Change) -> str:
    if isinstance(request, Place):
        order = request.order
        with_ = f" with {len(request.children)}" if request.children else ""
        return f"{order.side} {order.qty} {order.symbol} {order.ord_type} {request.cl_ord_id}{with_}"
    kind = "cancel" if request.numbers is None else f"replace {request.numbers}"
    return f"{kind} {request.cl_ord_id} {request.request_id}"
