"""What is durable, as a checker reads it: straight from the store's rows, never from a gateway's memory."""

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import NamedTuple

from gateway_container.engine.recovery import decode_row
from kopitra.domain.book import Book, root_of
from kopitra.domain.fanout import FanoutPlan
from kopitra.domain.fold import fold
from kopitra.domain.journal import (
    AlertRaised,
    Entry,
    FlattenNoted,
    PositionDiffers,
    SignalPlanned,
    StrangerSeen,
    SwitchChanged,
)
from kopitra.domain.orders import OrderIntent
from kopitra.domain.signals import Signal, sign
from tests.faults.memory_tables import Tables

#: (account, leader, product)
Line = tuple[str, str, str]


class Known(NamedTuple):
    """A child that the journal knows, and the row of the signal it was made from (0: none)."""

    seq: int
    signal_seq: int
    intent: OrderIntent


class Close(NamedTuple):
    """From this row on nothing older may open on this side (0: on either)."""

    seq: int
    side: int


@dataclass(slots=True)
class Bounds:
    """Between these every target of one follower has been, flat included."""

    low: Decimal = Decimal(0)
    high: Decimal = Decimal(0)

    def hold(self, target: Decimal) -> None:
        self.low, self.high = min(self.low, target), max(self.high, target)


@dataclass(slots=True)
class JournalView:
    """An index over the journal that grows with it."""

    tables: Tables
    shard: str
    seen: int = 0
    #: the journal's own book: what a gateway believes is another one
    book: Book = field(default_factory=Book)
    children: dict[str, Known] = field(default_factory=dict[str, Known])
    closes: dict[tuple[str, str], list[Close]] = field(
        default_factory=lambda: defaultdict[tuple[str, str], list[Close]](list)
    )
    bounds: dict[Line, Bounds] = field(default_factory=lambda: defaultdict[Line, Bounds](Bounds))
    plans: dict[str, list[tuple[int, Signal, FanoutPlan]]] = field(
        default_factory=lambda: defaultdict[str, list[tuple[int, Signal, FanoutPlan]]](list)
    )
    lists: dict[str, int] = field(default_factory=dict[str, int])
    #: order ids and accounts for which an alert was raised
    alerted: dict[str, list[AlertRaised]] = field(
        default_factory=lambda: defaultdict[str, list[AlertRaised]](list)
    )
    #: account -> newest drift that was written down
    drift: dict[str, PositionDiffers] = field(default_factory=dict[str, PositionDiffers])
    #: orders of ours at a broker that this journal had lost, and that were found there (R-077)
    strangers: set[str] = field(default_factory=set[str])
    #: (scope, id) -> state
    switches: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    #: how often an account was confirmed flat
    flats: dict[str, int] = field(default_factory=lambda: defaultdict[str, int](int))

    def follow(self) -> None:
        """Read what is new."""
        rows = self.tables.journal.get(self.shard, ())
        while self.seen < len(rows):
            row = rows[self.seen]
            self.seen += 1
            entry = decode_row(row)
            if isinstance(entry, SignalPlanned):
                self._planned(row.seq, entry.signal, entry.plan)
            fold(self.book, entry)
            if len(self.book.orders) > len(self.children):
                self._known(row.seq)
            self._note(entry)

    def _known(self, seq: int) -> None:
        """Whatever entry made a child: the fold knows them all, and forgets none in a run this short."""
        for order in islice(self.book.orders.values(), len(self.children), None):
            signal_seq = self.lists.get(order.intent.list_id, seq)
            self.children[order.intent.cl_ord_id] = Known(seq, signal_seq, order.intent)

    def _note(self, entry: Entry) -> None:
        match entry:
            case AlertRaised():
                self.alerted[entry.cl_ord_id or entry.account_id].append(entry)
            case StrangerSeen():
                self.strangers.add(entry.cl_ord_id)
            case PositionDiffers():
                self.drift[entry.report.account_id] = entry
            case SwitchChanged(switch):
                self.switches[switch.scope, switch.scope_id] = switch.state
            case FlattenNoted() if entry.state == "flat_confirmed":
                self.flats[entry.account_id] += 1
            case _:
                pass

    def _planned(self, seq: int, signal: Signal, plan: FanoutPlan) -> None:
        self.plans[signal.signal_id].append((seq, signal, plan))
        self.lists[plan.list_id] = seq
        for act in plan.acts:
            before, after = act.exposure_before, act.exposure_after
            closes = self.closes[signal.leader, act.root]
            if after == 0:
                closes.append(Close(seq, 0))
            elif before * after < 0:
                closes.append(Close(seq, 1 if before > 0 else -1))
        for leg in plan.legs:
            if leg.target is not None:
                self.bounds[leg.account_id, signal.leader, leg.root].hold(leg.target)

    def closed_since(self, known: Known, head: int) -> int:
        """The row by which the leader had left before this entry, as far as row `head`; 0 when it had not."""
        intent = known.intent
        for close in self.closes.get((intent.leader, root_of(intent.symbol)), ()):
            if known.signal_seq < close.seq <= head and close.side in (0, sign(intent.side)):
                return close.seq
        return 0
