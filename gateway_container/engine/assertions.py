"""Invariants that are asserted while the house runs (I-01, I-05, I-06, I-07, I-08, I-11, I-19): a second pair of eyes.

Each promise is kept elsewhere; here it is only looked at, with a memory of its own, so that a fault of a safeguard is
seen and not believed. What breaks stops entries (of the account; of the whole house where nobody can tell whose order
it was) and is told as `invariant-i-nn`. An order that would break one is held back where that is known before its
write; exits are never held back but by I-01. It costs an order a few look-ups in memory.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, Protocol

import structlog

from gateway_container.engine.last_look import SUPERSEDED, Lease
from gateway_container.engine.queue import Place
from gateway_container.engine.seldom import Seldom
from gateway_container.engine.state import State
from kopitra.domain.book import Book, Position
from kopitra.domain.executions import ExecutionReport
from kopitra.domain.fold_reports import execution_id
from kopitra.domain.ids import cl_ord_id
from kopitra.domain.journal import EntriesBlocked, Entry, FollowUp, RepairPlanned, SignalPlanned
from kopitra.domain.measuring import Measure
from kopitra.domain.news import listed_child
from kopitra.domain.orders import OrderIntent
from kopitra.domain.orders import State as OrderState
from kopitra.domain.signals import sign
from kopitra.domain.switches import KillSwitch

Invariant = Literal["I-01", "I-05", "I-06", "I-07", "I-08", "I-11", "I-19"]
INVARIANTS: Final[tuple[Invariant, ...]] = ("I-01", "I-05", "I-06", "I-07", "I-08", "I-11", "I-19")
#: who threw a switch that an assertion threw
WHO: Final = "assertions"
#: legs that were written and are remembered, oldest leave first
LEGS_MAX: Final = 100_000
#: executions that were counted and are remembered, all accounts together
EXECUTIONS_MAX: Final = 50_000
#: seconds between two looks at what has no event
LOOK_EVERY_S: Final = 1.0
#: looks between two counts of what was planned and not written
LOOKS_PER_COUNT: Final = 60
#: nanoseconds between two lists that must name an order
UNLISTED_NS: Final = 10_000_000_000
_AT_BROKER: Final[frozenset[OrderState]] = frozenset({"acked", "working", "partial"})

_log = structlog.get_logger("kopitra.assertions")


class Alert(Protocol):
    """Tells people."""

    def __call__(self, code: str, text: str, account_id: str, cl_ord_id: str = "") -> None: ...


@dataclass(frozen=True, slots=True)
class Means:
    """What a break is answered with. `stop_all` ends the entries of this process without a word to the store."""

    lease: Lease
    note: Callable[[str, Entry], object]
    throw: Callable[[KillSwitch], None]
    stop_all: Callable[[], None]
    alert: Alert
    counts: dict[str, int]


@dataclass(slots=True)
class _Sum:
    """A position and what its fills add up to."""

    position: Position
    expected: Decimal


class Assertions:
    """Looks at what was decided, what leaves and what came of it. `run` is its task."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._means: Means | None = None
        #: account -> orders that were decided and have not left
        self._credit: dict[str, int] = {}  # bounded: accounts of the configuration
        #: (signal, account, leg) -> its order
        self._legs: OrderedDict[tuple[str, str, str], str] = OrderedDict()
        #: (account, leader) -> no switch stops it, as of `_switches` changes
        self._open: dict[tuple[str, str], bool] = {}  # bounded: pairs of the configuration
        self._switches = -1
        self._book: Book | None = None
        self._sums: dict[tuple[str, str], _Sum] = {}  # bounded: positions of the book
        self._executions: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._marks: dict[str, Measure] = {}  # bounded: accounts with limits
        #: order that works by the book and was not listed -> when that was seen first (monotonic)
        self._unlisted: dict[str, int] = {}  # bounded: open orders of the book
        self._told = Seldom()

    def attach(self, means: Means) -> None:
        """With what a break is answered; before that nothing leaves."""
        self._means = means
        means.counts.update(dict.fromkeys(INVARIANTS, 0))

    # what was decided ----------------------------------------------------------------------------------------

    def decided(self, entry: Entry) -> None:
        """A decision that orders may leave for (I-05): each counts once, held ones when they are released."""
        credit = self._credit
        match entry:
            case SignalPlanned():
                for leg in entry.plan.legs:
                    if leg.orders and (ready := len([o for o in leg.orders if not o.intent.after])):
                        credit[leg.account_id] = credit.get(leg.account_id, 0) + ready
            case FollowUp():
                for intent in entry.released:
                    credit[intent.account_id] = credit.get(intent.account_id, 0) + 1
            case RepairPlanned():
                for intent in [i for i in entry.plan.intents if not i.after]:
                    credit[intent.account_id] = credit.get(intent.account_id, 0) + 1
            case _:
                pass

    def not_sent(self, place: Place) -> None:
        """It will not leave."""
        account_id = place.intent.account_id
        self._credit[account_id] = max(0, self._credit.get(account_id, 0) - 1 - len(place.attached))

    # before and after the write ------------------------------------------------------------------------------

    def refusal(self, place: Place) -> str | None:
        """Why this order must not leave; None when nothing speaks against it."""
        intent = place.intent
        if (intent.list_id, intent.account_id, intent.leg) in self._legs:
            self._broken("I-01", intent, f"{intent.cl_ord_id} would be placed a second time")
            return SUPERSEDED
        if self._credit.get(intent.account_id, 0) <= len(place.attached):
            text = f"{intent.cl_ord_id} would be more than was decided for {intent.account_id}"
            self._broken("I-05", intent, text)
            return None if intent.reduce_only else "invariant"
        if not intent.reduce_only and self._is_stopped(place):
            self._broken("I-06", intent, f"{intent.cl_ord_id} would leave although a switch stops it")
            return "kill_switch"
        return None

    def _is_stopped(self, place: Place) -> bool:
        """A switch stops the entry, or did since it was decided (I-06)."""
        state, intent = self._state, place.intent
        switches = state.book.switches
        if switches.changes == 0:
            return False
        account = state.account(intent.account_id)
        if account is None:
            return True
        if switches.changes != self._switches:
            self._open.clear()
            self._switches = switches.changes
        key = (intent.account_id, intent.leader)
        is_open = self._open.get(key)
        if is_open is None:
            is_open = self._open[key] = state.switch(account, intent.leader) == "active"
        if not is_open:
            return True
        decided_ns = place.stamp.planned_ns
        return state.stopped_ns >= decided_ns and state.stopped_since(account, intent.leader, decided_ns)

    def wrote(self, place: Place, at_ns: int) -> None:
        """Bytes left at `at_ns` (monotonic)."""
        intent = place.intent
        account_id = intent.account_id
        self._credit[account_id] = self._credit.get(account_id, 0) - 1 - len(place.attached)
        self._remember(intent)
        for child in place.attached:
            self._remember(child)
        self.left(account_id, intent.cl_ord_id, at_ns, exit_=intent.reduce_only)

    def left(self, account_id: str, name: str, at_ns: int, *, exit_: bool) -> None:
        """Bytes of an order, cancel or move left: was the lease still ours? (I-11, R-085)"""
        means = self._means
        if means is None or at_ns < means.lease.valid_until_ns:
            return
        if exit_ and at_ns < means.lease.exits_until_ns:
            return
        # The successor holds the shard: what this process could still write would stop the wrong one.
        means.stop_all()
        text = f"{name} left after this process's right to write had ended: it sends no entry any more, restart it"
        self._tell("I-11", account_id, text, name)

    def _remember(self, intent: OrderIntent) -> None:
        self._legs[intent.list_id, intent.account_id, intent.leg] = intent.cl_ord_id
        if len(self._legs) > LEGS_MAX:
            self._legs.popitem(last=False)

    def once_more(self, intent: OrderIntent) -> None:
        """It was proved absent, and a durable decision sends it again under its id (R-011)."""
        self._legs.pop((intent.list_id, intent.account_id, intent.leg), None)

    # what came of it -----------------------------------------------------------------------------------------

    def filled(self, report: ExecutionReport) -> None:
        """An execution that the book took: does the position hold each once? (I-08)"""
        book = self._state.book
        if book is not self._book:
            self._book = book
            self._sums.clear()
            self._executions.clear()
        key = (report.account_id, report.symbol)
        position = book.positions.get(key)
        name = (report.account_id, execution_id(report))
        twice = name in self._executions
        self._executions[name] = None
        if len(self._executions) > EXECUTIONS_MAX:
            self._executions.popitem(last=False)
        if position is None or report.last_qty is None:
            return
        known = self._sums.get(key)
        if known is None or known.position is not position:  # first seen, or flat by a flatten's word
            self._sums[key] = known = _Sum(position, position.qty)
        elif not twice:
            known.expected += report.last_qty * sign(report.side)
        if twice or known.expected != position.qty:
            text = f"{report.symbol} is {position.qty}, its executions add up to {known.expected}"
            known.expected = position.qty
            self._block("I-08", report.account_id, text, report.cl_ord_id or "")

    def listed(self, account_id: str, orders: Sequence[ExecutionReport], started_ns: int) -> None:
        """Orders as a broker lists them, all of them: an id of ours is the one that its row gives, and what works by
        the journal is there (I-07)."""
        self._unlisted_since(account_id, {o.order_id for o in orders}, started_ns)
        for report in orders:
            child = listed_child(self._state.book, report)
            if child is None:
                continue  # not ours, or lost by the journal: told by the reconciliation
            intent = child.intent
            name = cl_ord_id(intent.list_id, intent.account_id, intent.leg)
            if name != intent.cl_ord_id or intent.account_id != account_id:
                text = f"order {report.order_id} carries {intent.cl_ord_id}, its row gives {name}"
                self._block("I-07", account_id, text, intent.cl_ord_id)

    def _unlisted_since(self, account_id: str, listed: AbstractSet[str], started_ns: int) -> None:
        """An order that two whole lists do not name, far enough apart, is an orphan of the journal."""
        book = self._state.book
        before = self._unlisted
        children = [c for (o, _), some in book.open.items() if o == account_id for c in some.values()]
        working = [c for c in children if c.state in _AT_BROKER and c.order_id is not None]
        others = {
            n: at
            for n, at in before.items()
            if (o := book.orders.get(n)) and o.intent.account_id != account_id
        }
        for child in working:
            name = child.intent.cl_ord_id
            if child.order_id in listed:
                continue
            first_ns = others[name] = before.get(name, started_ns)
            if started_ns - first_ns >= UNLISTED_NS:
                del others[name]
                text = f"{name} works by the journal, and the broker does not list it"
                self._block("I-07", account_id, text, name)
        self._unlisted = others

    def marked(self, measures: Mapping[str, Measure]) -> None:
        """Highest values only rise between two starts (I-19)."""
        for account_id, now in measures.items():
            before = self._marks.get(account_id)
            self._marks[account_id] = now
            if before is None or before.number != now.number:
                continue
            if now.peak < before.peak or now.eod_peak < before.eod_peak:
                text = f"the highest equity fell from {before.peak} to {now.peak}"
                self._marks[account_id] = before
                self._block("I-19", account_id, text)

    async def run(self) -> None:
        """Look at what has no event, until cancelled."""
        looks = 0
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.marked(self._state.book.measures)
            looks += 1
            if looks % LOOKS_PER_COUNT == 0:
                self.count()

    def count(self) -> None:
        """What may still leave is what the book holds as claimed and this process did not write (I-05, by the minute):
        orders that were decided and overtaken before their write are no room for others."""
        left: dict[str, int] = {}
        for (account_id, _), children in self._state.book.open.items():
            for child in children.values():
                intent = child.intent
                if (
                    child.state == "claimed"
                    and (intent.list_id, intent.account_id, intent.leg) not in self._legs
                ):
                    left[account_id] = left.get(account_id, 0) + 1
        for account_id, credit in self._credit.items():
            self._credit[account_id] = min(credit, left.get(account_id, 0))

    # what follows --------------------------------------------------------------------------------------------

    def _broken(self, invariant: Invariant, intent: OrderIntent, text: str) -> None:
        """Of an order that is about to leave: I-06 is its account's, the others may be anybody's next."""
        if invariant == "I-06":
            self._block(invariant, intent.account_id, text, intent.cl_ord_id)
            return
        means, switches = self._means, self._state.book.switches
        if means is not None and not switches.is_at_least("global", "", "reducing"):
            why = f"{invariant}: {text}"
            means.throw(KillSwitch("global", "", "reducing", why, WHO, switches.epoch("global", "") + 1))
        self._tell(invariant, intent.account_id, f"{text}: entries stop everywhere", intent.cl_ord_id)

    def _block(self, invariant: Invariant, account_id: str, text: str, name: str = "") -> None:
        means = self._means
        if means is not None and account_id not in self._state.book.blocked:
            why = f"{invariant}: {text}; compare the account with its broker, then lift the block"
            means.note(self._state.workspace_of(account_id), EntriesBlocked(account_id, why))
        self._tell(invariant, account_id, f"{text}: entries of the account stop", name)

    def _tell(self, invariant: Invariant, account_id: str, text: str, name: str = "") -> None:
        means = self._means
        if means is None:
            return
        means.counts[invariant] += 1
        if not self._told.is_due((invariant, account_id), self._state.clock.monotonic_ns()):
            return
        _log.critical("invariant_broken", invariant=invariant, account_id=account_id, text=text)
        means.alert(f"invariant-{invariant.lower()}", text, account_id, name)
