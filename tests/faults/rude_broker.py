"""A broker in the same process: the kit's matching core as ground truth, behind a network that is as rude as told.

Everything here happens in the world, not in a gateway's process: a request that left goes on when its sender dies.
What comes back is delivered in the receiver's own process, and to nobody once that is dead.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Final, Protocol

from brokers._kit.matching import AccountSpec, CoreRules, Instrument, MatchingCore, OrderState, SimSettings
from brokers._kit.matching.events import CoreEvent, OrderAccepted, OrderFilled, OrderRejected, RequestRefused
from brokers._kit.matching.orders import NewOrder
from kopitra.domain.executions import AccountSnapshot, ExecutionReport, PositionReport
from kopitra.ports import Capabilities
from tests.faults.rude_manners import POLITE, Manners
from tests.faults.rude_snapshot import Shot, shot_of
from tests.faults.rude_words import Answer, Change, Place, Read, Request, told
from tests.faults.virtual_loop import Process, VirtualClock

#: seconds that a half-open connection stays unnoticed, at most
HALF_OPEN_MAX_S: Final = 15.0

Event = ExecutionReport | PositionReport
#: (kind of fault, what it hit): for the trace and the figures
Count = Callable[[str, str], None]


class Ear(Protocol):
    """What the broker sees of a session: where to speak to."""

    @property
    def login_id(self) -> str: ...
    @property
    def process(self) -> Process: ...

    def answered(self, answer: Answer) -> None: ...
    def read(self, request: Read, found: AccountSnapshot | None) -> None: ...
    def heard(self, event: Event) -> None: ...
    def lost(self, reason: str) -> None: ...


class Judge(Protocol):
    """The checkers: they see what leaves, what arrives and what trades, when it does."""

    def left(self, broker: "RudeBroker", request: Place | Change, process: Process) -> None: ...
    def placed(self, broker: "RudeBroker", request: Place, answer: Answer) -> None: ...
    def traded(self, broker: "RudeBroker", account_id: str, event: OrderFilled) -> None: ...
    def unheard(self, account_id: str) -> None: ...


@dataclass(slots=True)
class Line:
    """One connection of one login. `open`: nobody has hung up; `deaf`: half open, nothing gets through."""

    ear: Ear
    open: bool = True
    deaf: bool = False
    streams: bool = False
    #: when the newest event reaches the ear: later ones do not overtake it
    told_until_s: float = 0.0


@dataclass(slots=True)
class RudeBroker:
    """One broker, its accounts and its lines."""

    code: str
    capabilities: Capabilities
    clock: VirtualClock
    rng: Random
    judge: Judge
    count: Count
    #: a second line of a login ends the first
    displaces: bool = False
    #: executions in lists do not name our id
    anonymous_fills: bool = False
    manners: Manners = POLITE
    #: connections are refused
    down: bool = False
    #: every request arrives twice: for proving that the checkers see it
    repeats: bool = False
    core: MatchingCore = field(init=False)
    lines: dict[str, list[Line]] = field(default_factory=dict[str, list[Line]])
    accounts: dict[str, int] = field(default_factory=dict[str, int])
    names: dict[int, str] = field(default_factory=dict[int, str])
    logins: dict[str, str] = field(default_factory=dict[str, str])
    _arrivals_s: dict[str, float] = field(default_factory=dict[str, float])
    _pump: asyncio.TimerHandle | None = None

    def __post_init__(self) -> None:
        rules = CoreRules(unique_tags=self.capabilities.dedups_cl_ord_id)
        self.core = MatchingCore(rules=rules, seed=self.rng.getrandbits(32))

    # set-up -------------------------------------------------------------------------------------------------

    def add_account(self, account_id: str, login_id: str) -> None:
        """One of our accounts."""
        number = len(self.accounts) + 1
        self.accounts[account_id], self.names[number] = number, account_id
        self.logins[account_id] = login_id
        self.core.add_account(AccountSpec(number, account_id, login_id, Decimal(100_000)))

    def add_instruments(self, instruments: Sequence[Instrument]) -> None:
        """Contracts that trade here."""
        for instrument in instruments:
            self.core.add_instrument(instrument)

    def behave(self, manners: Manners) -> None:
        """Be so rude from now on."""
        self.manners = manners
        settings = SimSettings(
            partial_fill_slices=manners.slices,
            fill_delay_ms=manners.fill_delay_ms,
            liquidity_qty=manners.liquidity_qty,
            halted_symbols=self.core.settings.halted_symbols,
        )
        self.happened(self.core.change_settings(settings, self.now_ns))

    @property
    def now_ns(self) -> int:
        """The broker's own wall clock."""
        return int(self.clock.now().timestamp() * 1_000_000) * 1_000

    def lucky(self, ratio: float, kind: str, what: str = "") -> bool:
        """Draw a fault; True when it hits."""
        if ratio <= 0 or self.rng.random() >= ratio:
            return False
        self.count(kind, f"{self.code} {what}")
        return True

    def delay_s(self) -> float:
        """One way through the network."""
        return min(self.manners.delay_max_s, self.rng.expovariate(1 / self.manners.delay_s))

    # lines --------------------------------------------------------------------------------------------------

    def connect(self, ear: Ear) -> Line:
        """A new line of a login; it hears nothing until it subscribes."""
        lines = self.lines.setdefault(ear.login_id, [])
        if self.displaces:
            for older in list(lines):
                self.hang_up(older, "another session logged in")
        line = Line(ear)
        lines.append(line)
        return line

    def disconnect(self, line: Line) -> None:
        """Our side hangs up."""
        line.open = False
        lines = self.lines.get(line.ear.login_id, [])
        if line in lines:
            lines.remove(line)

    def hang_up(self, line: Line, reason: str) -> None:
        """The broker ends a line; its other end finds out."""
        self.disconnect(line)
        self._later(self.delay_s(), lambda: line.ear.lost(reason), line.ear.process)

    def half_open(self, line: Line) -> None:
        """Nothing gets through any more, and nobody notices for a while."""
        line.deaf = True
        self._later(self.rng.uniform(1.0, HALF_OPEN_MAX_S), lambda: self.hang_up(line, "no heartbeat"))

    def all_lines(self) -> list[Line]:
        """Every line there is, in a fixed order."""
        return [line for login in sorted(self.lines) for line in self.lines[login]]

    def _later(self, delay_s: float, act: Callable[[], None], process: Process | None = None) -> None:
        """In the world, or in a process. A process cannot call this for itself: its death must not matter."""
        loop = asyncio.get_running_loop()
        context = process.context if process is not None else WORLD.context
        loop.call_later(delay_s, act, context=context)

    # requests -----------------------------------------------------------------------------------------------

    def receive(self, line: Line, request: Request) -> None:
        """A request is on its way here. Requests for one account arrive in the order of their writes."""
        if not isinstance(request, Read):
            self.judge.left(self, request, line.ear.process)
        if line.deaf or self.lucky(self.manners.lose_request, "lost request", _label(request)):
            return
        now_s = asyncio.get_running_loop().time()
        arrival_s = max(self._arrivals_s.get(request.account_id, 0.0), now_s + self.delay_s())
        self._arrivals_s[request.account_id] = arrival_s
        for _ in range(2 if self.repeats else 1):
            self._later(arrival_s - now_s, lambda: self._arrived(line, request))

    def _arrived(self, line: Line, request: Request) -> None:
        if isinstance(request, Read):
            self._read(line, request)
            return
        answer, events = self._carried_out(request)
        if isinstance(request, Place) and answer.outcome in ("done", "rejected", "unclear"):
            self.judge.placed(self, request, answer)
        self.happened(events)
        if not self.lucky(self.manners.lose_answer, "lost answer", _label(request)):
            self._speak(line, lambda: line.ear.answered(answer))

    def _speak(self, line: Line, act: Callable[[], None]) -> None:
        """Say something to a line, unless it is gone by then."""

        def arrive() -> None:
            if line.open and not line.deaf:
                act()

        self._later(self.delay_s(), arrive, line.ear.process)

    def _carried_out(self, request: Place | Change) -> tuple[Answer, list[CoreEvent]]:
        if self.down:
            return Answer(request, "unavailable", text="maintenance"), []
        if self.lucky(self.manners.penalty, "penalty", _label(request)):
            return Answer(request, "penalty", text=str(self.manners.penalty_s)), []
        unclear = self.lucky(self.manners.server_error, "server error", _label(request))
        if unclear and self.rng.random() < 0.5:
            return Answer(request, "unavailable", text="502"), []
        answer, events = self._place(request) if isinstance(request, Place) else self._change(request)
        return (Answer(request, "unclear", answer.orders, "500") if unclear else answer), events

    def _place(self, request: Place) -> tuple[Answer, list[CoreEvent]]:
        if self.lucky(self.manners.reject, "reject", request.cl_ord_id):
            self.core.reject_next(text="we would rather not", late=self.rng.random() < 0.5)
        order = self._reduced(request) if self.capabilities.reduce_only and request.is_exit else request.order
        events = self.core.place(order, self.now_ns, request.children)
        # A refusal that was not needed must not hit somebody else's next order.
        self.core._placing._planned.clear()
        asked = events[: 1 + len(request.children)]
        orders = tuple(e.order for e in asked if isinstance(e, OrderAccepted | OrderRejected))
        refused = [e for e in asked if isinstance(e, OrderRejected)]
        if refused:
            return Answer(request, "rejected", orders, f"{refused[0].reason}: {refused[0].text}"), events
        return Answer(request, "done", orders), events

    def _reduced(self, request: Place) -> NewOrder:
        """A broker that cuts closes itself, to what is there; a close of nothing is refused."""
        order, held = request.order, self.net(request.account_id).get(request.order.symbol, 0)
        closable = max(0, -held if order.side == "buy" else held)
        return order if order.ord_type != "market" else order._replace(qty=min(order.qty, closable))

    def _change(self, request: Change) -> tuple[Answer, list[CoreEvent]]:
        number, now_ns = self.accounts[request.account_id], self.now_ns
        if request.numbers is None:
            events = self.core.cancel(request.order_id, now_ns, account_id=number)
        else:
            events = self.core.replace(request.order_id, request.numbers, now_ns, account_id=number)
        refused = [e for e in events if isinstance(e, RequestRefused)]
        if refused:
            orders = (refused[0].order,) if refused[0].order is not None else ()
            return Answer(request, "rejected", orders, refused[0].reason), []
        return Answer(request, "done"), events

    def _read(self, line: Line, request: Read) -> None:
        if self.down or self.lucky(self.manners.bad_read, "failed read", request.account_id):
            self._speak(line, lambda: line.ear.read(request, None))
            return
        partial = ""
        if self.lucky(self.manners.bad_read, "partial read", request.account_id):
            partial = self.rng.choice(("positions", "orders", "executions"))
        found = shot_of(self, request, Shot(self.manners.lag_s, partial))
        self._speak(line, lambda: line.ear.read(request, found))

    # events -------------------------------------------------------------------------------------------------

    def happened(self, events: Sequence[CoreEvent]) -> None:
        """Tell everybody whom it concerns, and be there when more is due."""
        for event in events:
            if isinstance(event, OrderFilled):
                self.judge.traded(self, self.names[event.order.account_id], event)
            said = told(event, self.names.__getitem__)
            if said is not None:
                self._stream(said)
        due_ns = self.core.next_due_ns()
        if due_ns is not None and self._pump is None:
            loop = asyncio.get_running_loop()
            wait_s = max(0.001, (due_ns - self.now_ns) / 1e9)
            self._pump = loop.call_later(wait_s, self._advance, context=WORLD.context)

    def _advance(self) -> None:
        self._pump = None
        self.happened(self.core.advance(self.now_ns))

    def _stream(self, event: Event) -> None:
        lines = [line for line in self.lines.get(self.logins[event.account_id], ()) if line.streams]
        for line in lines:
            if self.lucky(self.manners.drop_event, "dropped event", _said(event)):
                self.judge.unheard(event.account_id)
                continue
            self._tell(line, event)
            if self.lucky(self.manners.duplicate_event, "duplicate event", _said(event)):
                self._tell(line, event)
        if not lines or any(line.deaf for line in lines):
            self.judge.unheard(event.account_id)

    def _tell(self, line: Line, event: Event) -> None:
        now_s = asyncio.get_running_loop().time()
        when_s = max(line.told_until_s, now_s + self.delay_s())
        if self.lucky(self.manners.reorder_event, "reordered event", _said(event)):
            when_s += self.delay_s() + self.delay_s()
        else:
            line.told_until_s = when_s

        def arrive() -> None:
            if line.open and not line.deaf:
                line.ear.heard(event)

        self._later(when_s - now_s, arrive, line.ear.process)

    # what others do here ------------------------------------------------------------------------------------

    def price(self, symbol: str, bid: Decimal, ask: Decimal) -> None:
        """The market moves."""
        self.happened(self.core.set_price(symbol, bid, ask, None, self.now_ns))

    def restart(self, reason: str) -> None:
        """Every line falls at once."""
        for line in self.all_lines():
            self.hang_up(line, reason)

    def net(self, account_id: str) -> Mapping[str, int]:
        """What an account really holds."""
        found = self.core.positions(self.accounts[account_id])
        return {held.symbol: held.net_qty for held in found if held.net_qty}

    def live_orders(self, account_id: str) -> tuple[OrderState, ...]:
        """What really works at an account."""
        return self.core.orders(self.accounts[account_id], live_only=True)


#: where everything happens that is nobody's process
WORLD: Final = Process("world")


def _label(request: Request) -> str:
    return request.cl_ord_id if not isinstance(request, Read) else f"read {request.account_id}"


def _said(event: Event) -> str:
    if isinstance(event, PositionReport):
        return f"position {event.account_id}"
    return f"{event.exec_type} {event.cl_ord_id or event.order_id}"
