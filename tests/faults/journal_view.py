"""What is durable, as a checker reads it: straight from the store's rows, never from a gateway's memory."""

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NamedTuple

from gateway_container.engine.recovery import decode_row
from kopitra.domain.book import root_of
from kopitra.domain.fanout import FanoutPlan
from kopitra.domain.journal import (
    AlertRaised,
    Entry,
    FlattenNoted,
    FollowUp,
    PositionDiffers,
    SignalPlanned,
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
            if row.entry in _READ:
                self._take(row.seq, decode_row(row))

    def _take(self, seq: int, entry: Entry) -> None:
        match entry:
            case SignalPlanned(signal, plan):
                self._planned(seq, signal, plan)
            case FollowUp():
                for intent in entry.released:
                    self._known(seq, intent)
            case AlertRaised():
                self.alerted[entry.cl_ord_id or entry.account_id].append(entry)
            case PositionDiffers():
                self.drift[entry.report.account_id] = entry
            case SwitchChanged(switch):
                self.switches[switch.scope, switch.scope_id] = switch.state
            case FlattenNoted() if entry.state == "flat_confirmed":
                self.flats[entry.account_id] += 1
            case _:
                pass

    def _known(self, seq: int, intent: OrderIntent) -> None:
        first = self.children.get(intent.cl_ord_id)
        signal_seq = self.lists.get(intent.list_id, 0) if first is None else first.signal_seq
        self.children[intent.cl_ord_id] = Known(seq if first is None else first.seq, signal_seq, intent)

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
            for approved in leg.orders:
                self._known(seq, approved.intent)

    def closed_since(self, known: Known, head: int) -> int:
        """The row by which the leader had left before this entry, as far as row `head`; 0 when it had not."""
        intent = known.intent
        for close in self.closes.get((intent.leader, root_of(intent.symbol)), ()):
            if known.signal_seq < close.seq <= head and close.side in (0, sign(intent.side)):
                return close.seq
        return 0


_READ: Final = frozenset(
    {"SwitchChanged", "SignalPlanned", "FollowUp", "AlertRaised", "PositionDiffers", "FlattenNoted"}
)
